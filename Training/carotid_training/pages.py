"""One way to make a table, of numbers or of words, and a page; figures: `CarotidLandmarkLib.report.figures`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined

_ENVIRONMENT = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A line of ``columns``, then a line for each row; empty where a value is None or NaN."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows)
    return text.getvalue()


def csv_of(rows: Sequence[Mapping[str, Any]], digits: int | None = None) -> str:
    """A column for every key, in the order in which they come, empty where a row lacks it.

    ``digits``: that are written of a float; None: all.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([row.get(column) for column in columns] for row in rows)
    if digits is not None:
        cells = ([_rounded(cell, digits) for cell in line] for line in cells)
    return csv_table(columns, cells)


def _rounded(cell: Any, digits: int) -> Any:
    return f"{cell:.{digits}g}" if isinstance(cell, float) and not math.isnan(cell) else cell


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A line of ``columns``, a rule, then a line for each row."""
    lines = [f"| {' | '.join(line)} |" for line in (columns, *rows)]
    lines.insert(1, "|" + "---|" * len(columns))
    return "\n".join(lines) + "\n"


def page(template: str, **values: Any) -> str:
    """A Jinja template with its values. Raises UndefinedError where one is missing."""
    return _ENVIRONMENT.from_string(template).render(**values)
