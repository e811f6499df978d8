"""The files of one detection: landmarks.mrk.json, detection.json, report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..detection import Detection, LandmarkResult
from ..files import write_text
from ..landmarks import Point
from ..markups import write_markups
from ..volume import Volume
from .page import write_report

MARKUPS_FILE, DETECTION_FILE, REPORT_FILE = "landmarks.mrk.json", "detection.json", "report.html"


def write_results(
    folder: Path,
    volume: Volume,
    detection: Detection,
    truth: Mapping[str, Point | None] | None = None,
) -> list[str]:
    """Write the three files into ``folder``, return their names. ``truth`` is shown in the report. Raises OSError."""
    points = {landmark.name: landmark.position_lps_mm for landmark in detection.landmarks}
    descriptions = {each.name: _describe(each) for each in detection.landmarks}
    write_markups(folder / MARKUPS_FILE, points, detection.labels, descriptions)
    write_text(folder / DETECTION_FILE, detection.to_json())
    write_report(folder / REPORT_FILE, volume, detection, truth)
    return [MARKUPS_FILE, DETECTION_FILE, REPORT_FILE]


def _describe(landmark: LandmarkResult) -> str:
    region = landmark.confidence
    if region is None:
        return f"missing, presence {landmark.presence:.0%}"
    axes = ", ".join(f"{axis:.1f}" for axis in region.semi_axes_mm)
    return f"presence {landmark.presence:.0%}, {region.level:.0%} region with semi-axes {axes} mm"
