"""MetaImage headers (https://itk.org/Wiki/ITK/MetaIO/Documentation): TransformMatrix, else AnatomicalOrientation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .scan import VolumeError, damaged, degenerate, printable
from .stored import Header, three_dimensional

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
SAME = {  # other names of a field
    "Position": "Offset", "Origin": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip
COMES_FROM = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "I": (2, 1), "S": (2, -1)}  # axis of LPS, sign
UNITS_MM = {"?": 1.0, "mm": 1.0, "cm": 10.0, "um": 1e-3, "m": 1000.0}


def is_metaimage(start: bytes) -> bool:
    """Whether a file begins with fields of a MetaImage header."""
    return re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", start) is not None


def metaimage_header(start: bytes, path: Path, name: str) -> Header:
    """The header in the first bytes of a MetaImage file. Raises VolumeError."""
    fields, end = _fields(start, name)
    sizes = _integers(fields.get("DimSize", ""), name)
    if fields.get("NDims") != str(len(sizes)):
        raise damaged(name)
    size = three_dimensional(name, sizes)
    if fields.get("ElementNumberOfChannels", "1") != "1" or "ARRAY" in fields.get("ElementType", ""):
        raise VolumeError(f"{name} does not hold one number per voxel; give a scalar CT volume in HU.")
    if fields.get("ElementType") not in TYPES:
        raise damaged(name)
    if not _flag(fields, "BinaryData", "False", name):
        raise VolumeError(f"{name} holds its voxels as text, which is not read; save it again in binary form.")
    order = ">" if _flag(fields, "BinaryDataByteOrderMSB", "False", name) else "<"
    slope = _numbers(fields.get("ElementToIntensityFunctionSlope", "1"), name)
    intercept = _numbers(fields.get("ElementToIntensityFunctionOffset", "0"), name)
    if (slope, intercept) != ([1.0], [0.0]):
        raise VolumeError(f"{name} holds stored values with a slope or offset of their own; export it again in HU.")
    compressed = _flag(fields, "CompressedData", "False", name)
    data, offset = path, end
    where = fields["ElementDataFile"]
    if where.upper() == "LIST" or "%" in where:
        raise VolumeError(f"{name} has its voxels in several files, which is not read; save it as one .mha file.")
    if where.upper() != "LOCAL":
        data, offset = path.parent / where, 0
    skip = _integers(fields.get("HeaderSize", "0"), name)
    if len(skip) != 1 or skip[0] < -1 or (skip[0] and compressed):
        raise damaged(name)
    place = None if skip[0] == -1 else offset + skip[0]
    affine, notes = _affine(fields, name)
    dtype = np.dtype(order + TYPES[fields["ElementType"]])
    return Header(size, dtype, affine, data, place, "zlib" if compressed else "raw", notes=notes)


def _fields(start: bytes, name: str) -> tuple[dict[str, str], int]:
    """The fields, and where the header ends: after ElementDataFile. Raises VolumeError."""
    fields: dict[str, str] = {}
    place = 0
    while True:
        end = start.find(b"\n", place)
        line = start[place : end if end >= 0 else len(start)].decode("utf-8", "surrogateescape")
        key, equals, value = (part.strip() for part in line.partition("="))
        key = SAME.get(key, key)
        if equals and fields.setdefault(key, value) != value:
            raise VolumeError(f"{name} states its {printable(key)} twice, and differently; export it again.")
        if key == "ElementDataFile" and value:
            return fields, (end + 1 if end >= 0 else len(start))
        if end < 0:
            raise damaged(name)
        place = end + 1


def _affine(fields: dict[str, str], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels to LPS millimetres, and what had to be assumed. Raises VolumeError."""
    notes = []
    unit = UNITS_MM.get(fields.get("DistanceUnits", "mm"))
    if unit is None:
        raise VolumeError(f"{name} gives its voxel size in an unknown unit; export it again in millimetres.")
    spacing = _numbers(fields.get("ElementSpacing", fields.get("ElementSize", "")), name)[:3]
    if len(spacing) < 3:
        raise VolumeError(f"{name} does not say its voxel size (ElementSpacing); export it again with it.")
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise VolumeError(f"{name} has a voxel size of zero or less; correct the spacing in its header.")
    letters = fields.get("AnatomicalOrientation", "").upper()[:3]
    stated = _directions(letters)
    if "TransformMatrix" in fields:
        matrix = _numbers(fields["TransformMatrix"], name)
        side = round(len(matrix) ** 0.5)
        if side * side != len(matrix) or side < 3 or not np.isfinite(matrix).all():
            raise degenerate(name)
        directions = np.reshape(matrix, (side, side))[:3, :3].T
        lengths = np.linalg.norm(directions, axis=0)
        if (np.abs(lengths - 1) > 0.01).any():
            raise VolumeError(
                f"{name} has axes that are not of length one (TransformMatrix); export it again with its orientation."
            )
        if stated is not None and not _same_axes(stated, directions / lengths):
            notes.append(
                f"{name} states its orientation twice, and differently (AnatomicalOrientation {printable(letters)}); "
                "TransformMatrix was followed."
            )
        directions = directions / lengths
    elif stated is not None:
        directions = stated
    else:
        directions = np.eye(3)
        notes.append(f"{name} does not say which side is left; the axes were taken as left, posterior, superior.")
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing) * unit
    offset = _numbers(fields.get("Offset", ""), name)[:3]
    if len(offset) < 3:
        notes.append(f"{name} does not say where it lies (Offset); its first voxel was put at 0, 0, 0.")
        offset = [0.0, 0.0, 0.0]
    affine[:3, 3] = np.array(offset) * unit
    return affine, tuple(notes)


def _directions(letters: str) -> np.ndarray | None:
    """Columns: where i, j and k lead in LPS, from the letters of where they come from; None if they do not say."""
    axes = [COMES_FROM[letter] for letter in letters if letter in COMES_FROM]
    if sorted(axis for axis, _ in axes) != [0, 1, 2]:
        return None
    directions = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(axes):
        directions[axis, column] = sign
    return directions


def _same_axes(stated: np.ndarray, directions: np.ndarray) -> bool:
    """Whether each axis leads where the letters say: within 60 degrees, as letters can not say more."""
    return bool(((stated * directions).sum(axis=0) > 0.5).all())


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        raise damaged(name) from None


def _integers(text: str, name: str) -> list[int]:
    try:
        return [int(word) for word in text.split()]
    except ValueError:
        raise damaged(name) from None


def _flag(fields: dict[str, str], field: str, default: str, name: str) -> bool:
    value = fields.get(field, default).lower()
    if value not in ("true", "false", "1", "0"):
        raise damaged(name)
    return value in ("true", "1")
