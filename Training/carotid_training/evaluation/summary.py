"""The numbers of an evaluation in one long table, and that table as CSV, as Markdown, and landmark by landmark."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.uncertainty import RELIABLE_MM

from ..pages import csv_table
from . import metrics
from .metrics import LEVELS, Estimate
from .outcomes import Outcome

ALL = "all"
VERDICTS = ("ok", "review", "reject")
AXES = ("left", "posterior", "superior")
VOLUME_LEVEL = 0.9
RIGHT_SCAN_MM = 2.5  # a scan is right where every point is so near, and none is seen that is not there
NO_JUDGEMENT = "the model does not judge its answers"
NOT_CALIBRATED = "above what is calibrated"
COORDINATES = tuple(f"{axis}_lps_mm" for axis in "xyz")


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


@dataclass(frozen=True)
class Model:
    """What an evaluation needs to know of a model beside its answers."""

    title: str
    landmarks: tuple[LandmarkSpec, ...]
    calibration: Mapping[str, Any]

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
    def volume_level(self) -> float:
        """The level at which volumes are compared with errors: 0.9, or the highest that is calibrated."""
        return min(VOLUME_LEVEL, metrics.highest_level(self.calibration, self.names))


def measure(outcomes: Sequence[Outcome], model: Model, seed: int = 0) -> list[Measure]:
    """Every number of `metrics`, per landmark and together; ``seed`` is that of the bootstrap."""
    rows: list[Measure] = []
    for scope in (*model.names, ALL):
        mine = [outcome for outcome in outcomes if scope in (ALL, outcome.landmark)]
        rows += _errors(mine, scope, seed) + _presence(mine, scope, seed) + _reliability(mine, scope, seed)
        crossed = zip(outcomes, metrics.on_other_side(outcomes, model.mirrors), strict=True)
        others = sum(yes for outcome, yes in crossed if scope in (ALL, outcome.landmark))
        rows.append(Measure("on_other_side", scope, others, n=len(_pairs(mine))))
        rows += _offsets(mine, scope) + _confidence(mine, scope, model, seed)
    rows.append(Measure("swapped_pairs", ALL, metrics.swapped_pairs(outcomes, model.mirrors), n=len(_cases(outcomes))))
    return rows + _verdicts(outcomes)


def lookup(rows: Sequence[Measure]) -> dict[tuple[str, str], Measure]:
    """The rows by measure and landmark."""
    return {(row.measure, row.landmark): row for row in rows}


def summary_csv(rows: Sequence[Measure]) -> str:
    """All numbers as CSV text, one row each; empty cells where a number is not defined."""
    columns = [field.name for field in fields(Measure)]
    return _csv(columns, [[getattr(row, column) for column in columns] for row in rows])


def landmarks_csv(outcomes: Sequence[Outcome], model: Model) -> str:
    """One row per landmark and case as CSV text: truth, answer, error, uncertainty. LPS millimetres."""
    crossed = metrics.on_other_side(outcomes, model.mirrors)
    columns = [
        "case", "group", "landmark", "truth", "status", "presence", "reliability", "verdict", "error_mm",
        "on_other_side",
        *(f"true_{name}" for name in COORDINATES), *(f"found_{name}" for name in COORDINATES),
        *(f"std_{axis}_mm" for axis in "xyz"), "mahalanobis", "volume_level", "volume_mm3", "paper_volume_mm3",
    ]  # fmt: skip
    rows = []
    for outcome, other in zip(outcomes, crossed, strict=True):
        found = outcome.found
        region = metrics.region_of(found, model.calibration, model.volume_level)
        rows.append([
            outcome.case_id, outcome.group, outcome.landmark, "absent" if outcome.truth_lps is None else "present",
            found.status, found.presence, found.reliability, outcome.verdict, outcome.error_mm, int(other),
            *(outcome.truth_lps or [None] * 3), *(found.position_lps_mm or [None] * 3), *(found.std_mm or [None] * 3),
            outcome.score, model.volume_level, region and region.volume_mm3, region and region.paper_volume_mm3,
        ])  # fmt: skip
    return _csv(columns, rows)


def _errors(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    present = [outcome for outcome in mine if outcome.truth_lps is not None]
    errors = metrics.errors_mm(present)
    estimates = metrics.bootstrap(
        [outcome.group for outcome in present], lambda rows: metrics.error_statistics(errors[rows]), seed=seed
    )
    found = int((~np.isnan(errors)).sum())
    return [
        _row(f"error_{name}_mm" if name in ("mean", "sd", "median", "p95") else f"{name}mm", scope, estimate,
             len(errors) if name.startswith("success") else found)
        for name, estimate in estimates.items()
    ]  # fmt: skip


def _presence(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    scores = np.array([outcome.found.presence for outcome in mine])
    present = np.array([outcome.truth_lps is not None for outcome in mine], dtype=bool)
    detected = np.array([outcome.found.status == "detected" for outcome in mine], dtype=bool)
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
        _row("presence_roc_area", scope, area, len(mine), note=note),
    ]


def _reliability(mine: list[Outcome], scope: str, seed: int) -> list[Measure]:
    """Whether the probability that a point is right says the truth, over the points that were given."""
    answers = [each for each in mine if each.found.status == "detected" and each.found.reliability is not None]
    right = np.array([each.error_mm is not None and each.error_mm <= RELIABLE_MM for each in answers], dtype=bool)
    said = np.array([each.found.reliability for each in answers], dtype=float)
    estimates = metrics.bootstrap(
        [each.group for each in answers],
        lambda rows: {
            "reliability_roc_area": metrics.roc_area(said[rows], right[rows]),
            "reliability_calibration_error": metrics.calibration_error(said[rows], right[rows]),
        },
        seed=seed,
    )
    estimates["reliability_calibration_error_by_chance"] = metrics.calibration_error_by_chance(said, seed)
    note = "" if answers else NO_JUDGEMENT
    rows = [_row(name, scope, estimate, len(answers), note=note) for name, estimate in estimates.items()]
    for low, mean, share, n in metrics.reliability_bins(said, right):
        rows += [
            Measure(f"reliability_from_{low:.1f}_mean", scope, mean, n=n),
            Measure(f"reliability_from_{low:.1f}_right", scope, share, n=n),
        ]
    return rows


def _offsets(mine: list[Outcome], scope: str) -> list[Measure]:
    offsets = metrics.offsets_mm(_pairs(mine))
    n = len(offsets)
    return [
        Measure(f"offset_{axis}_{name}_mm", scope, float(value), n=n)
        for axis, column in zip(AXES, offsets.T, strict=True)
        for name, value in (
            ("mean", column.mean() if n else math.nan),
            ("sd", column.std(ddof=1) if n > 1 else math.nan),
        )
    ]


def _confidence(mine: list[Outcome], scope: str, model: Model, seed: int) -> list[Measure]:
    """Correlations of volume with error, and what the regions of each level hold."""
    pairs = _pairs(mine)
    groups = [pair.group for pair in pairs]
    errors = np.array([pair.error_mm for pair in pairs])
    shown = metrics.regions(pairs, model.calibration, model.volume_level)
    volumes = {"calibrated": shown.volume_mm3, "paper": shown.paper_volume_mm3}
    highest = metrics.highest_level(model.calibration, [scope] if scope != ALL else model.names)
    held = {  # above what is calibrated only the paper's regions count
        level: metrics.regions(pairs, model.calibration if level <= highest + 1e-9 else {}, level) for level in LEVELS
    }

    def statistic(drawn: np.ndarray) -> metrics.Numbers:
        numbers: metrics.Numbers = {}
        for kind, values in volumes.items():
            found = metrics.correlations(values[drawn], errors[drawn])
            numbers |= {f"{name}_{kind}_volume": value for name, value in found.items()}
        for level, regions in held.items():
            mine = metrics.Regions(*(column[drawn] for column in regions))
            found = metrics.region_statistics(mine, errors[drawn])
            numbers |= {
                f"{name}_{level * 100:g}{'' if name.endswith('coverage') else '_mm3'}": found[name] for name in found
            }
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
            rows.append(_row(name, scope, estimate, len(pairs), p=p_values.get(name, math.nan)))
    return rows


def _verdicts(outcomes: Sequence[Outcome]) -> list[Measure]:
    counts = Counter({outcome.case_id: outcome.verdict for outcome in outcomes}.values())
    rows = []
    for verdict in VERDICTS:
        mine = [outcome.error_mm for outcome in outcomes if outcome.verdict == verdict]
        errors = [error for error in mine if error is not None]
        rows += [
            Measure(f"verdict_{verdict}_cases", ALL, counts[verdict], n=len(_cases(outcomes))),
            Measure(f"verdict_{verdict}_error_mean_mm", ALL, float(np.mean(errors)) if errors else math.nan,
                    n=len(errors)),
            Measure(f"verdict_{verdict}_error_largest_mm", ALL, max(errors, default=math.nan), n=len(errors)),
        ]  # fmt: skip
    scans: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        scans.setdefault(outcome.case_id, []).append(outcome)
    right = [scan for scan in scans.values() if all(map(_is_right, scan))]
    lacking = [scan for scan in scans.values() if any(each.truth_lps is None for each in scan)]
    for name, some in (("right_scans", right), ("scans_that_lack_a_landmark", lacking)):
        rows.append(Measure(f"verdict_ok_of_{name}", ALL, sum(scan[0].verdict == "ok" for scan in some), n=len(some)))
    return rows


def _is_right(outcome: Outcome) -> bool:
    return outcome.truth_lps is not None and outcome.error_mm is not None and outcome.error_mm <= RIGHT_SCAN_MM


def _row(name: str, scope: str, estimate: Estimate, n: int, p: float = math.nan, note: str = "") -> Measure:
    return Measure(name, scope, *estimate, p=p, n=n, note=note)


def _pairs(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.error_mm is not None]


def _cases(outcomes: Sequence[Outcome]) -> set[str]:
    return {outcome.case_id for outcome in outcomes}


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return csv_table(columns, ([_cell(value) for value in row] for row in rows))


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and not math.isnan(value) else value
