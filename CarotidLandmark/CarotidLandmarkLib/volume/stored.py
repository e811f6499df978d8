"""The voxels of a file as its header describes them: raw, or compressed with gzip, zlib or bzip2, slice by slice."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from .scan import VolumeError, check_geometry, check_size, damaged, text_name
from .values import hu_array, rescaled

BLOCK = 1 << 20
LARGEST_RATIO = {"raw": 1, "gzip": 1032, "zlib": 1032, "bzip2": 1_500_000}  # what a byte can become at most

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Header:
    """What a NIfTI, NRRD or MetaImage header says.

    ``size`` is (i, j, k), ``dtype`` with its byte order, ``affine`` maps voxels (i, j, k, 1) to LPS millimetres.
    ``layers`` numbers lie together in each voxel (of a label map; a scan has one).
    ``offset`` counts from the start of the file ``data``, after decompression if ``packed_header``; None: the voxels
    are its last bytes. ``encoding``: raw, gzip, zlib or bzip2. HU are slope * stored + intercept.
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
    layers: int = 1

    @property
    def bytes(self) -> int:
        """Of all voxels together."""
        return math.prod(self.size) * self.layers * self.dtype.itemsize


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
    i, j, k = header.size
    try:
        if not header.data.is_file():
            raise VolumeError(
                f"{name} says that its voxels are in {text_name(header.data)}, which is not there; copy both together."
            )
        # a header that claims more than its data can hold must not get the memory
        if header.data.stat().st_size * LARGEST_RATIO[header.encoding] < header.bytes + max(0, header.offset or 0):
            raise damaged(name)
        with header.data.open("rb") as stream:
            shape = (k, j, i) if header.layers == 1 else (k, j, i, header.layers)
            return hu_array(_slices(header, stream, name, progress), shape, name)
    except (EOFError, zlib.error) as error:
        raise damaged(name) from error
    except OSError as error:
        if error.errno is None:  # of gzip and bz2: no fault of the disk
            raise damaged(name) from error
        raise VolumeError(
            f"{text_name(header.data)} can not be read ({error.strerror}); check the disk and its read permission."
        ) from error


def _slices(header: Header, stream: BinaryIO, name: str, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
    i, j, k = header.size
    count = i * j * header.layers * header.dtype.itemsize
    shape = (j, i) if header.layers == 1 else (j, i, header.layers)
    start = header.data.stat().st_size - header.bytes if header.offset is None else header.offset
    if not header.packed_header:
        stream.seek(max(0, start))
    voxels = unpacked(stream, header.encoding)
    if header.packed_header:
        voxels.read(start)
    for number in range(k):
        block = voxels.read(count)
        if len(block) < count:
            raise EOFError
        values = rescaled(np.frombuffer(block, header.dtype).reshape(shape), header.slope, header.intercept)
        yield number, values.astype(values.dtype.newbyteorder("="), copy=False)
        progress((number + 1) / k)
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
