"""Table 1 with the paper's column beside ours, as numbers, CSV and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..evaluation import metrics
from ..evaluation.metrics import Estimate
from ..pages import csv_of, csv_table, markdown_table, page
from ..training.curve import NEAR, SCALE, coarse_to_fine
from ..training.module import NEAR_SHARE
from .predict import Scan
from .protocol import METHODS, Protocol
from .training import TrainingResult

# Mean distance of a uniform point from the middle of the cube from -1 to 1.
MEAN_OF_CUBE = 0.9606

NUMBERS = {"32-true": "float32", "bf16-mixed": "bfloat16"}

TEMPLATE = """\
# Table 1, protocol {{ name }}

Digital necks, not patients: {{ test }} test scans with {{ landmarks }} landmarks in them, {{ train }} for training,
{{ validation }} for the choice of the checkpoint. Every training had {{ budget }} in {{ numbers }}, and the
seeds are {{ seeds }}; asked on {{ machine }}.
{% if missing %}

**Not all is done yet**: {{ missing }}.
{% endif %}

Error: Euclidean distance over the landmarks that are in the scan, mm, of all trainings of a method together; "each
training" has their means. In brackets: 95 % intervals of a bootstrap over
patients ({{ resamples }} resamples); of a share of 0 or 100 % the exact one of so many patients. The paper's column: Ma
et al., ISBI 2020, Table 1, other scans (54 patients).

{{ errors }}
Share of the landmarks found within a distance:

{{ success }}
How far the nets of a chain came, each by itself, at the chosen step on the validation scans: the coarsest net's error,
and those of the finer nets in patches that surely hold the landmark. A finer net that has learnt nothing answers with
its patch's middle; how far that is on average stands in the last rows.

{{ near }}
What it takes: seconds to resample a scan, of one pass (every net once), of the further looks of our search, and of all
{{ passes }} noise passes; memory at its peak while the scan is answered, above that of the loaded program, the scan
included; the first training.

{{ cost }}
Each row against the row before it, and against "{{ reference }}": mean difference of the error (negative: better),
errors first averaged over a method's trainings; its interval; and p of a Wilcoxon signed-rank test on the patients'
mean errors (two-sided, not corrected for the number of comparisons).

{{ pairs }}
{% for file, title in figures.items() %}
![{{ title }}](figures/{{ file }}.png)

{% endfor %}
"""


@dataclass(frozen=True)
class Training:
    """One training of a method, or a method that has none: its seed and answers, and how it went."""

    seed: int
    scans: Sequence[Scan]
    result: TrainingResult | None = None

    @property
    def validation(self) -> Mapping[str, float]:
        """Of the chosen checkpoint; empty where nothing was trained."""
        return self.result.validation if self.result else {}


@dataclass(frozen=True)
class Row:
    """One method of the table; ``statistics``: `metrics.error_statistics` with intervals. Seconds and MB per scan."""

    key: str
    errors_mm: np.ndarray  # [trainings, landmarks]: of the landmarks in the scans, the same in all rows
    groups: tuple[str, ...]
    statistics: Mapping[str, Estimate]
    seconds_resampling: float
    seconds_net: float
    seconds_search: float
    seconds_passes: float
    peak_mb: float
    trainings: Sequence[Training]

    @property
    def title(self) -> str:
        return METHODS[self.key].title


@dataclass(frozen=True)
class Pair:
    """Two methods on the same landmarks: error of ``key`` minus that of ``other``."""

    key: str
    other: str
    difference_mm: Estimate
    p: float


def row_of(key: str, trainings: Sequence[Training], seed: int) -> Row:
    """The numbers of one method. ``seed``: the bootstrap's."""
    outcomes = [
        [outcome for scan in training.scans for outcome in scan.outcomes if outcome.truth_lps is not None]
        for training in trainings
    ]
    errors = np.stack([metrics.errors_mm(each) for each in outcomes])
    groups = tuple(outcome.group for outcome in outcomes[0])
    statistics = metrics.bootstrap(groups, lambda rows: metrics.error_statistics(errors[:, rows].ravel()), seed=seed)
    # The median scan: the first one also loads and warms up.
    scans = trainings[0].scans
    resampling, net, search, passes = np.median([scan.seconds for scan in scans], axis=0).tolist()
    peak = max(scan.peak_mb for scan in scans)
    return Row(key, errors, groups, statistics, resampling, net, search, passes, peak, trainings)


