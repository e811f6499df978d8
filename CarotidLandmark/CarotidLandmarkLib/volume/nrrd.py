"""NRRD headers (https://teem.sourceforge.net/nrrd/format.html): the space in every legal spelling, or a note."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .scan import VolumeError, damaged, degenerate, printable
from .stored import Header, three_dimensional

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
SPACES = {"".join(word[0] for word in name.split("-")): name for name in (
    "right-anterior-superior", "left-anterior-superior", "left-posterior-superior",
)}  # fmt: skip
UNITS_MM: dict[str, float] = {"mm": 1, "millimeter": 1, "millimetre": 1, "cm": 10, "centimeter": 10, "centimetre": 10}
UNITS_MM |= {
    "m": 1000,
    "meter": 1000,
    "metre": 1000,
    "um": 1e-3,
    "µm": 1e-3,
    "μm": 1e-3,
    "\udcb5m": 1e-3,
    "micron": 1e-3,
}
UNITS_MM |= {"micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6, "in": 25.4, "inch": 25.4}
SAYS_NO_UNIT = ("", "???", "none")


def nrrd_header(start: bytes, path: Path, name: str, labels: bool = False) -> Header:
    """The header in the first bytes of a NRRD file; ``labels``: its voxels may have layers. Raises VolumeError."""
    header, blank, _ = _partition(start)
    fields = _fields(header, name)
    if "type" not in fields or "dimension" not in fields or "sizes" not in fields or "encoding" not in fields:
        raise damaged(name)
    sizes = _integers(fields["sizes"], name)
    if str(len(sizes)) != fields["dimension"].strip():
        raise damaged(name)
    kind = " ".join(fields["type"].lower().split())
    if kind == "block":
        raise VolumeError(f"{name} does not hold one number per voxel; give a scalar CT volume in HU.")
    code = next((code for code, names in TYPES.items() if kind in names.split("|")), None)
    if code is None:
        raise damaged(name)
    layers = 1
    if labels and len(sizes) == 4 and fields.get("kinds", "").lower().split()[:1] == ["list"]:  # Slicer's .seg.nrrd
        layers, *sizes = sizes
    if len(sizes) == 4 and _components(fields, name):
        raise VolumeError(f"{name} does not hold one number per voxel; give a scalar CT volume in HU.")
    size = three_dimensional(name, sizes)
    endian = fields.get("endian", "").lower() or ("little" if code[1] == "1" else "")
    if endian not in ("little", "big"):
        raise VolumeError(f"{name} does not say the order of its bytes (endian); export it again.")
    dtype = np.dtype(("<" if endian == "little" else ">") + code)
    encoding = ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        if fields["encoding"].lower() in TEXT:
            raise VolumeError(f"{name} holds its voxels as text, which is not read; save it again with encoding raw.")
        raise damaged(name)
    affine, notes = _affine(fields, name)
    data, offset = path, len(header) + len(blank)
    if "data file" in fields:
        data, offset = _data_file(fields["data file"], path, name), 0
    elif not blank:
        raise damaged(name)
    skip = _integers(fields.get("byte skip", "0"), name)[0]
    if _integers(fields.get("line skip", "0"), name)[0] != 0 or (skip and encoding != "raw") or skip < -1:
        raise VolumeError(f"{name} skips lines or bytes of its data, which is not read; export it again without.")
    start_of_data = None if skip == -1 else offset + skip
    return Header(size, dtype, affine, data, start_of_data, encoding, notes=notes, layers=layers)


def _partition(start: bytes) -> tuple[bytes, bytes, bytes]:
    """The header with the end of its last line, the blank line after it, and what follows."""
    match = re.search(rb"(?<=\n)\r?\n", start)
    return (start, b"", b"") if match is None else (start[: match.start()], match[0], start[match.end() :])


def _fields(header: bytes, name: str) -> dict[str, str]:
    """Field names in lower case; a field that comes twice is taken where both are the same. Raises VolumeError."""
    fields: dict[str, str] = {}
    for line in header.decode("utf-8", "surrogateescape").split("\n")[1:]:
        key, colon, value = line.partition(": ")
        if not colon:
            key, colon, value = line.partition(":")
        if line.startswith("#") or ":=" in line.split(": ")[0] or not colon:
            continue
        key = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(
            key.strip().lower(), key.strip().lower()
        )
        if fields.setdefault(key, value.strip()) != value.strip():
            raise VolumeError(f"{name} states its {printable(key)} twice, and differently; export it again.")
    return fields


def _affine(fields: dict[str, str], name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxels to LPS millimetres, and what had to be assumed. Raises VolumeError."""
    notes = []
    signs = _signs(fields, name)
    if signs is None:
        notes.append(f"{name} does not say which side is left; the axes were taken as left, posterior, superior.")
        signs = [1, 1, 1]
    units = [_unit(text, name) for text in _words(fields.get("space units", fields.get("units", "")))][:3]
    units += [1.0] * (3 - len(units))
    affine = np.eye(4)
    spacings = [_number(text, name) for text in fields["spacings"].split()] if "spacings" in fields else None
    if "space directions" in fields:
        vectors = [_vector(text, name) for text in _vectors(fields["space directions"])][:3]
        if len(vectors) != 3 or any(vector is None for vector in vectors):
            raise VolumeError(
                f"{name} has space directions that are not three vectors of three numbers; "
                "export it again as one three-dimensional volume."
            )
        affine[:3, :3] = np.transpose(np.array(vectors, float))
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if spacings is not None and not np.allclose(spacings[:3], lengths, rtol=1e-3, equal_nan=False):
            raise VolumeError(
                f"{name} states its voxel size twice, and differently (spacings, space directions); export it again."
            )
        affine[:3] *= np.reshape(units, (3, 1))
    elif spacings is not None and np.isfinite(spacings[:3]).all():
        if min(spacings[:3]) <= 0:
            raise VolumeError(f"{name} has a voxel size of zero or less; correct the spacing in its header.")
        affine[:3, :3] = np.diag(np.array(spacings[:3]) * units)
    else:
        raise VolumeError(
            f"{name} does not say its voxel size (space directions or spacings); export it again with it."
        )
    origin = _vector(fields["space origin"], name) if "space origin" in fields else None
    if origin is None or not np.isfinite(origin).all():
        if "space origin" in fields:
            raise degenerate(name)
        notes.append(f"{name} does not say where it lies (space origin); its first voxel was put at 0, 0, 0.")
        origin = np.zeros(3)
    affine[:3, 3] = origin * units
    return np.diag([*signs, 1.0]) @ affine, tuple(notes)


