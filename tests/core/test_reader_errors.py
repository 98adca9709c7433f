"""Bad input of every format: one message each, all problems of a file at once."""

import json

import numpy as np
import pandas as pd
import pytest
from format_writers import FORMATS, HEIGHT, WIDTH, aariz, cldetection2023, coco, films, wide_rows, write_mha

from ceph_core import data
from ceph_core.config import Config, SourceConfig, apply
from ceph_core.data.metaimage import open_stack
from ceph_core.errors import InputError
from ceph_core.landmarks import AARIZ29, ISBI19, numbered
from ceph_core.training import feedback


def read(root, **given):
    return data.read(SourceConfig(**{"root": root, **given}), root.parent / "cache")


def problems_of(root, **given):
    with pytest.raises(InputError) as caught:
        read(root, **given)
    return caught.value.problems


def told(problems, *expected):
    """Each is said exactly once, and nothing else is."""
    for each in expected:
        assert sum(each in problem for problem in problems) == 1, (each, problems)
    assert len(problems) == len(expected), problems


def change(file, edit):
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    edit(content)
    file.write_text(json.dumps(content))


class TestAariz:
    @pytest.fixture
    def root(self, tmp_path):
        aariz(tmp_path / "set", films(AARIZ29))
        return tmp_path / "set"

    def annotation(self, root, film, reader="Junior", split="train"):
        return root / split / "Annotations" / "Cephalometric Landmarks" / f"{reader} Orthodontists" / f"{film}.json"

    def test_everything_at_once(self, root):
        (root / "cephalogram_machine_mappings.csv").write_text(
            "cephalogram_id,machine,pixel_size\n001,X,0\n002,X,wide\n003,X,0.1\n005,X,0.1\n006,X,\n"
        )
        change(self.annotation(root, "001"), lambda content: content["landmarks"].pop())
        change(self.annotation(root, "002"), lambda content: content["landmarks"][0].update(symbol="XX"))
        change(self.annotation(root, "003"), lambda content: content["landmarks"][0].update(value={"x": "left", "y": 3}))
        self.annotation(root, "004").unlink()
        (self.annotation(root, "004").parent / "099.json").write_text("{}")
        self.annotation(root, "005", split="test").write_text("{torn")
        self.annotation(root, "006", split="test").write_text('{"landmarks": 3}')
        (root / "train" / "Cephalograms" / "notes.docx").write_text("")
        found = problems_of(root)
        for expected in (
            "line 2: pixel_size: '0' must be a number of mm a pixel above 0 and up to 5",
            "line 3: pixel_size: 'wide' must be",
            "line 6: pixel_size: None must be",
            "001.json: landmarks missing: ",
            "002.json: landmarks unknown: XX",
            "must be {x, y} in pixels",
            "004.png: film without annotation; ",
            "099.json: annotation without film",
            "005.json: cannot be read as JSON",
            "006.json: must hold landmarks",
            "notes.docx: is no film",
        ):
            assert sum(expected in problem for problem in found) == 1, (expected, found)

    def test_no_mapping(self, root):
        (root / "cephalogram_machine_mappings.csv").unlink()
        told(
            problems_of(root),
            "cephalogram_machine_mappings.csv: no such file; it holds mm a pixel of every film; add it, or give one value for all with "
            "--spacing-mm",
        )
        assert read(root, spacing_mm=0.1).records[0].spacing_mm == (0.1, 0.1)

    def test_a_film_without_a_row(self, root):
        file = root / "cephalogram_machine_mappings.csv"
        file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("003")))
        told(problems_of(root), "003.png: film 003 has no row in cephalogram_machine_mappings.csv")

    def test_one_reader_is_enough_if_asked(self, root):
        for split in ("train", "test"):
            folder = self.annotation(root, "x", split=split).parent
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        assert "Junior Orthodontists: no such folder; add it, or take the other reader with --annotator senior" in problems_of(root)[0]
        np.testing.assert_allclose(read(root, annotator="senior").records[0].landmarks_px[:, 0], films(AARIZ29)[0].points[:, 0] - 0.5)

    def test_the_official_ceiling(self, root):
        np.testing.assert_array_equal(read(root, annotator="mean_ceil").records[0].landmarks_px, np.ceil(films(AARIZ29)[0].points))

    def test_capital_folders(self, tmp_path):
        aariz(tmp_path / "old", films(AARIZ29), capital=True)
        assert [record.split for record in read(tmp_path / "old").records] == ["train"] * 4 + ["test"] * 2

    def test_a_folder_of_a_search_split_is_validation(self, tmp_path):
        drawn = films(AARIZ29)
        drawn[0].split = "valid"
        aariz(tmp_path / "set", drawn)
        assert read(tmp_path / "set").records[0].split == "validation"


