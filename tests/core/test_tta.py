"""Views of a film: each tells its points back exactly, and their average is taken in the film's own frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from ceph_core import models
from ceph_core.codec import HeatmapCodec
from ceph_core.config import Config, apply
from ceph_core.errors import InputError
from ceph_core.geometry import Canvas, canvas_for, fit_affine, transform
from ceph_core.inference import Member, Predictor, make_manifest, make_member, save_member, write_manifest
from ceph_core.inference.ensemble import to_original
from ceph_core.inference.frames import placement
from ceph_core.inference.outputs import heatmaps_of
from ceph_core.inference.tta import WORDS, Tta, View, parse
from ceph_core.landmarks import ISBI19, Protocol

DOT = Protocol("dot", ("D",), ("bright dot",))
CANVAS = Canvas(128, 96)
VIEWS = {
    "as it is": View(),
    "flip": View(flip=True),
    "right and up": View(shift_px=(3, -2)),
    "left and down": View(shift_px=(-1, 4)),
    "smaller": View(scale=0.95),
    "larger": View(scale=1.05),
    "much smaller": View(scale=0.7),
    "much larger": View(scale=1.37),
}
ALL = Tta(flip=True, shifts_px=((3, -2), (-1, 4)), scales=(0.95, 1.05))


class DotFinder(nn.Module):
    """A network that sees every view alike: its map is the film's brightness."""

    def forward(self, film: Tensor) -> Tensor:
        return film / 255


def config_of(size: int, flip_p: float = 0.5) -> Config:
    values = {"data.image_size": size, "model.head_stride": 1, "heatmap.sigma_rel": 0.03, "augment.flip_p": flip_p}
    return apply(Config(), {**values, "model.name": "hrnet_w18_small"})


def dot_member(size: int, flip_p: float = 0.5) -> Member:
    return make_member(config_of(size, flip_p), canvas_for(1.25, size), DotFinder(), 1)


