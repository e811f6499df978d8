"""Small made-up scans and detections for the tests of the report; sizes and places are exact, nothing is realistic."""

from __future__ import annotations

import numpy as np
from CarotidLandmarkLib.detection import ConfidenceRegion, Detection, LandmarkResult, ModelInfo, Quality
from CarotidLandmarkLib.volume import Volume

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
CENTRE = (10.0, -20.0, 30.0)


def volume(
    balls_lps: list[tuple[float, float, float]] = (), oblique_degrees: float = 0.0, flip: bool = False
) -> Volume:
    """Soft tissue, 96 mm wide around CENTRE, with balls of bone of 6 mm radius; stored LPS, RAS or rotated about z."""
    angle = np.radians(oblique_degrees)
    axes = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if flip:
        axes = axes @ np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = axes * 1.5
    affine[:3, 3] = np.array(CENTRE) - affine[:3, :3] @ [31.5, 31.5, 31.5]
    k, j, i = np.mgrid[0:64, 0:64, 0:64]
    points = np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3]
    array = np.full(k.shape, 40, np.int16)
    for ball in balls_lps:
        array[np.linalg.norm(points - ball, axis=-1) < 6] = 1500
    return Volume(array, affine, "scan.nrrd")


def region(semi_axes=(6.0, 4.0, 2.0), axes=((1, 0, 0), (0, 1, 0), (0, 0, 1))) -> ConfidenceRegion:
    return ConfidenceRegion(0.9, 201.0, 20.0, tuple(semi_axes), tuple(map(tuple, np.asarray(axes, float).tolist())))


def detection(scan: Volume, right: LandmarkResult | None = None) -> Detection:
    left = LandmarkResult(LEFT, "detected", 0.97, CENTRE, (0.5, 0.6, 0.7), tuple(map(tuple, np.eye(3))), region())
    return Detection(
        volume=scan.info,
        model=ModelInfo("first", "0.1.0", "ab" * 32),
        passes=50,
        seed=3,
        device="cpu",
        timing_s={"load": 1.0, "total": 4.0},
        landmarks=(left, right or LandmarkResult(RIGHT, "missing", 0.21)),
        quality=Quality("review", ("R bifurcation: not found.",)),
    )