class TestClDetection2023:
    @pytest.fixture
    def root(self, tmp_path):
        cldetection2023(tmp_path / "set", films(numbered(38)))
        return tmp_path / "set"

    def test_everything_at_once(self, root):
        def edit(content):
            points = content["points"]
            points[0]["scale"] = "0"
            points[1]["name"] = 39
            points[2]["point"] = [1, 2, 77]
            points[3]["point"] = ["x", 2, 1]
            points[5] = points[4]

        change(root / "train-gt.json", edit)
        told(
            problems_of(root),
            "point 0: scale: '0' must be a number",
            "point 1: name 39 must be a landmark's number, 1 to 38",
            "point 2: point [1, 2, 77] must be [x, y, film] in pixels, film 1 to 6",
            "point 3: point ['x', 2, 1] must be",
            "point 5: landmark 5 of film 1 is there twice",
        )

    def test_scale_absent(self, root):
        change(root / "train-gt.json", lambda content: [point.pop("scale") for point in content["points"]])
        told(problems_of(root), "mm a pixel are unknown for 6 films (001, 002, 003, …)")
        assert read(root, spacing_mm=0.1).records[0].spacing_mm == (0.1, 0.1)

    def test_half_of_it(self, root):
        (root / "train-gt.json").rename(root / "gone")
        told(problems_of(root), "train-gt.json: no such file; it holds the points of the stack, add it")
        (root / "gone").rename(root / "train-gt.json")
        (root / "train_stack.mha").unlink()
        told(problems_of(root), "train_stack.mha: no such file; it holds the films of train-gt.json, add it")

    @pytest.mark.parametrize("compressed", [True, False])
    def test_a_truncated_stack(self, tmp_path, compressed):
        root = tmp_path / "set"
        cldetection2023(root, films(numbered(38)), compressed)
        stack = root / "train_stack.mha"
        stack.write_bytes(stack.read_bytes()[:-2000])
        told(problems_of(root), "is cut short")

    def test_no_stack_at_all(self, root):
        stack = root / "train_stack.mha"
        packed = stack.read_bytes()
        for damaged, said in (
            (b"no header", "has no MetaImage header"),
            (packed.replace(b"MET_UCHAR", b"MET_FLOAT"), "ElementType MET_FLOAT; allowed are"),
            (packed.replace(b"LOCAL", b"a.raw"), "ElementDataFile a.raw; the array must be in the same file"),
            (packed.replace(b"NDims = 3", b"NDims = 3").replace(b"DimSize = 45 55 6", b"DimSize = 45 55"), "DimSize 45 55"),
        ):
            stack.write_bytes(damaged)
            told(problems_of(root), said)

    def test_padding_is_trimmed_and_no_point_moves(self, root, tmp_path):
        drawn = films(numbered(38))
        for film, record in zip(drawn, read(root).records, strict=True):
            assert record.size == (HEIGHT, WIDTH)
            np.testing.assert_allclose(record.landmarks_px, film.points)
        drawn[0].pixels[:, 30:] = 0  # a film that is black at its edge, with a point there
        drawn[0].points[0] = (37.4, 5.0)
        drawn[0].points[1:, 0] = np.minimum(drawn[0].points[1:, 0], 35.0)
        cldetection2023(tmp_path / "other", drawn)
        assert read(tmp_path / "other").records[0].size == (HEIGHT, 39)

    @pytest.mark.parametrize("compressed", [True, False])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_stack_film_by_film(self, tmp_path, compressed, dtype):
        stack = np.random.default_rng(0).integers(0, 250, (5, 30, 20, 3)).astype(dtype)
        write_mha(tmp_path / "stack.mha", stack, compressed)
        opened = open_stack(tmp_path / "stack.mha")
        assert (opened.count, opened.height, opened.width, opened.channels) == stack.shape
        np.testing.assert_array_equal(np.stack(list(opened.films())), stack)

    def test_it_is_unpacked_once(self, root):
        first = [record.image.stat().st_mtime_ns for record in read(root).records]
        assert [record.image.stat().st_mtime_ns for record in read(root).records] == first

    def test_the_csv_twin(self, tmp_path):
        root = tmp_path / "twin"
        drawn = films(numbered(38))
        rows = [
            {"file": film.write(root).name, "scale": film.spacing_mm}
            | {f"p{k}{axis}": value for k, point in enumerate(film.points, start=1) for axis, value in zip("xy", point, strict=True)}
            for film in drawn
        ]
        pd.DataFrame(rows).to_csv(root / "train.csv", index=False)
        dataset = read(root)
        assert (dataset.name, dataset.protocol.name) == ("cldetection2023", "numbered-38")
        np.testing.assert_allclose(dataset.records[2].landmarks_px, drawn[2].points)


