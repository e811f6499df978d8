"""A detector run over annotated cases: what evaluation and calibration both start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from CarotidLandmarkLib.dataset import Case, Dataset, DatasetError
from CarotidLandmarkLib.dataset.agreement import consensus
from CarotidLandmarkLib.detection import Detection, LandmarkResult
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import Point
from CarotidLandmarkLib.uncertainty import mahalanobis
from CarotidLandmarkLib.volume import VolumeError


@dataclass(frozen=True)
class Outcome:
    """One landmark of one case: truth (LPS mm, None where absent) beside what was found.

    ``group`` is the patient; ``centre_lps`` the middle of the scan, LPS millimetres.
    """

    case_id: str
    group: str
    centre_lps: Point
    landmark: str
    truth_lps: Point | None
    found: LandmarkResult
    verdict: str

    @property
    def offset_mm(self) -> np.ndarray | None:
        """Found minus true place along LPS, [3]; None where either is missing."""
        if self.truth_lps is None or self.found.position_lps_mm is None:
            return None
        return np.subtract(self.found.position_lps_mm, self.truth_lps)

    @property
    def error_mm(self) -> float | None:
        """Distance from the truth; None where either is missing."""
        return None if self.offset_mm is None else float(np.linalg.norm(self.offset_mm))

    @property
    def score(self) -> float | None:
        """The conformal score: the error in units of the predicted covariance."""
        if self.offset_mm is None:
            return None
        return mahalanobis(self.offset_mm, np.asarray(self.found.covariance_mm2))


def run_cases(
    detector: Detector, dataset: Dataset, cases: Sequence[Case], progress: Callable[[str, float], None]
) -> list[Outcome]:
    """The outcomes of all cases, detected with the usual settings; nothing is kept on disk."""
    outcomes = []
    for number, case in enumerate(cases):
        progress(case.id, number / len(cases))
        try:
            outcomes += outcomes_of(dataset, case, detector.detect(case.read_volume()))
        except VolumeError as error:
            raise DatasetError(f"Case {case.id} can not be used: {error}") from error
    return outcomes


def outcomes_of(dataset: Dataset, case: Case, detection: Detection) -> list[Outcome]:
    """Each landmark of a detection beside the annotators' consensus. Raises DatasetError on a damaged annotation."""
    truth = truth_of(dataset, case, [landmark.name for landmark in detection.landmarks])
    centre, verdict = tuple(case.geometry.centre_lps.tolist()), detection.quality.verdict
    return [
        Outcome(case.id, case.group, centre, found.name, truth[found.name], found, verdict)
        for found in detection.landmarks
    ]


def truth_of(dataset: Dataset, case: Case, landmarks: Sequence[str]) -> dict[str, Point | None]:
    """The annotators' consensus on a case, LPS mm; None where absent. Raises DatasetError on a damaged annotation."""
    return consensus([annotation.points for annotation in dataset.annotations(case.id).values()], landmarks)


def located(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those with a truth and a point: the ones that have an error."""
    return [outcome for outcome in outcomes if outcome.error_mm is not None]


def annotated(dataset: Dataset, split: str | None) -> list[Case]:
    """The annotated cases of a split (None: all). Raises ValueError where there is none."""
    cases = [case for case in map(dataset.case, dataset.case_ids()) if case.annotators()]
    cases = [case for case in cases if split is None or case.split == split]
    if not cases:
        raise UserError(f"{dataset.path.name} has no annotated case{f' in the split {split!r}' if split else ''}.")
    return cases
