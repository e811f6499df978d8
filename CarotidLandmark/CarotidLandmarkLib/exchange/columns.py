"""Which column of a table is what, by its header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .common import ExchangeError, Frame

ROLES = ("x", "y", "z", "label", "case", "status")
AXES: dict[str, Frame | None] = {"xyz": None, "lps": "LPS", "ras": "RAS", "ijk": "voxel"}
# words of a coordinate's column that do not name the point
NOT_NAMES = {
    "mm", "lps", "ras", "voxel", "vox", "index", "coord", "coordinate", "coordinates", "pos", "position", "point",
    "world", "location", "centre", "center", "centroid",
}  # fmt: skip
# an error is no place
NOT_PLACES = {"std", "sd", "size", "spacing", "error", "direction", "sigma"}
LABELS = ("label", "landmark", "name", "pointname", "pointlabel", "structure", "landmarkname")
CASES = (
    "case", "caseid", "scan", "scanid", "volume", "image", "imageid", "file", "filename", "patient", "patientid",
    "subject", "subjectid", "series", "id",
)  # fmt: skip
STATUSES = ("status",)


@dataclass(frozen=True)
class Columns:
    """``points``: label -> its columns x, y, z; the label "" stands for what the column ``label`` says."""

    points: dict[str, tuple[str, str, str]]
    label: str | None
    case: str | None
    status: str | None
    frame: Frame | None


def parse_columns(text: str) -> dict[str, str]:
    """``x=A,y=B,z=C,label=D,case=E`` as a mapping. Raises ExchangeError."""
    columns = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not column or role in columns:
            raise ExchangeError(
                f"--columns takes ROLE=COLUMN, separated by commas, each role once ({', '.join(ROLES)}); "
                f"not '{part.strip()}'."
            )
        columns[role] = column
    if len({"x", "y", "z"} & set(columns)) in (1, 2):
        raise ExchangeError("--columns names x, y and z together, or none of them.")
    return columns


def guess_columns(header: Sequence[str], given: Mapping[str, str], name: str) -> Columns:
    """What each column is: as ``given`` (role -> column), else by its name. Raises ExchangeError."""
    listed = ", ".join(column for column in header if column)[:200]
    for column in given.values():
        if column not in header:
            raise ExchangeError(f"{name} has no column '{column}'; it has {listed}.")
    if "x" in given:
        chosen = given["x"], given["y"], given["z"]
        points, frame = {"": chosen}, _frame_of(chosen)
    else:
        points, frame = _triples(header, name)
    if not points:
        raise ExchangeError(f"{name} has no columns for x, y and z ({listed}); say which they are with --columns.")
    label = given.get("label") or _one_of(header, LABELS)
    case = given.get("case") or _one_of([column for column in header if column != label], CASES)
    if "" in points and label is None:
        raise ExchangeError(f"{name} has no column with the points' names ({listed}); say which it is with --columns.")
    if "" in points:
        points = {"": points[""]}
    return Columns(points, label, case, given.get("status") or _one_of(header, STATUSES), frame)


def _triples(header: Sequence[str], name: str) -> tuple[dict[str, tuple[str, str, str]], Frame | None]:
    """Columns whose names differ in an axis alone, by what else is in their names; and the frame that they name."""
    triples: dict[str, tuple[str, str, str]] = {}
    frames: set[Frame | None] = set()
    for letters, frame in AXES.items():
        axes: dict[str, dict[str, str]] = {}
        for column in header:
            words = _words(column)
            for axis in [word for word in words if word in letters and len(word) == 1]:
                others = list(words)
                others.remove(axis)
                axes.setdefault(" ".join(word for word in others if word not in NOT_NAMES), {}).setdefault(axis, column)
        for rest, columns in axes.items():
            if letters == "xyz" and len(columns) == 2 and not NOT_PLACES & set(rest.split()):
                raise ExchangeError(
                    f"{name} has the columns {' and '.join(columns.values())}, but not the third; add it, or say "
                    "--columns."
                )
            if len(columns) == 3 and not NOT_PLACES & set(rest.split()) and rest not in triples:
                x, y, z = (columns[axis] for axis in letters)
                triples[rest] = x, y, z
                frames.add(frame or _frame_of((x, y, z)))
    if "" in triples and len(frames) > 1:
        frames = {_frame_of(triples[""])}
    if len(frames) > 1:
        raise ExchangeError(f"{name} has coordinates in several frames; say with --columns which to take.")
    return triples, frames.pop() if frames else None


def _frame_of(columns: Sequence[str]) -> Frame | None:
    words = {word for column in columns for word in _words(column)}
    letters = "".join(word for column in columns for word in _words(column) if len(word) == 1)
    if AXES.get(letters):
        return AXES[letters]
    frames: list[Frame] = [frame for frame in ("LPS", "RAS", "voxel") if frame.lower() in words]
    return frames[0] if len(frames) == 1 else None


def _one_of(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The column whose name is the first of ``names`` that is there."""
    plain = {"".join(_words(column)): column for column in reversed(header)}
    return next((plain[name] for name in names if name in plain), None)


def _words(column: str) -> list[str]:
    """A column's name in words: ``leftX``, ``Left x (mm)`` and ``left_x_mm`` are left, x, mm."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", apart) if word]
