"""A cohort on disk that a net can learn in seconds: a bright ball at the left landmark, a dark one at the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from carotid_training.cohorts.synthesize import LANDMARKS
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.volume import Volume

SIDE, SPACING_MM = 32, 2.0
PLACES = np.array([[9.0, -3.0, 2.0], [-8.0, 2.0, -4.0]])


def scan_of_balls(points: np.ndarray, sd_mm: float = 3.0) -> Volume:
    """A cylinder of 400 HU in air, its middle at the origin; balls of 900 and of -100 HU at points [2, 3], LPS mm."""
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    places = np.stack([x, y, z], axis=-1)
    array = np.where(x**2 + y**2 < 31**2, 400.0, -1000.0)
    for hu, point in zip((500, -500), points, strict=True):
        array += hu * np.exp(-0.5 * ((places - point) ** 2).sum(-1) / sd_mm**2)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = axis[0]
    return Volume(array.round().astype(np.int16), affine, "balls")


def write_cohort(folder: Path, counts: dict[str, int], seed: int = 0, reach_mm: float = 4.0) -> Dataset:
    """A dataset with so many scans per split; the balls are up to ``reach_mm`` off their usual places per axis."""
    draw = np.random.default_rng(seed)
    dataset = Dataset.create(folder, LANDMARKS)
    for split, count in counts.items():
        for number in range(count):
            points = PLACES + draw.uniform(-reach_mm, reach_mm, (2, 3))
            case = dataset.add_case(
                scan_of_balls(points), case_id=f"{split}-{number}", group=f"{split}-{number}", split=split
            )
            places = dict(zip(LANDMARKS, map(tuple, points.tolist()), strict=True))
            dataset.save_annotation(case, "truth", places, dict.fromkeys(LANDMARKS, "accepted"))
    return dataset