class TestCldetection2024:
    def test_wrong_landmark_count(self, tmp_path):
        FORMATS["cldetection2024"].write(tmp_path / "set", films(numbered(40)))
        told(problems_of(tmp_path / "set", format="cldetection2024"), "40 landmarks; this format has 53")

    def test_no_labels(self, tmp_path):
        (tmp_path / "set").mkdir()
        told(problems_of(tmp_path / "set", format="cldetection2024"), "labels.csv: no such file")


class TestCoco:
    @pytest.fixture
    def root(self, tmp_path):
        coco(tmp_path / "set", films(ISBI19))
        return tmp_path / "set"

    @property
    def file(self):
        return "annotations/person_keypoints_train2024.json"

    def test_everything_at_once(self, root):
        def edit(content):
            images, annotations = content["images"], content["annotations"]
            images[0]["spacing"] = [0.1, 0]
            images[1]["file_name"] = "lost.png"
            images[2].update(width=HEIGHT, height=WIDTH)
            annotations[0]["keypoints"][2] = 7
            annotations[1]["keypoints"].pop()
            annotations[2]["keypoints"][0] = "left"
            annotations[3]["image_id"] = 99

        change(root / self.file, edit)
        told(
            problems_of(root),
            "image 1: spacing: 0 must be a number of mm a pixel",
            "image 2: film 'lost.png' is not below",
            "turned by its EXIF tag",
            "annotation 1: S: v is 7; allowed are 0 (missing), 1 and 2",
            "annotation 2: keypoints: 56 numbers; 57 are needed",
            "annotation 3: S: 'left', ",
            "annotation 4: image_id 99 is no image of this file",
            "image 4: film without annotation",
        )

    def test_spacing_from_the_user(self, root):
        for split in ("train", "test"):
            change(root / self.file.replace("train", split), lambda content: [image.pop("spacing") for image in content["images"]])
        told(problems_of(root), "mm a pixel are unknown for 6 films")
        assert read(root, spacing_mm=0.2).records[0].spacing_mm == (0.2, 0.2)

    def test_categories(self, root):
        change(root / self.file, lambda content: content["categories"].append(content["categories"][0]))
        told(problems_of(root), "categories: 2 of them have keypoints; exactly one is needed")

    def test_other_keypoints_in_the_other_file(self, root):
        change(root / self.file, lambda content: content["categories"][0]["keypoints"].reverse())
        told(problems_of(root), "its keypoints are not those of")

    def test_one_file_by_name(self, root):
        assert len(read(root / self.file).records) == 4

    def test_landmarks_in_any_order_are_those_of_the_protocol(self, root):
        order = np.random.default_rng(0).permutation(19)

        def edit(content):
            names = content["categories"][0]["keypoints"]
            content["categories"][0]["keypoints"] = [names[k] for k in order]
            for annotation in content["annotations"]:
                triples = np.reshape(annotation["keypoints"], (19, 3))[order]
                annotation["keypoints"] = triples.ravel().tolist()

        for split in ("train", "test"):
            change(root / self.file.replace("train", split), edit)
        dataset = read(root)
        assert dataset.protocol == ISBI19
        np.testing.assert_allclose(dataset.records[0].landmarks_px, films(ISBI19)[0].points)


