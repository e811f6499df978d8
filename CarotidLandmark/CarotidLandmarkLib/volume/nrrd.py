"""NRRD headers (https://teem.sourceforge.net/nrrd/format.html): the space in every legal spelling, or a note."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .scan import VolumeError, damaged, degenerate, no_scalars, printable, unknown_type
from .stored import NO_SIDE, Fields, Header, three_dimensional

TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
ENCODINGS = {"raw": "raw", "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2"}
TEXT = ("txt", "text", "ascii", "hex")
LETTERS = {"right": -1, "left": 1, "anterior": -1, "posterior": 1, "inferior": -1, "superior": 1}
PLAIN_KINDS = {"domain", "space", "time", "???", "none"}  # of an axis that counts neither colours nor components
AXIS = {word: number // 2 for number, word in enumerate(LETTERS)}
SAME = {"centerings": "centers"} | {name.replace(" ", ""): name for name in (
    "data file", "line skip", "byte skip", "axis mins", "space directions", "space origin", "space units",
)}  # fmt: skip
SPACES = {"".join(word[0] for word in name.split("-")): name for name in (
    "right-anterior-superior", "left-anterior-superior", "left-posterior-superior",
)}  # fmt: skip


def nrrd_header(start: bytes, path: Path, name: str, labels: bool = False) -> Header:
    """The header in the first bytes of a NRRD file; ``labels``: its voxels may have layers. Raises VolumeError."""
    blank = re.search(rb"(?<=\n)\r?\n", start)
    fields = _fields(start[: blank.start()] if blank else start, name)
    if not {"type", "dimension", "sizes", "encoding"} <= fields.keys():
        raise damaged(name)
    sizes = fields.numbers(fields["sizes"], int)
    if str(len(sizes)) != fields["dimension"] or min(sizes, default=0) < 1:
        raise damaged(name)
    kind, kinds = " ".join(fields["type"].lower().split()), fields.get("kinds", "").lower().split()
    counted = [n for n, what in enumerate(kinds) if what not in PLAIN_KINDS] if len(sizes) == len(kinds) == 4 else []
    layers = sizes[0] if labels and kinds[:1] == ["list"] and counted == [0] else 1  # Slicer's .seg.nrrd
    if kind == "block" or any(sizes[n] > layers for n in counted):
        raise no_scalars(name)
    axes = [n for n in range(len(sizes)) if n not in counted]
    code = next((code for code, names in TYPES.items() if kind in names.split("|")), None)
    if code is None:
        raise unknown_type(name, kind)
    size = three_dimensional(name, [sizes[n] for n in axes])
    endian = fields.get("endian", "").lower() or ("little" if code[1] == "1" else "")
    if endian not in ("little", "big"):
        raise VolumeError(f"{name} does not say the order of its bytes (endian); export it again.")
    dtype = np.dtype(("<" if endian == "little" else ">") + code)
    encoding = fields["encoding"].lower()
    if encoding in TEXT:
        raise VolumeError(f"{name} holds its voxels as text, which is not read; save it again with encoding raw.")
    if encoding not in ENCODINGS:
        words = f"has the encoding '{printable(encoding)}', which is not read"
        raise VolumeError(f"{name} {words}; save it again with encoding raw or gzip.")
    affine, assumed = _affine(fields, axes[:3])
    data, offset = path, blank.end() if blank else 0
    if "data file" in fields:
        if fields["data file"].startswith("LIST") or re.search(r"%\d*d", fields["data file"]):
            raise VolumeError(f"{name} has its voxels in several files, which is not read; save it as one .nrrd file.")
        data, offset = path.parent / fields["data file"], 0
    elif not blank:
        raise damaged(name)
    skip = fields.count("byte skip")
    if fields.count("line skip") or (skip and encoding != "raw") or skip < -1:
        raise VolumeError(f"{name} skips lines or bytes of its data, which is not read; export it again without.")
    place = None if skip == -1 else offset + skip
    return Header(size, dtype, affine, data, place, ENCODINGS[encoding], assumed=assumed, layers=layers)


def _fields(header: bytes, name: str) -> Fields:
    """Field names in lower case; a field that comes twice is taken where both are the same. Raises VolumeError."""
    fields = Fields(name)
    for line in header.decode("utf-8", "surrogateescape").split("\n")[1:]:
        key, colon, value = line.partition(": " if ": " in line else ":")
        if colon and not line.startswith("#") and ":=" not in line.split(": ")[0]:
            key = key.strip().lower()
            fields.add(SAME.get(key, key), value.strip())
    return fields


def _affine(fields: Fields, axes: list[int]) -> tuple[np.ndarray, dict[str, str]]:
    """Voxels to LPS millimetres, and what had to be assumed; ``axes``: the three of space. Raises VolumeError."""
    name, signs = fields.name, _signs(fields)
    spacings = _numbers(fields, "spacings", axes)
    stated = ~np.isnan(spacings)
    if "space directions" in fields:
        vectors = [_vector(fields, text) for text in re.findall(r"\([^)]*\)", fields["space directions"])][:3]
        if [len(vector) for vector in vectors] != [3, 3, 3]:
            raise VolumeError(
                f"{name} has space directions that are not three vectors of three numbers; "
                "export it again as one three-dimensional volume."
            )
        steps = np.transpose(vectors)
        if not np.allclose(spacings[stated], np.linalg.norm(steps, axis=0)[stated], rtol=1e-3):
            raise VolumeError(
                f"{name} states its voxel size twice, and differently (spacings, space directions); export it again."
            )
    elif np.isfinite(spacings).all():
        steps = np.diag(fields.positive(spacings.tolist()))
    else:
        raise VolumeError(
            f"{name} does not say its voxel size (space directions or spacings); export it again with it."
        )
    origin, assumed = _origin(fields, axes, spacings)
    affine = np.eye(4)
    affine[:3] = np.column_stack([steps, origin]) * np.reshape(_units(fields, axes), (3, 1))
    if signs is None:
        return affine, NO_SIDE | assumed
    return np.diag([*signs, 1.0]) @ affine, assumed


def _origin(fields: Fields, axes: list[int], spacings: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Where the first voxel lies in the file's own space, and what had to be assumed. Raises VolumeError."""
    if "space origin" in fields:
        origin = np.array(_vector(fields, fields["space origin"]))
        if len(origin) != 3 or not np.isfinite(origin).all():
            raise degenerate(fields.name)
        return origin, {}
    origin = _numbers(fields, "axis mins", axes)  # along the axes: of no use where these have directions
    if "space directions" in fields or not np.isfinite(origin).all():
        return np.zeros(3), {"where it lies (space origin)": "its first voxel was put at 0, 0, 0."}
    centers = _of(axes, [*fields.get("centers", "").lower().split(), "", "", "", ""])
    origin += np.where([center == "node" for center in centers], 0, spacings / 2)
    if {"cell", "node"}.issuperset(centers):
        return origin, {}
    return origin, {"of every axis whether axis mins are of voxels' edges or centres (centers)": "edges were taken."}


