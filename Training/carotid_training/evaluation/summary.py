"""The numbers of an evaluation in one long table, and that table as CSV, as Markdown, and landmark by landmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from CarotidLandmarkLib.bundle import BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.uncertainty import RELIABLE_MM, highest_level

from ..pages import csv_of
from . import metrics
from .metrics import LEVELS, Estimate
from .outcomes import Outcome, located

ALL = "all"
VERDICTS = ("ok", "review", "reject")
TOWARDS = ("left", "posterior", "superior")
VOLUME_LEVEL = 0.9
RIGHT_SCAN_MM = 2.5  # a scan is right where both points are there, and found so near
NO_JUDGEMENT = "the model does not judge its answers"
NOT_CALIBRATED = "above what is calibrated"
DIGITS = 6  # of a number in a CSV file


@dataclass(frozen=True)
class Measure:
    """One number: of which landmark (or `ALL`), with its 95 % interval and p value where it has them, over ``n``."""

    measure: str
    landmark: str
    value: float
    low_95: float = math.nan
    high_95: float = math.nan
    p: float = math.nan
    n: int = 0
    note: str = ""

    @property
    def estimate(self) -> Estimate:
        """The number with its interval."""
        return Estimate(self.value, self.low_95, self.high_95)


@dataclass(frozen=True)
class Model:
    """What an evaluation needs to know of a model beside its answers."""

    title: str
    landmarks: tuple[LandmarkSpec, ...]
    calibration: Mapping[str, Any]

    @classmethod
    def of(cls, metadata: BundleMetadata) -> Model:
        """What a bundle says of its model."""
        return cls(f"{metadata.name} {metadata.version}", metadata.landmarks, metadata.calibration)

    @property
    def names(self) -> list[str]:
        return [landmark.name for landmark in self.landmarks]

    @property
    def mirrors(self) -> dict[str, str]:
        return {landmark.name: landmark.mirror for landmark in self.landmarks}

    @property
    def labels(self) -> dict[str, str]:
        return {landmark.name: landmark.label for landmark in self.landmarks} | {ALL: "Together"}

    @property
    def regions(self) -> str:
        """What its own regions are, in a word that is true of them."""
        return "calibrated" if self.calibration else "uncalibrated"

    @property
    def volume_level(self) -> float:
        """The level at which volumes are compared with errors: 0.9, or the highest that is calibrated."""
        return min(VOLUME_LEVEL, highest_level(self.calibration, self.names))


def measure(outcomes: Sequence[Outcome], model: Model, seed: int = 0) -> list[Measure]:
    """Every number of `metrics`, per landmark and together; ``seed`` is that of the bootstrap."""
    rows: list[Measure] = []
    for scope in (*model.names, ALL):
        mine = [outcome for outcome in outcomes if scope in (ALL, outcome.landmark)]
        rows += _errors(mine, scope, seed) + _presence(mine, scope, seed) + _reliability(mine, scope, seed)
        crossed = zip(outcomes, metrics.on_other_side(outcomes, model.mirrors), strict=True)
        others = sum(yes for outcome, yes in crossed if scope in (ALL, outcome.landmark))
        rows.append(Measure("on_other_side", scope, others, n=len(located(mine))))
        rows += _offsets(mine, scope) + _confidence(mine, scope, model, seed)
    cases = len({outcome.case_id for outcome in outcomes})
    rows.append(Measure("swapped_cases", ALL, metrics.swapped_cases(outcomes, model.mirrors), n=cases))
    return rows + verdicts(outcomes)


def region_measure(statistic: str, level: float) -> str:
    """What one of `metrics.region_statistics` at a level is called in the table: ``coverage_90``, ``volume_90_mm3``."""
    return f"{statistic}_{level * 100:g}{'' if statistic.endswith('coverage') else '_mm3'}"


def lookup(rows: Sequence[Measure]) -> dict[tuple[str, str], Measure]:
    """The rows by measure and landmark."""
    return {(row.measure, row.landmark): row for row in rows}


def summary_csv(rows: Sequence[Measure]) -> str:
    """All numbers as CSV text, one row each; empty cells where a number is not defined."""
    return csv_of([vars(row) for row in rows], DIGITS)


def landmarks_csv(outcomes: Sequence[Outcome], model: Model) -> str:
    """One row per landmark and case as CSV text: truth, answer, error, uncertainty. LPS millimetres."""
    crossed = metrics.on_other_side(outcomes, model.mirrors)

    def along_axes(name: str, values: Sequence[float] | None) -> dict[str, float]:
        return dict(zip((name.format(axis) for axis in "xyz"), values or [math.nan] * 3, strict=True))

    rows: list[dict[str, Any]] = []
    for outcome, other in zip(outcomes, crossed, strict=True):
        result = outcome.result
        region = metrics.region_of(result, model.calibration, model.volume_level)
        rows.append({
            "case": outcome.case_id, "group": outcome.group, "landmark": outcome.landmark,
            "truth": "absent" if outcome.truth_lps is None else "present", "status": result.status,
            "presence": result.presence, "reliability": result.reliability, "verdict": outcome.verdict,
            "error_mm": outcome.error_mm, "on_other_side": int(other),
            **along_axes("true_{}_lps_mm", outcome.truth_lps), **along_axes("found_{}_lps_mm", result.position_lps_mm),
            **along_axes("std_{}_mm", result.std_mm), "mahalanobis": outcome.score, "volume_level": model.volume_level,
            "volume_mm3": region and region.volume_mm3, "paper_volume_mm3": region and region.paper_volume_mm3,
        })  # fmt: skip
    return csv_of(rows, DIGITS)


def _errors(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    present = [outcome for outcome in mine if outcome.truth_lps is not None]
    errors = metrics.errors_mm(present)
    estimates = metrics.bootstrap(
        [outcome.group for outcome in present], lambda rows: metrics.error_statistics(errors[rows]), seed=seed
    )
    count = int((~np.isnan(errors)).sum())
    return [
        Measure(f"{name}mm", scope, *estimate, n=len(errors))
        if name.startswith("success")
        else Measure(f"error_{name}_mm", scope, *estimate, n=count)
        for name, estimate in estimates.items()
    ]  # fmt: skip


def _presence(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    scores = np.array([outcome.result.presence for outcome in mine])
    present = np.array([outcome.truth_lps is not None for outcome in mine], dtype=bool)
    detected = np.array([outcome.result.status == "detected" for outcome in mine], dtype=bool)
    area = metrics.bootstrap(
        [outcome.group for outcome in mine],
        lambda rows: {"area": metrics.roc_area(scores[rows], present[rows])},
        seed=seed,
    )["area"]
    note = "" if present.any() and not present.all() else "needs landmarks that are present and that are absent"
    return [
        Measure("found", scope, int((present & detected).sum()), n=int(present.sum())),
        Measure("missed", scope, int((present & ~detected).sum()), n=int(present.sum())),
        Measure("falsely_found", scope, int((~present & detected).sum()), n=int((~present).sum())),
        Measure("presence_roc_area", scope, *area, n=len(mine), note=note),
    ]


def _reliability(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    """Whether the probability that a point is right says the truth, over the points that were given."""
    answers = [each for each in mine if each.result.status == "detected" and each.result.reliability is not None]
    right = np.array([each.error_mm is not None and each.error_mm <= RELIABLE_MM for each in answers], dtype=bool)
    probabilities = np.array([each.result.reliability for each in answers], dtype=float)
    estimates = metrics.bootstrap(
        [each.group for each in answers],
        lambda rows: {"reliability_roc_area": metrics.roc_area(probabilities[rows], right[rows])},
        seed=seed,
    )
    # Without an interval: of resampled answers it is larger, and may lie beside what it is of all.
    seen = metrics.calibration_error(probabilities, right)
    estimates["reliability_calibration_error"] = metrics.Estimate(seen, math.nan, math.nan)
    estimates["reliability_calibration_error_by_chance"] = metrics.calibration_error_by_chance(probabilities, seed)
    note = "" if any(each.result.reliability is not None for each in mine) else NO_JUDGEMENT
    rows = [Measure(name, scope, *estimate, n=len(answers), note=note) for name, estimate in estimates.items()]
    for low, mean, share, n in metrics.reliability_bins(probabilities, right):
        rows += [
            Measure(f"reliability_from_{low:.1f}_mean", scope, mean, n=n),
            Measure(f"reliability_from_{low:.1f}_right", scope, share, n=n),
        ]
    return rows


def _offsets(mine: list[Outcome], scope: str) -> list[Measure]:
    offsets = metrics.offsets_mm(located(mine))
    n = len(offsets)
    return [
        Measure(f"offset_{axis}_{name}_mm", scope, float(value), n=n)
        for axis, column in zip(TOWARDS, offsets.T, strict=True)
        for name, value in (
            ("mean", column.mean() if n else math.nan),
            ("sd", column.std(ddof=1) if n > 1 else math.nan),
        )
    ]


def _confidence(mine: list[Outcome], scope: str, model: Model, seed: int) -> list[Measure]:
    """Correlations of volume with error, and what the regions of each level hold."""
    pairs = located(mine)
    groups = [pair.group for pair in pairs]
    errors = np.array([pair.error_mm for pair in pairs])
    shown = metrics.regions(pairs, model.calibration, model.volume_level)
    volumes = {"calibrated": shown.volume_mm3, "paper": shown.paper_volume_mm3}
    highest = highest_level(model.calibration, [scope] if scope != ALL else model.names)
    held = {  # above what is calibrated only the paper's regions count
        level: metrics.regions(pairs, model.calibration if level <= highest + 1e-9 else {}, level) for level in LEVELS
    }

    def statistic(drawn: np.ndarray) -> metrics.Numbers:
        numbers: metrics.Numbers = {}
        for kind, values in volumes.items():
            statistics = metrics.correlations(values[drawn], errors[drawn])
            numbers |= {f"{name}_{kind}_volume": value for name, value in statistics.items()}
        for level, regions in held.items():
            mine = metrics.Regions(*(column[drawn] for column in regions))
            statistics = metrics.region_statistics(mine, errors[drawn])
            numbers |= {region_measure(name, level): value for name, value in statistics.items()}
        return numbers

    p_values = {
        f"{name}_{kind}_volume": p
        for kind, values in volumes.items()
        for name, p in metrics.correlation_p_values(values, errors).items()
    }
    unknown = tuple(f"_{level * 100:g}" for level in LEVELS if level > highest + 1e-9)
    rows = []
    for name, estimate in metrics.bootstrap(groups, statistic, seed=seed).items():
        if not name.startswith("paper") and name.removesuffix("_mm3").endswith(unknown):
            rows.append(Measure(name, scope, math.nan, n=len(pairs), note=NOT_CALIBRATED))
        else:
            rows.append(Measure(name, scope, *estimate, p=p_values.get(name, math.nan), n=len(pairs)))
    return rows


def verdicts(outcomes: Sequence[Outcome]) -> list[Measure]:
    """How many scans have which verdict, how far off their points are, and how many of the right ones are `ok`."""
    by_case: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_case.setdefault(outcome.case_id, []).append(outcome)
    scans = list(by_case.values())
    rows = []
    for verdict in VERDICTS:
        mine = [scan for scan in scans if scan[0].verdict == verdict]
        errors = metrics.errors_mm(located([outcome for scan in mine for outcome in scan]))
        mean, largest = (errors.mean(), errors.max()) if len(errors) else (math.nan, math.nan)
        rows += [
            Measure(f"verdict_{verdict}_cases", ALL, len(mine), n=len(scans)),
            Measure(f"verdict_{verdict}_error_mean_mm", ALL, float(mean), n=len(errors)),
            Measure(f"verdict_{verdict}_error_largest_mm", ALL, float(largest), n=len(errors)),
        ]
    right = [scan for scan in scans if all(map(_is_right, scan))]
    lacking = [scan for scan in scans if any(each.truth_lps is None for each in scan)]
    for name, some in (("right_scans", right), ("scans_that_lack_a_landmark", lacking)):
        rows.append(Measure(f"verdict_ok_of_{name}", ALL, sum(scan[0].verdict == "ok" for scan in some), n=len(some)))
    return rows


def _is_right(outcome: Outcome) -> bool:
    return outcome.truth_lps is not None and outcome.error_mm is not None and outcome.error_mm <= RIGHT_SCAN_MM
