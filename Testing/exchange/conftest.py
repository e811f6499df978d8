"""A dataset of two cases in different places, the command line in this process, and a home that is not the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.volume import Volume, from_array

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"


def block(origin: tuple[float, float, float], seed: int = 3) -> Volume:
    """A scan of 40 x 32 x 32 random voxels of 4 mm, with its first voxel at ``origin``."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = origin
    return from_array(np.random.default_rng(seed).integers(-1024, 1500, (32, 32, 40)).astype(np.int16), affine)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Case ``c1`` around x = 0 (and far back, so that RAS is not LPS), case ``c2`` a metre higher."""
    made = Dataset.create(tmp_path / "set", (LEFT, RIGHT))
    made.add_case(block((-80, 20, 0)), "c1", group="p1")
    made.add_case(block((-80, 20, 1000), seed=4), "c2", group="p2")
    return made
