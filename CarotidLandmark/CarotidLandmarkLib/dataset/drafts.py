"""What an annotator has done to a case and not saved yet: written at every change, so that a kill loses nothing.

A draft is ``cases/<id>/annotations/<who>.draft.json``. It is nobody's annotation: neither the dataset's check nor
training reads it. One annotator has at most one draft of a case; saving the annotation ends it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..files import write_text
from .cases import Case, DatasetError, Point, check_annotator

Reviewed = Mapping[str, tuple[str, "Point | None"]]


@dataclass(frozen=True)
class Draft:
    """``landmarks``: status and place (LPS millimetres, None without one) of those that the annotator has touched."""

    time: str  # UTC, ISO 8601
    landmarks: Reviewed
    comment: str


def write_draft(case: Case, annotator: str, landmarks: Reviewed, comment: str) -> None:
    """Keep the present state, atomically, in place of an older draft. Raises DatasetError (bad name), OSError."""
    document = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "comment": comment,
        "landmarks": {
            name: {"status": status, "position_lps_mm": None if point is None else list(point)}
            for name, (status, point) in landmarks.items()
        },
    }
    path = _path(case, annotator)
    path.parent.mkdir(exist_ok=True)
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def read_draft(case: Case, annotator: str) -> Draft | None:
    """The draft, or None. Raises DatasetError on a bad name or a damaged file."""
    path = _path(case, annotator)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        landmarks: dict[str, tuple[str, Point | None]] = {}
        for name, entry in document["landmarks"].items():
            place = entry["position_lps_mm"]
            x, y, z = (0.0, 0.0, 0.0) if place is None else map(float, place)
            landmarks[name] = (str(entry["status"]), None if place is None else (x, y, z))
        return Draft(str(document["time"]), landmarks, str(document["comment"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"The unsaved work on case {case.id} ({path.name}) can not be read; delete it.") from error


def remove_draft(case: Case, annotator: str) -> None:
    """Forget the draft, if there is one. Raises DatasetError (bad name), OSError."""
    _path(case, annotator).unlink(missing_ok=True)


def _path(case: Case, annotator: str) -> Path:
    check_annotator(annotator)
    return case.folder / "annotations" / f"{annotator}.draft.json"
