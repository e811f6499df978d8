"""What an annotator says of a case: saved (an annotation), or not saved yet (a draft). One file each, replaced whole.

``annotations/<who>.json`` is the annotation. ``annotations/<who>.draft.json`` is written at every change, so that a
kill loses nothing; it is nobody's annotation: neither the dataset's check nor training reads it. One annotator has at
most one draft of a case; saving the annotation ends it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..detection import ModelInfo
from ..documents import write
from ..files import make_folder, write_text
from ..landmarks import Point, Points, apart_mm, is_place
from ..volume import printable
from .common import (
    SCHEMA_VERSION,
    DatasetError,
    check_annotator,
    check_case_of_letters,
    is_safe_name,
    names_in,
    read_entry,
)

if TYPE_CHECKING:
    from .cases import Case

SAME_MM = 1e-3  # files round
OWN_FILE = re.compile(r"[^.]+((\.draft|\.mrk)?\.json|\.draft\.(damaged|aside)\d*)")  # an annotator's
STATUSES = ("accepted", "corrected", "missing")

AnnotationStatus = Literal["accepted", "corrected", "missing"]
Reviewed = Mapping[str, tuple[str, "Point | None"]]


@dataclass(frozen=True)
class DraftMark:
    """One landmark: LPS millimetres, None without a point."""

    status: AnnotationStatus
    position_lps_mm: Point | None

    def __post_init__(self) -> None:
        if self.position_lps_mm is not None and not is_place(self.position_lps_mm):
            raise ValueError("position_lps_mm is not a place in a scanner")


@dataclass(frozen=True)
class Mark(DraftMark):
    """The same in an annotation, where a landmark has no point exactly when it is missing."""

    moved_mm: float | None = None  # distance from the prediction, None without one

    def __post_init__(self) -> None:
        if (self.position_lps_mm is None) != (self.status == "missing"):
            raise ValueError(f"status {self.status} does not fit its point")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What one annotator says about one case, as its file has it."""

    annotator: str  # the file's name; earlier documents do not say
    time: str  # UTC, ISO 8601
    model: ModelInfo | None = None  # whose prediction the annotator saw
    comment: str = ""
    ask_colleague: bool = False  # the annotator is in doubt: somebody else shall look
    landmarks: dict[str, Mark]

    def __post_init__(self) -> None:
        _check_time(self.time)

    @property
    def points(self) -> dict[str, Point | None]:
        return {name: mark.position_lps_mm for name, mark in self.landmarks.items()}

    @property
    def status(self) -> dict[str, AnnotationStatus]:
        return {name: mark.status for name, mark in self.landmarks.items()}

    @property
    def moved_mm(self) -> dict[str, float | None]:
        return {name: mark.moved_mm for name, mark in self.landmarks.items()}


def annotation_names(folder: Path) -> list[str]:
    """Whose annotations lie in the folder of a case, readable or not. Raises UnreadableError where nobody can say."""
    files = (name for name in names_in(folder / "annotations") if name.endswith(".json"))
    return sorted(filter(is_safe_name, (name.removesuffix(".json") for name in files)))


def owners(folder: Path) -> set[str]:
    """Whoever has an annotation or a draft in the folder of a case. Raises UnreadableError where nobody can say."""
    files = (name for name in names_in(folder / "annotations") if name.endswith(".json"))
    return set(filter(is_safe_name, (name.split(".")[0] for name in files)))


def strangers(folder: Path) -> list[Path]:
    """Files among a case's annotations that are nobody's: copies that a shared disk or a file manager has made.

    Raises UnreadableError.
    """
    return [
        file
        for file in (folder / "annotations" / name for name in names_in(folder / "annotations"))
        if file.is_file() and not (OWN_FILE.fullmatch(file.name) and is_safe_name(file.name.partition(".")[0]))
    ]


def read_annotation(folder: Path, annotator: str) -> Annotation:
    """Raises DatasetError on a missing or damaged file, and on a copy, which would be one more annotator."""
    what = f"The annotation of case {folder.name} by {annotator}"
    path = folder / "annotations" / f"{annotator}.json"
    annotation = read_entry(Annotation, path, what, "annotate it again", annotator=annotator)
    if annotation.annotator.lower() != annotator.lower():
        raise DatasetError(
            f"{what} says itself that it is by {printable(annotation.annotator)}, so it may be a copy and does not "
            f"count; remove it, or correct annotator in {path.name}."
        )
    return replace(annotation, annotator=annotator)


