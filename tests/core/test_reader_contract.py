"""What holds for every reader, whatever its format."""

import json
from typing import get_args

import cv2
import numpy as np
import pytest
from format_writers import FORMATS, HEIGHT, SPACING_MM, WIDTH, films
from PIL import Image

from ceph_core import data, options
from ceph_core.config import SourceConfig
from ceph_core.data.imagefile import read_grey
from ceph_core.errors import InputError


@pytest.fixture(params=FORMATS, ids=str)
def form(request):
    return FORMATS[request.param]


def read(root, form=None, **given):
    spacing = {} if form is None or form.carries_spacing else {"spacing_mm": SPACING_MM}
    return data.read(SourceConfig(**{"root": root, **spacing, **given}), root.parent / "cache")


def by_name(dataset):
    """Films by the name they were written under."""
    return {record.film_id.split("/")[-1]: record for record in dataset.records}


def written(form, root, **changes):
    """Films of the format in a folder, after the changes that are functions of the films."""
    drawn = films(form.protocol)
    for change in changes.values():
        change(drawn)
    form.write(root, drawn)
    return drawn


def test_films_come_back_as_they_were_written(form, tmp_path):
    drawn = written(form, tmp_path / "set")
    dataset = read(tmp_path / "set", form)
    found = by_name(dataset)
    assert dataset.name == form.name
    assert dataset.protocol == form.protocol
    assert found.keys() == {film.name for film in drawn}
    assert [record.film_id for record in dataset.records] == sorted(record.film_id for record in dataset.records)
    for film in drawn:
        record = found[film.name]
        assert record.size == (HEIGHT, WIDTH)
        assert record.image.is_absolute()
        np.testing.assert_allclose(record.landmarks_px, film.points, atol=1e-9)
        assert record.spacing_mm == pytest.approx((SPACING_MM, SPACING_MM))
        np.testing.assert_array_equal(read_grey(record.image), film.pixels)
        if form.says_split:
            assert (record.split or "").startswith(film.split)
        if form.says_device:
            assert record.device == film.device


def test_what_it_is_is_told(form, tmp_path):
    written(form, tmp_path / "set")
    assert read(tmp_path / "set", form).notes[0].startswith(f"--data {tmp_path / 'set'}: read as {form.name}, for it has ")
    assert not any("read as" in note for note in read(tmp_path / "set", form, format=form.name).notes)


def test_a_missing_point_is_nan_and_moves_no_other(form, tmp_path):
    if not form.misses:
        pytest.skip("the format marks every point")

    def lose(drawn):
        drawn[0].points[3] = np.nan

    drawn = written(form, tmp_path / "set", lose=lose)
    for film in drawn:
        np.testing.assert_allclose(by_name(read(tmp_path / "set", form))[film.name].landmarks_px, film.points, atol=1e-9)


def test_16_bit_and_colour_films_are_read(form, tmp_path):
    if form.name == "cldetection2023":
        pytest.skip("its films are in one array")

    def change(drawn):
        drawn[0].pixels = drawn[0].pixels.astype(np.uint16) * 250
        drawn[1].pixels = np.repeat(drawn[1].pixels[..., None], 3, axis=2)

    drawn = written(form, tmp_path / "set", change=change)
    found = by_name(read(tmp_path / "set", form))
    for film in drawn[:2]:
        grey = read_grey(found[film.name].image)
        assert (grey.shape, grey.dtype) == ((HEIGHT, WIDTH), np.uint8)
    plain = films(form.protocol)[1].pixels.astype(int)
    assert np.abs(read_grey(found["002"].image) - plain).max() <= 1, "colour that is grey stays what it was"
    flat, deep = films(form.protocol)[0].pixels.ravel(), read_grey(found["001"].image).ravel()
    assert np.corrcoef(flat, deep)[0, 1] > 0.999


def test_an_exif_turn_is_ignored_and_told(form, tmp_path):
    if form.name == "cldetection2023":
        pytest.skip("its films are in one array")

    def turn(drawn):
        drawn[0].suffix = ".jpg"
        exif = Image.Exif()
        exif[0x0112] = 6
        target = tmp_path / "turned.jpg"
        Image.fromarray(drawn[0].pixels).save(target, exif=exif, quality=100)
        drawn[0].encoded = target.read_bytes()

    drawn = written(form, tmp_path / "set", turn=turn)
    dataset = read(tmp_path / "set", form)
    assert by_name(dataset)["001"].size == (HEIGHT, WIDTH)
    assert read_grey(by_name(dataset)["001"].image).shape == (HEIGHT, WIDTH)
    np.testing.assert_allclose(by_name(dataset)["001"].landmarks_px, drawn[0].points, atol=1e-9)
    assert any("1 films carry an EXIF rotation, which is ignored" in note for note in dataset.notes)