def _signs(fields: dict[str, str], name: str) -> list[int] | None:
    """What turns the file's space into LPS; None where the file names no side. Raises VolumeError."""
    space = fields.get("space", "").lower().removesuffix("-time")
    space = SPACES.get(space.removesuffix("t"), space)
    words = space.split("-")
    if len(words) == 3 and set(words) <= set(LETTERS):
        if [{"r": 0, "l": 0, "a": 1, "p": 1, "i": 2, "s": 2}[word[0]] for word in words] != [0, 1, 2]:
            raise VolumeError(f"{name} has the space {printable(space)}, which NRRD does not know; export it again.")
        return [LETTERS[word] for word in words]
    if not space:
        return None
    if space in ("scanner-xyz", "3d-right-handed", "3d-left-handed"):
        raise VolumeError(
            f"{name} lies in a space ({space}) that does not say which side is left; "
            "export it again with its orientation."
        )
    raise VolumeError(f"{name} has the space {printable(space)}, which NRRD does not know; export it again.")


def _components(fields: dict[str, str], name: str) -> bool:
    """Whether the axis beside the three of space counts colours or components, not time."""
    kinds = fields.get("kinds", "").lower().split()
    return any(kind not in ("domain", "space", "time", "???", "none") for kind in kinds)


def _data_file(text: str, path: Path, name: str) -> Path:
    if text.startswith("LIST") or re.search(r"%\d*d", text):
        raise VolumeError(f"{name} has its voxels in several files, which is not read; save it as one .nrrd file.")
    return path.parent / text


def _words(text: str) -> list[str]:
    """Texts in quotation marks, or words."""
    return re.findall(r'"([^"]*)"', text) if '"' in text else text.split()


def _unit(text: str, name: str) -> float:
    word = text.strip().lower()
    word = word.removesuffix("s") if word.removesuffix("s") in UNITS_MM and len(word) > 3 else word
    if word in SAYS_NO_UNIT:
        return 1.0
    if word not in UNITS_MM:
        raise VolumeError(
            f"{name} gives its voxel size in an unknown unit ({printable(text)}); export it again in millimetres."
        )
    return float(UNITS_MM[word])


def _vectors(text: str) -> list[str]:
    """The entries of a list such as ``none (1,0,0) (0,1,0) (0,0,1)``, without ``none``: no axis of space."""
    return re.findall(r"\([^)]*\)", text)


def _vector(text: str, name: str) -> np.ndarray | None:
    numbers = [_number(part, name) for part in text.strip().strip("()").split(",")]
    return np.array(numbers) if len(numbers) == 3 else None


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise damaged(name) from None


def _integers(text: str, name: str) -> list[int]:
    try:
        return [int(word) for word in text.split()] or [0]
    except ValueError:
        raise damaged(name) from None
