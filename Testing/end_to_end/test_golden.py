"""The shipped model says of the bundled scan what it said when it was released: a change of code changes no answer.

After another model or sample scan, write the stored answer again, and look at its difference:

    python Testing/end_to_end/test_golden.py
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from CarotidLandmarkLib import detector
from CarotidLandmarkLib.bundle import default_bundle, resources_directory
from CarotidLandmarkLib.detection import Detection, DetectionSettings, LandmarkResult
from CarotidLandmarkLib.volume import read_volume

STORED = Path(__file__).parent / "golden" / "detection.json"
TOLERANCE_MM = 1e-3
PASSES = 6


def detect() -> Detection:
    """In float32 on the CPU, whatever this machine would take, without the times that it took."""
    scan = read_volume(min((resources_directory() / "SampleData").glob("*.nrrd")))
    with mock.patch.object(detector, "bfloat16_is_fast", lambda device: False):
        return replace(
            detector.Detector(default_bundle(), "cpu").detect(scan, DetectionSettings(passes=PASSES)), timing_s={}
        )


def lengths_mm(landmark: LandmarkResult) -> list[float]:
    assert landmark.position_lps_mm and landmark.std_mm and landmark.confidence
    return [*landmark.position_lps_mm, *landmark.std_mm, *landmark.confidence.semi_axes_mm]


def test_the_bundled_scan_gets_the_answer_that_is_stored():
    stored, now = Detection.from_json(STORED.read_text(encoding="utf-8")), detect()
    assert (now.volume, now.model, now.quality) == (stored.volume, stored.model, stored.quality)
    for before, after in zip(stored.landmarks, now.landmarks, strict=True):
        assert (after.name, after.status) == (before.name, before.status)
        assert math.isclose(after.presence, before.presence, abs_tol=1e-3)
        assert lengths_mm(after) == pytest.approx(lengths_mm(before), abs=TOLERANCE_MM)


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(detect().to_json(), encoding="utf-8")
    print(STORED)
