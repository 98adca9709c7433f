"""Where a heatmap's peak lies, to a part of a pixel: several decoders for one choice, `heatmap.decoder`.

All of them take activated heatmaps (B, K, h, w) and give (B, K, 2) points in heatmap px, x then y.  `sigma` is the target's
standard deviation in heatmap px.  None has control flow that depends on data, so that each runs on a GPU and in ONNX.
"""

import math

import torch
from torch import Tensor

from ceph_core.config.heatmap import Decoder

_FLOOR = 1e-6
"""Heatmap values below this share of the peak are taken as this before the logarithm: only far tails, never a peak."""
_NARROWEST_PX = 1.5
"""Least half-width of the soft-argmax window, heatmap px: a narrower one holds too few pixels to tell a part of one."""
_STEPS = 2
"""Times that window is moved onto the mean of what it shows."""


def decode(decoder: Decoder, heatmaps: Tensor, sigma: float, window: float) -> Tensor:
    """Points by the decoder of this name; `window` is that of `soft_argmax`."""
    match decoder:
        case "log_parabola":
            return log_parabola(heatmaps, sigma)
        case "soft_argmax":
            return soft_argmax(heatmaps, sigma, window)
        case "quarter":
            return quarter(heatmaps)
        case "argmax":
            return argmax(heatmaps)


def log_parabola(heatmaps: Tensor, sigma: float) -> Tensor:
    """Vertex of a parabola through the logarithm of three values per axis: exact for a Gaussian.

    DARK (Zhang et al., CVPR 2020, eq. 6-10) without the off-diagonal term.  The three values stand about one sigma apart,
    which averages noise on wide peaks; at the border they are pushed inwards.
    """
    column, row, reach, logs = _about_the_peak(heatmaps, sigma)
    shift = [_vertex(*values, reach) for values in logs]
    return torch.stack([column + shift[0], row + shift[1]], dim=-1)


def width(heatmaps: Tensor, sigma: float) -> Tensor:
    """Standard deviation of the Gaussian that fits each peak, heatmap px (B, K), the geometric mean of both axes; NaN without a peak.

    The parabola of `log_parabola`: a Gaussian's has the curvature -(reach / deviation)^2 wherever its centre lies between pixels.
    """
    _, _, reach, logs = _about_the_peak(heatmaps, sigma)
    curvatures = [before - 2 * middle + after for before, middle, after in logs]
    widths = [torch.where(curvature < 0, reach / (-curvature).sqrt(), math.nan) for curvature in curvatures]
    return (widths[0] * widths[1]).sqrt()


def _about_the_peak(heatmaps: Tensor, sigma: float) -> tuple[Tensor, Tensor, int, list[tuple[Tensor, Tensor, Tensor]]]:
    """The highest pixel's column and row, pushed inwards at the border, and the logarithms of three values along x and along y."""
    height, width_px = heatmaps.shape[2:]
    reach = max(1, round(sigma))
    reach = min(reach, (height - 1) // 2, (width_px - 1) // 2)
    flat = heatmaps.flatten(2)
    peak = flat.argmax(-1)
    row = (peak // width_px).clamp(reach, height - 1 - reach)
    column = (peak % width_px).clamp(reach, width_px - 1 - reach)
    scale = flat.amax(-1).clamp_min(torch.finfo(torch.float32).tiny / _FLOOR)

    def log_at(dy: int, dx: int) -> Tensor:
        index = (row + dy) * width_px + column + dx
        return flat.gather(2, index[..., None]).squeeze(-1).clamp_min(_FLOOR * scale).log()

    middle = log_at(0, 0)
    return column, row, reach, [(log_at(-dy, -dx), middle, log_at(dy, dx)) for dy, dx in ((0, reach), (reach, 0))]


def soft_argmax(heatmaps: Tensor, sigma: float, window: float) -> Tensor:
    """Mean position, weighted by the map's values, in a window about the peak.

    The window falls off as a squared cosine, from 1 at its centre over 1/2 at `window` sigmas to 0 at twice that; a sharp
    edge would jump as pixels enter.  Off the peak's centre it would show more of one flank and draw the mean its way.  So it
    starts on the log-parabola's answer, which is the centre of a Gaussian, and is then moved onto the mean.

    Where the map ends within the window one side would be cut: on such an axis the log-parabola's answer stands, as it does
    where the window shows nothing but zeros.
    """
    half = max(window * sigma, _NARROWEST_PX)
    start = log_parabola(heatmaps, sigma)
    ends = torch.tensor([heatmaps.shape[3] - 1, heatmaps.shape[2] - 1], device=heatmaps.device, dtype=heatmaps.dtype)
    fits = (start >= 2 * half - 1) & (start <= ends - 2 * half + 1)  # the first pixel off the map would weigh nothing
    columns = torch.arange(heatmaps.shape[3], device=heatmaps.device, dtype=heatmaps.dtype)
    rows = torch.arange(heatmaps.shape[2], device=heatmaps.device, dtype=heatmaps.dtype)

    def near(grid: Tensor, centre: Tensor) -> Tensor:
        return (((grid - centre) / (2 * half)).clamp(-1, 1) * (math.pi / 2)).cos() ** 2

    points = start
    for _ in range(_STEPS):
        near_x, near_y = near(columns, points[..., :1]), near(rows, points[..., 1:])
        along_x = torch.einsum("bkhw,bkh->bkw", heatmaps, near_y) * near_x
        along_y = torch.einsum("bkhw,bkw->bkh", heatmaps, near_x) * near_y
        mean = torch.stack([_mean(along_x, columns), _mean(along_y, rows)], dim=-1)
        points = torch.where(fits & torch.isfinite(mean), mean, points)
    return points


def quarter(heatmaps: Tensor) -> Tensor:
    """The highest pixel, moved a quarter of one towards its higher neighbour on each axis (Newell et al., ECCV 2016).

    It errs by up to a quarter of a pixel, and by half of one at the border, where a neighbour is missing.
    """
    height, width = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    peak = flat.argmax(-1)
    row, column = peak // width, peak % width

    def at(dy: int, dx: int) -> Tensor:
        index = (row + dy).clamp(0, height - 1) * width + (column + dx).clamp(0, width - 1)
        return flat.gather(2, index[..., None]).squeeze(-1)

    dx = (at(0, 1) - at(0, -1)).sign() * ((column > 0) & (column < width - 1))
    dy = (at(1, 0) - at(-1, 0)).sign() * ((row > 0) & (row < height - 1))
    return torch.stack([column + 0.25 * dx, row + 0.25 * dy], dim=-1)


def argmax(heatmaps: Tensor) -> Tensor:
    """The highest pixel: errs by up to half a pixel."""
    width = heatmaps.shape[3]
    peak = heatmaps.flatten(2).argmax(-1)
    return torch.stack([peak % width, peak // width], dim=-1).to(heatmaps.dtype)


def _vertex(before: Tensor, middle: Tensor, after: Tensor, reach: int) -> Tensor:
    """Offset of the parabola's vertex through (-reach, before), (0, middle), (reach, after); 0 where it has none."""
    curvature = before - 2 * middle + after
    offset = 0.5 * reach * (before - after) / torch.where(curvature < 0, curvature, -1.0)
    # Off the border by up to `reach`, where the window was pushed inwards, and half a pixel beyond.
    return torch.where(curvature < 0, offset.clamp(-reach - 0.5, reach + 0.5), 0.0)


def _mean(weights: Tensor, grid: Tensor) -> Tensor:
    """Mean of `grid` under weights (B, K, n); not finite where they are all zero."""
    return (weights * grid).sum(-1) / weights.sum(-1)
