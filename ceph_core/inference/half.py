"""Half precision where it moves no point: asked of drawn films before the first real one is read."""

import numpy as np
import torch
from torch import Tensor, nn

from ceph_core.codec import HeatmapCodec
from ceph_core.data.phantom import draw
from ceph_core.data.views import on_canvas
from ceph_core.geometry import Canvas

TOLERANCE_PX = 0.05
"""Most that half precision may move a point, px of a film whose long side has `FILM_PX`."""
FILM_PX = 2400
NUM_FILMS = 4


def half_for(net: nn.Module, codec: HeatmapCodec, canvas: Canvas, device: torch.device) -> torch.dtype | None:
    """float16 on a GPU if this network's points stay where full precision puts them, else None.

    Not bfloat16: its 8 bits of mantissa moved the points of a trained network by a pixel, float16 has 11.
    """
    if device.type != "cuda":
        return None
    return torch.float16 if moved_px(net, codec, canvas, device, torch.float16) <= TOLERANCE_PX else None


@torch.inference_mode()
def moved_px(net: nn.Module, codec: HeatmapCodec, canvas: Canvas, device: torch.device, dtype: torch.dtype) -> float:
    """The most that computing in `dtype` moves a coordinate on drawn films, px of a film of `FILM_PX`; NaN where it overflows."""
    drawn = np.stack([on_canvas(draw(0, index)[0], canvas) for index in range(NUM_FILMS)])
    films = torch.from_numpy(drawn)[:, None].to(device).float().contiguous(memory_format=torch.channels_last)

    def points(raw: Tensor) -> Tensor:
        return codec.decode(codec.activate(raw))[0]

    full = points(net(films))
    with torch.autocast(device.type, dtype):
        raw = net(films)
    return float((points(raw) - full).abs().max()) * FILM_PX / max(canvas.height, canvas.width)
