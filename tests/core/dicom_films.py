"""DICOM films, made here."""

import warnings

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

PIXELS = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.uint16)
PATIENT = "Doe^Jane"


def write(path, pixels=PIXELS, syntax=ExplicitVRLittleEndian, **fields):
    """A radiograph of 12 bits, unless told otherwise."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = ComputedRadiographyImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.PatientName, header.PatientID = PATIENT, "4711"
    header.PhotometricInterpretation, header.SamplesPerPixel = "MONOCHROME2", 1
    if pixels is not None:
        header.Rows, header.Columns = pixels.shape[:2]
        header.BitsAllocated, header.BitsStored = 8 * pixels.itemsize, 12 if pixels.itemsize == 2 else 8
        header.HighBit, header.PixelRepresentation = header.BitsStored - 1, 0
        header.PixelData = pixels.tobytes()
        if pixels.ndim == 3:
            header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
    for name, value in fields.items():
        setattr(header, name, value)
    if syntax != ExplicitVRLittleEndian:
        header.compress(syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.save_as(path, enforce_file_format=True)
    return path