def pair_of(one: Row, other: Row, seed: int) -> Pair:
    """Two rows compared landmark by landmark; the test takes each patient once. ValueError on other landmarks."""
    if one.groups != other.groups:
        raise ValueError(f"{one.title} and {other.title} were not asked about the same landmarks.")
    difference = one.errors_mm.mean(axis=0) - other.errors_mm.mean(axis=0)
    change = metrics.bootstrap(
        one.groups, lambda rows: {"": float(np.nanmean(difference[rows])) if len(rows) else math.nan}, seed=seed
    )[""]
    measured = np.isfinite(difference)  # a net that has diverged has no place
    names, measures = np.array(one.groups)[measured], difference[measured]
    patients = np.array([measures[names == name].mean() for name in sorted(set(names))])
    p = float(stats.wilcoxon(patients).pvalue) if np.any(patients) else math.nan
    return Pair(one.key, other.key, change, p)


def pairs_of(rows: Sequence[Row], seed: int) -> list[Pair]:
    """Every row with every row before it."""
    return [pair_of(row, before, seed) for n, row in enumerate(rows) for before in rows[:n]]


def table_csv(rows: Sequence[Row]) -> str:
    """One line per method, numbers as they are."""
    lines = []
    for row in rows:
        mean, sd = METHODS[row.key].paper_mm or (None, None)
        statistics = {
            f"{name}{part}": number
            for name, estimate in row.statistics.items()
            for part, number in zip(("", "_low95", "_high95"), estimate, strict=True)
        }
        done = row.trainings[0].result
        lines.append({
            "method": row.key, "title": row.title, "paper_mean_mm": mean, "paper_sd_mm": sd,
            "landmarks": len(row.groups), "each_training": " ".join(f"{mean:.6g}" for mean in means_mm(row)),
            **statistics,
            "seconds_resampling": row.seconds_resampling, "seconds_net": row.seconds_net,
            "seconds_search": row.seconds_search, "seconds_passes": row.seconds_passes, "peak_mb": row.peak_mb,
            "training_steps": done and done.steps, "training_seconds": done and done.seconds,
            "chosen_step": done and done.best_step,
        })  # fmt: skip
    return csv_of(lines)


def means_mm(row: Row) -> list[float]:
    """The mean error of each training of a method, as in `metrics.error_statistics`."""
    return [metrics.error_statistics(errors)["mean"] for errors in row.errors_mm]


def pairs_csv(pairs: Sequence[Pair]) -> str:
    """One line per pair of methods."""
    columns = ["method", "other", "difference_mm", "difference_low95", "difference_high95", "wilcoxon_p"]
    return csv_table(columns, [[pair.key, pair.other, *pair.difference_mm, pair.p] for pair in pairs])