def test_the_order_of_files_and_rows_does_not_matter(form, tmp_path):
    written(form, tmp_path / "one")
    if form.name == "cldetection2023":
        pytest.skip("the order is the films' name")
    written(form, tmp_path / "other", turn=list.reverse)
    one, other = read(tmp_path / "one", form), read(tmp_path / "other", form)
    for left, right in zip(one.records, other.records, strict=True):
        assert left.film_id == right.film_id
        np.testing.assert_array_equal(left.landmarks_px, right.landmarks_px)


def test_a_film_that_vanished_is_named(form, tmp_path):
    if form.name == "cldetection2023":
        pytest.skip("its films are in one array")
    written(form, tmp_path / "set")
    film = by_name(read(tmp_path / "set", form))["002"].image
    film.unlink()
    with pytest.raises(InputError, match=r"002.*(is not below|add film|no such)|film 002"):
        read(tmp_path / "set", form)


def test_a_damaged_film_is_named(form, tmp_path):
    if form.name == "cldetection2023":
        pytest.skip("its films are in one array")
    written(form, tmp_path / "set")
    film = by_name(read(tmp_path / "set", form))["002"].image
    film.write_bytes(b"no film")
    with pytest.raises(InputError, match=str(film)):
        read(tmp_path / "set", form)


def test_a_point_outside_its_film_is_told(form, tmp_path):
    def move(drawn):
        drawn[1].points[2] = (WIDTH + 20, 5)
        drawn[2].points[0] = (3, -2)

    written(form, tmp_path / "set", move=move)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "set", form)
    outside = [problem for problem in caught.value.problems if "is outside the film of" in problem]
    assert {form.protocol.symbols[place] for place in (0, 2)} == {problem.split(": ")[-1].split(" at ")[0] for problem in outside}


def test_names_of_any_alphabet(form, tmp_path):
    if not form.free_names:
        pytest.skip("the format numbers its films")

    def rename(drawn):
        drawn[0].name = "Ärzte-Röntgen №7 日本"

    written(form, tmp_path / "mäppchen", rename=rename)
    record = by_name(read(tmp_path / "mäppchen", form))["Ärzte-Röntgen №7 日本"]
    np.testing.assert_array_equal(read_grey(record.image), films(form.protocol)[0].pixels)


def test_a_film_with_two_suffixes_or_rows_is_refused(form, tmp_path):
    if form.name == "cldetection2023":
        pytest.skip("its films are in one array")
    drawn = written(form, tmp_path / "set")
    image = by_name(read(tmp_path / "set", form))["001"].image
    if form.name in ("isbi2015", "aariz"):
        cv2.imwrite(str(image.with_suffix(".bmp")), drawn[0].pixels)
    else:
        double_first(form, tmp_path / "set")
    with pytest.raises(InputError, match=r"twice|2 times|another annotation"):
        read(tmp_path / "set", form)


def double_first(form, root):
    """The first film is listed once more."""
    if form.name == "coco":
        file = root / "annotations" / "person_keypoints_train2024.json"
        content = json.loads(file.read_text())
        content["annotations"].append({**content["annotations"][0], "id": 77})
        file.write_text(json.dumps(content))
        return
    file = next(root.glob("*.csv"), None) or next(root.glob("*.tsv"), None)
    if file is None:
        import pandas as pd

        file = next(root.glob("*.parquet"))
        table = pd.read_parquet(file)
        pd.concat([table, table.iloc[:1]]).to_parquet(file, index=False)
        return
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[1]]) + "\n")


def test_spacing_is_never_guessed(form, tmp_path):
    if form.carries_spacing:
        written(form, tmp_path / "set")
        with pytest.raises(InputError, match=r"--spacing-mm: 0\.3: all 6 films carry their own"):
            read(tmp_path / "set", form, spacing_mm=0.3)
    else:
        written(form, tmp_path / "set")
        with pytest.raises(InputError, match="mm a pixel are unknown"):
            read(tmp_path / "set")


def test_formats_are_listed_once_each():
    allowed = get_args(SourceConfig.model_fields["format"].annotation)
    assert set(allowed) == {"auto", *options.FORMATS}
    assert set(options.FORMATS) == set(data.READERS)
    assert set(get_args(SourceConfig.model_fields["annotator"].annotation)) == set(options.ANNOTATORS)
    assert {form.name for form in FORMATS.values()} == set(data.READERS) - {"phantom"}, "every reader stands in the contract"


def test_an_unknown_folder_lists_what_was_looked_for(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    for name in data.READERS:
        assert f"  {name}: " in caught.value.problems[0]
