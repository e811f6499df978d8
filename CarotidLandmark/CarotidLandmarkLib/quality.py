"""The verdict on a detection: what a radiologist should check before using the points, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .detection import LandmarkResult, Quality, Verdict
from .landmarks import LandmarkSpec, is_arterial, kind, mirror_pairs
from .uncertainty import place_shares

SURE_PRESENCE = 0.9
SURE_RELIABILITY = 0.9
# Of a region at this level, whatever is asked for: a verdict does not change with what is drawn.
WIDE_SEMI_AXIS_MM, WIDTH_LEVEL = 6.0, 0.9
# More than one chance in ten that the search should have taken another place, more than 5 mm away.
ELSEWHERE_SHARE = 0.1
OTHER_PLACE_MM = 5.0
# Unenhanced blood and muscle stay below 80 HU, enhanced arteries begin near 150 HU (120 kV).
CONTRAST_HU = 130.0


@dataclass(frozen=True)
class Signals:
    """What the detector knows of one landmark beside its result."""

    elsewhere: float  # share of the odds that lie with places away from the one that was chosen
    longest_mm: float  # the longest semi-axis of the region at `WIDTH_LEVEL`; 0 without a point
    brightest_hu: float  # 90th percentile of HU around the point
    inside: bool  # the point lies inside the scan


def share_elsewhere(places_lps: np.ndarray, peaks: np.ndarray) -> float:
    """The share (`uncertainty.place_shares`) of the places [K, 3] more than `OTHER_PLACE_MM` from the best one."""
    apart = np.linalg.norm(places_lps - places_lps[int(np.argmax(peaks))], axis=1)
    return float(place_shares(peaks)[apart > OTHER_PLACE_MM].sum())


def judge(
    specs: Sequence[LandmarkSpec], landmarks: Sequence[LandmarkResult], signals: Sequence[Signals], constant: bool
) -> Quality:
    """The verdict and its reasons: `reject` where no point can be used, `review` where one should be looked at."""
    if constant:
        return Quality("reject", ("The scan has the same value everywhere: there is nothing to see.",))
    points = {mark.name: mark.position_lps_mm for mark in landmarks if mark.position_lps_mm is not None}
    if not points:
        carotids = all(kind(spec.name) == "carotid_bifurcation" for spec in specs)
        question = "is this a contrast-enhanced scan of the neck" if carotids else "does the scan show where they are"
        return Quality("reject", (f"No landmark was found: {question}?",))
    doubts: list[tuple[str, tuple[str, ...]]] = [
        (f"{spec.label}: {doubt}.", (spec.name,))
        for spec, landmark, signal in zip(specs, landmarks, signals, strict=True)
        for doubt in _doubts(landmark, signal)
    ]
    dark = [
        signal.brightest_hu < CONTRAST_HU and is_arterial(spec.name)
        for spec, signal in zip(specs, signals, strict=True)
        if spec.name in points
    ]
    verdict: Verdict = "reject" if all(dark) else "review" if doubts else "ok"
    labels = {spec.name: spec.label for spec in specs}
    for pair in mirror_pairs(specs):
        if not {pair.left, pair.right} <= points.keys():
            continue
        left, right = points[pair.left], points[pair.right]
        words = f"{labels[pair.left]} and {labels[pair.right]}"
        if left[0] <= right[0]:
            verdict = "reject"
            doubts.append((f"{words}: the left point lies to the right of the right point.", pair))
        distance, (low, high) = math.dist(left, right), pair.usual_distance_mm
        if not low <= distance <= high:
            verdict = "reject" if verdict == "reject" else "review"
            doubts.append((f"{words}: {distance:.1f} mm apart, which is unusual: check both points.", pair))
    return Quality(verdict, tuple(reason for reason, _ in doubts), tuple(tuple(names) for _, names in doubts))


def _doubts(landmark: LandmarkResult, signal: Signals) -> Iterator[str]:
    """What speaks against one result."""
    if landmark.status == "missing":
        yield "not found" if signal.inside else "not found: it seems to lie outside the scan"
        return
    # A model that judges its answers has weighed the region's width and other places against everything else.
    sure = landmark.reliability is not None and landmark.reliability >= SURE_RELIABILITY
    if landmark.presence < SURE_PRESENCE:
        yield "may not be in this scan, check the point"
    elif landmark.reliability is not None and not sure:
        yield f"within 5 mm with a probability of {math.floor(100 * landmark.reliability)}% only, check the point"
    if signal.longest_mm > WIDE_SEMI_AXIS_MM and not sure:
        yield "wide uncertainty, check the point"
    if signal.elsewhere > ELSEWHERE_SHARE and not sure:
        yield "a second place looks alike, check the point"
    if signal.brightest_hu < CONTRAST_HU and is_arterial(landmark.name):
        yield "no contrast agent seen at the point"
