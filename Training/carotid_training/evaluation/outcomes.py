"""A detector run over annotated cases: what evaluation and calibration both start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from CarotidLandmarkLib.dataset import Case, DatasetError
from CarotidLandmarkLib.detection import Detection, LandmarkResult
from CarotidLandmarkLib.detector import Detector
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
    result: LandmarkResult
    verdict: str

    @property
    def offset_mm(self) -> np.ndarray | None:
        """Found minus true place along LPS, [3]; None where either is missing."""
        if self.truth_lps is None or self.result.position_lps_mm is None:
            return None
        return np.subtract(self.result.position_lps_mm, self.truth_lps)

    @property
    def error_mm(self) -> float | None:
        """Distance from the truth; None where either is missing."""
        return None if self.offset_mm is None else float(np.linalg.norm(self.offset_mm))

    @property
    def score(self) -> float | None:
        """The conformal score: the error in units of the predicted covariance."""
        if self.offset_mm is None:
            return None
        return mahalanobis(self.offset_mm, np.asarray(self.result.covariance_mm2))


def run_cases(detector: Detector, cases: Sequence[Case], progress: Callable[[str, float], None]) -> list[Outcome]:
    """The outcomes of all cases, detected with the usual settings; nothing is kept on disk."""
    outcomes = []
    for number, case in enumerate(cases):
        progress(case.id, number / len(cases))
        try:
            outcomes += outcomes_of(case, detector.detect(case.read_volume()))
        except VolumeError as error:
            raise DatasetError(f"Case {case.id} can not be used: {error}") from error
    return outcomes


def outcomes_of(case: Case, detection: Detection) -> list[Outcome]:
    """Each landmark of a detection beside the annotators' consensus. Raises DatasetError on a damaged annotation."""
    truth = case.consensus([landmark.name for landmark in detection.landmarks])
    centre, verdict = tuple(case.geometry.centre_lps.tolist()), detection.quality.verdict
    return [
        Outcome(case.id, case.group, centre, result.name, truth[result.name], result, verdict)
        for result in detection.landmarks
    ]


def located(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those with a truth and a point: the ones that have an error."""
    return [outcome for outcome in outcomes if outcome.error_mm is not None]
