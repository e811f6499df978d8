"""Two models on the same cases, neither trained on them: what changed, and whether it got worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from CarotidLandmarkLib.dataset.queue import MISTAKE_MM
from rich.table import Table

from ..pages import csv_of, markdown_table
from . import metrics
from .outcomes import Outcome
from .summary import DIGITS

RULE = (
    f"The mean cost decides: the distance in mm for each landmark that is in the scan and was found, {MISTAKE_MM:g} mm "
    "for each that was missed or found where there is none, 0 for each rightly called missing. A model whose mean cost "
    "is higher is worse."
)
COST = "mean cost (mm)"


@dataclass(frozen=True)
class Comparison:
    """``rows``: (what, before, after), NaN where nothing was found; ``change``: mean cost after minus before."""

    cases: int
    patients: int
    rows: tuple[tuple[str, float, float], ...]
    change: metrics.Estimate

    @property
    def cost_mm(self) -> tuple[float, float]:
        """Mean cost before and after."""
        return next((before, after) for name, before, after in self.rows if name == COST)

    @property
    def worse(self) -> bool:
        """Whether the mean cost is higher after than before, as the table shows them: to a hundredth of a mm."""
        before, after = self.cost_mm
        return round(after, 2) > round(before, 2)

    @property
    def words(self) -> str:
        """The change of the mean cost, with its interval where there is one."""
        value, low, high = self.change
        interval = "" if math.isnan(low) else f" (95 % interval {low:+.2f} to {high:+.2f})"
        return f"The mean cost changed by {value:+.2f} mm{interval}, on {self.cases} cases of {self.patients} patients."

    def table(self, before: str, after: str) -> Table:
        """For the terminal; ``before`` and ``after`` name the models."""
        table = Table("", before, after)
        for name, *values in self.rows:
            table.add_row(name, *map(_shown, values))
        return table

    def markdown(self, before: str, after: str) -> str:
        """The table, the change and the rule."""
        table = markdown_table(["", before, after], [[name, *map(_shown, values)] for name, *values in self.rows])
        return f"{table}\n{self.words}\n\n{RULE}\n"

    def csv(self) -> str:
        """The table as CSV text; empty cells where nothing was found."""
        rows = [{"measure": name, "before": before, "after": after} for name, before, after in self.rows]
        return csv_of(rows, DIGITS)


def compare(
    before: Sequence[Outcome], after: Sequence[Outcome], mirrors: Mapping[str, str], seed: int = 0
) -> Comparison:
    """Outcomes of the same landmarks of the same cases, in the same order. ``seed``: that of the bootstrap.

    Raises ValueError where the outcomes do not belong together.
    """
    if [_asked(outcome) for outcome in before] != [_asked(outcome) for outcome in after]:
        raise ValueError("The two models were not run on the same landmarks of the same cases.")
    columns = [_measures(outcomes, mirrors) for outcomes in (before, after)]
    costs = np.array([[cost_mm(outcome) for outcome in outcomes] for outcomes in (before, after)])
    groups = [outcome.group for outcome in before]
    change = metrics.bootstrap(groups, lambda rows: {"": float((costs[1] - costs[0])[rows].mean())}, seed=seed)[""]
    rows = tuple((name, columns[0][name], columns[1][name]) for name in columns[0])
    return Comparison(len({outcome.case_id for outcome in before}), len(set(groups)), rows, change)


def _asked(outcome: Outcome) -> tuple[object, ...]:
    return outcome.case_id, outcome.landmark, outcome.truth_lps


def cost_mm(outcome: Outcome) -> float:
    """What one landmark costs: see `RULE`."""
    if outcome.error_mm is not None:
        return outcome.error_mm
    return 0.0 if outcome.truth_lps is None and outcome.result.status == "missing" else MISTAKE_MM


def _measures(outcomes: Sequence[Outcome], mirrors: Mapping[str, str]) -> dict[str, float]:
    errors = metrics.errors_mm(outcomes)
    statistics = metrics.error_statistics(errors)
    absent = [outcome for outcome in outcomes if outcome.truth_lps is None]
    return {
        COST: float(np.mean([cost_mm(outcome) for outcome in outcomes])),
        "mean error (mm)": statistics["mean"],
        "median error (mm)": statistics["median"],
        "95th percentile (mm)": statistics["p95"],
        "over 10 mm": float((errors > 10).sum()),
        "swapped cases": float(metrics.swapped_cases(outcomes, mirrors)),
        f"missed, of {len(errors)}": float(np.isnan(errors).sum()),
        f"found where there is none, of {len(absent)}": float(sum(o.result.status != "missing" for o in absent)),
    }


def _shown(value: float) -> str:
    return metrics.UNDEFINED if math.isnan(value) else f"{value:g}" if value == int(value) else f"{value:.2f}"
