from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ceph_core.data.imagefile import read_grey, read_size
from ceph_core.errors import InputError


def _film(height=90, width=70):
    grain = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.GaussianBlur(grain, (0, 0), 1)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm", ".webp", ".jpg"])
def test_pixels_and_size(tmp_path, suffix):
    path = tmp_path / f"Röntgen 口{suffix}"
    params = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == ".jpg" else [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    path.write_bytes(cv2.imencode(suffix, _film(), params)[1].tobytes())
    film = read_grey(path)
    assert read_size(path) == film.shape == (90, 70)
    assert film.dtype == np.uint8
    np.testing.assert_allclose(film.astype(int), _film(), atol=3 if suffix in (".jpg", ".webp") else 0)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".progressive"])
def test_truncation_is_found_wherever_the_file_is_cut(tmp_path, suffix):
    params = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if suffix == ".progressive" else []
    whole = cv2.imencode(".jpg" if params else suffix, _film(), params)[1].tobytes()
    path = tmp_path / "cut"
    # The last 12 bytes of a PNG are its end marker, without pixels.
    for length in [0, 1, 10, *range(len(whole) // 5, len(whole) - 12, len(whole) // 9), len(whole) - 13]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut: the image cannot be decoded"):
            read_grey(path)


def test_a_cut_jpeg_is_not_saved_by_its_thumbnail(tmp_path):
    thumbnail = cv2.imencode(".jpg", _film(9, 7))[1].tobytes()
    whole = cv2.imencode(".jpg", _film())[1].tobytes()
    with_thumbnail = whole[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + whole[2:]
    path = tmp_path / "film.jpg"
    path.write_bytes(with_thumbnail)
    assert read_grey(path).shape == (90, 70)
    path.write_bytes(with_thumbnail[:-200])
    with pytest.raises(InputError, match="truncated"):
        read_grey(path)


def test_exif_orientation_turns_nothing(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_film()).save(path, exif=exif, quality=95)
    assert read_grey(path).shape == read_size(path) == (90, 70)


def test_colour_becomes_luma(tmp_path):
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 5, 3), (0, 0, 200), dtype=np.uint8))
    assert abs(int(read_grey(path)[0, 0]) - 0.299 * 200) <= 1


def test_16_bits_fill_the_grey_range_whatever_part_of_it_the_detector_used(tmp_path):
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (8, 1))
    films = []
    for name, film in (("12bit.png", ramp), ("16bit.tif", ramp * 16)):
        cv2.imwrite(str(tmp_path / name), film)
        films.append(read_grey(tmp_path / name))
    np.testing.assert_array_equal(*films)
    assert films[0][0, 0] == 0
    assert films[0][0, -1] == 255
    assert (np.diff(films[0][0].astype(int)) >= 0).all()
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((8, 8), 300, dtype=np.uint16))
    assert not read_grey(tmp_path / "flat.png").any()


def test_unreadable_files_are_named(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    floats = tmp_path / "float.tif"
    cv2.imwrite(str(floats), np.ones((8, 8), dtype=np.float32))
    for path, reader, match in [
        (text, read_size, "text.png: no readable image header"),
        (text, read_grey, "text.png: the image cannot be decoded"),
        (Path(tmp_path / "none.png"), read_size, "none.png: No such file"),
        (Path(tmp_path / "none.png"), read_grey, "none.png: cannot be read"),
        (floats, read_grey, "float.tif: pixels are float32"),
    ]:
        with pytest.raises(InputError, match=match):
            reader(path)


def test_header_alone_gives_the_size(tmp_path):
    path = tmp_path / "film.png"
    path.write_bytes(cv2.imencode(".png", _film())[1].tobytes()[:60])
    assert read_size(path) == (90, 70)
