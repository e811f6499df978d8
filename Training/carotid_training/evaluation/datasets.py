"""The datasets of an evaluation side by side, a row each: what the numbers of all together hide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..pages import csv_of, markdown_table
from . import metrics
from .metrics import UNDEFINED, Estimate
from .outcomes import Outcome, located
from .summary import ALL, DIGITS, Model, lookup, verdicts

GROSS_MM = 10.0
HEADS = (
    "dataset", "scans", "landmarks", "missed", "mean (mm)", "median", "95th percentile", f"over {GROSS_MM:g} mm",
    "regions hold", "`ok`", "of right scans", "largest error of `ok` (mm)",
)  # fmt: skip


def side_by_side(datasets: Mapping[str, Sequence[Outcome]], model: Model, seed: int = 0) -> list[dict[str, Any]]:
    """The numbers of each dataset, NaN where its cases do not define one; ``seed`` is that of the bootstrap."""
    return [{"dataset": name, **_numbers(outcomes, model, seed)} for name, outcomes in datasets.items()]


def datasets_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV text; empty cells where a number is not defined."""
    return csv_of(rows, DIGITS)


def datasets_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table."""
    return markdown_table(HEADS, map(_cells, rows))


def _numbers(outcomes: Sequence[Outcome], model: Model, seed: int) -> dict[str, Any]:
    errors, pairs, known = metrics.errors_mm(outcomes), located(outcomes), lookup(verdicts(outcomes))
    mean = metrics.mean_error(outcomes, seed)
    statistics, of_found = metrics.error_statistics(errors), errors[~np.isnan(errors)]
    covered = metrics.regions(pairs, model.calibration, model.volume_level).covered
    ok, of_right = known["verdict_ok_cases", ALL], known["verdict_ok_of_right_scans", ALL]
    return {
        "scans": ok.n, "landmarks": len(errors), "missed": len(errors) - len(of_found),
        "mean_mm": mean.value, "mean_low_95_mm": mean.low, "mean_high_95_mm": mean.high,
        "median_mm": statistics["median"], "p95_mm": statistics["p95"],
        f"over_{GROSS_MM:g}mm": float((of_found > GROSS_MM).mean()) if len(of_found) else math.nan,
        "coverage_level": model.volume_level, "coverage": float(covered.mean()) if len(covered) else math.nan,
        "ok": int(ok.value), "right_scans": of_right.n, "ok_of_right_scans": int(of_right.value),
        "ok_error_largest_mm": known["verdict_ok_error_largest_mm", ALL].value,
    }  # fmt: skip


def _cells(row: Mapping[str, Any]) -> list[str]:
    def number(key: str, words: str) -> str:
        return UNDEFINED if math.isnan(row[key]) else words.format(row[key])

    mean = Estimate(row["mean_mm"], row["mean_low_95_mm"], row["mean_high_95_mm"])
    return [
        row["dataset"], str(row["scans"]), str(row["landmarks"]), str(row["missed"]), mean.words(),
        number("median_mm", "{:.2f}"), number("p95_mm", "{:.2f}"), number(f"over_{GROSS_MM:g}mm", "{:.1%}"),
        number("coverage", "{:.0%}"), str(row["ok"]), f"{row['ok_of_right_scans']} of {row['right_scans']}",
        number("ok_error_largest_mm", "{:.1f}"),
    ]  # fmt: skip