class TestTable:
    def write(self, root, edit=lambda table: None, **kwargs):
        table = wide_rows(root, films(ISBI19)).astype(object)
        edit(table)
        table.to_csv(root / "points.csv", index=False, **kwargs)
        return root

    def test_everything_at_once(self, tmp_path):
        def edit(table):
            table.loc[0, "S_x"] = "left"
            table.loc[1, "N_y"] = None
            table.loc[2, "spacing_x"] = 0
            table.loc[2, "spacing_y"] = "wide"
            table.loc[3, "split"] = "holdout"
            table.loc[4, "image"] = "lost.png"
            table.loc[5, "image"] = None

        told(
            problems_of(self.write(tmp_path / "set", edit)),
            "line 2: S: 'left', ",
            "line 3: N: ",
            "line 4: spacing_x: '0' must be a number of mm a pixel",
            "line 4: spacing_y: 'wide' must be",
            "line 5: split: 'holdout' is not one of train, validation, test, test1, test2",
            "line 6: film 'lost.png' is not below",
            "line 7: image: names no film",
        )

    def test_no_landmark_at_all(self, tmp_path):
        points = [f"{symbol}_{axis}" for symbol in ISBI19.symbols for axis in "xy"]

        def edit(table):
            table.loc[2, points] = None

        told(problems_of(self.write(tmp_path / "set", edit)), "line 4: film 003 has no landmark at all")

    def test_spacing_absent(self, tmp_path):
        root = self.write(tmp_path / "set", lambda table: (table.pop("spacing_x"), table.pop("spacing_y")))
        told(problems_of(root), "mm a pixel are unknown for 6 films (001, 002, 003, …)")

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("film,S_x,S_y", "no column names the films"),
            ("image,S_x,N_x,N_y", "landmark S: has a column for x alone"),
            ("image,spacing,note", "no column holds points"),
            ("image,S_x,S_y,landmark,x,y", "a row is a film or a point, not both"),
            ("image,S_x,S_y,spacing_x", "spacing_x and spacing_y go together"),
            ("image,S_x,S_y,S_x", "columns S_x are there more than once"),
            ("image,Ls_x,Ls_y,UL_x,UL_y", "landmarks Ls, UL are there more than once"),
        ],
    )
    def test_columns(self, tmp_path, header, said):
        (tmp_path / "points.csv").write_text(header + "\n")
        assert said in "\n".join(problems_of(tmp_path / "points.csv", format="table"))

    def test_not_a_table(self, tmp_path):
        file = tmp_path / "points.csv"
        for content, said in (
            (b"", "is empty"),
            (b"image,S_x,S_y\n\xff\xfe,1,2\n", "is not UTF-8"),
            (b"image,S_x,S_y\na.png,1,2,3\n", "line 2: has more cells than the header's 3"),
        ):
            file.write_bytes(content)
            told(problems_of(file, format="table"), said)
        (tmp_path / "points.parquet").write_bytes(b"PAR?")
        told(problems_of(tmp_path / "points.parquet", format="table"), "is no Parquet file")

    def test_several_tables(self, tmp_path):
        root = self.write(tmp_path / "set")
        (root / "again.csv").write_text((root / "points.csv").read_text())
        told(problems_of(root), "holds 2 tables of films (again.csv, points.csv); name the file itself with --data")
        assert len(read(root / "points.csv").records) == 6

    def test_excel_writes_it_another_way(self, tmp_path):
        """Semicolons, a byte-order mark and commas for points."""
        plain = read(self.write(tmp_path / "plain"))
        excel = self.write(tmp_path / "excel", sep=";", decimal=",", encoding="utf-8-sig")
        file = excel / "points.csv"
        file.write_text(
            file.read_text(encoding="utf-8-sig").replace(".png", "§").replace(".", ",").replace("§", ".png"), encoding="utf-8-sig"
        )
        for one, other in zip(plain.records, read(excel).records, strict=True):
            np.testing.assert_allclose(one.landmarks_px, other.landmarks_px)

    def test_a_comma_in_a_file_of_commas_is_no_decimal_point(self, tmp_path):
        """It may set thousands apart: 1,024 is not 1.024."""

        def edit(table):
            table["spacing_y"] = "0,25"

        problems = problems_of(self.write(tmp_path / "set", edit))
        assert len(problems) == 6 and all("spacing_y: '0,25' must be a number" in problem for problem in problems)

    def test_spacing_differs_by_axis(self, tmp_path):
        def edit(table):
            table["spacing_y"] = 0.5

        assert read(self.write(tmp_path / "set", edit)).records[0].spacing_mm == (0.25, 0.5)

    def test_what_is_not_used_is_told(self, tmp_path):
        def edit(table):
            table["referrer"] = "Dr. No"

        root = self.write(tmp_path / "set", edit)
        drawn = films(ISBI19)[0]
        drawn.name = "spare"
        drawn.write(root / "spare")
        notes = read(root, format="table").notes
        assert any("columns not used: referrer" in note for note in notes)
        assert any("1 films below" in note and "have no annotation and are not used" in note for note in notes)

    def test_difficulty(self, tmp_path):
        """A column of the table is what curriculum.difficulty csv goes by, unless a file is named."""
        root = tmp_path / "set"
        drawn = films(ISBI19)
        table = wide_rows(root, drawn)
        table["difficulty"] = [3.0, 1.0, 2.0, 5.0, None, "hard"]
        table.to_csv(root / "points.csv", index=False)
        told(problems_of(root), "line 7: difficulty: 'hard' must be a number, higher is harder")
        table["difficulty"] = [3.0, 1.0, 2.0, 5.0, None, None]
        table.to_csv(root / "points.csv", index=False)
        dataset = read(root)
        config = apply(Config(), {"curriculum.difficulty": "csv"})
        assert feedback.begin(config, ("001", "002", "004"), dataset, ()).difficulty == (3.0, 1.0, 5.0)
        with pytest.raises(InputError, match=r"1 of 2 training films of .* have no difficulty"):
            feedback.begin(config, ("001", "005"), dataset, ())

    def test_points_of_their_own(self, tmp_path):
        """Landmarks that no protocol has keep their names and order; numbers stay numbers."""
        root = tmp_path / "set"
        film = films(ISBI19)[0]
        film.write(root)
        (root / "points.csv").write_text("image,spacing,Ba_x,Ba_y,S_x,S_y\n001.png,0.1,3,4,5,6\n")
        dataset = read(root)
        assert (dataset.protocol.name, dataset.protocol.symbols, dataset.protocol.names) == ("own-2", ("Ba", "S"), ("Ba", "sella"))
        (root / "points.csv").write_text("image,spacing,p1x,p1y,p2x,p2y\n001.png,0.1,3,4,5,6\n")
        assert read(root).protocol == numbered(2)

    def test_a_row_a_point(self, tmp_path):
        root = tmp_path / "set"
        film = films(ISBI19)[0]
        film.write(root)
        rows = [
            "image,spacing,landmark,x,y",
            "001.png,0.1,S,3,4",
            "001.png,0.2,S,3,4",
            "001.png,0.1,,3,4",
            ",0.1,N,3,4",
            "001.png,0.1,N,a,4",
        ]
        (root / "points.csv").write_text("\n".join(rows) + "\n")
        told(
            problems_of(root),
            "line 3: S of film 001.png is there twice, also in ",
            "line 4: landmark: is empty",
            "line 5: image: is empty",
            "line 6: N: 'a', '4' must be two numbers",
            "line 3: spacing of film 001.png is 0.2 here and 0.1 before",
        )
