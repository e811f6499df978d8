"""Points that other programs have written: Slicer's ``.mrk.json`` and ``.fcsv``, tables (CSV), tables in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..markups import POINT_LIST, read_markups
from .places import Frame, Triple
from .tables import (
    BLANK,
    SEPARATORS,
    Columns,
    Row,
    Says,
    Table,
    csv_table,
    decimal,
    guess_columns,
    json_table,
    says_beside,
    status_of,
)

LARGEST_BYTES = 64 << 20
# what Slicer wrote for a coordinate system: numbers up to 4.10, letters since
FCSV_FRAMES: dict[str, Frame] = {"0": "RAS", "RAS": "RAS", "1": "LPS", "LPS": "LPS", "2": "voxel", "IJK": "voxel"}
FCSV_START = re.compile("# *(Markups fiducial file version|Fiducial List file)")  # of Slicer 4 and 5, of Slicer 3
FCSV_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
FCSV_UNNAMED = ("status", "auto")  # what Slicer 5 writes behind these
FCSV_STATUSES = {"0": "undefined", "1": "preview", "2": "defined", "3": "missing"}
SLICER_3_COLUMNS = "label,x,y,z,sel,vis"
MISSING = ("missing", "absent")
UNSAID = ("undefined", "preview")
CONSISTENT: tuple[set[Says], ...] = ({"LPS", "in mm"}, {"RAS", "in mm"}, {"voxel"})
PLACED = ("", "detected", "accepted", "corrected", "present", "placed", "defined")


@dataclass(frozen=True)
class PointList:
    """Points of one scan, as a file has them.

    ``source``: the file's name; ``scan``: what the file calls the scan, "" where it does not; ``frame``: None where the
    file does not say it. ``points``: label -> coordinates, None for one that is stated to be missing. ``notes``: what
    was left out; clauses.
    """

    source: str
    scan: str
    frame: Frame | None
    points: dict[str, Triple | None]
    notes: tuple[str, ...] = ()


def read_points(path: Path, columns: Mapping[str, str] | None = None, frame: Frame | None = None) -> list[PointList]:
    """The points of a file, a list for each scan that it speaks of.

    ``columns`` says which column of a table is x, y, z, label or case, where its header does not; ``frame`` in which
    frame coordinates are, where the file does not. Raises UserError, OSError.
    """
    name = path.name
    text = _text(path)
    start = text.lstrip()[:2000]
    document = _json(text, name) if start.startswith(("{", "[")) else None
    if isinstance(document, dict) and "markups" in document:
        lists = [_markups(path, document, frame)]
    elif path.suffix.lower() == ".fcsv" or FCSV_START.match(start):
        lists = [_fcsv(text, name, frame)]
    else:
        table = csv_table(text, name) if document is None else json_table(document, name)
        lists = _of_table(table, name, columns or {}, frame)
    if not any(each.points for each in lists):
        raise UserError(f"{name} holds no points; export it again.")
    return lists


def _frame(says: Set[Says], asked: Frame | None, name: str) -> Frame | None:
    """The frame that a file or --frame says. Raises UserError where they contradict each other, or the file itself."""
    if not any(says <= each for each in CONSISTENT):
        raise UserError(f"{name} says that its coordinates are {' and '.join(sorted(says))}; correct it.")
    if asked is not None and not any(says | {asked} <= each for each in CONSISTENT):
        said = min(says - {"in mm"}, default="in mm")
        raise UserError(f"{name} says that its coordinates are {said}, and --frame says {asked}; leave --frame out.")
    return next((each for each in says if each != "in mm"), asked)


def _markups(path: Path, document: Mapping[str, Any], frame: Frame | None) -> PointList:
    points = read_markups(path)
    kinds = [markup.get("type", POINT_LIST) for markup in document["markups"]]
    for kind, markup in zip(kinds, document["markups"], strict=True):
        if kind == POINT_LIST:
            _frame({markup["coordinateSystem"]}, frame, path.name)
    others = ", ".join(sorted({*kinds} - {POINT_LIST}))
    notes = (f"markups of another type than points were left out ({others})",) if others else ()
    return PointList(path.name, "", "LPS", dict(points), notes)  # in LPS, whatever the file has


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise UserError(f"{path.name} is too large for a file of points; give .mrk.json, .fcsv, CSV or JSON.")
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{path.name} does not exist; check the path.") from error
    except IsADirectoryError as error:
        raise UserError(f"{path.name} is a folder; give the files of points in it.") from error
    except OSError as error:
        raise UserError(f"{path.name} can not be read ({error.strerror}); check its read permission.") from error
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # as Excel writes "Unicode text"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not text in UTF-8; save it again as CSV UTF-8, or .mrk.json.") from error
    if "\0" in text:
        raise UserError(f"{path.name} is no file of points; give .mrk.json, .fcsv, CSV or JSON.")
    return text


def _json(text: str, name: str) -> Any:
    def refuse(constant: str) -> Any:
        raise UserError(f"{name} holds {constant}, which is not a number; correct it.")

    try:
        return json.loads(text, parse_constant=refuse)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} begins as JSON does, but is damaged; export it again.") from error


def _fcsv(text: str, name: str, frame: Frame | None) -> PointList:
    """Slicer's point list before .mrk.json: its header is in comments, and Slicer 3 had fewer columns."""
    lines = text.splitlines()
    comments = [line.lstrip("# ").rstrip(BLANK) for line in lines if line.startswith("#")]
    split = (line.partition("=") for line in comments if "=" in line)
    fields = {key.strip(): value.strip() for key, _, value in split}
    version = fields.get("Markups fiducial file version")
    named = fields.get("CoordinateSystem", "RAS")
    if named not in FCSV_FRAMES:
        raise UserError(f"{name} has the coordinate system '{named}', which Slicer does not know; save it again.")
    header = fields.get("columns", FCSV_COLUMNS if version else SLICER_3_COLUMNS)
    separator = max(SEPARATORS, key=header.count)
    unnamed = [name for name in FCSV_UNNAMED if version and name not in header.split(separator)]
    header = separator.join([header, *unnamed])
    rows = [line for line in lines if line.strip() and not line.startswith("#")]
    table = csv_table("\n".join([header, *rows]), name)
    for column in ("x", "y", "z", "label"):
        if column not in table.header:
            raise UserError(f"{name} has no column '{column}'; save it again with Slicer, as .mrk.json.")
    status = "status" if "status" in table.header else None
    for row in table.rows if status else ():
        row["status"] = FCSV_STATUSES.get(row["status"].strip(), row["status"])
    says: set[Says] = {FCSV_FRAMES[named]}
    roles = Columns({"": ("x", "y", "z")}, "label", None, {"": status} if status else {}, says)
    return PointList(name, "", _frame(says, frame, name), _points(table.rows, roles, name, name))


