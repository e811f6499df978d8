"""Tables as others write them: CSV with any separator, decimal points or commas; and lists of objects in JSON."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import Any

from ..landmarks import FARTHEST_MM
from .common import ExchangeError

Row = dict[str, str]

SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """``rows``: a text for each column of ``header``, "" where the row ends before it."""

    header: tuple[str, ...]
    rows: list[Row]


def csv_table(text: str, name: str) -> Table:
    """A CSV with one line of column names. Raises ExchangeError."""
    lines = text.splitlines()
    if lines and re.fullmatch(r"sep=.", lines[0].strip()):  # Excel's own hint
        lines = lines[1:]
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise ExchangeError(f"{name} is empty; export it again.")
    separator = max(SEPARATORS, key=lambda letter: lines[0].count(letter))
    try:
        records = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True))
    except csv.Error as error:
        raise ExchangeError(f"{name} is no table that can be read ({error}); save it again as CSV.") from error
    header = tuple(cell.strip() for cell in records[0])
    twice = {column for column in header if column and header.count(column) > 1}
    if twice:
        raise ExchangeError(f"{name} has two columns '{sorted(twice)[0]}'; rename one of them.")
    if any(len(record) > len(header) for record in records[1:]):
        raise ExchangeError(
            f"{name} has rows with more cells than columns; save it again, with another separator than the decimals "
            "have."
        )
    return Table(header, [_row(header, record) for record in records[1:]])


def json_table(document: Any, name: str) -> Table:
    """A list of objects, or an object with one: a row each. Raises ExchangeError.

    A list of three numbers ``p`` becomes the columns ``p_x``, ``p_y``, ``p_z``.
    """
    if isinstance(document, dict):
        lists = [value for value in document.values() if _is_list_of_objects(value)]
        document = lists[0] if len(lists) == 1 else None
    if not _is_list_of_objects(document):
        raise ExchangeError(
            f"{name} is JSON, but neither .mrk.json nor a list of points with a name and a position each."
        )
    rows = []
    for record in document:
        row: Row = {}
        for key, value in record.items():
            if isinstance(value, list) and len(value) == 3:
                row |= {f"{key}_{axis}": _cell(part) for axis, part in zip("xyz", value, strict=True)}
            elif not isinstance(value, (list, dict)):
                row[key] = _cell(value)
        rows.append(row)
    header = tuple(dict.fromkeys(key for row in rows for key in row))
    return Table(header, [{column: row.get(column, "") for column in header} for row in rows])


def decimal(text: str, name: str) -> float:
    """A coordinate with a decimal point or comma. Raises ExchangeError on anything else: no number, no place."""
    text = text.strip().removesuffix("mm").rstrip()
    try:
        if ("," in text and "." in text) or text.count(",") > 1:
            raise ValueError
        number = float(text.replace(",", "."))
    except ValueError:
        raise ExchangeError(
            f"{name} has '{text}' where a coordinate is wanted; correct it, or say --columns."
        ) from None
    if not math.isfinite(number):
        raise ExchangeError(f"{name} has '{text}' where a coordinate is wanted, which is no place; correct it.")
    if abs(number) > FARTHEST_MM:
        raise ExchangeError(f"{name} has a coordinate of {text} mm, which is in no scanner; correct it.")
    return number


def _row(header: tuple[str, ...], record: list[str]) -> Row:
    return dict(zip(header, [*record, *[""] * (len(header) - len(record))], strict=True))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
