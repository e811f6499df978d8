"""What lies around a detection: the folder that it is started in, and what earlier ones have left."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.job import DetectionFailed, DetectionJob, JobSettings
from CarotidLandmarkLib.job.job import ABANDONED_AFTER_S


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path) -> Path:
    """Other tests may be running detections of their own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def begun(folder: Path) -> DetectionJob:
    """A detection with a model that is not there."""
    return DetectionJob(np.zeros((20, 20, 20), np.int16), np.eye(4), "scan", JobSettings(folder / "no-model"))


def test_modules_in_the_folder_of_the_data_are_not_taken_for_pythons(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("json", "numpy"):
        (data / f"{name}.py").write_text("raise SystemExit('run from the folder of the data')")
    monkeypatch.chdir(data)
    job = begun(tmp_path)
    with pytest.raises(DetectionFailed, match="There is no model bundle"):
        while job.poll() is None:
            time.sleep(0.05)


def test_what_a_crash_has_left_goes_a_day_later_with_the_next_detection(own_temporary_folder, tmp_path):
    """The voxels of the patient lay there for ever."""
    names = ("crashed", "running", "recent", "others")
    folders = [own_temporary_folder / f"carotid-landmark-{name}" for name in names]
    for folder in folders:
        folder.mkdir()
        (folder / ("notes.txt" if folder.name.endswith("others") else "job.json")).write_text("{}")
        (folder / "voxels.npy").write_bytes(b"voxels")
    crashed, running, recent, others = folders
    (running / "out").touch()
    for folder in (crashed, running, others):
        for path in (folder, folder / "job.json", folder / "notes.txt", folder / "voxels.npy"):
            if path.exists():
                os.utime(path, (time.time() - ABANDONED_AFTER_S - 60,) * 2)
    begun(tmp_path).cancel()
    assert sorted(own_temporary_folder.iterdir()) == sorted([running, recent, others])