def table_markdown(
    name: str,
    protocol: Protocol,
    rows: Sequence[Row],
    pairs: Sequence[Pair],
    counts: Mapping[str, int],
    machine: str,
    figures: Mapping[str, str],
) -> str:
    """The page. ``counts``: scans per split; ``machine``: in words; ``figures``: file -> title."""
    by_keys = {(pair.key, pair.other): pair for pair in pairs}
    reference = "ours" if any(row.key == "ours" for row in rows) else rows[-1].key
    order = [row.key for row in rows]

    def against(key: str, other: str | None) -> list[str]:
        if other is None or other == key:
            return ["", ""]
        sign = 1 if (key, other) in by_keys else -1
        pair = by_keys[(key, other) if sign == 1 else (other, key)]
        value, *ends = (sign * number for number in pair.difference_mm)
        change = Estimate(value, *sorted(ends))
        return [change.words(sign="+"), metrics.UNDEFINED if math.isnan(pair.p) else f"{pair.p:.2g}"]

    before = dict(zip(order, [None, *order[:-1]], strict=True))
    budget = (
        f"the steps of {protocol.minutes:g} minutes, as they were timed before,"
        if protocol.minutes
        else f"{protocol.steps} steps"
    )
    success = [f"success_{limit:g}" for limit in metrics.TOLERANCES_MM]
    return page(
        TEMPLATE,
        name=name,
        **counts,
        landmarks=len(rows[0].groups),
        seeds=", ".join(map(str, protocol.seeds)),
        budget=budget,
        numbers=NUMBERS[protocol.precision],
        missing="; ".join(_missing(rows, protocol)),
        machine=machine,
        resamples=metrics.RESAMPLES,
        passes=METHODS["noise"].passes,
        reference=METHODS[reference].title,
        errors=markdown_table(
            ["method", "paper, mean ± sd", "mean ± sd", "each training", "mean", "median"],
            [[row.title, _paper(row), _spread(row), ", ".join(f"{mean:.2f}" for mean in means_mm(row)),
              row.statistics["mean"].words(), row.statistics["median"].words()] for row in rows],
        ),
        near=_near(rows, protocol),
        success=markdown_table(
            ["method", *(f"{limit:g} mm" for limit in metrics.TOLERANCES_MM)],
            [[row.title, *(row.statistics[each].words(0, 100, " %") for each in success)] for row in rows],
        ),
        cost=markdown_table(
            ["method", "resampling (s)", "one pass (s)", "search (s)", "noise passes (s)", "memory (MB)", "steps",
             "minutes"],
            [_cost(row) for row in rows],
        ),
        pairs=markdown_table(
            ["method", "minus the row before (mm)", "p", f"minus {METHODS[reference].title} (mm)", "p"],
            [[row.title, *against(row.key, before[row.key]), *against(row.key, reference)] for row in rows],
        ),
        figures=figures,
    )  # fmt: skip


def _missing(rows: Sequence[Row], protocol: Protocol) -> list[str]:
    """The trainings, and the rows without one, that are still to come."""
    done = {row.key: {training.seed for training in row.trainings} for row in rows}
    return [
        f"{METHODS[key].title} (seed {one.seed})" if METHODS[key].trained else METHODS[key].title
        for key in protocol.methods
        for one in protocol.trainings(key)
        if one.seed not in done.get(key, ())
    ]


def _near(rows: Sequence[Row], protocol: Protocol) -> str:
    """How far each net of the chains came by itself: its error on the validation scans, mm."""
    chains = [row for row in rows if any(map(NEAR.match, row.trainings[0].validation))]
    held = chains[0].trainings[0].validation if chains else {}
    tags = [*coarse_to_fine(held, SCALE)[:1], *coarse_to_fine(held, NEAR)]
    spacings = [float(tag.rpartition("_")[2].removeprefix("val/").removesuffix("mm")) for tag in tags]
    lines = [
        [f"{row.title}, seed {training.seed}", *(f"{training.validation[tag]:.1f}" for tag in tags)]
        for row in chains
        for training in row.trainings
    ]
    for size in sorted({protocol.our_patch_size if row.key == "ours" else protocol.patch_size for row in chains}):
        middles = (f"{MEAN_OF_CUBE * NEAR_SHARE * size * spacing:.1f}" for spacing in spacings[1:])
        lines.append([f"the middle of a patch of {size} voxels", "–", *middles])
    return markdown_table(["method", *(f"{spacing:g} mm" for spacing in spacings)], lines)


def _paper(row: Row) -> str:
    paper = METHODS[row.key].paper_mm
    return metrics.UNDEFINED if paper is None else f"{paper[0]:.2f} ± {paper[1]:.2f}"


def _spread(row: Row) -> str:
    return f"{row.statistics['mean'].value:.2f} ± {row.statistics['sd'].value:.2f}"


def _cost(row: Row) -> list[str]:
    passes = f"{row.seconds_passes:.2f}" if METHODS[row.key].passes > 1 else metrics.UNDEFINED
    # A chain that does not search asks the clock twice in a row.
    search = f"{row.seconds_search:.2f}" if row.seconds_search >= 0.005 else metrics.UNDEFINED
    done = row.trainings[0].result
    training = [str(done.steps), f"{done.seconds / 60:.1f}"] if done else [metrics.UNDEFINED] * 2
    seconds = [f"{row.seconds_resampling:.2f}", f"{row.seconds_net:.2f}", search, passes]
    return [row.title, *seconds, f"{row.peak_mb:.0f}", *training]
