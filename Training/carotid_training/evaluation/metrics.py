"""What an evaluation measures: every number with its exact definition. Pure functions of arrays or Outcomes.

An error is the Euclidean distance in mm between the detector's point and the annotators'. In an array of errors NaN
stands for a landmark that is in the scan but was called missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from CarotidLandmarkLib.detection import ConfidenceRegion, LandmarkResult
from CarotidLandmarkLib.uncertainty import calibrated_radius, confidence_region, gaussian_radius, mahalanobis
from scipy import stats

from .outcomes import Outcome

TOLERANCES_MM = (2.0, 2.5, 3.0, 4.0, 10.0)
LEVELS = (0.5, 0.8, 0.9, 0.95)
BINS = 10
RESAMPLES = 2000
UNDEFINED = "–"
INTERVAL = (2.5, 97.5)  # percentiles: a 95 % interval
SHARES = ("success", "coverage", "paper_coverage")  # numbers whose names begin so are shares, 0 to 1

Numbers = dict[str, float]


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def words(self, digits: int = 2, scale: float = 1, unit: str = "", sign: str = "") -> str:
        """``1.23 mm (1.10 to 1.35)`` of the scaled numbers; a dash for NaN, no brackets where there is no interval."""
        if math.isnan(self.value):
            return UNDEFINED
        value, low, high = (f"{scale * number:{sign}.{digits}f}" for number in self)
        return f"{value}{unit}" + ("" if math.isnan(self.low) else f" ({low} to {high})")


class Regions(NamedTuple):
    """Confidence regions of one level around n points: whether each holds the truth [n], its volume in mm^3 [n].

    ``paper_`` is the region of Ma et al. (ISBI 2020): a Gaussian with the passes' per-axis sd, not calibrated.
    """

    covered: np.ndarray
    volume_mm3: np.ndarray
    paper_covered: np.ndarray
    paper_volume_mm3: np.ndarray


def errors_mm(outcomes: Sequence[Outcome]) -> np.ndarray:
    """Errors of the landmarks that are in their scans [n], NaN where called missing. Absent landmarks are left out."""
    errors = [outcome.error_mm for outcome in outcomes if outcome.truth_lps is not None]
    return np.array([math.nan if error is None else error for error in errors], dtype=float)


def error_statistics(errors: np.ndarray) -> Numbers:
    """Errors [n] in mm, NaN where missed: mean, sd (n - 1), median, 95th percentile (linear), and success rates.

    The first four are over the landmarks that were found. ``success_T`` is the share of all n with an error of at most
    T mm: a missed landmark is a failure. NaN where there is nothing to average.
    """
    finite = errors[~np.isnan(errors)]
    middle = np.percentile(finite, (50, 95)) if len(finite) else (math.nan, math.nan)
    return {
        "mean": _mean(finite),
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else math.nan,
        "median": float(middle[0]),
        "p95": float(middle[1]),
        **{f"success_{limit:g}": _mean(errors <= limit) for limit in TOLERANCES_MM},
    }


def bootstrap(
    groups: Sequence[str],
    statistic: Callable[[np.ndarray], Numbers],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """``statistic`` of all rows, with 95 % percentile intervals of a bootstrap that resamples patients.

    ``groups`` [n] names the patient of each row. ``statistic`` gets row indices and returns named numbers. Each
    resample draws as many patients as there are, with replacement, and takes all rows of each: the landmarks of one
    patient are not independent (cluster bootstrap; Field and Welsh, J R Stat Soc B 2007). Resamples in which a number
    is NaN are left out of its interval; one patient alone has no interval (NaN). A share of 0 or 1 is the same in every
    resample: its interval is the exact one of so many patients (Clopper and Pearson, Biometrika 1934).
    """
    values = statistic(np.arange(len(groups)))
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    rows = [np.array(members[group]) for group in sorted(members)]
    if len(rows) < 2:
        return {name: Estimate(value, math.nan, math.nan) for name, value in values.items()}
    generator = np.random.default_rng(seed)
    drawn = [
        list(statistic(np.concatenate([rows[n] for n in generator.integers(len(rows), size=len(rows))])).values())
        for _ in range(resamples)
    ]
    estimates = {}
    for (name, value), column in zip(values.items(), np.array(drawn, dtype=float).T, strict=True):
        defined = column[~np.isnan(column)]
        usable = len(defined) and not math.isnan(value)
        low, high = np.percentile(defined, INTERVAL) if usable else (math.nan, math.nan)
        if name.startswith(SHARES) and value in (0, 1):
            beyond = (INTERVAL[0] / 100) ** (1 / len(rows))
            low, high = (beyond, 1) if value == 1 else (0, 1 - beyond)
        estimates[name] = Estimate(value, float(low), float(high))
    return estimates


def mean_error(outcomes: Sequence[Outcome], seed: int = 0) -> Estimate:
    """The mean over the landmarks that were found, mm, with its 95 % interval (resampling patients)."""
    errors = errors_mm(outcomes)
    patients = [outcome.group for outcome in outcomes if outcome.truth_lps is not None]
    return bootstrap(patients, lambda rows: {"mean": error_statistics(errors[rows])["mean"]}, seed=seed)["mean"]


def correlations(x: np.ndarray, y: np.ndarray) -> Numbers:
    """Pearson's r and Spearman's rho of two arrays [n], ties by mean ranks; NaN for n < 3 or where one is constant."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"pearson": math.nan, "spearman": math.nan}
    return {"pearson": _pearson(x, y), "spearman": _pearson(stats.rankdata(x), stats.rankdata(y))}


