"""What runs and cohorts keep about themselves, in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from CarotidLandmarkLib.documents import DocumentError, parse
from CarotidLandmarkLib.errors import UserError


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError where it is damaged, OSError where it can not be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (DocumentError, UnicodeDecodeError) as error:
        reason = error if isinstance(error, DocumentError) else "it is not text"
        raise UserError(f"{path} is damaged: {reason}; restore it, or begin in another folder.") from error
