"""Scans that a dataset refers to instead of copying them: where they lie, on this machine and for this user.

A dataset knows such a scan by its size and sha256 alone. The places are kept in the user's own folder, one small file
for each scan, so that no path of a source enters a dataset.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files import atomic_path, user_directory


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


def files_below(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Every file below ``folder``, in order; what can not be looked into is left out."""
    for top, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(top) / name
            if path.is_file():
                yield path


def _places() -> Path:
    return user_directory() / "images"
