"""MetaImage headers (https://itk.org/Wiki/ITK/MetaIO/Documentation): TransformMatrix, else AnatomicalOrientation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .scan import VolumeError, damaged, degenerate, no_scalars, printable, unknown_type
from .stored import NO_SIDE, Fields, Header, three_dimensional

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


def is_metaimage(start: bytes) -> bool:
    """Whether a file begins with fields of a MetaImage header."""
    return re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", start) is not None


def metaimage_header(start: bytes, path: Path, name: str) -> Header:
    """The header in the first bytes of a MetaImage file. Raises VolumeError."""
    fields, end = _fields(start, name)
    sizes = fields.numbers(fields.get("DimSize", ""), int)
    if fields.get("NDims") != str(len(sizes)):
        raise damaged(name)
    size = three_dimensional(name, sizes)
    if fields.get("ElementNumberOfChannels", "1") != "1" or "ARRAY" in fields.get("ElementType", ""):
        raise no_scalars(name)
    if fields.get("ElementType") not in TYPES:
        raise unknown_type(name, fields.get("ElementType", ""))
    if "BinaryData" in fields and not _flag(fields, "BinaryData"):
        raise VolumeError(f"{name} holds its voxels as text, which is not read; save it again in binary form.")
    order = ">" if _flag(fields, "BinaryDataByteOrderMSB") else "<"
    slope = fields.numbers(fields.get("ElementToIntensityFunctionSlope", "1"))
    intercept = fields.numbers(fields.get("ElementToIntensityFunctionOffset", "0"))
    if (slope, intercept) != ([1.0], [0.0]):
        raise VolumeError(f"{name} holds stored values with a slope or offset of their own; export it again in HU.")
    compressed = _flag(fields, "CompressedData")
    data, offset = path, end
    where = fields["ElementDataFile"]
    if re.fullmatch(r"LIST( +\d+D?)?", where, re.IGNORECASE) or "%" in where:
        raise VolumeError(f"{name} has its voxels in several files, which is not read; save it as one .mha file.")
    if where.upper() != "LOCAL":
        data, offset = path.parent / where, 0
    skip = fields.count("HeaderSize")
    if skip < -1 or (skip and compressed):
        raise damaged(name)
    place = None if skip == -1 else offset + skip
    affine, notes, assumed = _affine(fields)
    dtype = np.dtype(order + TYPES[fields["ElementType"]])
    encoding = "zlib" if compressed else "raw"
    return Header(size, dtype, affine, data, place, encoding, notes=notes, assumed=assumed)


def _fields(start: bytes, name: str) -> tuple[Fields, int]:
    """The fields, and where the header ends: after ElementDataFile. Raises VolumeError."""
    fields, end = Fields(name), 0
    for line in start.splitlines(keepends=True):
        end += len(line)
        key, equals, value = (part.strip() for part in line.decode("utf-8", "surrogateescape").partition("="))
        key = SAME.get(key, key)
        if equals and key != "Comment":  # of which there may be several
            fields.add(key, value)
        if key == "ElementDataFile" and value:
            return fields, end
    raise damaged(name)


def _affine(fields: Fields) -> tuple[np.ndarray, tuple[str, ...], dict[str, str]]:
    """Voxels to LPS millimetres, notes, and what had to be assumed. Raises VolumeError."""
    name = fields.name
    notes: tuple[str, ...] = ()
    assumed: dict[str, str] = {}
    unit = fields.unit_mm(fields.get("DistanceUnits", "mm"))
    spacing = fields.numbers(fields.get("ElementSpacing", fields.get("ElementSize", "")))[:3]
    if len(spacing) < 3:
        raise VolumeError(f"{name} does not say its voxel size (ElementSpacing); export it again with it.")
    letters = fields.get("AnatomicalOrientation", "").upper()[:3]
    stated = _directions(letters)
    if "TransformMatrix" in fields:
        matrix = fields.numbers(fields["TransformMatrix"])
        side = round(len(matrix) ** 0.5)
        if side * side != len(matrix) or side < 3 or not np.isfinite(matrix).all():
            raise degenerate(name)
        directions = np.reshape(matrix, (side, side))[:3, :3].T
        lengths = np.linalg.norm(directions, axis=0)
        if (np.abs(lengths - 1) > 0.01).any():
            raise VolumeError(
                f"{name} has axes that are not of length one (TransformMatrix); export it again with its orientation."
            )
        directions = directions / lengths
        # within 60 degrees: letters can not say more
        if stated is not None and not ((stated * directions).sum(axis=0) > 0.5).all():
            notes = (
                f"{name} states its orientation twice, and differently (AnatomicalOrientation {printable(letters)}); "
                "TransformMatrix was followed.",
            )
    elif stated is not None:
        directions = stated
    else:
        directions = np.eye(3)
        assumed |= NO_SIDE
    offset = fields.numbers(fields.get("Offset", ""))[:3]
    if len(offset) < 3:
        assumed["where it lies (Offset)"] = "its first voxel was put at 0, 0, 0."
        offset = [0.0, 0.0, 0.0]
    affine = np.eye(4)
    affine[:3] = np.column_stack([directions * np.array(fields.positive(spacing)), offset]) * unit
    return affine, notes, assumed


def _directions(letters: str) -> np.ndarray | None:
    """Columns: where i, j and k lead in LPS, from the letters of where they come from; None if they do not say."""
    axes = [COMES_FROM[letter] for letter in letters if letter in COMES_FROM]
    if sorted(axis for axis, _ in axes) != [0, 1, 2]:
        return None
    directions = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(axes):
        directions[axis, column] = sign
    return directions


def _flag(fields: Fields, field: str) -> bool:
    value = fields.get(field, "False").lower()
    if value not in ("true", "false", "1", "0"):
        raise damaged(fields.name)
    return value in ("true", "1")