def correlation_p_values(x: np.ndarray, y: np.ndarray) -> Numbers:
    """Two-sided p values of `correlations` as scipy gives them (each row taken as independent); NaN likewise."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"pearson": math.nan, "spearman": math.nan}
    return {"pearson": float(stats.pearsonr(x, y).pvalue), "spearman": float(stats.spearmanr(x, y).pvalue)}


def roc_curve(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates [m] of 'score >= threshold' for every distinct threshold, from (0, 0) to (1, 1).

    ``scores`` [n], ``positive`` [n] bool. Raises ValueError unless both classes are there.
    """
    if positive.all() or not positive.any():
        raise ValueError("A ROC curve needs landmarks that are present and landmarks that are absent.")
    thresholds = np.unique(scores)[::-1]
    called = scores[None] >= thresholds[:, None]
    wrong, right = (np.concatenate([[0.0], called[:, kind].mean(axis=1)]) for kind in (~positive, positive))
    return wrong, right


def roc_area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC: chance that a present landmark scores above an absent one, ties half (Mann-Whitney).

    NaN unless both classes are there.
    """
    present, absent = int(positive.sum()), int((~positive).sum())
    if not present or not absent:
        return math.nan
    ranks = stats.rankdata(scores)
    return float((ranks[positive].sum() - present * (present + 1) / 2) / (present * absent))


def reliability_bins(probabilities: np.ndarray, right: np.ndarray) -> list[tuple[float, float, float, int]]:
    """(lower edge, mean probability, share that is right, answers) of each tenth of the scale that holds answers.

    ``probabilities`` [n] that an answer is right, ``right`` [n] bool.
    """
    tenths = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    mine = [(each, tenths == each) for each in np.unique(tenths)]
    return [(each / BINS, float(probabilities[m].mean()), float(right[m].mean()), int(m.sum())) for each, m in mine]


def calibration_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3, ten bins of one width); NaN without answers."""
    if not len(right):
        return math.nan
    return sum(abs(mean - share) * n for _, mean, share, n in reliability_bins(probabilities, right)) / len(right)


def calibration_error_by_chance(probabilities: np.ndarray, seed: int = 0) -> Estimate:
    """The calibration error that true probabilities would show over as few answers; NaN without answers.

    Of 60 answers, 45 of them nearly certain, 0.08 is what to expect. The mean of resamples that are right as often as
    the probabilities say (consistency resampling; Bröcker and Smith, Weather and Forecasting 22, 2007).
    """
    if not len(probabilities):
        return Estimate(math.nan, math.nan, math.nan)
    drawn = np.random.default_rng(seed).random((RESAMPLES, len(probabilities))) < probabilities
    errors = [calibration_error(probabilities, right) for right in drawn]
    return Estimate(float(np.mean(errors)), *np.percentile(errors, INTERVAL).tolist())


