"""The files of one detection; the report is one self-contained page: where the landmarks are and how sure that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import landmarks as names
from ..detection import Detection, LandmarkResult, percent
from ..errors import UserError
from ..files import staged_folder, temporary_in, write_text
from ..landmarks import Points, apart_mm
from ..markups import read_markups, write_markups
from ..volume import Volume
from .figures import inline, render
from .pictures import slices_png, strip_png
from .projection import overview_png

MARKUPS_FILE, DETECTION_FILE, REPORT_FILE = "landmarks.mrk.json", "detection.json", "report.html"
SAME_MM = 0.01  # a point that was saved again, and not moved
VERDICTS = {
    "ok": "OK: the result can be used after a look at the pictures",
    "review": "REVIEW: look at the points before using them",
    "reject": "REJECT: do not use this result",
}


class ReportError(UserError):
    """The report can not be made. The message is one sentence for the user."""


def check_replaceable(folder: Path) -> None:
    """Raises ReportError where ``folder`` holds points that are not as `write_results` left them: somebody's work."""
    file = folder / MARKUPS_FILE
    # a program that was killed as it moved new results here has left the old detection beside them
    left = [each / DETECTION_FILE for each in (folder, *temporary_in(folder))]
    if file.exists() and not any(_is_as_left(file, detection) for detection in left):
        raise ReportError(
            f"{MARKUPS_FILE} in {folder} is not as a detection left it, so it is not replaced; move it away, or give "
            "another folder for the results."
        )


def _is_as_left(file: Path, detection_file: Path) -> bool:
    """Whether a point list has the points of a detection, and no others."""
    try:
        detection = Detection.from_json(detection_file.read_bytes())
        points = read_markups(file, detection.labels)
    except (UserError, OSError):
        return False
    wrote = {landmark.name: landmark.position_lps_mm for landmark in detection.landmarks}
    return points.keys() == wrote.keys() and all(apart_mm(points[name], wrote[name]) <= SAME_MM for name in wrote)


@contextmanager
def results_folder(folder: Path) -> Iterator[Path]:
    """A `staged_folder` for results. Raises what `check_replaceable` does, also of points that were moved meanwhile."""
    check_replaceable(folder)
    with staged_folder(folder) as staging:
        yield staging
        check_replaceable(folder)


def write_results(folder: Path, volume: Volume, detection: Detection, truth: Points | None = None) -> list[str]:
    """Write the three files into ``folder``, return their names. ``truth`` is shown in the report. Raises OSError."""
    points = {landmark.name: landmark.position_lps_mm for landmark in detection.landmarks}
    descriptions = {each.name: _describe(each) for each in detection.landmarks}
    write_markups(folder / MARKUPS_FILE, points, detection.labels, descriptions)
    write_text(folder / DETECTION_FILE, detection.to_json())
    write_report(folder / REPORT_FILE, volume, detection, truth)
    return [MARKUPS_FILE, DETECTION_FILE, REPORT_FILE]


def write_report(
    path: str | os.PathLike[str], volume: Volume, detection: Detection, truth: Points | None = None
) -> Path:
    """Write `report_html` to ``path``, atomically. Raises OSError, ReportError, and what `report_html` raises."""
    if Path(path).suffix.lower() not in (".html", ".htm"):  # a slip would replace the scan
        raise ReportError(f"{Path(path).name} is no name of a page; give one that ends with .html.")
    write_text(path, report_html(volume, detection, truth))
    return Path(path)


def report_html(volume: Volume, detection: Detection, truth: Points | None = None) -> str:
    """The page, pictures inline. ``truth`` (name -> known LPS mm, None: known to be absent) adds each point's error.

    Raises ReportError when ``detection`` was made on another scan.
    """
    if difference := detection.volume.difference(volume.info):
        raise ReportError(
            f"The detection was made on another scan: this one has {difference}; give that scan, or of a DICOM folder "
            "choose its series with --series."
        )
    for landmark in detection.landmarks:
        if landmark.position_lps_mm is not None and not volume.contains(landmark.position_lps_mm):
            raise ReportError(
                f"{landmark.label} lies outside this scan, so it was found in another one; give that scan."
            )
    landmarks = [
        _landmark(volume, landmark, names.colour(number), truth) for number, landmark in enumerate(detection.landmarks)
    ]
    shown = {entry["title"]: (entry["lps"], entry["colour"]) for entry in landmarks if entry["lps"]}
    overview = overview_png(volume, shown)
    return render(
        "report.html.j2",
        heading=names.heading(detection.labels),
        detection=detection,
        verdict=VERDICTS[detection.quality.verdict],
        landmarks=landmarks,
        has_truth=truth is not None,
        level=detection.level and percent(detection.level),
        slice_step_mm=_slice_step_mm(volume),
        overview=inline(overview.png, "png"),
        overview_caption=overview.caption,
    )


def _slice_step_mm(volume: Volume) -> float:
    """How far apart the scan's own axial slices are."""
    axes = volume.affine_lps[:3, :3] / volume.spacing_mm
    return float(volume.spacing_mm[int(np.argmax(np.abs(axes[2])))])


def _landmark(volume: Volume, landmark: LandmarkResult, colour: str, truth: Points | None) -> dict[str, Any]:
    lps = landmark.position_lps_mm
    known = (truth or {}).get(landmark.name)
    return {
        "result": landmark,
        "title": names.title(landmark.name),
        "side": names.side(landmark.name),
        "colour": colour,
        "lps": lps,
        "ras": None if lps is None else (-lps[0], -lps[1], lps[2]),
        "error_mm": None if lps is None or known is None else float(np.linalg.norm(np.subtract(lps, known))),
        "truth": "not marked" if landmark.name not in (truth or {}) else "absent" if known is None else "present",
        "slice": None if lps is None else volume.geometry.axial_slice(lps),
        "picture": None if lps is None else inline(slices_png(volume, lps, landmark.confidence, colour, known), "png"),
        "strip": None if lps is None else inline(strip_png(volume, lps, landmark.confidence, colour), "png"),
    }


def _describe(landmark: LandmarkResult) -> str:
    region = landmark.confidence
    if region is None:
        return f"missing, presence {landmark.presence:.0%}"
    axes = ", ".join(f"{axis:.1f}" for axis in region.semi_axes_mm)
    return f"presence {landmark.presence:.0%}, {percent(region.level)}% region with semi-axes {axes} mm"
