"""Tables as others write them, CSV or JSON: their rows, and which column of them is what, by its header."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from unicodedata import normalize

from ..errors import UserError
from ..landmarks import FARTHEST_MM
from .places import Frame

Row = dict[str, str]
Says = Frame | Literal["in mm"]  # what a file says of its coordinates

SEPARATORS = ",;\t|"
BLANK = SEPARATORS + " "  # what a line ends in whose last cells are empty, as spreadsheets write them
ROLES = ("x", "y", "z", "label", "case", "status")
GUESSED = ("case", "status")  # roles of a table that may be nobody's
AXES: dict[str, Frame | None] = {"xyz": None, "lps": "LPS", "ras": "RAS", "ijk": "voxel"}
SAYS: dict[str, Says] = {
    "lps": "LPS",
    "ras": "RAS",
    **dict.fromkeys(("voxel", "voxels", "vox", "index", "indices", "idx", "ijk"), "voxel"),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), "in mm"),
}
# columns, and keys beside the points, that say what coordinates are in; and words of theirs that say nothing
FRAME_KEY = re.compile(
    "(coord(inate)?s?)?(reference)?(frame|space)|coord(inate)?s?(reference)?(sys|system|convention)|frameofreference"
)
UNIT_KEY = re.compile("(xyz|coord(inate)?s?|points?|positions?|length|distance|spatial)?units?")
SILENT = {
    "coord", "coords", "coordinate", "coordinates", "points", "unit", "units", "space", "system", "frame", "world",
    "patient", "physical", "scanner", "dicom", "native", "ucum", "in", "and", "all", "are", "the",
}  # fmt: skip
NOTHING = {"", "-", "n/a", "na", "none", "unknown"}
DIRECTIONS = {"left", "right", "anterior", "posterior", "superior", "inferior"}
# words of a coordinate's column that do not name the point
NOT_NAMES = {
    *SAYS, "coord", "coordinate", "coordinates", "pos", "position", "point", "world", "location", "centre", "center",
    "centroid",
}  # fmt: skip
# an error is no place
NOT_PLACES = {"std", "sd", "size", "spacing", "error", "direction", "sigma"}
NOT_MM = re.compile("[cdnuμ]?m|(centi|deci|micro|nano)?met(er|re)s?|microns?|in|inch(es)?|px|pix|pixels?")
LABELS = ("label", "landmark", "name", "pointname", "pointlabel", "structure", "landmarkname")
CASES = (
    "case", "caseid", "scan", "scanid", "file", "filename", "folder", "volume", "image", "imageid", "patient",
    "patientid", "subject", "subjectid", "series", "id",
)  # fmt: skip
# Columns that answer yes or no, and what the two say. In a CSV of Slicer 0 is a point that is not placed, or missing.
ANSWERS = {
    "defined": ("defined", "undefined"),
    **dict.fromkeys(("present", "found", "exists"), ("present", "missing")),
    **dict.fromkeys(("missing", "absent"), ("missing", "present")),
}
YES, NO = ("1", "1.0", "yes", "y", "true"), ("0", "0.0", "no", "n", "false")
STATUSES = ("status", *ANSWERS)


@dataclass(frozen=True)
class Table:
    """``rows``: a text for each column of ``header``, "" where the row ends before it; none of blank cells alone.

    ``stated``: key and text of what is said beside the rows of all of them.
    """

    header: tuple[str, ...]
    rows: list[Row]
    stated: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        self.rows[:] = [row for row in self.rows if any(cell.strip() for cell in row.values())]


def csv_table(text: str, name: str) -> Table:
    """A CSV with one line of column names. Raises UserError."""
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0].strip()):  # Excel's own hint
        lines = lines[1:]
    lines = [line.rstrip(BLANK) if line.startswith("#") else line for line in lines if line.strip(BLANK + '"')]
    comments = [re.fullmatch(r"#+\s*([\w ]+?)\s*[:=](.*)", line) for line in lines]
    stated = tuple((match[1], match[2]) for match in comments if match)
    lines = _without_comments(lines, name)
    if not lines:
        raise UserError(f"{name} is empty; export it again.")
    first = lines[0].strip(BLANK)[:40]
    filled = [sum(bool(cell.strip()) for cell in re.split(f"[{SEPARATORS}]", line)) for line in lines]
    if filled[0] == 1 < max(filled):
        raise UserError(f"{name} begins with a line that is no header ({first}); remove it.")
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
    if any(cell.strip() for row in rows for cell in row.pop(None, ())):  # type: ignore[call-overload]
        raise UserError(
            f"{name} has rows with more cells than columns ({first}); remove that line if it is no header, else save "
            "it again, with another separator than the decimals have."
        )
    return Table(header, rows, stated)


def _without_comments(lines: list[str], name: str) -> list[str]:
    """Without the lines that begin with #; but the last of those above the table may be its header.

    Raises UserError where one below the header has as many cells: it may be a row (``#1 left``), or one taken out.
    """
    above = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    rows = [line for line in lines if not line.startswith("#")]
    for line in lines[len(above) :]:
        if line.startswith("#") and _as_many(line, rows[0]):
            raise UserError(
                f"{name} has a line that begins with # and may be a point: {line[:40]}; remove the sign, or the line."
            )
    header = above[-1].lstrip("# ") if above else ""
    is_header = any(
        header.count(letter) and header.count(letter) == rows[0].count(letter) for letter in SEPARATORS if rows
    )
    return [header, *rows] if is_header else rows


def _as_many(line: str, header: str) -> bool:
    separator = max(SEPARATORS, key=header.count)
    return line.count(separator) == header.count(separator) > 0


def json_table(document: Any, name: str) -> Table:
    """A list of objects, or an object with one: a row each. Raises UserError.

    A list of three numbers ``p`` becomes the columns ``p_x``, ``p_y``, ``p_z``.
    """
    stated: tuple[tuple[str, str], ...] = ()
    if isinstance(document, dict):
        stated = tuple(_stated(document))
        lists = [value for value in document.values() if _is_list_of_objects(value)]
        document = lists[0] if len(lists) == 1 else None
    if not _is_list_of_objects(document):
        raise UserError(f"{name} is JSON, but neither .mrk.json nor a list of points with a name and a position each.")
    rows: list[Row] = []
    for record in document:
        row: Row = {}
        for key, value in record.items():
            if _is_statement(key) or isinstance(value, dict):
                row |= _stated({key: value})
            elif isinstance(value, list) and len(value) == 3:
                row |= {f"{key}_{axis}": part for axis, part in zip("xyz", value, strict=True)}
            elif not isinstance(value, list):
                row[key] = value
        rows.append({key: "" if value is None else str(value) for key, value in row.items()})
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(header, [dict.fromkeys(header, "") | row for row in rows], stated)


def _stated(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What an object, and those in it, say of coordinates: key and text."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _stated(value)
        elif _is_statement(key):
            parts = value if isinstance(value, list) else [value]
            yield key, " ".join(str(part) for part in parts if part is not None)


def decimal(text: str, name: str) -> float:
    """A coordinate with a decimal point or comma. Raises UserError on anything else: no number, no place."""
    text = text.strip().removesuffix("mm").rstrip()
    try:
        number = float((text if "." in text else text.replace(",", ".")).replace("_", "?"))  # Python's 1_000 is none
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
    """``points``: label -> its columns x, y, z; the label "" stands for what the column ``label`` says. None where the
    table has no coordinates.

    ``status``: label -> the column that says whether it is there, where one does. ``says``: what the names of these
    columns say of coordinates.
    """

    points: dict[str, tuple[str, ...]]
    label: str | None
    case: str | None
    status: Mapping[str, str]
    says: set[Says]


def parse_columns(text: str) -> dict[str, str]:
    """``x=A,y=B,z=C,label=D,case=E`` as a mapping; ``case=``: no column names the case. Raises UserError."""
    columns = {}
    for part in text.split(","):
        role, equals, column = (piece.strip() for piece in part.partition("="))
        if role not in ROLES or not equals or not (column or role in GUESSED) or role in columns:
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
    for column in filter(None, given.values()):
        if column not in header:
            raise UserError(f"{name} has no column '{column}'; it has {listed}.")
    points: dict[str, tuple[str, ...]]
    if "x" in given:
        chosen = given["x"], given["y"], given["z"]
        points, says = {"": chosen}, _says_of(chosen, name)
    else:
        points, says = _triples(header, name)
    label = given.get("label") or _one_of(header, LABELS)
    if not points and label and _statuses(header, [""], given):
        points = {"": ()}  # it may say of each landmark that it is missing
    if not points:
        raise UserError(f"{name} has no columns for x, y and z ({listed}); say which they are with --columns.")
    case = given.get("case", _one_of([column for column in header if column != label], CASES)) or None
    if "" in points and label is None:
        raise UserError(f"{name} has no column with the points' names ({listed}); say which it is with --columns.")
    return Columns(points, label, case, _statuses(header, points, given), says)


def _statuses(header: Sequence[str], points: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Of each label of ``points`` its own column (``left_present``), or the one of all."""
    every = given.get("status", _one_of(header, STATUSES))
    statuses = dict.fromkeys(points, every) if every else {}
    if "status" not in given:
        named = {" ".join(_words(column)): column for column in header}
        for label, word in itertools.product(filter(None, points), reversed(STATUSES)):
            if column := named.get(f"{label} {word}"):
                statuses[label] = column
    return statuses


def status_of(text: str, column: str) -> str:
    """What a cell of such a column says of a landmark: its word, or that of its yes or no."""
    word = text.strip().lower()
    yes, no = next((ANSWERS[each] for each in _words(column) if each in ANSWERS), ("", ""))
    return yes if yes and word in YES else no if no and word in NO else word


def _triples(header: Sequence[str], name: str) -> tuple[dict[str, tuple[str, ...]], set[Says]]:
    """Columns whose names differ in an axis alone, by what else is in their names; and what these say."""
    triples: dict[str, tuple[str, ...]] = {}
    says: dict[str, set[Says]] = {}
    for letters, frame in AXES.items():
        axes: dict[str, dict[str, str]] = {}
        twice: dict[str, tuple[str, str]] = {}
        for column in itertools.filterfalse(_is_statement, header):
            words = _words(column)
            for axis in [word for word in words if word in letters and len(word) == 1]:
                others = list(words)
                others.remove(axis)
                rest = " ".join(word for word in others if word not in NOT_NAMES)
                first = axes.setdefault(rest, {}).setdefault(axis, column)
                if first != column:
                    twice.setdefault(rest, (first, column))
        for rest, columns in axes.items():
            if letters == "xyz" and len(columns) == 2 and not NOT_PLACES & set(rest.split()):
                raise UserError(
                    f"{name} has the columns {' and '.join(columns.values())}, but not the third; add it, or say "
                    "--columns."
                )
            if len(columns) == 3:
                if rest in twice and not NOT_PLACES & set(rest.split()):
                    raise UserError(
                        f"{name} has two sets of coordinates ({' and '.join(twice[rest])}); say with --columns which "
                        "to take."
                    )
                chosen = _says_of(tuple(columns.values()), name)
                if not NOT_PLACES & set(rest.split()) and rest not in triples:
                    x, y, z = (columns[axis] for axis in letters)
                    triples[rest] = x, y, z
                    says[rest] = chosen | ({frame} if frame else set())
    if "" in triples:
        triples, says = {"": triples[""]}, {"": says[""]}
    if len({frozenset(each - {"in mm"}) for each in says.values()}) > 1:
        raise UserError(f"{name} has coordinates in several frames; say with --columns which to take.")
    return triples, set().union(*says.values())


def _says_of(columns: Sequence[str], name: str) -> set[Says]:
    """What the names of coordinates' columns say of them. Raises UserError on another unit than mm."""
    named = [_words(column) for column in columns]
    for words in named:  # an axis may be called m; "in" is a unit where it comes last, and none in "x in mm"
        units = [word for word in words if NOT_MM.fullmatch(word) and (word != "in" or words[-1] == "in")]
        if units and len(words) > 1:
            unit = "inches" if units[0] == "in" else units[0]
            raise UserError(f"{name} has coordinates in {unit}; give them in mm, or say --columns.")
    words = [word for each in named for word in each]
    frame = AXES.get("".join(word for word in words if len(word) == 1))
    return {SAYS[word] for word in words if word in SAYS} | ({frame} if frame else set())


def _is_statement(key: str) -> bool:
    """Whether a column or a key says what coordinates are in: ``coordinateSystem``, ``x_unit``."""
    words = _words(key)
    unit = "".join(word for word in words if len(word) > 1)
    return bool(FRAME_KEY.fullmatch("".join(words)) or UNIT_KEY.fullmatch(unit))


def says_beside(stated: Iterable[tuple[str, str]], name: str) -> set[Says]:
    """What is said beside coordinates of them: (key, text) of columns and of `Table.stated`. Raises UserError."""
    result: set[Says] = set()
    for key, text in set(stated):
        if not _is_statement(key) or text.strip().lower() in NOTHING:
            continue
        words = _words(text)
        if "".join(words).isdecimal() and "unit" not in key.lower():  # the number of a frame, or its UID
            continue
        if all(word in DIRECTIONS or len(word) == 1 for word in words):
            words = ["".join(word[0] for word in words)]
        if not SILENT.issuperset(word for word in words if word not in SAYS):
            raise UserError(
                f"{name} says {key}: {text.strip()[:40]}, and coordinates are read in mm (LPS or RAS) or in voxels; "
                f"convert them, or rename '{key}' where it is about something else."
            )
        result |= {SAYS[word] for word in words if word in SAYS}
    return result


def _one_of(header: Sequence[str], names: Sequence[str]) -> str | None:
    """The column whose name is the first of ``names`` that is there."""
    plain = {"".join(_words(column)): column for column in reversed(header)}
    return next((plain[name] for name in names if name in plain), None)


def _words(column: str) -> list[str]:
    """A column's name in words: ``leftX``, ``Left x (mm)`` and ``left_x_mm`` are left, x, mm."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", normalize("NFKC", column))  # one sign for µ, and cm for ㎝
    return [word.lower() for word in re.split(r"[\W_]+", apart) if word]
