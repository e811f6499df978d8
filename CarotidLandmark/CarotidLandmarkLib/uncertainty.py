"""From noise passes to a mean, a covariance and a calibrated confidence region; and how likely an answer is right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .detection import ConfidenceRegion, check_confidence, percent
from .errors import UserError

# Added to every covariance: no answer is more certain than a tenth of a millimetre, and no ellipsoid is flat.
FLOOR_MM = 0.1
# Of two places that the search looked at, the log-odds of the better one per unit of its peak's lead. Fitted on 288
# pairs of a right and a wrong place on 42 unseen necks; in 2 % of them the wrong one's peak was higher.
PEAK_ODDS = 2.0
# An answer is right within so many millimetres of a landmark that is in the scan.
RELIABLE_MM = 5.0
# How far answers that are not right are off to the left, back and up: mostly along the vessels. Between the medians
# (2, 3 and 14 mm) and root mean squares (10, 8 and 27) of 27 in 145 digital necks (docs/training/from-nothing.md).
WRONG_MM = (5.0, 5.0, 15.0)


def draw_noise(landmarks: int, passes: int, noise_mm: float, seed: int) -> np.ndarray:
    """Crop-centre shifts, uniform in [-noise_mm, noise_mm] per axis: [landmarks, passes, 3] float32 mm (LPS)."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-noise_mm, noise_mm, size=(landmarks, passes, 3)).astype(np.float32)


def place_shares(peaks: np.ndarray) -> np.ndarray:
    """The odds of each place that the search looked at, by the peak of its heatmap [K], as shares of one: [K]."""
    odds = np.exp(PEAK_ODDS * (np.asarray(peaks, dtype=float) - np.max(peaks)))
    return odds / odds.sum()


def total_covariance(
    samples_lps: np.ndarray, within_mm2: np.ndarray, places_lps: np.ndarray, peaks: np.ndarray
) -> np.ndarray:
    """What is known of one landmark's error, in mm^2: [3, 3].

    By the law of total covariance: the spread of the passes' answers (samples_lps [P, 3]) plus the mean spread of their
    own heatmaps (within_mm2 [P, 3, 3]). Noise at the last scale can not see a search that took the wrong place, so the
    places that it looked at (places_lps [K, 3]) join by their shares around the one it took, of the highest of
    ``peaks`` [K].
    """
    between = np.cov(samples_lps, rowvar=False) if len(samples_lps) > 1 else np.zeros((3, 3))
    apart = np.asarray(places_lps, dtype=float) - places_lps[int(np.argmax(peaks))]
    elsewhere = np.einsum("k,kx,ky->xy", place_shares(peaks), apart, apart)
    return between + within_mm2.mean(axis=0) + elsewhere + FLOOR_MM**2 * np.eye(3)


def doubtful_covariance(of_a_right_answer_mm2: np.ndarray, reliability: float) -> np.ndarray:
    """The covariance [3, 3] of an answer that is right with a probability of ``reliability``, and else anywhere.

    By the law of total covariance: noise passes and looks of the search agree on many a wrong place.
    """
    return reliability * of_a_right_answer_mm2 + (1 - reliability) * np.diag(np.square(WRONG_MM))


def gaussian_radius(level: float) -> float:
    """Mahalanobis radius that holds ``level`` of a 3-D Gaussian (the chi distribution with 3 degrees of freedom)."""
    check_confidence(level)
    low, high = 0.0, 10.0
    for _ in range(60):
        radius = (low + high) / 2
        inside = math.erf(radius / math.sqrt(2)) - math.sqrt(2 / math.pi) * radius * math.exp(-(radius**2) / 2)
        low, high = (radius, high) if inside < level else (low, radius)
    return radius


def mahalanobis(error_lps: np.ndarray, covariance_mm2: np.ndarray) -> float:
    """Length of an error [3] in units of the covariance [3, 3]: the conformal score."""
    return float(np.sqrt(error_lps @ np.linalg.solve(covariance_mm2, error_lps)))


def fewest_for(level: float) -> int:
    """How many patients a region at ``level`` must be calibrated on: with fewer no finite radius is valid."""
    check_confidence(level)
    return math.ceil(1 / (1 - level) - 1e-9) - 1  # guards 1 / (1 - 0.9) = 10.000000000000002 and its like


def conformal_factor(scores: Sequence[tuple[str, float]], level: float) -> float:
    """Mahalanobis radius that covers ``level`` of new patients' points, by split conformal prediction (Vovk; Lei 2018).

    ``scores``: patient and score. Of n patients, however many points each has, the smallest score that (n + 1) level of
    them have beneath, a patient's points counting one together (Lee, Barber, Willett 2023, arXiv 2306.06342). Raises
    ValueError when n < `fewest_for`.
    """
    points = Counter(patient for patient, _score in scores)
    n, needed = len(points), fewest_for(level)
    if n < needed:
        raise ValueError(f"{n} calibration patients are too few for a {percent(level)}% region; {needed} are needed.")
    ranked = sorted((score, 1 / points[patient]) for patient, score in scores)
    beneath = np.cumsum([share for _score, share in ranked])
    return float(ranked[int(np.searchsorted(beneath, (n + 1) * level - 1e-9))][0])


