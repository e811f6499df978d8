"""Tables as others write them, CSV or JSON: their rows, and which column of them is what, by its header."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..landmarks import FARTHEST_MM
from .places import Frame

Row = dict[str, str]

SEPARATORS = ",;\t|"
ROLES = ("x", "y", "z", "label", "case", "status")
AXES: dict[str, Frame | None] = {"xyz": None, "lps": "LPS", "ras": "RAS", "ijk": "voxel"}
# words of a coordinate's column that do not name the point
NOT_NAMES = {
    "mm", "lps", "ras", "voxel", "vox", "index", "coord", "coordinate", "coordinates", "pos", "position", "point",
    "world", "location", "centre", "center", "centroid",
}  # fmt: skip
# an error is no place
NOT_PLACES = {"std", "sd", "size", "spacing", "error", "direction", "sigma"}
NOT_MM = {"cm", "m", "um", "inch"}
LABELS = ("label", "landmark", "name", "pointname", "pointlabel", "structure", "landmarkname")
CASES = (
    "case", "caseid", "scan", "scanid", "volume", "image", "imageid", "file", "filename", "patient", "patientid",
    "subject", "subjectid", "series", "id",
)  # fmt: skip
DEFINED = "defined"  # in a CSV of Slicer: whether the point is placed
STATUSES = ("status", DEFINED)


@dataclass(frozen=True)
class Table:
    """``rows``: a text for each column of ``header``, "" where the row ends before it."""

    header: tuple[str, ...]
    rows: list[Row]


def csv_table(text: str, name: str) -> Table:
    """A CSV with one line of column names. Raises UserError."""
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0].strip()):  # Excel's own hint
        lines = lines[1:]
    lines = _without_comments([line for line in lines if line.strip()])
    if not lines:
        raise UserError(f"{name} is empty; export it again.")
    separator = max(SEPARATORS, key=lambda letter: lines[0].count(letter))
    try:
        reader = csv.DictReader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True, restval="")
        reader.fieldnames = [cell.strip() for cell in reader.fieldnames or ()]
        header, rows = tuple(reader.fieldnames), list(reader)
    except csv.Error as error:
        raise UserError(f"{name} is no table that can be read ({error}); save it again as CSV.") from error
    twice = {column for column in header if column and header.count(column) > 1}
    if twice:
        raise UserError(f"{name} has two columns '{sorted(twice)[0]}'; rename one of them.")
    if any(None in row for row in rows):
        raise UserError(
            f"{name} has rows with more cells than columns; save it again, with another separator than the decimals "
            "have."
        )
    return Table(header, rows)


def _without_comments(lines: list[str]) -> list[str]:
    """Without the lines that begin with #; but the last of those above the table may be its header."""
    rows = [line for line in lines if not line.startswith("#")]
    above = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    header = above[-1].lstrip("# ") if above else ""
    is_header = any(
        header.count(letter) and header.count(letter) == rows[0].count(letter) for letter in SEPARATORS if rows
    )
    return [header, *rows] if is_header else rows


def json_table(document: Any, name: str) -> Table:
    """A list of objects, or an object with one: a row each. Raises UserError.

    A list of three numbers ``p`` becomes the columns ``p_x``, ``p_y``, ``p_z``.
    """
    if isinstance(document, dict):
        lists = [value for value in document.values() if _is_list_of_objects(value)]
        document = lists[0] if len(lists) == 1 else None
    if not _is_list_of_objects(document):
        raise UserError(f"{name} is JSON, but neither .mrk.json nor a list of points with a name and a position each.")
    rows: list[Row] = []
    for record in document:
        row: Row = {}
        for key, value in record.items():
            if isinstance(value, list) and len(value) == 3:
                row |= {f"{key}_{axis}": part for axis, part in zip("xyz", value, strict=True)}
            elif not isinstance(value, (list, dict)):
                row[key] = value
        rows.append({key: "" if value is None else str(value) for key, value in row.items()})
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(header, [dict.fromkeys(header, "") | row for row in rows])


def decimal(text: str, name: str) -> float:
    """A coordinate with a decimal point or comma. Raises UserError on anything else: no number, no place."""
    text = text.strip().removesuffix("mm").rstrip()
    try:
        number = float(text if "." in text else text.replace(",", "."))
    except ValueError:
        raise UserError(f"{name} has '{text}' where a coordinate is wanted; correct it, or say --columns.") from None
    if not math.isfinite(number):
        raise UserError(f"{name} has '{text}' where a coordinate is wanted, which is no place; correct it.")
    if abs(number) > FARTHEST_MM:
        raise UserError(f"{name} has a coordinate of {text} mm, which is in no scanner; correct it.")
    return number


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


@dataclass(frozen=True)
class Columns:
    """``points``: label -> its columns x, y, z; the label "" stands for what the column ``label`` says."""

    points: dict[str, tuple[str, str, str]]
    label: str | None
    case: str | None
    status: str | None
    frame: Frame | None


def parse_columns(text: str) -> dict[str, str]:
    """``x=A,y=B,z=C,label=D,case=E`` as a mapping. Raises UserError."""
    columns = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not column or role in columns:
            raise UserError(
                f"--columns takes ROLE=COLUMN, separated by commas, each role once ({', '.join(ROLES)}); "
                f"not '{part.strip()}'."
            )
        columns[role] = column
    if len({"x", "y", "z"} & set(columns)) in (1, 2):
        raise UserError("--columns names x, y and z together, or none of them.")
    return columns


def guess_columns(header: Sequence[str], given: Mapping[str, str], name: str) -> Columns:
    """What each column is: as ``given`` (role -> column), else by its name. Raises UserError."""
    listed = ", ".join(column for column in header if column)[:200]
    for column in given.values():
        if column not in header:
            raise UserError(f"{name} has no column '{column}'; it has {listed}.")
    if "x" in given:
        chosen = given["x"], given["y"], given["z"]
        points, frame = {"": chosen}, _frame_of(chosen)
    else:
        points, frame = _triples(header, name)
    if not points:
        raise UserError(f"{name} has no columns for x, y and z ({listed}); say which they are with --columns.")
    label = given.get("label") or _one_of(header, LABELS)
    case = given.get("case") or _one_of([column for column in header if column != label], CASES)
    if "" in points:
        points = {"": points[""]}
        if label is None:
            raise UserError(f"{name} has no column with the points' names ({listed}); say which it is with --columns.")
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
                raise UserError(
                    f"{name} has the columns {' and '.join(columns.values())}, but not the third; add it, or say "
                    "--columns."
                )
            if len(columns) == 3 and (unit := NOT_MM & set(rest.split())):
                raise UserError(f"{name} has coordinates in {unit.pop()}; give them in mm, or say --columns.")
            if len(columns) == 3 and not NOT_PLACES & set(rest.split()) and rest not in triples:
                x, y, z = (columns[axis] for axis in letters)
                triples[rest] = x, y, z
                frames.add(frame or _frame_of((x, y, z)))
    if "" in triples and len(frames) > 1:
        frames = {_frame_of(triples[""])}
    if len(frames) > 1:
        raise UserError(f"{name} has coordinates in several frames; say with --columns which to take.")
    return triples, frames.pop() if frames else None


def _frame_of(columns: Sequence[str]) -> Frame | None:
    words = [word for column in columns for word in _words(column)]
    letters = "".join(word for word in words if len(word) == 1)
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
