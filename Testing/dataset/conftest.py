"""A dataset with one annotated case, and a home for this user that is not the real one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # points.py

import pytest
from CarotidLandmarkLib.dataset import Dataset
from points import ACCEPTED, NAMES, POINTS


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    """Where this user's image locations are kept: not in the real home."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path, case_volume) -> Dataset:
    """A dataset with one annotated case, ``c1``."""
    made = Dataset.create(tmp_path / "set", NAMES)
    made.add_case(case_volume, "c1", group="p1", split="train")
    made.save_annotation("c1", "anna", POINTS, ACCEPTED)
    return made