def _of_table(table: Table, name: str, given: Mapping[str, str], frame: Frame | None) -> list[PointList]:
    columns = guess_columns(table.header, given, name)
    scans: dict[str, list[Row]] = {}
    for row in table.rows:
        scan = row[columns.case].strip() if columns.case else ""
        if columns.case and not scan:
            raise UserError(f"{name} does not say the {columns.case} of a row; fill it in.")
        scans.setdefault(scan, []).append(row)
    labels = {row[columns.label].strip() for row in table.rows} if columns.label and "" in columns.points else set()
    guessed = (columns.case or "").lower() == "id" and "case" not in given
    if guessed and 1 < len(labels) == len(scans) == len(table.rows):
        raise UserError(
            f"{name} does not say whether '{columns.case}' counts its points or names their scans; say --columns case= "
            f"for points of one scan, else case={columns.case}."
        )
    used = {columns.label, columns.case, *columns.status.values()}
    lists = []
    for scan, rows in scans.items():
        cells = [cell for row in rows for cell in row.items() if cell[0] not in used]
        says = columns.says | says_beside([*table.stated, *cells], name)
        lists.append(PointList(name, scan, _frame(says, frame, name), _points(rows, columns, name, scan or name)))
    return lists


def _points(rows: list[Row], columns: Columns, name: str, scan: str) -> dict[str, Triple | None]:
    points: dict[str, Triple | None] = {}
    for row in rows:
        for label, triple in columns.points.items():
            cells, column = [row[each] for each in triple], columns.status.get(label, "")
            status = status_of(row[column], column) if column else ""
            label = label or row[columns.label or ""].strip()
            missing = status in MISSING
            if status not in (*MISSING, *UNSAID, *PLACED):
                known = ", ".join((*MISSING, *PLACED[1:]))
                raise UserError(f"{name} has '{status}' in its column {column}; write one of {known}, or nothing.")
            if not triple and status in PLACED:
                raise UserError(
                    f"{name} has no columns for x, y and z, and does not say that '{label}' is missing; say which they "
                    "are with --columns."
                )
            if status in UNSAID or (not missing and not any(cell.strip() for cell in cells)):
                continue  # nobody has said anything about it
            if label in points:
                raise UserError(f"{name} has '{label}' of {scan} twice; keep one of the two.")
            x, y, z = (0.0,) * 3 if missing else (decimal(cell, name) for cell in cells)
            points[label] = None if missing else (x, y, z)
    return points
