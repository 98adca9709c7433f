"""Every transform moves the point with the picture: a blob is drawn, moved, and found again."""

import pickle

import albumentations as albu
import cv2
import numpy as np
import pytest

from ceph_core.config import AugmentConfig
from ceph_core.config.augment import ALWAYS, AT_STRENGTH_1
from ceph_core.elastic import Elastic
from ceph_core.transforms import Augment

SIZE = (192, 160)
STILL = {"strength": 0.0}


def blob(points: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    maps = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2)) for x, y in points]
    return np.clip(200 * np.sum(maps, axis=0) + 20, 0, 255).astype(np.uint8)


def find(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Centre of mass above the background within 10 px."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    window = (columns - near[0]) ** 2 + (rows - near[1]) ** 2 < 12**2
    background = np.median(image)
    mass = np.where(window, np.maximum(image.astype(float) - background, 0), 0)
    return np.array([(mass * columns).sum(), (mass * rows).sum()]) / mass.sum()


def ramp(size: tuple[int, int] = SIZE) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return ((7 * rows + 13 * columns) % 256).astype(np.uint8)


MOVES = {
    "rotation": {"rotation_deg": 25},
    "shift": {"shift": 0.12},
    "scale": {"scale": 0.2},
    "scale, x and y together": {"scale": 0.2, "anisotropic_p": 0},
    "scale, x and y now and then apart": {"scale": 0.2, "anisotropic_p": 0.5},
    "elastic": {"elastic": 0.015},
    "flip": {"flip_p": 1.0},
}
"""What moves the points."""

SHADES = {
    "brightness": {"brightness": 0.1},
    "contrast": {"contrast": 0.1},
    "gain": {"gain": 0.1},
    "gamma": {"gamma": 0.2},
    "blur": {"blur_p": 1},
    "bands": {"bands_p": 1},
    "inversion": {"invert_p": 1},
    "cut-out": {"cutout_p": 1},
}
"""What changes grey values alone."""

KINDS = {
    **MOVES,
    "brightness": {"brightness": 0.1},
    "contrast": {"contrast": 0.1},
    "all at strength 1": {"strength": 1.0, "brightness": 0.0, "contrast": 0.0},
    "the challenge's moves at strength 1": {
        "strength": 1.0, "recipe": "challenge", "gain": 0, "gamma": 0, "blur_p": 0, "bands_p": 0, "invert_p": 0, "cutout_p": 0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_blob_lies_where_the_point_says(kind: str) -> None:
    augment = Augment(AugmentConfig(**{**STILL, **KINDS[kind]}))
    points = np.array([[60.3, 80.7], [95.5, 120.2]])
    moved_any = False
    for film in range(12):
        image, moved = augment(blob(points), points, seed=1, epoch=2, film=film)
        moved_any |= bool(np.abs(moved - points).max() > 1) or kind in ("brightness", "contrast")
        for point in moved:
            if 14 < point[0] < SIZE[1] - 15 and 14 < point[1] < SIZE[0] - 15:
                # 0.1 px: what uint8 grey values and bilinear interpolation leave of a 3 px blob's centre.
                assert np.abs(find(image, point) - point).max() < 0.1
    assert moved_any


@pytest.mark.parametrize("kind", ["the guide's", *MOVES, *SHADES, "the challenge's"])
def test_draw_is_a_function_of_seed_epoch_and_film(kind: str) -> None:
    whole = {"the guide's": {}, "the challenge's": {"recipe": "challenge"}}
    config = AugmentConfig(**(whole[kind] if kind in whole else {**STILL, **MOVES, **SHADES}[kind] | STILL))
    points = np.array([[60.0, 80.0], [95.5, 120.2]])
    first, second = Augment(config), pickle.loads(pickle.dumps(Augment(config)))
    second(ramp(), points, 9, 9, 9)  # a worker that has drawn other films before
    drawn = set()
    for key in [(0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2)]:
        (image, moved), (again, moved_again) = first(ramp(), points, *key), second(ramp(), points, *key)
        assert image.dtype == np.uint8 and image.shape == SIZE and moved.dtype == np.float64
        assert np.array_equal(image, again) and np.array_equal(moved, moved_again)
        drawn.add(image.tobytes() + moved.tobytes())
    assert len(drawn) == (1 if kind in ("flip", "inversion") else 4)


def test_missing_points_stay_missing_and_strength_zero_is_nothing() -> None:
    points = np.array([[60.0, 80.0], [np.nan, np.nan]])
    film = blob(points[:1])
    _, moved = Augment(AugmentConfig())(film, points, 0, 0, 0)
    assert np.isnan(moved[1]).all() and np.isfinite(moved[0]).all()
    image, same = Augment(AugmentConfig(strength=0))(film, points, 0, 0, 0)
    assert np.array_equal(image, film) and np.array_equal(same, points, equal_nan=True)


@pytest.mark.parametrize("kind", SHADES)
def test_what_shades_changes_the_film_and_leaves_its_points_to_the_bit(kind: str) -> None:
    augment = Augment(AugmentConfig(**(STILL | SHADES[kind])))
    points = np.array([[60.3, 80.7], [np.nan, np.nan], [-4.1, 250.2]])
    film = ramp()
    for number in range(5):
        image, moved = augment(film, points, 0, 0, number)
        assert not np.array_equal(image, film)
        assert np.array_equal(moved, points, equal_nan=True)
    assert np.array_equal(film, ramp())  # it may be a page of the cache


@pytest.mark.parametrize("name", AT_STRENGTH_1["challenge"])
def test_a_range_of_nothing_adds_nothing(name: str) -> None:
    film, points = ramp(), np.array([[60.3, 80.7]])
    image, moved = Augment(AugmentConfig(strength=0, **{name: 0}))(film, points, 0, 0, 0)
    assert np.array_equal(image, film) and np.array_equal(moved, points)


@pytest.mark.parametrize("recipe", AT_STRENGTH_1)
def test_strength_scales_every_range_and_a_set_range_stays(recipe: str) -> None:
    at_one = {name: value for name, value in AT_STRENGTH_1[recipe].items() if value != ALWAYS}
    limits = {
        name: schema["anyOf"][0]["maximum"] for name, schema in AugmentConfig.model_json_schema()["properties"].items() if "anyOf" in schema
    }
    assert at_one.keys() <= limits.keys() == AT_STRENGTH_1[recipe].keys()
    for strength in (0.0, 0.5, 1.0, 4.0):
        ranges = AugmentConfig(recipe=recipe, strength=strength).resolved()
        for name, value in at_one.items():
            assert getattr(ranges, name) == min(strength * value, limits[name]), name
    for name, limit in limits.items():
        assert getattr(AugmentConfig(recipe=recipe, strength=0, **{name: limit}).resolved(), name) == limit


def test_the_guides_five_are_as_the_guide_has_them_and_nothing_else_is_on() -> None:
    ranges = AugmentConfig().resolved().model_dump()
    on = {name: ranges[name] for name in AT_STRENGTH_1["guide"] if ranges[name]}
    assert on == {"rotation_deg": 10, "shift": 0.1, "scale": 0.1, "brightness": 0.2, "contrast": 0.2, "anisotropic_p": 1}


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_the_guides_chain_draws_what_it_always_drew(strength: float) -> None:
    """A trained model's run can be repeated: this is the chain as it was before there were others."""
    moved, shaded = 0.1 * strength, 0.2 * strength
    affine = albu.Affine(
        rotate=(-10 * strength, 10 * strength), translate_percent={"x": (-moved, moved), "y": (-moved, moved)},
        scale=(1 - moved, 1 + moved), interpolation=cv2.INTER_LINEAR, border_mode=cv2.BORDER_CONSTANT, fill=0, p=1.0,
    )  # fmt: skip
    shade = albu.RandomBrightnessContrast(brightness_limit=shaded, contrast_limit=shaded, p=1.0)
    by_hand = albu.Compose([albu.NoOp(), affine, shade], keypoint_params=albu.KeypointParams(format="xy", remove_invisible=False))
    points = np.array([[60.3, 80.7], [95.5, 120.2]])
    for film in range(4):
        by_hand.set_random_seed(int(np.random.SeedSequence((1, 2, film)).generate_state(1)[0]))
        expected = by_hand(image=ramp(), keypoints=points)
        image, moved_points = Augment(AugmentConfig(strength=strength))(ramp(), points, 1, 2, film)
        assert np.array_equal(image, expected["image"]) and np.array_equal(moved_points, expected["keypoints"])


def test_the_default_draw_is_pinned() -> None:
    """Draws only, no resampled grey value: those may differ by one between processors."""
    points = np.array([[60.3, 80.7], [95.5, 120.2]])
    drawn = [Augment(AugmentConfig())(ramp(), points, 1, 2, film)[1].round(2).tolist() for film in range(2)]
    assert drawn == [[[59.08, 69.38], [94.76, 109.83]], [[70.13, 82.0], [107.42, 117.95]]]


def test_scale_is_the_same_in_x_and_y_unless_drawn_apart() -> None:
    points = np.array([[20.0, 30.0], [120.0, 30.0], [20.0, 130.0]])
    for share in (0.0, 0.3, 1.0):
        augment = Augment(AugmentConfig(strength=0, scale=0.3, anisotropic_p=share))
        moved = [augment(ramp(), points, 0, 0, film)[1] for film in range(200)]
        apart = [abs((each[1, 0] - each[0, 0]) - (each[2, 1] - each[0, 1])) > 1e-2 for each in moved]
        assert np.mean(apart) == pytest.approx(share, abs=0.1)  # 3 standard deviations of 200 draws


def test_elastic_points_obey_the_very_map_of_the_film_up_to_the_limit() -> None:
    """What the film shows at a moved point is what it showed at the point, in any direction; half of the draws are far from still."""
    rng = np.random.default_rng(0)
    limit = 0.04
    for size in ((256, 208), (160, 192), (64, 64)):
        for number in range(10):
            field = Elastic(size, limit, np.random.default_rng(number))
            points = rng.uniform(0.15, 0.85, (19, 2)) * np.array(size[::-1])
            moved = field.targets(points)
            x, y = field.sources()
            at = moved.astype(np.float32)[None]
            source = np.stack([cv2.remap(each, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[0] for each in (x, y)], axis=-1)
            # cv2.remap places its samples to 1/32 px.
            assert np.abs(source - points).max() < 0.03
            assert 0.2 * limit * max(size) < np.abs(moved - points).max() < limit * max(size)
            # No fold: pixels keep their order along each axis.
            assert np.diff(x, axis=1).min() > 0 and np.diff(y, axis=0).min() > 0


def test_elastic_means_the_same_at_every_size() -> None:
    points = np.array([[0.3, 0.4], [0.7, 0.6]])
    moves = []
    for size in ((128, 96), (512, 384)):
        augment = Augment(AugmentConfig(strength=0, elastic=0.03))
        at = points * np.array(size[::-1])
        moves.append(np.stack([augment(np.zeros(size, np.uint8), at, 0, 0, film)[1] - at for film in range(20)]) / max(size))
    assert np.abs(moves[0] - moves[1]).max() < 0.001 and moves[0].std() > 0.004


def test_inversion_is_the_negative() -> None:
    image, _ = Augment(AugmentConfig(strength=0, invert_p=1))(ramp(), np.zeros((1, 2)), 0, 0, 0)
    assert np.array_equal(image, 255 - ramp())


def test_gain_multiplies_and_gamma_keeps_black_and_white() -> None:
    film = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    points = np.zeros((1, 2))
    factors, powers = [], []
    for number in range(200):
        shown = Augment(AugmentConfig(strength=0, gain=0.5))(film, points, 0, 0, number)[0][0].astype(float)
        factor = shown[100] / 100
        assert np.abs(shown - np.minimum(factor * np.arange(256), 255)).max() <= 2.6  # the factor itself is read to 1 / 100
        factors.append(factor)
        shown = Augment(AugmentConfig(strength=0, gamma=1.2))(film, points, 0, 0, number)[0][0].astype(float)
        assert (shown[0], shown[255]) == (0, 255) and (np.diff(shown) >= 0).all()
        powers.append(np.log(shown[128] / 255) / np.log(128 / 255))
    assert 0.49 <= min(factors) < 0.55 and 1.45 < max(factors) <= 1.51 and abs(np.mean(factors) - 1) < 0.07
    assert 0.44 < min(powers) < 0.5 and 2.0 < max(powers) < 2.25 and abs(np.mean(np.log(powers))) < 0.1


def test_cut_out_is_one_black_rectangle_of_7_to_30_percent_of_each_side() -> None:
    film = np.full((200, 160), 130, np.uint8)
    augment = Augment(AugmentConfig(strength=0, cutout_p=1))
    shares = []
    for number in range(100):
        hole = augment(film, np.zeros((1, 2)), 0, 0, number)[0] != 130
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert hole.sum() == height * width
        shares += [height / 200, width / 160]
    assert 0.06 <= min(shares) < 0.1 and 0.27 < max(shares) <= 0.301  # whole px: 7 % of 160 may be 11 px


def test_blur_is_the_same_share_of_the_film_at_every_size() -> None:
    """The variance that a bright square's edge gains, from its own profile."""
    widths = []
    for size in (256, 1024):
        film = np.zeros((size, size), np.uint8)
        film[:, size // 2 :] = 255
        augment = Augment(AugmentConfig(strength=0, blur_p=1))
        profiles = [np.diff(augment(film, np.zeros((1, 2)), 0, 0, number)[0][size // 2].astype(float)) for number in range(10)]
        places = np.arange(size - 1) - (size // 2 - 1)
        widths.append(np.array([np.sqrt((profile * places**2).sum() / 255) for profile in profiles]) / size)
    assert ((widths[1] > 0.0019) & (widths[1] < 0.0051)).all()
    # 0.5 px of a small film is little more than what a pixel averages anyway.
    assert widths[0] == pytest.approx(widths[1], rel=0.15)


def test_bands_cross_the_whole_film_with_soft_edges() -> None:
    film = np.full((256, 208), 128, np.uint8)
    augment = Augment(AugmentConfig(strength=0, bands_p=1))
    seen = set()
    for number in range(40):
        added = augment(film, np.zeros((1, 2)), 0, 0, number)[0].astype(float) - 128
        rows, columns = added[:, :1] - added[:1, :1], added - added[:, :1]
        clipped = np.abs(added + 128 - 127.5) == 127.5
        assert np.abs(added - added[:1, :1] - rows - columns[:1])[~clipped].max(initial=0) <= 1  # the sum of what rows and columns add
        assert np.abs(added).max() >= 255 * 0.04
        seen |= {("level", bool(added.sum() > 0))} if np.ptp(added[:, 0]) else {("upright", bool(added.sum() > 0))}
        # Soft: no step from one pixel to the next is a band's whole height.
        assert max(np.abs(np.diff(added, axis=0)).max(), np.abs(np.diff(added, axis=1)).max()) < 0.8 * np.ptp(np.append(added, 0))
    assert seen == {(way, lighter) for way in ("level", "upright") for lighter in (False, True)}


@pytest.mark.parametrize("name", ["blur_p", "bands_p", "invert_p", "cutout_p"])
def test_a_probability_is_how_often(name: str) -> None:
    augment = Augment(AugmentConfig(strength=0, **{name: 0.3}))
    changed = [not np.array_equal(augment(ramp(), np.zeros((1, 2)), 0, 0, film)[0], ramp()) for film in range(300)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)  # 3 standard deviations