def write_annotation(folder: Path, annotation: Annotation) -> None:
    """Put ``annotation`` in place of what the same annotator said before, atomically.

    Raises DatasetError (a name that is not safe, or is there in other capitals), OSError.
    """
    path = _path_to_write(folder, annotation.annotator, ".json")
    write_text(path, write({"schema_version": SCHEMA_VERSION, **asdict(annotation)}))
    path.with_suffix(".mrk.json").unlink(missing_ok=True)  # version 1 wrote one; now it would be of another save


def now(timespec: str = "seconds") -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec=timespec)


def moved(points: Points, before: Points) -> dict[str, float | None]:
    """How far each point is from where it was (LPS mm, mm); None where it is missing, or was."""
    pairs = {name: (point, before.get(name)) for name, point in points.items()}
    return {
        name: None if new is None or old is None else round(math.dist(new, old), 3)
        for name, (new, old) in pairs.items()
    }


def same_points(some: Points, others: Points) -> bool:
    """Whether both say the same of the same landmarks."""
    return set(some) == set(others) and all(apart_mm(some[name], others[name]) < SAME_MM for name in others)


@dataclass(frozen=True)
class Draft:
    """``landmarks``: status and place (LPS millimetres, None without one) of those that the annotator has touched."""

    time: str  # UTC, ISO 8601
    landmarks: Reviewed
    comment: str
    ask_colleague: bool = False


@dataclass(frozen=True)
class _DraftDocument:
    time: str
    landmarks: dict[str, DraftMark]
    comment: str = ""
    ask_colleague: bool = False

    def __post_init__(self) -> None:
        _check_time(self.time)


def write_draft(case: Case, annotator: str, landmarks: Reviewed, comment: str, ask_colleague: bool = False) -> None:
    """Keep the present state, atomically, in place of an older draft. Raises DatasetError (bad name), OSError."""
    document = {
        "time": now("microseconds"),  # of two drafts within a second the later one counts
        "comment": comment,
        "ask_colleague": ask_colleague,
        "landmarks": {name: {"status": word, "position_lps_mm": place} for name, (word, place) in landmarks.items()},
    }
    write_text(_path_to_write(case.folder, annotator, ".draft.json"), write(document))


def read_draft(case: Case, annotator: str) -> Draft | None:
    """The draft, or None. Raises DatasetError on a bad name or a damaged file, UnreadableError."""
    path = _draft_path(case, annotator)
    what = f"The unsaved work on case {case.id} ({path.name})"
    try:
        document = read_entry(_DraftDocument, path, what, "delete it")
    except DatasetError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return None
        raise
    marks = {name: (mark.status, mark.position_lps_mm) for name, mark in document.landmarks.items()}
    return Draft(document.time, marks, document.comment, document.ask_colleague)


def set_draft_aside(case: Case, annotator: str, ending: Literal["damaged", "aside"]) -> str:
    """Rename a draft, so that a new one does not replace it, nor it an earlier one; its name now. Raises OSError."""
    path = _draft_path(case, annotator)
    names = (path.with_suffix(f".{ending}{number}") for number in ("", *range(2, 1000)))
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    return aside.name


def remove_draft(case: Case, annotator: str) -> None:
    """Forget the draft, if there is one. Raises DatasetError (bad name), OSError."""
    _draft_path(case, annotator).unlink(missing_ok=True)


def _draft_path(case: Case, annotator: str) -> Path:
    check_annotator(annotator)
    return case.folder / "annotations" / f"{annotator}.draft.json"


def _path_to_write(folder: Path, annotator: str, suffix: str) -> Path:
    """Where an annotator's file of a case goes; its folder is made.

    Raises DatasetError: a name that is not safe, or is there in other capitals; OSError.
    """
    check_annotator(annotator)
    annotations = folder / "annotations"
    make_folder(annotations)
    check_case_of_letters("The annotator", annotator, {file.split(".")[0] for file in names_in(annotations)})
    return annotations / f"{annotator}{suffix}"


def _check_time(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("time is not a time (ISO 8601)") from None