def on_other_side(outcomes: Sequence[Outcome], mirrors: Mapping[str, str]) -> list[bool]:
    """For each outcome, whether its point lies nearer to the true place of its mirror landmark than to its own.

    ``mirrors``: landmark -> its counterpart. False where either truth or the point is missing, and on the midline.
    """
    truth = {(outcome.case_id, outcome.landmark): outcome.truth_lps for outcome in outcomes}

    def crossed(outcome: Outcome) -> bool:
        if mirrors[outcome.landmark] == outcome.landmark:
            return False
        other = truth.get((outcome.case_id, mirrors[outcome.landmark]))
        point = outcome.result.position_lps_mm
        if point is None or outcome.error_mm is None or other is None:
            return False
        return math.dist(point, other) < outcome.error_mm

    return [crossed(outcome) for outcome in outcomes]


def swapped_cases(outcomes: Sequence[Outcome], mirrors: Mapping[str, str]) -> int:
    """In how many cases both points of a mirror pair are on the other side."""
    crossed = zip(outcomes, on_other_side(outcomes, mirrors), strict=True)
    keys = {(outcome.case_id, outcome.landmark) for outcome, yes in crossed if yes}
    return len({case_id for case_id, name in keys if (case_id, mirrors[name]) in keys})


def offsets_mm(pairs: Sequence[Outcome]) -> np.ndarray:
    """Found minus true position along LPS [n, 3] of outcomes that have both."""
    return np.array([pair.offset_mm for pair in pairs], dtype=float).reshape(-1, 3)


def regions(pairs: Sequence[Outcome], calibration: Mapping[str, Any], level: float) -> Regions:
    """The bundle's regions of one level around the points of ``pairs`` (outcomes with a truth and a point).

    A region holds the truth when the error's Mahalanobis length is at most `uncertainty.calibrated_radius`. Raises
    ValueError where ``level`` is above what is calibrated.
    """
    rows = []
    for pair in pairs:
        region, score = region_of(pair.result, calibration, level), pair.score
        assert region is not None and score is not None
        covered = score <= calibrated_radius(calibration, pair.landmark, level)
        rows.append((covered, region.volume_mm3, paper_score(pair) <= gaussian_radius(level), region.paper_volume_mm3))
    columns = [np.array(column) for column in zip(*rows, strict=True)] or [np.zeros(0)] * 4
    return Regions(columns[0].astype(bool), columns[1], columns[2].astype(bool), columns[3])


def region_of(result: LandmarkResult, calibration: Mapping[str, Any], level: float) -> ConfidenceRegion | None:
    """The region of one landmark at a level; None where it is missing. Raises ValueError as `regions`."""
    if result.covariance_mm2 is None:
        return None
    return confidence_region(
        np.asarray(result.covariance_mm2), np.asarray(result.std_mm), result.name, level, calibration
    )


def paper_score(pair: Outcome) -> float:
    """Mahalanobis length of the error under the paper's Gaussian (uncorrelated axes); infinite where an sd is 0."""
    assert pair.offset_mm is not None and pair.result.std_mm is not None
    variance = np.square(pair.result.std_mm)
    if not variance.all():
        return math.inf
    return mahalanobis(pair.offset_mm, np.diag(variance))


def region_statistics(regions: Regions, errors: np.ndarray) -> Numbers:
    """Coverage, mean and median volume (mm^3) of regions around n points with ``errors`` [n].

    ``sphere_volume`` is that of the smallest sphere, the same around every point, that holds as many truths: what the
    model's own idea of each case's uncertainty must beat. NaN for n = 0.
    """
    return {
        "coverage": _mean(regions.covered),
        "volume": _mean(regions.volume_mm3),
        "median_volume": float(np.median(regions.volume_mm3)) if len(errors) else math.nan,
        "sphere_volume": sphere_volume(errors, int(regions.covered.sum())),
        "paper_coverage": _mean(regions.paper_covered),
        "paper_volume": _mean(regions.paper_volume_mm3),
    }


def sphere_volume(errors: np.ndarray, covered: int) -> float:
    """Volume (mm^3) of the smallest sphere whose radius is at least ``covered`` of the errors [n]; NaN for n = 0."""
    if not len(errors):
        return math.nan
    radius = np.sort(errors)[covered - 1] if covered else 0.0
    return float(4 / 3 * math.pi * radius**3)


def binomial_band(n: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the observed coverage of n independent regions lies in 95 % of experiments, for each nominal level [m]."""
    low, high = (stats.binom.ppf(percentile / 100, n, levels) / n for percentile in INTERVAL)
    return low, high


def _mean(values: np.ndarray) -> float:
    return float(values.sum() / len(values)) if len(values) else math.nan


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    # Scaled first: products of volumes of many orders of magnitude neither overflow nor vanish.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1, 1))
