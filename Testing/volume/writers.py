"""Files written byte by byte, right or wrong as they are told: headers that no library would write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from CarotidLandmarkLib.volume import Volume
from pydicom.dataset import Dataset, FileMetaDataset

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# where the fields of NIfTI-1 and NIfTI-2 begin, and their types
NIFTI = {
    1: {"dim": (40, "i2"), "type": (70, "i2"), "pixdim": (76, "f4"), "offset": (108, "f4"), "scl": (112, "f4"),
        "units": (123, "u1"), "codes": (252, "i2"), "quatern": (256, "f4"), "srow": (280, "f4")},
    2: {"dim": (16, "i8"), "type": (12, "i2"), "pixdim": (104, "f8"), "offset": (168, "i8"), "scl": (176, "f8"),
        "units": (500, "i4"), "codes": (344, "i4"), "quatern": (352, "f8"), "srow": (400, "f8")},
}  # fmt: skip


def nifti(volume: Volume, path: Path, version: int = 1, order: str = "<", **fields: object) -> Path:
    """A NIfTI file with an sform alone; ``fields`` replace dim, type, pixdim (8), codes, quatern (6), srow (12) ..."""
    ras = TO_RAS @ volume.affine_lps
    start = 352 if version == 1 else 544
    values = {
        "dim": [3, *volume.size, 1, 1, 1, 1],
        "type": [4, 16],
        "pixdim": [1, *volume.spacing_mm, 0, 0, 0, 0],
        "offset": [start],
        "scl": [1, 0],
        "units": [2],
        "codes": [0, 1],  # qform, sform
        "quatern": [0] * 6,
        "srow": ras[:3].ravel(),
        **fields,
    }
    header = bytearray(start)
    header[:4] = np.array(348 if version == 1 else 540, f"{order}i4").tobytes()
    magic = b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"
    place = 344 if version == 1 else 4
    header[place : place + len(magic)] = magic
    for field, (at, kind) in NIFTI[version].items():
        raw = np.array(values[field]).astype(order + kind).tobytes()
        header[at : at + len(raw)] = raw
    path.write_bytes(bytes(header) + volume.array.astype(f"{order}i2").tobytes())
    return path


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(b, c, d) of a rotation matrix, the first component not negative."""
    a = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    values, vectors = np.linalg.eig(rotation)
    axis = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    twist = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    axis = axis if axis @ twist >= 0 else -axis
    return axis / np.linalg.norm(axis) * np.sqrt(max(0.0, 1 - a * a))


def nrrd(volume: Volume, path: Path, *lines: str, space: str | None = "left-posterior-superior", scale: float = 1.0,
         turn: np.ndarray | None = None, data: bytes | None = None) -> Path:  # fmt: skip
    """A raw NRRD: ``turn`` takes LPS to the ``space`` it says, whose unit is ``scale`` mm; further ``lines`` follow."""
    affine = (np.eye(4) if turn is None else np.diag([*turn, 1.0])) @ volume.affine_lps / scale
    fields = ["type: short", "dimension: 3", f"sizes: {' '.join(map(str, volume.size))}", "endian: little"]
    if space is not None:
        vectors = " ".join("(" + ",".join(map(repr, map(float, axis))) + ")" for axis in affine[:3, :3].T)
        origin = ",".join(map(repr, map(float, affine[:3, 3])))
        fields += [f"space: {space}", f"space directions: {vectors}", f"space origin: ({origin})"]
    if not any(line.startswith("encoding") for line in lines):
        fields.append("encoding: raw")
    header = "\n".join(["NRRD0005", "# by hand", *fields, *lines, "", ""])
    path.write_bytes(header.encode() + (volume.array.astype("<i2").tobytes() if data is None else data))
    return path


def metaimage(volume: Volume, path: Path, *lines: str, scale: float = 1.0, leave_out: tuple[str, ...] = (),
              data: str = "LOCAL") -> Path:  # fmt: skip
    """A raw MetaImage; ``scale``: mm of its unit; ``leave_out``: fields that it does not have."""
    directions = (volume.affine_lps[:3, :3] / volume.spacing_mm).T  # a row for each axis
    fields = {
        "TransformMatrix": directions.ravel(),
        "Offset": volume.affine_lps[:3, 3] / scale,
        "ElementSpacing": volume.spacing_mm / scale,
    }
    written = [f"{key} = {' '.join(map(repr, map(float, v)))}" for key, v in fields.items() if key not in leave_out]
    header = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False", *written, *lines,
        f"DimSize = {' '.join(map(str, volume.size))}", "ElementType = MET_SHORT", f"ElementDataFile = {data}", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(header).encode() + volume.array.astype("<i2").tobytes())
    return path


def slice_of(volume: Volume, k: int, syntax: str) -> Dataset:
    """Slice k of a volume of 1 mm voxels as a CT data set."""
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = syntax
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{k}"
    d.Modality, d.ImageType, d.SeriesInstanceUID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "1.2.3"
    d.StudyInstanceUID, d.SeriesNumber, d.AcquisitionNumber, d.InstanceNumber = "1.2", 3, 1, k + 1
    d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, k], [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.RescaleSlope, d.RescaleIntercept = [1, 1], 1, -1024
    d.Columns, d.Rows, _ = volume.size
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation, d.SamplesPerPixel, d.PhotometricInterpretation = 15, 0, 1, "MONOCHROME2"
    d.PixelData = (volume.array[k].astype(int) + 1024).astype("<u2").tobytes()
    return d


def directory(folder: Path) -> Path:
    """A DICOMDIR: only its kind is looked at."""
    table = Dataset()
    table.file_meta = FileMetaDataset()
    table.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    table.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    table.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    table.FileSetID = "CD"
    table.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"
