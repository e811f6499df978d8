"""A model's judgement of its own answers, fitted on what it did with scans that no training saw; the nets stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from CarotidLandmarkLib.dataset import Case, Dataset, DatasetError
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import LandmarkSpec, Point
from CarotidLandmarkLib.uncertainty import RELIABLE_MM, Judgement, expit
from CarotidLandmarkLib.volume import VolumeError
from CarotidLandmarkLib.work import Step
from scipy.optimize import minimize
from scipy.special import log_expit

from ..evaluation.metrics import roc_area

# Noise passes: their spread and mean peak hardly depend on how many there are.
PASSES = 8
# Penalty of the squared weights of standardised evidence, and parts of the cross-validation that measures the fit.
RIDGE, FOLDS = 3.0, 5
# Fewer landmarks that are absent, or wrongly placed, teach nothing.
FEWEST = 5


@dataclass(frozen=True)
class Answers:
    """What a model did on N landmarks.

    evidence: [N, F] (`nets.evidence_of`); off_lps: [N, 3] mm, found minus true place, NaN where the landmark is absent;
    scans: [N], which scan each is of.
    """

    evidence: np.ndarray
    off_lps: np.ndarray
    scans: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """[N] bool."""
        return ~np.isnan(self.off_lps).any(axis=1)

    @property
    def right(self) -> np.ndarray:
        """[N] bool: within `RELIABLE_MM` of a landmark that is there."""
        return np.linalg.norm(self.off_lps, axis=1) <= RELIABLE_MM  # NaN is not

    def some(self, rows: np.ndarray) -> Answers:
        """Those of the ``rows``."""
        return Answers(self.evidence[rows], self.off_lps[rows], self.scans[rows])


def answers_on(detector: Detector, datasets: Sequence[Dataset], step: Step) -> Answers:
    """What the model does on the validation cases of all datasets. Raises DatasetError."""
    cases = [case for dataset in datasets for case in dataset.annotated_cases("validation")]
    evidence, off, scans = [], [], []
    for number, case in enumerate(cases):
        step(case.id, number / len(cases))
        try:
            examination = detector.examine(case.read_volume(), DetectionSettings(passes=PASSES))
        except VolumeError as error:
            raise DatasetError(f"Case {case.id} can not be used: {error}") from error
        truth = _truth(detector.architecture.landmarks, case)
        evidence.append(examination.evidence)
        off.append(examination.positions_lps.mean(axis=1) - np.array([point or (np.nan,) * 3 for point in truth]))
        scans.append(np.full(len(truth), number))
    return Answers(*(np.concatenate(rows) for rows in (evidence, off, scans)))


def check_enough(landmarks: Sequence[LandmarkSpec], datasets: Sequence[Dataset]) -> None:
    """Raises UserError where so few landmarks are absent, or there, that looking at the scans would be in vain."""
    truths = [_truth(landmarks, case) for each in datasets for case in each.annotated_cases("validation")]
    _check(np.array([point is not None for truth in truths for point in truth]), "absent")


def _truth(landmarks: Sequence[LandmarkSpec], case: Case) -> list[Point | None]:
    return list(case.consensus([landmark.name for landmark in landmarks]).values())


def _check(label: np.ndarray, otherwise: str) -> None:
    if min(label.sum(), (~label).sum()) < FEWEST:
        raise UserError(
            f"A judgement needs {FEWEST} landmarks that are {otherwise} and {FEWEST} others, and has "
            f"{(~label).sum()} and {label.sum()}; add cases."
        )


def fit(answers: Answers, usual: Answers) -> Judgement:
    """Both logistic models, with a ridge.

    ``usual``: of scans as they come, which say how often a landmark is there and an answer right: those of ``answers``
    may be chosen for what they lack. Raises UserError where too few answers are absent, or wrong.
    """
    _check(answers.present, "absent")
    _check(answers.right, "wrong or absent")
    return _fit_both(answers, usual)


def _fit_both(answers: Answers, usual: Answers) -> Judgement:
    presence = _logistic(answers.evidence, answers.present, usual.present)
    return Judgement(presence, _logistic(answers.evidence, answers.right, usual.right))


def _logistic(evidence: np.ndarray, label: np.ndarray, usual: np.ndarray) -> tuple[float, ...]:
    """Weights, the constant last, of the log-odds of ``label`` [N] given evidence [N, F], were it as frequent as in
    ``usual`` [M] (King and Zeng, 2001)."""
    often, here = ((some.sum() + 1) / (len(some) + 2) for some in (usual, label))
    counts = np.where(label, often / here, (1 - often) / (1 - here))
    middle, spread = evidence.mean(axis=0), evidence.std(axis=0).clip(min=1e-6)
    x = np.column_stack([(evidence - middle) / spread, np.ones(len(label))])
    penalty = np.append(np.full(x.shape[1] - 1, RIDGE), 0.0)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = x @ w
        likelihood = (counts * np.where(label, log_expit(odds), log_expit(-odds))).sum()
        return float(penalty @ w**2 / 2 - likelihood), x.T @ (counts * (expit(odds) - label)) + penalty * w

    w = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    weights = w[:-1] / spread
    return (*weights.tolist(), float(w[-1] - weights @ middle))


def cross_validated(answers: Answers, usual: Answers) -> str:
    """How well the two tell in scans that were left out, in words for the model's record."""
    presence, reliability = (np.empty(len(answers.scans)) for _ in range(2))
    for fold in range(FOLDS):
        out = answers.scans % FOLDS == fold
        judgement = _fit_both(answers.some(~out), usual)
        presence[out], reliability[out] = judgement.probabilities(answers.evidence[out])
    areas = [roc_area(scores, labels) for scores, labels in ((presence, answers.present), (reliability, answers.right))]
    return f"areas under the ROC in scans left out: {areas[0]:.3f} (presence), {areas[1]:.3f} (right within 5 mm)"


def judgement_of(answers: Answers, usual: Answers, names: Sequence[str]) -> tuple[Judgement, str]:
    """The judgement, and words on it for the model's record. Raises UserError."""
    wrong = np.abs(answers.off_lps[answers.present & ~answers.right])
    words = (
        f"fitted on the validation cases of {', '.join(names)}: of {len(answers.scans)} landmarks "
        f"{(~answers.present).sum()} absent and {len(wrong)} more than {RELIABLE_MM:g} mm off"
    )
    if len(wrong):
        middle, square = (_along_axes(each) for each in (np.median(wrong, axis=0), np.sqrt((wrong**2).mean(axis=0))))
        words += f" (to the left, back and up {middle} mm in the median, {square} as root mean squares)"
    words += "; "
    return fit(answers, usual), words + cross_validated(answers, usual)


def _along_axes(mm: np.ndarray) -> str:
    left, back, up = mm
    return f"{left:.0f}, {back:.0f} and {up:.0f}"
