"""What runs and cohorts keep about themselves, in JSON; and which code has made what is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import CarotidLandmarkLib
from CarotidLandmarkLib.documents import DocumentError, parse, write
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import write_text


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError where it is damaged, OSError where it can not be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (DocumentError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, DocumentError) else "it is not text"
        raise UserError(f"{path} is damaged: {reason}; restore it, or begin in another folder.") from error


def write_record(path: Path, document: Mapping[str, Any]) -> None:
    """Write what `read_record` reads. Raises ValueError on NaN and infinity, which it refuses; OSError."""
    write_text(path, write(document))


def library_sha256(*patterns: str) -> str:
    """The sha256 of the library's modules that fit the patterns ("volume/*.py"), hexadecimal.

    What is kept is not used for another program's: versions of the library do not tell its ways of reading and
    searching apart.
    """
    library = Path(CarotidLandmarkLib.__file__).parent
    sources = sorted(path for pattern in patterns for path in library.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
