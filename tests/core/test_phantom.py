import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ceph_core.config import SourceConfig
from ceph_core.data import phantom
from ceph_core.data.phantom.anatomy import sample_head
from ceph_core.data.phantom.density import Density
from ceph_core.data.phantom.drawing import HEIGHT, WIDTH, place
from ceph_core.data.phantom.folder import FIRST_INDEX, png_size
from ceph_core.errors import InputError
from ceph_core.landmarks import ISBI19

K = {symbol: row for row, symbol in enumerate(ISBI19.symbols)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder of 3 training and 2 test films."""
    folder = tmp_path_factory.mktemp("drawn")
    phantom.write(folder, seed=3, num_train=3, num_test=2)
    return folder


def copied(drawn: Path, folder: Path) -> Path:
    for file in drawn.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_film_is_a_pure_function_of_seed_and_index():
    first, again, other, seed = phantom.draw(1, 5), phantom.draw(1, 5), phantom.draw(1, 6), phantom.draw(2, 5)
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all() and first[2] == again[2]
    for film in (other, seed):
        assert np.abs(film[1] - first[1]).mean() > 1
    assert first[0].shape == (HEIGHT, WIDTH) and first[0].dtype == np.uint8 and first[1].shape == (19, 2)


@pytest.fixture(scope="module")
def geometry():
    """Landmarks (N, 19, 2) px and spacing (N,) of 80 training and 40 test films, without their pictures."""
    placed = [place(0, FIRST_INDEX[split] + number) for split, num in (("train", 80), ("test", 40)) for number in range(num)]
    return np.stack([points_px for _, _, points_px, _ in placed]), np.array([spacing_mm for *_, spacing_mm in placed])


def test_the_mean_shape_is_no_solution(geometry):
    points_px, spacing_mm = geometry
    error_mm = np.linalg.norm(points_px[80:] - points_px[:80].mean(axis=0), axis=2) * spacing_mm[80:, None]
    assert 7 <= error_mm.mean() <= 10.5
    assert error_mm.mean(axis=0).min() > 4


def test_all_landmarks_lie_inside_the_film(geometry):
    points_px, _ = geometry
    assert points_px.min() >= 19 and points_px[..., 0].max() <= WIDTH - 19 and points_px[..., 1].max() <= HEIGHT - 19


def test_heads_have_human_measures(geometry):
    points_px, spacing_mm = geometry
    mm = points_px * spacing_mm[:, None, None]

    def length(a, b):
        return np.linalg.norm(mm[:, K[a]] - mm[:, K[b]], axis=1)

    def angle(a, b, c):
        u, v = mm[:, K[a]] - mm[:, K[b]], mm[:, K[c]] - mm[:, K[b]]
        return np.degrees(np.arccos((u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)))

    sna, anb = angle("S", "N", "A"), angle("S", "N", "A") - angle("S", "N", "B")
    assert 65 < length("S", "N").mean() < 73 and 112 < length("N", "Me").mean() < 126
    assert 79 < sna.mean() < 84 and 1 < anb.mean() < 4
    assert (anb < 0).mean() > 0.05 and (anb > 4).mean() > 0.1, "classes II and III must occur"
    assert 120 < angle("Ar", "Go", "Me").mean() < 132
    front = ("Go", "PNS", "A", "UL")
    assert (np.diff(mm[:, [K[s] for s in front], 0], axis=1) > 0).all(), "from back to front"
    down = ("N", "ANS", "A", "B", "Pog", "Gn", "Me")
    assert (np.diff(mm[:, [K[s] for s in down], 1], axis=1) > 0).all(), "from above to below"


def attenuation(index: int):
    """Attenuation alone, without exposure and grain: (map, points_px)."""
    head, affine, points_px, _ = place(11, index)
    rng = np.random.default_rng(0)
    density = Density((HEIGHT, WIDTH), affine)
    phantom.drawing.draw_head(density, head, rng)
    return density.map, points_px


def along(image, start, way, reach=12):
    """Values along a line through `start` (2,), from -reach to +reach px."""
    steps = np.linspace(-reach, reach, 4 * reach + 1)
    x, y = (start + steps[:, None] * np.asarray(way) / np.linalg.norm(way)).T.astype(np.float32)
    return steps, cv2.remap(image, x[None], y[None], cv2.INTER_LINEAR)[0]


OUTWARD = {"Me": (0, 1), "Gn": (1, 1), "Pog": (1, 0), "UL": (1, 0), "LL": (1, 0), "Pog'": (1, 0), "ANS": (1, 0), "UIT": (1, 1)}
"""Where the beam stops meeting the jaw or the face."""
EDGE_ON = {"Po": (0, 1), "Or": (0, 1)}
"""Across a thin plate of bone."""


@pytest.mark.parametrize("index", [0, 1, 2])
def test_landmarks_sit_on_the_anatomy_that_is_drawn(index):
    image, points_px = attenuation(index)
    for symbol, way in OUTWARD.items():
        steps, values = along(image, points_px[K[symbol]], way)
        fall = np.diff(cv2.blur(values[None], (5, 1))[0])
        assert values[steps < -1].max() - values[steps > 3.5].min() > 0.02, f"{symbol}: no edge"
        assert abs(steps[:-1][np.argmin(fall)]) < 5, f"{symbol}: the steepest edge lies {steps[np.argmin(fall)]:.1f} px away"
    for symbol, way in EDGE_ON.items():
        steps, values = along(image, points_px[K[symbol]], way)
        beside = (values[(steps > -8) & (steps < -5)].mean() + values[(steps > 5) & (steps < 8)].mean()) / 2
        assert values[abs(steps) < 2.5].max() - beside > 0.05, f"{symbol}: no plate of bone"


def test_the_drawing_moves_with_the_points():
    """Round each landmark, a film resembles itself moved by 3 px less than itself in place."""
    image, points_px = attenuation(4)
    for symbol, (x, y) in zip(ISBI19.symbols, points_px.round().astype(int), strict=True):
        patch = image[y - 16 : y + 17, x - 16 : x + 17]
        moved = [image[y - 16 + dy : y + 17 + dy, x - 16 + dx : x + 17 + dx] for dx, dy in ((3, 0), (-3, 0), (0, 3), (0, -3))]
        assert min(np.abs(patch - other).mean() for other in moved) > 0.003, f"{symbol}: nothing to see"


def test_grain_and_exposure_vary():
    means = [phantom.draw(0, index)[0].mean() for index in range(3)]
    assert np.ptp(means) > 5


def test_read_draws_once_and_grows(tmp_path, capsys):
    source = SourceConfig(format="phantom", phantom_train=8, phantom_test=2, phantom_seed=5)
    dataset = phantom.read(source, tmp_path)
    assert [record.film_id for record in dataset.records] == sorted(record.film_id for record in dataset.records)
    assert [record.split for record in dataset.records].count("test") == 2 and len(dataset.records) == 10
    assert dataset.protocol is ISBI19 and dataset.name == "phantom" and dataset.root.name == f"phantom-{phantom.DRAWING_VERSION}-5"
    record = dataset.by_id()["test-0002"]
    film, points_px, spacing_mm = phantom.draw(5, FIRST_INDEX["test"] + 1)
    assert (cv2.imread(str(record.image), cv2.IMREAD_UNCHANGED) == film).all() and record.size == film.shape
    assert np.abs(record.landmarks_px - points_px).max() <= 0.0005 + 1e-9, "points are stored to 0.001 px"
    assert record.spacing_mm == (spacing_mm, spacing_mm) and record.group is None

    stamps = {file.name: file.stat().st_mtime_ns for file in dataset.root.iterdir()}
    grown = phantom.read(source.model_copy(update={"phantom_train": 9}), tmp_path)
    assert len(grown.records) == 11
    assert all((dataset.root / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items()), "films that stand are kept"
    assert len(phantom.read(source, tmp_path).records) == 10, "fewer films may be asked for again"


def test_a_written_folder_is_read_back(drawn):
    dataset = phantom.read(SourceConfig(format="phantom", root=drawn), Path("unused"))
    assert [record.film_id for record in dataset.records] == ["test-0001", "test-0002", "train-0001", "train-0002", "train-0003"]
    assert len({record.spacing_mm for record in dataset.records}) > 1, "spacing varies from film to film"


def test_a_folder_left_half_way_is_completed(drawn, tmp_path):
    folder = copied(drawn, tmp_path)
    (folder / "train-0001.json").unlink()  # killed between film and points
    (folder / "train-0002.png").write_bytes((drawn / "train-0002.png").read_bytes()[:1000])  # a disk that filled up
    (folder / "train-0003.png").unlink()
    phantom.write(folder, seed=3, num_train=3, num_test=2)
    for file in drawn.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_two_processes_may_draw_at_once(drawn, tmp_path):
    code = "import sys; from pathlib import Path; from ceph_core.data.phantom import write; write(Path(sys.argv[1]), 3, 3, 2)"
    root = Path(phantom.__file__).parents[3]
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in drawn.iterdir()), "no temporary file stays"
    for file in drawn.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_film_appears_whole_or_not_at_all(drawn, tmp_path, monkeypatch):
    def full(self, target):
        raise OSError("disk full")

    folder = copied(drawn, tmp_path)
    before = sorted(folder.iterdir())
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        phantom.write(folder, seed=3, num_train=4, num_test=2)
    assert sorted(folder.iterdir()) == before


def test_films_of_two_drawings_are_never_mixed(drawn, tmp_path):
    with pytest.raises(InputError, match=r'asked for .*"seed": 4'):
        phantom.write(drawn, seed=4, num_train=1, num_test=1)
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(InputError, match="no folder of drawn films"):
        phantom.write(tmp_path, seed=0, num_train=1, num_test=1)


def test_every_problem_of_a_folder_is_reported_at_once(drawn, tmp_path):
    folder = copied(drawn, tmp_path)

    def change(name, **values):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    points = json.loads((folder / "train-0001.json").read_text())["landmarks_px"]
    (folder / "test-0001.png").unlink()
    (folder / "test-0002.json").unlink()
    change("train-0001.json", landmarks_px={k: v for k, v in points.items() if k != "Go"})
    change("train-0002.json", landmarks_px=points | {"S": ["left", 3]}, spacing_mm="0.3", split="training")
    change("train-0003.json", landmarks_px=points | {"N": [5000, 3]})
    with pytest.raises(InputError) as caught:
        phantom.read(SourceConfig(format="phantom", root=folder), tmp_path)
    text = str(caught.value)
    assert len(caught.value.problems) == 7
    for part in (
        "test-0001.png: the film of test-0001.json is missing", "test-0002.png: has no points", "got 18: missing Go",
        "S: must be [x, y] in pixels or null, got ['left', 3]", "spacing_mm: must be a number of mm per pixel in (0, 5], got '0.3'",
        "split: must be one of train, validation, test, got 'training'", "N outside the film of 640 x 800 px",
    ):  # fmt: skip
        assert part in text


def test_a_missing_landmark_is_nan(drawn, tmp_path):
    folder = copied(drawn, tmp_path)
    content = json.loads((folder / "train-0001.json").read_text())
    content["landmarks_px"]["Or"] = None
    (folder / "train-0001.json").write_text(json.dumps(content))
    record = phantom.read(SourceConfig(format="phantom", root=folder), tmp_path).by_id()["train-0001"]
    assert np.isnan(record.landmarks_px[K["Or"]]).all() and np.isnan(record.landmarks_px).sum() == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"root": "nowhere"}, "no such folder"),
        ({"root": "."}, "holds no drawn film"),
        ({"spacing_mm": 0.3}, "--spacing-mm: drawn films carry their own spacing"),
    ],
)
def test_what_cannot_be_read_is_said(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        phantom.read(SourceConfig(format="phantom", **source), tmp_path / "cache")


def test_png_size_knows_whole_files_only(tmp_path):
    whole = cv2.imencode(".png", np.zeros((5, 7), np.uint8))[1].tobytes()
    file = tmp_path / "film.png"
    assert png_size(file) is None
    for content, size in ((whole, (5, 7)), (whole[:-4], None), (b"", None), (b"BM" + whole, None)):
        file.write_bytes(content)
        assert png_size(file) == size


def test_a_head_depends_on_nothing_but_its_generator():
    first, again = (sample_head(np.random.default_rng(4)).landmarks() for _ in range(2))
    assert (first == again).all()
