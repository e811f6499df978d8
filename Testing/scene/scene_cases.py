"""Small made-up scans and detections for the tests of the scene; sizes and places are exact, nothing is realistic."""

from __future__ import annotations

import numpy as np
from CarotidLandmarkLib.detection import ConfidenceRegion, Detection, LandmarkResult, ModelInfo, Quality, VolumeInfo
from CarotidLandmarkLib.volume import Volume

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
LEFT_LPS, RIGHT_LPS = (27.0, -11.0, 6.5), (-25.0, -9.0, 2.0)


def neck_volume(spacing_mm: float = 1.25, name: str = "neck") -> Volume:
    """A 120 mm block: soft tissue, a spine, and two contrast-filled Ys that fork at `LEFT_LPS` and `RIGHT_LPS`."""
    n = round(120 / spacing_mm)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -spacing_mm * (n - 1) / 2
    axis = affine[0, 3] + spacing_mm * np.arange(n)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    hu = np.where(np.hypot(x, y) < 56, 45.0, -1000.0)
    hu[np.hypot(x, y - 25) < 13] = 600.0
    for fx, fy, fz in (LEFT_LPS, RIGHT_LPS):
        above = np.maximum(z - fz, 0.0)
        for side in (-1.0, 1.0):
            centre_y = fy + side * np.minimum(3.0, 0.3 + 0.25 * above) * (above > 0)
            hu[(np.hypot(x - fx, y - centre_y) < np.where(above > 0, 2.4, 3.4)) & (np.abs(z) < 55)] = 350.0
    return Volume(hu.astype(np.int16), affine, name)


def region(scale: float = 1.0, level: float = 0.9) -> ConfidenceRegion:
    """An ellipsoid with semi-axes 6, 4, 2.5 mm (times ``scale``), turned about two axes."""
    a, b = np.deg2rad(35), np.deg2rad(20)
    turn = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]]
    )
    semi = (6.0 * scale, 4.0 * scale, 2.5 * scale)
    return ConfidenceRegion(
        level, float(4 / 3 * np.pi * np.prod(semi)), 99.0, semi, tuple(tuple(row) for row in turn.tolist())
    )


def landmark(name: str, position: tuple[float, float, float] | None, scale: float = 1.0) -> LandmarkResult:
    """A detected landmark at ``position`` (LPS mm), or a missing one (None)."""
    if position is None:
        return LandmarkResult(name, "missing", 0.03)
    covariance = ((2.0, 0.3, 0.0), (0.3, 1.5, 0.1), (0.0, 0.1, 3.0))
    return LandmarkResult(name, "detected", 0.97, position, (1.4, 1.2, 1.7), covariance, region(scale))


def make_detection(
    left: tuple[float, float, float] | None = LEFT_LPS,
    right: tuple[float, float, float] | None = RIGHT_LPS,
    quality: Quality | None = None,
    scale: float = 1.0,
) -> Detection:
    """What a detector could have said about `neck_volume`."""
    return Detection(
        volume=VolumeInfo("neck.nrrd", (96, 96, 96), (1.25, 1.25, 1.25), "LPS"),
        model=ModelInfo("made-up", "1.0", "0" * 64),
        passes=50,
        seed=0,
        device="cpu",
        timing_s={"total": 1.0},
        landmarks=(landmark(LEFT, left, scale), landmark(RIGHT, right, scale)),
        quality=quality or Quality("ok"),
    )
