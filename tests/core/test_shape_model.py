"""The shape model and its parts: whatever pose a film has, a point is judged by where the others put it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ceph_core.distance_limits import DistanceLimits
from ceph_core.procrustes import as_plane, generalised, lay_on
from ceph_core.shape_model import IMPOSSIBLE_Z, MIN_FILMS, ShapeModel, held_out

K, LIMIT, NOISE_MM = 10, 4.0, 0.6
ANGLES = np.linspace(0, 2 * np.pi, K, endpoint=False)
MEAN = np.stack([70 * np.cos(ANGLES) + 8 * np.cos(3 * ANGLES), 90 * np.sin(ANGLES) + 11 * np.sin(2 * ANGLES)], axis=1)
MODES = np.random.default_rng(7).normal(size=(3, K, 2)) * np.array([4.0, 3.0, 2.0])[:, None, None]


def posed(points: np.ndarray, scale: float, angle: float, shift: tuple[float, float], mirrored: bool = False) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * (points * ((-1, 1) if mirrored else (1, 1))) @ turn.T + shift


def shapes(num: int, seed: int) -> np.ndarray:
    """(num, K, 2) mm: three modes and independent noise, each film somewhere else and of another size."""
    random = np.random.default_rng(seed)
    made = MEAN + np.einsum("nm,mkd->nkd", random.normal(size=(num, 3)), MODES) + NOISE_MM * random.normal(size=(num, K, 2))
    poses = zip(random.uniform(0.8, 1.2, num), random.uniform(-0.3, 0.3, num), random.uniform(0, 200, (num, 2)), strict=True)
    return np.stack([posed(shape, scale, angle, tuple(shift)) for shape, (scale, angle, shift) in zip(made, poses, strict=True)])


@pytest.fixture(scope="module")
def model() -> ShapeModel:
    return ShapeModel.fit(shapes(120, seed=0))


@pytest.mark.parametrize("moved", [[2], [2, 3], [0, 4, 7]])
def test_moved_points_are_found_and_their_place_too(model: ShapeModel, moved: list[int]) -> None:
    truth = shapes(20, seed=1)
    points = truth.copy()
    points[:, moved] += np.array([9.0, -8.0])
    examined = model.examine(points, LIMIT)
    assert (examined.z[:, moved] > LIMIT).all()
    others = np.delete(examined.z, moved, axis=1)
    assert (others > LIMIT).mean() < 0.02, "neighbours do not look wrong for it"
    # Noise of 0.6 mm in two directions is 0.75 mm on average; the shape knows the place a little less well.
    assert np.linalg.norm(examined.expected - truth, axis=-1)[:, moved].mean() < 2.0
    assert examined.residual[:, moved] == pytest.approx(np.linalg.norm(points - examined.expected, axis=-1)[:, moved])


def test_z_is_honest_on_films_never_seen(model: ShapeModel) -> None:
    z = model.examine(shapes(300, seed=2), limit=np.inf).z
    assert 0.003 < (z > 3).mean() < 0.03, "a Gaussian has 1.1 % beyond 3"
    assert np.median(z) == pytest.approx(np.sqrt(2 * np.log(2)), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-500, 500), st.booleans(), st.integers(0, K - 1))
def test_pose_unit_and_facing_do_not_matter(
    model: ShapeModel, scale: float, angle: float, shift: float, mirrored: bool, missing: int
) -> None:
    points = shapes(1, seed=4)
    points[0, missing] = np.nan
    points[0, (missing + 3) % K] += 12.0
    one = model.examine(points, LIMIT)
    other = model.examine(posed(points[0], scale, angle, (shift, -shift), mirrored)[None], LIMIT)
    # The pose's prior is very wide, not flat.
    assert other.z == pytest.approx(one.z, rel=1e-3, abs=1e-3, nan_ok=True)
    assert other.residual == pytest.approx(scale * one.residual, rel=1e-3, abs=1e-3 * scale, nan_ok=True)
    assert other.expected[0] == pytest.approx(posed(one.expected[0], scale, angle, (shift, -shift), mirrored), abs=0.01 * scale)
    assert bool(other.mirrored[0]) == (bool(one.mirrored[0]) != mirrored)


def test_missing_points_are_no_evidence_and_are_expected_somewhere(model: ShapeModel) -> None:
    truth = shapes(10, seed=5)
    points = truth.copy()
    points[:, [1, 6]] = np.nan
    examined = model.examine(points, LIMIT)
    assert np.isnan(examined.z[:, [1, 6]]).all() and np.isnan(examined.residual[:, [1, 6]]).all()
    assert not np.isnan(np.delete(examined.z, [1, 6], axis=1)).any()
    assert np.linalg.norm(examined.expected - truth, axis=-1)[:, [1, 6]].mean() < 2.0
    points[:] = np.nan
    points[:, 0] = 5.0
    nothing = model.examine(points, LIMIT)
    assert np.isnan(nothing.z).all() and np.isnan(nothing.expected).all(), "one point says nothing of the others"


def test_films_with_missing_points_teach_the_same_shape() -> None:
    whole = shapes(150, seed=6)
    some = whole.copy()
    random = np.random.default_rng(0)
    some[random.random(some.shape[:2]) < 0.15] = np.nan
    some[:5, 1:] = np.nan  # too few points to be used
    full, partial = ShapeModel.fit(whole), ShapeModel.fit(some)
    assert partial.num_films < full.num_films == 150
    away = lay_on(as_plane(partial.mean_mm)[None], as_plane(full.mean_mm)).apply(as_plane(partial.mean_mm)[None])[0]
    assert np.abs(away - as_plane(full.mean_mm)).max() < 1.0
    test = shapes(30, seed=7)
    assert np.corrcoef(full.examine(test, LIMIT).z.ravel(), partial.examine(test, LIMIT).z.ravel())[0, 1] > 0.85
    usual, also = (each.spread_mm2.trace(axis1=1, axis2=2).mean() for each in (full, partial))
    assert also == pytest.approx(usual, rel=0.1), "what films lack does not count as spread"


def test_a_few_wrong_marks_are_named_and_teach_nothing() -> None:
    clean = shapes(80, seed=8)
    marked = clean.copy()
    wrong = [(3, 0), (30, 5), (60, 9)]
    for film, point in wrong:
        marked[film, point] += (25.0, 10.0)
    marked[70] = marked[70][::-1]  # another order
    model, examined = held_out(marked)
    found = {(int(film), int(point)) for film, point in np.argwhere(examined.z > IMPOSSIBLE_Z) if film != 70}
    assert found == set(wrong) and (examined.z[70] > IMPOSSIBLE_Z).sum() >= K // 2
    assert model.spread_mm2.trace(axis1=1, axis2=2).mean() == pytest.approx(
        ShapeModel.fit(clean).spread_mm2.trace(axis1=1, axis2=2).mean(), rel=0.15
    )


def test_a_landmark_that_few_films_mark_is_left_out() -> None:
    points = shapes(40, seed=9)
    points[5:, 4] = np.nan
    model = ShapeModel.fit(points)
    assert np.isnan(model.mean_mm[4]).all() and not np.isnan(np.delete(model.mean_mm, 4, axis=0)).any()
    examined = model.examine(shapes(3, seed=10), LIMIT)
    assert np.isnan(examined.z[:, 4]).all() and np.isnan(examined.expected[:, 4]).all()
    assert not np.isnan(np.delete(examined.z, 4, axis=1)).any()


def test_too_few_films_are_refused() -> None:
    with pytest.raises(ValueError, match=rf"{MIN_FILMS - 1} films .* too few for a shape model; needed are {MIN_FILMS} films"):
        ShapeModel.fit(shapes(MIN_FILMS - 1, seed=11))
    with pytest.raises(ValueError, match="too few"):
        ShapeModel.fit(np.full((50, K, 2), np.nan))


def test_a_saved_model_is_the_same(model: ShapeModel, tmp_path: Path) -> None:
    path = tmp_path / "shape.safetensors"
    model.save(path)
    again = ShapeModel.load(path)
    points = shapes(4, seed=12)
    assert np.array_equal(again.examine(points, LIMIT).z, model.examine(points, LIMIT).z)
    assert (again.num_films, again.shrinkage) == (model.num_films, model.shrinkage)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no shape model"):
        ShapeModel.load(path)
    with pytest.raises(ValueError, match="spread_mm2, numbers missing"):
        ShapeModel.of({"mean_mm": model.mean_mm, "covariance_mm2": model.covariance_mm2})


def test_one_shape_in_many_poses_is_one_shape() -> None:
    random = np.random.default_rng(0)
    films = [posed(MEAN, *random.uniform((0.5, -3), (2, 3)), (random.uniform(-99, 99), 7.0), bool(n % 2)) for n in range(12)]
    plane = as_plane(np.stack(films))
    plane[1:4, 2] = complex(np.nan, np.nan)
    mean, pose = generalised(plane)
    assert np.nanmax(np.abs(pose.apply(plane) - mean)) < 1e-6
    assert np.nanmax(np.abs(pose.undo(pose.apply(plane)) - plane)) < 1e-9
    sizes = np.abs(as_plane(np.stack(films)) - as_plane(np.stack(films)).mean(axis=1, keepdims=True)).mean(axis=1)
    assert np.abs(mean - mean.mean()).mean() == pytest.approx(np.exp(np.log(sizes).mean()), rel=1e-6), "the films' mean size"


def test_distance_limits_are_those_of_the_films() -> None:
    points = shapes(60, seed=13)
    points[0, 3] = np.nan
    limits = DistanceLimits.fit(points)
    assert np.nanmax(limits.broken(points)) == 0.0 and np.isnan(limits.broken(points)[0, 3])
    assert np.nanmax(DistanceLimits.fit(points, margin=-0.05).broken(points)) > 0, "narrower ones are broken"
    test = shapes(20, seed=14)
    calm = limits.broken(test)
    test[:, 5] += 60.0
    broken = limits.broken(test)
    assert (broken[:, 5] > 0.5).all() and np.delete(broken, 5, axis=1).max() < 0.5 and calm.max() < 0.5
    assert limits.broken(test / 0.1) == pytest.approx(broken), "pixels do as well as mm"
    again = DistanceLimits.of(limits.tensors())
    assert np.array_equal(again.broken(test), broken)
    with pytest.raises(ValueError, match="no distance limits: high"):
        DistanceLimits.of({"usual": limits.usual, "low": limits.low})


def test_films_that_face_the_other_way_are_known_whichever_comes_first() -> None:
    films = shapes(40, seed=15)
    turned = [0, 1, 20]
    films[turned] *= (-1, 1)
    _, examined = held_out(films)
    assert np.flatnonzero(examined.mirrored).tolist() == turned
    assert (examined.z > LIMIT).mean() < 0.01
