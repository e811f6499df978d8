"""summary.md: the numbers of an evaluation on one page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from CarotidLandmarkLib.uncertainty import RELIABLE_MM

from ..pages import markdown_table, page
from .metrics import BINS, LEVELS, RESAMPLES, TOLERANCES_MM, UNDEFINED
from .outcomes import Outcome, located
from .summary import ALL, NOT_CALIBRATED, RIGHT_SCAN_MM, TOWARDS, VERDICTS, Measure, Model, lookup, region_measure

WORST = 8
FIGURES = {
    "cumulative_error": "Share of the landmarks that are in the scan found within a distance; missed ones never are.",
    "error_violin": "Errors of the landmarks that were found; line: median.",
    "offsets": "Found minus annotated position per axis against the place in the scan; lines: mean and 1.96 sd.",
    "reliability": "Nominal against observed coverage; band: 95 % of experiments with regions that are right.",
    "volume_against_error": "Confidence volume against error.",
    "presence_roc": "Presence probability: present against absent landmarks.",
    "worst_cases": "The largest errors, slices through the found point: + annotated, × found.",
}


TEMPLATE = """\
# Evaluation of {{ title }}

{% for name, value in facts.items() %}
- {{ name }}: {{ value }}
{% endfor %}

In brackets: 95 % intervals of a bootstrap over {{ patients }} patients ({{ resamples }} resamples); of a share of 0 or
100 % the exact one of so many patients. A dash is a number that these cases do not define.

{% if datasets %}
## By dataset

{{ datasets }}
Errors of the landmarks that were found; regions of {{ level }} %. Right: every landmark was found within
{{ right_scan_mm }} mm.

{% endif %}
## Error

Over the landmarks that are in the scan and were found. Success: share of those in the scan that were found within a
distance; a missed one is a failure.

{{ counts }}
{{ errors }}
{{ success }}
Found minus annotated position along each axis, mean ± sd in millimetres:

{{ offsets }}
## Sides and presence

{{ sides }}
Cases with left and right swapped: {{ swapped }}.

{{ presence }}
## Does the model know when it is wrong?

Correlation of the {{ level }} % confidence volume with the error, and p (each landmark taken as independent):

{{ correlations }}
Regions: how often they hold the annotated point, and their volume, beside the sphere that holds as many (the
same around every point) and the paper's Gaussian, which is not calibrated.

{{ regions }}
{% if not calibrated %}
This model is not calibrated: its own regions are those of a Gaussian.

{% endif %}
How probable it is that a point is right, within {{ reliable_mm }} mm of a landmark that is there: what the model says,
and what is:

{{ reliability }}
{{ bins }}
## Verdicts

{{ verdicts }}
`ok` of the scans in which every landmark was found within {{ right_scan_mm }} mm: {{ ok_of_right }}; of those that lack
a landmark: {{ ok_of_lacking }}.

## Largest errors

{{ largest }}
## Figures

{% for name, words in figures.items() %}
![{{ words }}](figures/{{ name }}.png)

{{ words }}

