"""One way to make a table of numbers and a page of words; figures: `CarotidLandmarkLib.report.figures`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
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


def page(template: str, **values: Any) -> str:
    """A Jinja template with its values. Raises UndefinedError where one is missing."""
    return _ENVIRONMENT.from_string(template).render(**values)
