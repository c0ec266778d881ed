"""DICOM files for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

SECRETS = {"PatientName": "Doe^Jane", "PatientBirthDate": "19700102", "InstitutionName": "St Elsewhere"}
MONOCHROME = {"PhotometricInterpretation": "MONOCHROME2", "SamplesPerPixel": 1}


def packaged(name: str) -> Path:
    """A test file that comes with pydicom; nothing is downloaded."""
    data = pytest.importorskip("pydicom.data")
    found = data.get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom does not package {name}")
    return Path(found)


def write_dicom(path: Path, samples: np.ndarray, *, bits: int | None = None, **elements: Any) -> Path:
    """A file with these samples, (H, W) or (H, W, 3); the header names a patient."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.Rows, data.Columns = samples.shape[:2]
    data.BitsAllocated = 8 * samples.dtype.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(samples.dtype.kind == "i")
    color = samples.ndim == 3
    data.SamplesPerPixel = 3 if color else 1
    data.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        data.PlanarConfiguration = 0
    for name, value in (SECRETS | {"PatientID": "4711"} | elements).items():
        setattr(data, name, value)
    data.PixelData = samples.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_patients(folder: Path, patients: int = 12, each: int = 2) -> Path:
    """Two classes of CT-like files; every patient has several pictures in both brightnesses."""
    random = np.random.default_rng(0)
    for patient in range(patients):
        label = ("dark", "light")[patient % 2]
        for number in range(each):
            samples = random.integers(0, 100, (20, 24)) + (100 if label == "light" else 0)
            write_dicom(
                folder / label / f"{patient:02}_{number}.dcm",
                (samples + 1024).astype(np.uint16),
                bits=12,
                PatientID=f"patient {patient}",
                RescaleSlope="1",
                RescaleIntercept="-1024",
                WindowCenter="100",
                WindowWidth="200",
            )
    return folder