def dot_film(size: tuple[int, int], at: tuple[float, float]) -> np.ndarray:
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])[None]
    sigma = max(size) * 0.03
    return np.round(255 * np.exp(-0.5 * ((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / sigma**2)).astype(np.uint8)


@pytest.mark.parametrize("name", VIEWS)
def test_a_blob_in_a_view_is_told_where_the_film_has_it(name: str) -> None:
    view, film_size = VIEWS[name], (251, 200)
    affine = fit_affine(film_size, CANVAS)
    points = np.random.default_rng(0).uniform((70, 80), (140, 170), (200, 2))
    codec = HeatmapCodec(1, "mse", 3.0)
    drawn = codec.encode(torch.from_numpy(transform(affine, points))[None], torch.full((200,), 3.0), (CANVAS.height, CANVAS.width)).maps()
    shown = view.show(drawn.transpose(0, 1) * 255)
    assert shown.shape == (200, 1, CANVAS.height, CANVAS.width)
    found, _ = codec.decode(shown / 255)
    placed = view.placed(placement(np.stack([affine] * 200)), CANVAS)
    # Resampling moves single blobs by up to 0.03 px of the view, this way and that; a frame that is off moves all of them one way.
    away = (to_original(found, placed)[:, 0].numpy() - points) * placed.scale.abs()[0].numpy()
    assert np.abs(away).max() < 0.04 and np.abs(away.mean(0)).max() < 0.01


@pytest.mark.parametrize("name", VIEWS)
def test_uint8_pictures_are_shown_as_floats_are_and_keep_their_range(name: str) -> None:
    picture = torch.randint(0, 256, (2, 1, 128, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    shown = VIEWS[name].show(picture)
    assert torch.equal(shown.float(), VIEWS[name].show(picture.float())) and shown.min() >= 0 and shown.max() <= 255


def test_flipping_twice_is_nothing() -> None:
    flip, picture = View(flip=True), torch.rand(1, 1, 128, 96)
    assert torch.equal(flip.show(flip.show(picture)), picture) and not torch.equal(flip.show(picture), picture)
    at = placement(fit_affine((251, 200), CANVAS)[None])
    twice = flip.placed(flip.placed(at, CANVAS), CANVAS)
    assert torch.equal(twice.scale, at.scale) and torch.allclose(twice.shift, at.shift, atol=1e-12)


def test_a_view_is_black_where_it_reaches_beyond_the_picture() -> None:
    white = torch.full((1, 1, 128, 96), 255, dtype=torch.uint8)
    moved = View(shift_px=(3, -2)).show(white)[0, 0]
    assert moved[:126, 3:].min() == 255 and moved[126:].max() == 0 and moved[:, :3].max() == 0
    smaller = View(scale=0.5).show(white)[0, 0]
    assert smaller[32:96, 24:72].min() == 255 and smaller.sum() == 255 * 64 * 48


def blurred(num_landmarks: int = 3) -> nn.Module:
    """Soft maps of random filters, which see every view differently."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.rand(num_landmarks, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 3e-4

        def forward(self, film: Tensor) -> Tensor:
            return functional.avg_pool2d(functional.conv2d(film, self.weight, padding=2), 7, 1, 3)

    return Net()


def blurred_predictor(tta: Tta | None) -> Predictor:
    protocol = Protocol("three", ("A", "B", "C"), ("first", "second", "third"))
    members = [make_member(config_of(size), canvas_for(1.25, size), blurred(), 3) for size in (96, 64)]
    return Predictor(members, [1, 2], "coordinate_mean", protocol, tta=tta)


def texture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 90)).astype(np.uint8)


def test_no_view_but_the_film_itself_is_no_augmentation_bit_for_bit() -> None:
    film = texture()
    plain = blurred_predictor(None).predict(film)
    for tta in (Tta(), Tta(shifts_px=((0, 0),)), Tta(scales=(1.0,))):
        found = blurred_predictor(tta).predict(film)
        assert np.array_equal(found.points_px, plain.points_px) and np.array_equal(found.confidence, plain.confidence)
    member = dot_member(64)
    picture = torch.from_numpy(texture()[:64, :64].copy())[None, None]
    peaks, _ = member.codec.decode(heatmaps_of(member, picture))
    expected = to_original(peaks, placement(fit_affine((64, 64), member.canvas)[None]))
    assert np.array_equal(Predictor([member], [1], "single", DOT).predict(texture()[:64, :64]).points_px, expected[0].numpy())


def test_points_and_confidences_are_plain_means_over_the_views() -> None:
    film = texture()
    plain, one, other, both = (blurred_predictor(Tta(scales=scales)).predict(film) for scales in ((), (0.8,), (1.2,), (0.8, 1.2)))
    for name in ("points_px", "confidence"):
        zeroth, first, second, all_three = (getattr(each, name).astype(float) for each in (plain, one, other, both))
        assert not np.allclose(first, zeroth, atol=1e-4), "a view that is seen differently"
        assert np.allclose(all_three, (2 * first + 2 * second - zeroth) / 3, atol=1e-6)


@pytest.mark.parametrize("combine", ["single", "coordinate_mean", "confidence_mean", "heatmap_mean"])
@pytest.mark.parametrize(
    "tta", [Tta(flip=True), Tta(shifts_px=((5, -3),)), Tta(scales=(0.9,)), Tta(scales=(1.1,)), ALL], ids=lambda tta: str(tta)
)
def test_a_network_that_sees_every_view_alike_answers_as_without_them(tta: Tta, combine: Any) -> None:
    members = [dot_member(160), dot_member(96)][: 1 if combine == "single" else 2]
    film = dot_film((150, 120), (47.3, 88.1))
    plain = Predictor(members, [1] * len(members), combine, DOT).predict(film)
    found = Predictor(members, [1] * len(members), combine, DOT, tta=tta).predict(film)
    # The view's part of the mean; whole grey values and a scaled blob leave hundredths of a pixel.
    views = len(tta.views)
    alone = (views * found.points_px - plain.points_px) / (views - 1)
    assert np.abs(alone - plain.points_px).max() < 0.05 and np.abs(found.points_px - (47.3, 88.1)).max() < 0.08


def test_a_flip_is_refused_where_a_member_never_saw_one() -> None:
    members = [dot_member(64, 0.0), dot_member(96), dot_member(128, 0.0)]
    with pytest.raises(InputError) as caught:
        Predictor(members, [1, 1, 1], "coordinate_mean", DOT, tta=Tta(flip=True))
    assert [line.split(" was ")[0] for line in caught.value.problems] == ["tta: flip: member_0", "tta: flip: member_2"]
    assert "augment.flip_p 0)" in str(caught.value) and "train with augment.flip_p 0.5 or leave flip out" in str(caught.value)
    Predictor(members, [1, 1, 1], "coordinate_mean", DOT, tta=Tta(shifts_px=((1, 1),), scales=(0.95,)))
    Predictor(members[1:2], [1], "single", DOT, tta=Tta(flip=True))


@pytest.mark.parametrize(
    ("text", "said", "passes"),
    [
        ("none", "none", 1),
        ("flip", "flip", 2),
        ("shift", "4 shifts", 5),
        ("scale", "2 scales", 3),
        ("scale, flip,shift", "flip + 4 shifts + 2 scales", 8),
    ],
)
def test_a_command_line_names_the_views(text: str, said: str, passes: int) -> None:
    found = parse(text)
    assert found is not None and str(found) == said and len(found.views) == passes and found.views[0] == View()


def test_the_words_average_out_and_the_manifest_s_own_is_no_choice_of_views() -> None:
    assert parse("manifest") is None
    views = parse(",".join(WORDS))
    assert views is not None
    assert np.sum(views.shifts_px, axis=0).tolist() == [0, 0] and np.mean(views.scales) == pytest.approx(1)


@pytest.mark.parametrize("text", ["rotate", "flip,rotate", "", "flip,", "none,flip", "manifest,flip", "Flip"])
def test_other_words_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--tta: .*allowed are flip, shift, scale, joined by commas, or none or manifest alone") as caught:
        parse(text)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("values", [{"shifts_px": ((0, 65),)}, {"scales": (0.4,)}, {"scales": (2.1,)}, {"angles": (5,)}])
def test_views_that_leave_the_film_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tta.model_validate(values)


def test_the_manifest_s_views_hold_unless_told_otherwise(tmp_path: Path) -> None:
    config = config_of(64, flip_p=0)
    torch.manual_seed(0)
    member = make_member(config, Canvas(64, 64), models.build(config.model, 19), 19)
    save_member(tmp_path / "member_0", config, member.canvas, member.net.state_dict(), 19)
    views = Tta(shifts_px=((1, 1), (-1, -1)), scales=(0.95,))
    write_manifest(tmp_path, make_manifest([member], [1.0], "single", ISBI19, 1.2, tta=views))
    path = tmp_path / "manifest.json"
    whole = json.loads(path.read_text())

    assert Predictor.load(tmp_path).tta == views and Predictor.load(tmp_path).in_one_pass().tta == Tta()
    assert Predictor.load(tmp_path, tta=Tta()).tta == Tta()
    assert Predictor.load(tmp_path / "member_0").tta == Tta() and Predictor.load(tmp_path / "member_0", tta=views).tta == views

    path.write_text(json.dumps(whole | {"tta": {"flip": True}}))
    with pytest.raises(InputError, match="member_0 was trained without flips"):
        Predictor.load(tmp_path)
    Predictor.load(tmp_path, tta=Tta())
    path.write_text(json.dumps(whole | {"tta": {"scales": [9]}}))
    with pytest.raises(InputError, match=r"manifest\.json: tta\.scales: 9 is no scale of a view; allowed are 0\.5 to 2"):
        Predictor.load(tmp_path)
    del whole["tta"]
    path.write_text(json.dumps(whole))
    assert Predictor.load(tmp_path).tta == Tta(), "a manifest of an earlier version names none"
