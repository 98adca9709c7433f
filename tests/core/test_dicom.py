"""DICOM films anywhere an image may stand.  The files are made here."""

import cv2
import gdcm
import numpy as np
import pydicom
import pytest
from dicom_films import PATIENT, PIXELS, write
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from ceph_core import data
from ceph_core.config import SourceConfig
from ceph_core.data import dicom
from ceph_core.data.imagefile import read_grey, read_size
from ceph_core.errors import InputError


def correlation(one, other):
    return np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]


def test_grey_values_and_size(tmp_path):
    film = write(tmp_path / "film.dcm")
    assert read_size(film) == PIXELS.shape
    grey = read_grey(film)
    assert (grey.dtype, grey.shape) == (np.uint8, PIXELS.shape)
    assert correlation(grey, PIXELS) > 0.999
    assert (grey.min(), grey.max()) == (0, 255)


def test_monochrome1_is_inverted(tmp_path):
    plain = read_grey(write(tmp_path / "a.dcm"))
    inverted = read_grey(write(tmp_path / "b.dcm", PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(plain.astype(int) + inverted - 255).max() <= 1


@pytest.mark.parametrize("inverted", [False, True])
def test_the_window_says_what_is_black_and_white(tmp_path, inverted):
    interpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    film = write(tmp_path / "a.dcm", WindowCenter=2000, WindowWidth=1000, PhotometricInterpretation=interpretation)
    grey = read_grey(film)
    black, white = (255, 0) if inverted else (0, 255)
    assert (grey[PIXELS <= 1500] == black).all()
    assert (grey[PIXELS >= 2499] == white).all()
    assert abs(int(grey[np.unravel_index(np.abs(PIXELS.astype(int) - 2000).argmin(), PIXELS.shape)]) - 127) <= 3


def test_modality_comes_before_the_window(tmp_path):
    film = write(tmp_path / "a.dcm", RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=900, WindowWidth=500)
    assert (read_grey(film)[PIXELS >= 2 * 1250] == 255).all()
    assert (read_grey(film)[PIXELS <= 2 * 750] == 0).all()


def test_8_bit_and_colour(tmp_path):
    eight = (PIXELS // 16).astype(np.uint8)
    np.testing.assert_array_equal(read_grey(write(tmp_path / "a.dcm", eight)), eight)
    colour = np.repeat(eight[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_grey(write(tmp_path / "b.dcm", colour)), eight)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed(tmp_path, syntax):
    large = np.tile(PIXELS, (6, 6))  # five halvings want some pixels
    np.testing.assert_array_equal(read_grey(write(tmp_path / "b.dcm", large, syntax)), read_grey(write(tmp_path / "a.dcm", large)))


@pytest.mark.parametrize(
    ("fields", "mm", "said"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.1, 0.2), "PixelSpacing"),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.1, 0.2), "PixelSpacing"),
        ({"ImagerPixelSpacing": [0.11, 0.11], "EstimatedRadiographicMagnificationFactor": 1.1}, (0.1, 0.1), "magnification 1.1"),
        ({"ImagerPixelSpacing": [0.11, 0.11]}, (0.11, 0.11), "measured at the detector"),
        ({"NominalScannedPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "NominalScannedPixelSpacing"),
    ],
)
def test_spacing(tmp_path, fields, mm, said):
    found = dicom.spacing(write(tmp_path / "a.dcm", **fields))
    assert found.mm == pytest.approx(mm)
    assert said in f"{found.tag} {found.note}"


def test_a_spacing_that_no_pixel_has_is_told_for_every_film(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number}.dcm", PixelSpacing=[0.1, 0.0])
    (tmp_path / "points.csv").write_text("image,S_x,S_y\n0.dcm,1,2\n1.dcm,1,2\n")
    with pytest.raises(InputError) as caught:
        data.read(SourceConfig(root=tmp_path), tmp_path / "cache")
    told = [problem for problem in caught.value.problems if "PixelSpacing: (0.0, 0.1) must be mm a pixel above 0" in problem]
    assert len(told) == len(caught.value.problems) == 2


def test_no_spacing(tmp_path):
    assert dicom.spacing(write(tmp_path / "a.dcm")) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: write(path, None), "a DICOM file without pixels"),
        (lambda path: write(path, np.stack([PIXELS] * 2), NumberOfFrames=2, Rows=24, Columns=32), "2 frames"),
        (lambda path: path.write_bytes(write(path).read_bytes()[:-500]), "cannot be read"),
        (lambda path: path.write_bytes(write(path).read_bytes()[:140]), "a.dcm"),
    ],
)
def test_what_is_no_film(tmp_path, make, said):
    make(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=said) as caught:
        read_size(tmp_path / "a.dcm")
        read_grey(tmp_path / "a.dcm")
    assert PATIENT not in str(caught.value)


def test_a_data_set_of_dicom_films(tmp_path):
    """Millimetres a pixel come from the header, which is told once; nothing of the patient does."""
    rows = ["image,S_x,S_y"]
    for number in range(4):
        write(tmp_path / f"{number}.dcm", ImagerPixelSpacing=[0.2, 0.2])
        rows.append(f"{number}.dcm,{number + 1},5")
    (tmp_path / "points.csv").write_text("\n".join(rows) + "\n")
    dataset = data.read(SourceConfig(root=tmp_path), tmp_path / "cache")
    assert [record.spacing_mm for record in dataset.records] == [(0.2, 0.2)] * 4
    told = [note for note in dataset.notes if "mm a pixel of 4 films come from the DICOM header, ImagerPixelSpacing: measured at" in note]
    assert len(told) == 1
    assert PATIENT not in repr(dataset)


def test_only_the_files_that_say_so_are_dicom(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="no readable image header"):
        read_size(tmp_path / "a.dcm")


@pytest.mark.parametrize("name", ["JPEGLosslessProcess14_1", "JPEGLosslessProcess14", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_what_hospitals_compress_by(tmp_path, name):
    """As gdcm writes it; the first is what most archives send.  Reading it needs the extra `formats`."""
    plain = write(tmp_path / "plain.dcm", np.tile(PIXELS, (6, 6)))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    assert writer.Write()
    assert pydicom.dcmread(tmp_path / "packed.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_grey(tmp_path / "packed.dcm"), read_grey(plain))


def test_lossy_jpeg_needs_no_extra(tmp_path):
    smooth = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 95])
    header = pydicom.dcmread(write(tmp_path / "plain.dcm", smooth))
    header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header.PixelData = encapsulate([jpeg.tobytes()])
    header["PixelData"].is_undefined_length = True
    header.save_as(tmp_path / "lossy.dcm", enforce_file_format=True)
    apart = read_grey(tmp_path / "lossy.dcm").astype(int) - read_grey(tmp_path / "plain.dcm")
    assert np.abs(apart).max() <= 3
