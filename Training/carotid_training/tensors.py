"""Tensors on the disk: written whole or not at all, and made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from CarotidLandmarkLib.files import atomic_path


def save_tensors(value: Any, path: Path) -> None:
    """Write what `torch.load` reads. Raises OSError; what was at ``path`` is then as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        try:
            torch.save(value, stream)
        except RuntimeError as error:  # torch's own complaint about a file that a full disk has cut off
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_or_make(path: Path, make: Callable[[], Any], device: str | torch.device = "cpu") -> Any:
    """Tensors in tuples or dicts, mapped from the file; where it is not there, or cut off, ``make`` makes them first.

    Raises OSError.
    """
    if not is_zipfile(path):  # torch's format; a power cut may leave its beginning, or zeros
        save_tensors(make(), path)
    return torch.load(path, map_location=device, mmap=True, weights_only=True)