{% endfor %}
"""


def summary_markdown(
    rows: Sequence[Measure], outcomes: Sequence[Outcome], model: Model, facts: Mapping[str, str], datasets: str = ""
) -> str:
    """The page. ``facts`` are lines of its head: what was run on what; ``datasets``: the table of `datasets`."""
    known = lookup(rows)
    names = [*model.names, ALL]
    heads = ["", *(model.labels[name] for name in names)]

    def table(words: Mapping[str, str], cell: Callable[..., str], *how: Any) -> str:
        """A row per measure (key -> title), a column per landmark."""
        return markdown_table(
            heads, [[title, *(cell(known[key, name], *how) for name in names)] for key, title in words.items()]
        )

    return page(
        TEMPLATE,
        title=model.title,
        facts=facts,
        datasets=datasets,
        patients=len({outcome.group for outcome in outcomes}),
        resamples=RESAMPLES,
        counts=table({"found": "found, of those in the scan"}, _count),
        errors=table({f"error_{key}_mm": f"{title} (mm)" for key, title in _STATISTICS.items()}, _estimate, 2),
        success=table({f"success_{each:g}mm": f"within {each:g} mm" for each in TOLERANCES_MM}, _percent, 1),
        offsets=markdown_table(
            heads, [[f"towards {axis}", *(_offset(known, axis, name) for name in names)] for axis in TOWARDS]
        ),
        sides=table(_COUNTS, _count),
        swapped=_count(known["swapped_cases", ALL]),
        presence=table({"presence_roc_area": "presence, area under the ROC"}, _estimate, 3),
        level=f"{model.volume_level * 100:g}",
        correlations=table({key: words.format(regions=model.regions) for key, words in _VOLUMES.items()}, _correlation),
        regions=markdown_table(
            _REGION_HEADS, [_region(known, each, name, model.labels[name]) for each in LEVELS for name in names]
        ),
        calibrated=bool(model.calibration),
        verdicts=markdown_table(
            ["verdict", "cases", "mean error (mm)", "largest error (mm)"], [_verdict(known, each) for each in VERDICTS]
        ),
        reliable_mm=f"{RELIABLE_MM:g}",
        reliability=table(_RELIABILITY, _estimate, 3),
        bins=markdown_table(["probability", "points", "mean said", "right"], _bins(known)),
        right_scan_mm=f"{RIGHT_SCAN_MM:g}",
        ok_of_right=_count(known["verdict_ok_of_right_scans", ALL]),
        ok_of_lacking=_count(known["verdict_ok_of_scans_that_lack_a_landmark", ALL]),
        largest=markdown_table(["case", "landmark", "error (mm)", "presence", "verdict"], _largest(outcomes, model)),
        figures=FIGURES,
    )


def worst(outcomes: Sequence[Outcome], count: int = WORST) -> list[Outcome]:
    """The outcomes with the largest errors, the largest first."""
    return sorted(located(outcomes), key=lambda pair: (-(pair.error_mm or 0.0), pair.case_id, pair.landmark))[:count]


_STATISTICS = {"mean": "mean", "sd": "sd", "median": "median", "p95": "95th percentile"}
_COUNTS = {
    "missed": "in the scan, called missing",
    "falsely_found": "not in the scan, yet found",
    "on_other_side": "nearer to the other side's landmark",
}
_RELIABILITY = {
    "reliability_roc_area": "area under the ROC",
    "reliability_calibration_error": "expected calibration error",
    "reliability_calibration_error_by_chance": "the same, were every probability true",
}
_VOLUMES = {
    "pearson_calibrated_volume": "{regions} volume, Pearson r",
    "spearman_calibrated_volume": "{regions} volume, Spearman ρ",
    "pearson_paper_volume": "paper's volume, Pearson r",
    "spearman_paper_volume": "paper's volume, Spearman ρ",
}


def _number(value: float, digits: int) -> str:
    return UNDEFINED if math.isnan(value) else f"{value:.{digits}f}"


def _estimate(row: Measure, digits: int, scale: float = 1, unit: str = "") -> str:
    return row.note if row.note and math.isnan(row.value) else row.estimate.words(digits, scale, unit)


def _percent(row: Measure, digits: int) -> str:
    return _estimate(row, digits, 100, " %")


def _count(row: Measure) -> str:
    return f"{row.value:g} of {row.n}"


def _offset(known: Mapping[tuple[str, str], Measure], axis: str, name: str) -> str:
    mean, sd = (known[f"offset_{axis}_{part}_mm", name].value for part in ("mean", "sd"))
    return f"{_number(mean, 2)} ± {_number(sd, 2)}"


def _correlation(row: Measure) -> str:
    return _estimate(row, 2) + ("" if math.isnan(row.p) else f", p = {row.p:.2g}")


def _region(known: Mapping[tuple[str, str], Measure], level: float, name: str, label: str) -> list[str]:
    percent = f"{level * 100:g}"
    row = {key: known[region_measure(key, level), name] for key in _REGION}
    nominal = [f"{percent} %", label]
    paper = [_percent(row["paper_coverage"], 0), _estimate(row["paper_volume"], 1)]
    if row["coverage"].note == NOT_CALIBRATED:
        return [*nominal, NOT_CALIBRATED, *[UNDEFINED] * 3, *paper]
    volumes = [_estimate(row["volume"], 1), *(_number(row[key].value, 1) for key in ("median_volume", "sphere_volume"))]
    return [*nominal, _percent(row["coverage"], 0), *volumes, *paper]


_REGION_HEADS = (
    "level", "landmark", "coverage", "mean volume (mm³)", "median volume (mm³)", "sphere (mm³)", "paper's coverage",
    "paper's volume (mm³)",
)  # fmt: skip
_REGION = ("coverage", "volume", "median_volume", "sphere_volume", "paper_coverage", "paper_volume")


def _bins(known: Mapping[tuple[str, str], Measure]) -> list[list[str]]:
    rows = []
    for tenth in range(BINS):
        key = f"reliability_from_{tenth / BINS:.1f}"
        if (f"{key}_mean", ALL) in known:
            mean, right = known[f"{key}_mean", ALL], known[f"{key}_right", ALL]
            span = f"{tenth / BINS:.1f} to {(tenth + 1) / BINS:.1f}"
            rows.append([span, f"{mean.n}", _number(mean.value, 2), _number(right.value, 2)])
    return rows


def _verdict(known: Mapping[tuple[str, str], Measure], verdict: str) -> list[str]:
    cases, mean, largest = (
        known[f"verdict_{verdict}_{key}", ALL] for key in ("cases", "error_mean_mm", "error_largest_mm")
    )
    return [verdict, _count(cases), _number(mean.value, 2), _number(largest.value, 2)]


def _largest(outcomes: Sequence[Outcome], model: Model) -> list[list[str]]:
    return [
        [each.case_id, model.labels[each.landmark], f"{each.error_mm:.2f}", f"{each.result.presence:.2f}", each.verdict]
        for each in worst(outcomes)
    ]
