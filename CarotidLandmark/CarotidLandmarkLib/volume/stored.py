"""What headers say, in one form for all formats; and the voxels as they describe them, read slice by slice."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from .scan import VolumeError, check_geometry, check_size, damaged, printable, text_name
from .values import hu_array, rescaled

BLOCK = 1 << 20
LARGEST_RATIO = {"raw": 1, "gzip": 1032, "zlib": 1032, "bzip2": 1_500_000}  # what a byte can become at most

UNITS_MM = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "m": 1000.0,
    "meter": 1000.0, "metre": 1000.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\udcb5m": 1e-3, "micron": 1e-3,
    "micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6, "in": 25.4, "inch": 25.4,
    "": 1.0, "?": 1.0, "???": 1.0, "none": 1.0,
}  # fmt: skip
SIDE = "which side is left"
NO_SIDE = {SIDE: "the axes were taken as left, posterior, superior."}

Progress = Callable[[float], None]


class Fields(dict[str, str]):
    """The fields of a text header, by name. ``name`` is the file's, for sentences."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def add(self, key: str, value: str) -> None:
        """Raises VolumeError where the field is there already and says something else."""
        if self.setdefault(key, value) != value:
            raise VolumeError(f"{self.name} states its {printable(key)} twice, and differently; export it again.")

    def numbers(self, text: str, kind: type = float, separator: str | None = None) -> list:
        """The numbers in a text. Raises VolumeError on anything else."""
        try:
            return [kind(word) for word in text.split(separator)]
        except ValueError:
            raise damaged(self.name) from None

    def unit_mm(self, text: str) -> float:
        """Raises VolumeError on a unit that nobody knows."""
        word = text.strip().lower()
        plain = word.removesuffix("s") if len(word) > 3 else word
        if plain not in UNITS_MM:
            raise VolumeError(
                f"{self.name} gives its voxel size in an unknown unit ({printable(text)}); "
                "export it again in millimetres."
            )
        return UNITS_MM[plain]

    def count(self, key: str) -> int:
        """The whole number that a field is, 0 where it is not there. Raises VolumeError."""
        numbers = self.numbers(self.get(key, "0"), int)
        if len(numbers) != 1:
            raise damaged(self.name)
        return numbers[0]

    def positive(self, spacings: list[float]) -> list[float]:
        """Voxel sizes, if they are. Raises VolumeError."""
        if not all(0 < spacing < math.inf for spacing in spacings):
            raise VolumeError(f"{self.name} has a voxel size of zero or less; correct the spacing in its header.")
        return spacings


@dataclass(frozen=True)
class Header:
    """What a NIfTI, NRRD or MetaImage header says.

    ``size`` is (i, j, k), ``dtype`` with its byte order, ``affine`` maps voxels (i, j, k, 1) to LPS millimetres.
    ``layers`` numbers lie together in each voxel (of a label map; a scan has one).
    ``offset`` counts from the start of the file ``data``, after decompression if ``packed_header``; None: the voxels
    are its last bytes. ``encoding``: raw, gzip, zlib or bzip2. HU are slope * stored + intercept.
    ``assumed``: of sides and place, what it does not say, and what was taken instead; ``notes``: what else was decided.
    """

    size: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    data: Path
    offset: int | None
    encoding: str = "raw"
    packed_header: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    notes: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    layers: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array: [k, j, i], or [k, j, i, layer]."""
        return self.size[::-1] if self.layers == 1 else (*self.size[::-1], self.layers)

    @property
    def bytes(self) -> int:
        """Of all voxels together."""
        return math.prod(self.shape) * self.dtype.itemsize


def three_dimensional(name: str, sizes: list[int]) -> tuple[int, int, int]:
    """(i, j, k) of a header's sizes; further axes of length 1 are left out. Raises VolumeError."""
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) != 3:
        raise VolumeError(f"{name} has {len(sizes)} dimensions; give one three-dimensional CT volume.")
    if min(sizes) < 1:
        raise damaged(name)
    i, j, k = sizes
    return i, j, k


def read_stored(header: Header, name: str, progress: Progress) -> np.ndarray:
    """The array [k, j, i] in HU, int16 or float32; [k, j, i, layer] where there are several. Raises VolumeError."""
    check_size(name, header.size)
    check_geometry(name, header.affine)
    try:
        if not header.data.is_file():
            raise VolumeError(
                f"{name} says that its voxels are in {text_name(header.data)}, which is not there; copy both together."
            )
        # a header that claims more than its data can hold must not get the memory
        if header.data.stat().st_size * LARGEST_RATIO[header.encoding] < header.bytes + max(0, header.offset or 0):
            raise damaged(name)
        with header.data.open("rb") as stream:
            return hu_array(_slices(header, stream, name, progress), header.shape, name)
    except (EOFError, zlib.error) as error:
        raise damaged(name) from error
    except OSError as error:
        if error.errno is None:  # of gzip and bz2: no fault of the disk
            raise damaged(name) from error
        raise VolumeError(
            f"{text_name(header.data)} can not be read ({error.strerror}); check the disk and its read permission."
        ) from error


def holds(header: Header, array: np.ndarray) -> bool:
    """Whether a file of three dimensions holds these voxels [k, j, i], whole. Raises VolumeError, OSError."""
    try:
        with header.data.open("rb") as stream:
            voxels = _slices(header, stream, text_name(header.data), lambda fraction: None)
            return header.shape == array.shape and all(np.array_equal(values, array[k]) for k, values in voxels)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def _slices(header: Header, stream: BinaryIO, name: str, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
    slices, *shape = header.shape
    count = header.bytes // slices
    start = header.data.stat().st_size - header.bytes if header.offset is None else header.offset
    if not header.packed_header:
        stream.seek(max(0, start))
    voxels = unpacked(stream, header.encoding)
    if header.packed_header:
        voxels.read(start)
    for number in range(slices):
        block = voxels.read(count)
        if len(block) < count:
            raise EOFError
        values = rescaled(np.frombuffer(block, header.dtype).reshape(shape), header.slope, header.intercept)
        yield number, values.astype(values.dtype.newbyteorder("="), copy=False)
        progress((number + 1) / slices)
    rest = 0
    while block := voxels.read(BLOCK):  # to the end: a checksum comes last
        rest += len(block)
    if rest >= count:
        raise VolumeError(f"{name} holds more slices than its header says; export it again.")


def unpacked(stream: BinaryIO, encoding: str) -> BinaryIO:
    """A stream of what the rest of ``stream`` holds after decompression."""
    if encoding == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    if encoding == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(stream))
    return cast(BinaryIO, io.BufferedReader(_Zlib(stream))) if encoding == "zlib" else stream


class _Zlib(io.RawIOBase):
    """What MetaImage calls compressed: a zlib stream without a file around it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._unpacker, self._packed = stream, zlib.decompressobj(47), b""  # 47: or gzip

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = b""
        while not block and not self._unpacker.eof:
            self._packed = self._packed or self._stream.read(BLOCK)
            if not self._packed:
                raise EOFError
            block = self._unpacker.decompress(self._packed, len(buffer))
            self._packed = self._unpacker.unconsumed_tail
        buffer[: len(block)] = block
        return len(block)
