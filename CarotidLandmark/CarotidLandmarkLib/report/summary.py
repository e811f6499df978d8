"""The summary of many scans: summary.csv, and summary.html with a row and a thumbnail per scan, doubtful ones first."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from .. import landmarks as names
from ..detection import CSV_COLUMNS, Detection, percent
from ..documents import csv_text
from ..files import atomic_path, write_text
from ..volume import Volume, printable
from .figures import render
from .page import REPORT_FILE
from .projection import overview_png

THUMBNAIL_FILE, SUMMARY_TABLE, SUMMARY_PAGE = "thumbnail.png", "summary.csv", "summary.html"
SUMMARY_COLUMNS = ("folder", "scan", *CSV_COLUMNS, "reasons", "notes", "problem")
MOST_ROWS = 2000  # of the page: a browser shows so many thumbnails without trouble
THUMBNAIL_PIXELS = 200  # of its longer side
_DOUBT = {"reject": 1, "review": 2, "ok": 3}


@dataclass(frozen=True)
class SummaryRow:
    """One scan: the folder of its results beside the page, where it lies, and what was found, or the problem."""

    folder: str
    scan: str
    detection: Detection | None
    problem: str = ""

    @property
    def word(self) -> str:
        """The verdict, or "not done"."""
        return "not done" if self.detection is None else self.detection.quality.verdict


def write_thumbnail(folder: Path, volume: Volume, detection: Detection) -> None:
    """Write thumbnail.png, the report's overview in small, into ``folder``. Raises OSError."""
    points = {
        mark.label: (mark.position_lps_mm, names.colour(number))
        for number, mark in enumerate(detection.landmarks)
        if mark.position_lps_mm is not None
    }
    with Image.open(io.BytesIO(overview_png(volume, points, without_bone=False).png)) as picture:
        picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        with atomic_path(folder / THUMBNAIL_FILE) as temporary:
            picture.convert("RGB").save(temporary)


def write_summary(output: Path, rows: Sequence[SummaryRow], notes: Sequence[str] = ()) -> dict[str, int]:
    """Write both files into ``output``; returns how many scans have each verdict. ``notes``: on the page. OSError.

    First what was not done, then by verdict, the landmark that is the least likely to be right first.
    """
    rows = sorted(rows, key=_doubtful_first)
    write_text(output / SUMMARY_TABLE, csv_text(SUMMARY_COLUMNS, (line for row in rows for line in _lines(row))))
    counts = Counter(row.word for row in rows)
    page = render(
        "summary.html.j2",
        heading=names.heading(name for row in rows if row.detection is not None for name in row.detection.labels),
        counts={word: counts[word] for word in ("not done", *_DOUBT) if counts[word]},
        total=len(rows),
        rows=[_shown(output, row) for row in rows[:MOST_ROWS]],
        notes=notes,
        percent=percent,
        table=SUMMARY_TABLE,
    )
    write_text(output / SUMMARY_PAGE, page)
    return dict(counts)


def _doubtful_first(row: SummaryRow) -> tuple[int, float, str]:
    if row.detection is None:
        return 0, 0.0, row.folder
    sure = min((_sure(each.presence, each.reliability) for each in row.detection.landmarks), default=0.0)
    return _DOUBT[row.detection.quality.verdict], sure, row.folder


def _sure(presence: float, reliability: float | None) -> float:
    """How likely the answer on a landmark is right, as far as the model says."""
    if presence < 0.5:
        return 1.0 - presence
    return presence if reliability is None else reliability


def _lines(row: SummaryRow) -> list[dict[str, Any]]:
    """A line of the table per landmark; one of a scan that was not done."""
    common = {"folder": row.folder, "scan": printable(row.scan), "problem": row.problem}
    if row.detection is None:
        return [{**dict.fromkeys(SUMMARY_COLUMNS, ""), **common}]
    words = {"reasons": " ".join(row.detection.quality.reasons), "notes": " ".join(row.detection.notes)}
    return [{**line, **words, **common} for line in row.detection.to_csv_rows()]


def _shown(output: Path, row: SummaryRow) -> dict[str, Any]:
    marks = row.detection.landmarks if row.detection is not None else ()
    folder, picture = quote(row.folder), (output / row.folder / THUMBNAIL_FILE).is_file()
    return {
        "row": row,
        "scan": printable(row.scan),
        "picture": f"{folder}/{THUMBNAIL_FILE}" if picture else None,
        "report": f"{folder}/{REPORT_FILE}" if row.detection is not None else None,
        "marks": [(names.colour(number), mark) for number, mark in enumerate(marks)],
    }