def _of(axes: list[int], values: list) -> list:
    """Of what a field says of every axis, what it says of those of space."""
    return [values[n] for n in axes] if len(values) > axes[-1] else values[:3]


def _numbers(fields: Fields, key: str, axes: list[int]) -> np.ndarray:
    """What a field says of each axis of space, NaN where it does not: [3]. Raises VolumeError."""
    numbers = _of(axes, fields.numbers(fields.get(key, "nan nan nan")))
    if len(numbers) < 3:
        raise damaged(fields.name)
    return np.array(numbers)


def _units(fields: Fields, axes: list[int]) -> list[float]:
    """Millimetres in the unit of each axis of space. Raises VolumeError."""
    text = fields.get("space units", fields.get("units", ""))
    words = re.findall(r'"([^"]*)"', text) if '"' in text else text.split()
    words = words[:3] if "space units" in fields else _of(axes, words)
    return [*(fields.unit_mm(word) for word in words), 1.0, 1.0, 1.0][:3]


def _vector(fields: Fields, text: str) -> list[float]:
    """The numbers of ``(1,0,0)``."""
    return fields.numbers(text.strip().strip("()"), float, ",")


def _signs(fields: Fields) -> list[int] | None:
    """What turns the file's space into LPS; None where the file names no side. Raises VolumeError."""
    space = fields.get("space", "").lower().removesuffix("-time")
    space = SPACES.get(space.removesuffix("t"), space)
    words = space.split("-")
    if not space:
        return None
    if [AXIS.get(word) for word in words] == [0, 1, 2]:
        return [LETTERS[word] for word in words]
    if space in ("scanner-xyz", "3d-right-handed", "3d-left-handed"):
        raise VolumeError(
            f"{fields.name} lies in a space ({space}) that does not say which side is left; "
            "export it again with its orientation."
        )
    raise VolumeError(f"{fields.name} has the space {printable(space)}, which NRRD does not know; export it again.")