def calibrate(scores: Mapping[str, Sequence[tuple[str, float]]], levels: Sequence[float]) -> dict[str, Any]:
    """A bundle's calibration: level -> landmark -> {factor, n}. Levels that need more than the n patients are left out.

    ``scores``: by landmark, as `conformal_factor` takes them.
    """
    table: dict[str, Any] = {}
    for level in levels:
        try:
            table[f"{level:g}"] = {
                name: {"factor": conformal_factor(values, level), "n": len({patient for patient, _score in values})}
                for name, values in scores.items()
            }
        except ValueError:
            continue
    return table


def check_level(calibration: Mapping[str, Any], landmarks: Iterable[str], level: float) -> None:
    """Raises UserError where a model with this calibration has no region at ``level`` for one of the landmarks."""
    for landmark in landmarks:
        calibrated_radius(calibration, landmark, level)


def highest_level(calibration: Mapping[str, Any], landmarks: Iterable[str]) -> float:
    """The highest level at which every landmark has a region; 1 without any calibration (a Gaussian knows no limit)."""
    return min(max((float(level) for level, row in calibration.items() if n in row), default=1.0) for n in landmarks)


def calibrated_radius(calibration: Mapping[str, Any], landmark: str, level: float) -> float:
    """Mahalanobis radius for a level: the bundle's factor, interpolated over the Gaussian radius between levels.

    Above the highest calibrated level a model has no claim: raises UserError. Without any calibration: the Gaussian's.
    """
    gaussian = gaussian_radius(level)
    known = {float(text): row[landmark]["factor"] for text, row in calibration.items() if landmark in row}
    if not known:
        return gaussian
    if level > max(known) + 1e-9:
        raise UserError(
            f"This model's regions are calibrated up to {percent(max(known))}%; ask for a lower level than {level:.4g}."
        )
    levels = sorted(known)
    # Straight lines from (0, 0) through the calibrated points: a higher level never has a smaller region.
    radii = [0.0, *(gaussian_radius(each) for each in levels)]
    return float(np.interp(gaussian, radii, [0.0, *(known[each] for each in levels)]))


def confidence_region(
    covariance_mm2: np.ndarray, std_mm: np.ndarray, landmark: str, level: float, calibration: Mapping[str, Any]
) -> ConfidenceRegion:
    """The calibrated ellipsoid of one landmark: total covariance [3, 3]; sd of the passes [3] for the paper's."""
    radius = calibrated_radius(calibration, landmark, level)
    values, vectors = np.linalg.eigh(np.asarray(covariance_mm2, dtype=float))
    order = np.argsort(values)[::-1]
    semi_axes = radius * np.sqrt(np.clip(values[order], 0, None))
    axes = vectors[:, order].T
    if np.linalg.det(axes) < 0:
        axes[2] = -axes[2]
    sphere = 4 / 3 * math.pi
    return ConfidenceRegion(
        level=level,
        volume_mm3=float(sphere * np.prod(semi_axes)),
        paper_volume_mm3=float(sphere * np.prod(gaussian_radius(level) * np.asarray(std_mm))),
        semi_axes_mm=tuple(float(v) for v in semi_axes),  # type: ignore[arg-type]
        axes_lps=tuple(tuple(float(v) for v in axis) for axis in axes),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Judgement:
    """Weights of the log-odds of presence and of a right answer: one for each number of the evidence, one for all.

    A net's presence head is at home in the tissue that it was trained in; what `nets.evidence_of` collects means the
    same in any tissue. Two logistic models of it are fitted on right and wrong answers (``carotid-train export
    --judge``).
    """

    presence: tuple[float, ...]
    reliability: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raises ValueError where the two do not weigh the same evidence."""
        if len(self.presence) != len(self.reliability) or len(self.presence) < 2:
            raise ValueError("presence and reliability do not weigh the same evidence")

    def probabilities(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of presence and of a right answer, [L] each, from evidence [L, F]. Raises ValueError on another F.

        A point can only be right where there is a landmark: presence is never the less likely of the two.
        """
        rows = np.column_stack([evidence, np.ones(len(evidence))])
        presence, reliability = (expit(rows @ np.array(weights)) for weights in (self.presence, self.reliability))
        return np.maximum(presence, reliability), reliability


def expit(log_odds: np.ndarray) -> np.ndarray:
    """The probability of log-odds, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * log_odds))
