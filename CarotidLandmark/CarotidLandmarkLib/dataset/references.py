"""Scans that a dataset refers to instead of copying them: where they lie, on this machine and for this user.

A dataset knows such a scan by its size and sha256 alone. The places are kept in the user's own folder, one small file
for each scan, so that no path of a source enters a dataset.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import numpy as np

from ..errors import sentence
from ..files import atomic_path, file_sha256, user_directory


def voxels_sha256(array: np.ndarray) -> str:
    """The sha256 of voxels [k, j, i] as float32, hexadecimal: the same for a scan in any file and number type."""
    digest = hashlib.sha256()
    for slab in array:
        digest.update(np.ascontiguousarray(slab, dtype="<f4").data)
    return digest.hexdigest()


def place_of(digest: str) -> Path | None:
    """Where the file of that sha256 lies, as this user last said; None when nobody has."""
    try:
        return Path((_places() / digest).read_bytes().decode("utf-8", "surrogateescape"))
    except OSError:
        return None


def remember_place(digest: str, image: Path) -> None:
    """Note for this user where a file lies. Raises OSError."""
    _places().mkdir(parents=True, exist_ok=True)
    with atomic_path(_places() / digest) as temporary:
        temporary.write_bytes(str(image.resolve()).encode("utf-8", "surrogateescape"))  # names need not be text


def files_below(
    folder: str | os.PathLike[str], sizes: Container[int], tell: Callable[[str], None]
) -> Iterator[tuple[Path, str]]:
    """The files below ``folder`` of one of these sizes (bytes), in order, and the sha256 of each.

    ``tell`` is given a sentence on every file and folder that can not be looked into.
    """

    def left_out(error: OSError) -> None:
        tell(sentence(error))

    for top, folders, names in os.walk(folder, onerror=left_out):
        folders.sort()
        for name in sorted(names):
            path = Path(top) / name
            try:
                if not path.is_file() or path.stat().st_size not in sizes:
                    continue
                digest = file_sha256(path)
            except OSError as error:
                left_out(error)
                continue
            yield path, digest


def _places() -> Path:
    return user_directory() / "images"
