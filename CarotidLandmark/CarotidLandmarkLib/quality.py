"""The verdict on a detection: what a radiologist should check before using the points, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .detection import LandmarkResult, Quality, Verdict
from .uncertainty import place_shares

SURE_PRESENCE = 0.9
WIDE_SEMI_AXIS_MM = 6.0
# More than one chance in ten that the search should have taken another place, more than 5 mm away.
ELSEWHERE_SHARE = 0.1
OTHER_PLACE_MM = 5.0
# Unenhanced blood and muscle stay below 80 HU, enhanced arteries begin near 150 HU (120 kV).
CONTRAST_HU = 130.0
# Left to right in METHOD's table of real scans: 38 to 89 mm.
USUAL_DISTANCE_MM = (30.0, 100.0)


@dataclass(frozen=True)
class Signals:
    """What the detector knows of one landmark beside its result."""

    label: str
    elsewhere: float  # share of the odds that lie with places away from the one that was chosen
    brightest_hu: float  # 90th percentile of HU around the point
    inside: bool  # the point lies inside the scan


def share_elsewhere(places_lps: np.ndarray, peaks: np.ndarray) -> float:
    """The share (`uncertainty.place_shares`) of the places [K, 3] more than `OTHER_PLACE_MM` from the best one."""
    apart = np.linalg.norm(places_lps - places_lps[int(np.argmax(peaks))], axis=1)
    return float(place_shares(peaks)[apart > OTHER_PLACE_MM].sum())


def judge(landmarks: Sequence[LandmarkResult], signals: Sequence[Signals], constant: bool) -> Quality:
    """The verdict and its reasons: `reject` where no point can be used, `review` where one should be looked at."""
    if constant:
        return Quality("reject", ("The scan has the same value everywhere: there is nothing to see.",))
    found = [landmark for landmark in landmarks if landmark.status == "detected"]
    if not found:
        return Quality("reject", ("No landmark was found: is this a contrast-enhanced scan of the neck?",))
    reasons: list[str] = []
    unenhanced = 0
    for landmark, signal in zip(landmarks, signals, strict=True):
        if landmark.status == "missing":
            where = "" if signal.inside else ": it seems to lie outside the scan"
            reasons.append(f"{signal.label}: not found{where}.")
            continue
        assert landmark.confidence is not None
        if landmark.presence < SURE_PRESENCE:
            reasons.append(f"{signal.label}: may not be in this scan, check the point.")
        if landmark.confidence.semi_axes_mm[0] > WIDE_SEMI_AXIS_MM:
            reasons.append(f"{signal.label}: wide uncertainty, check the point.")
        if signal.elsewhere > ELSEWHERE_SHARE:
            reasons.append(f"{signal.label}: a second place looks alike, check the point.")
        if signal.brightest_hu < CONTRAST_HU:
            reasons.append(f"{signal.label}: no contrast agent seen at the point.")
            unenhanced += 1
    verdict: Verdict = "review" if reasons else "ok"
    if unenhanced == len(found):
        verdict = "reject"
    pair = {landmark.name.split("_", 1)[0]: landmark.position_lps_mm for landmark in found}
    left, right = pair.get("left"), pair.get("right")
    if left and right:
        if left[0] <= right[0]:
            verdict = "reject"
            reasons.append("The left point lies to the right of the right point.")
        distance = float(np.linalg.norm(np.subtract(left, right)))
        if not USUAL_DISTANCE_MM[0] <= distance <= USUAL_DISTANCE_MM[1]:
            verdict = "reject" if verdict == "reject" else "review"
            reasons.append(f"Left and right are {distance:.0f} mm apart, which is unusual: check both points.")
    return Quality(verdict, tuple(reasons))
