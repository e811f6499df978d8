"""Everything in a dataset that does not fit together, named file by file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..markups import MarkupsError, read_markups
from ..volume import Volume
from .cases import SPLITS, STALE_AFTER_S, STATUSES, Case, Dataset, DatasetError, Point, file_sha256, markups_path

# Ma et al. (ISBI 2020), published ground truth of 52 test scans: 59 +- 10 mm between left and right
USUAL_DISTANCE_MM = {"carotid_bifurcation": (38.0, 89.0)}


@dataclass(frozen=True)
class Finding:
    """One inconsistency. ``file`` is relative to the dataset, ``message`` one sentence."""

    level: Literal["error", "warning"]
    file: str
    message: str
    case_id: str | None = None

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.message}"


def check_dataset(dataset: Dataset, progress: Callable[[float], None] | None = None) -> list[Finding]:
    """Every inconsistency, errors first. An error has to be mended before training; a warning asks for a look.

    Reads every image once; ``progress`` gets the fraction done.
    """
    findings = list(_dataset_findings(dataset))
    groups: dict[str, set[str | None]] = defaultdict(set)
    case_ids = dataset.case_ids()
    for number, case_id in enumerate(case_ids):
        if progress is not None:
            progress(number / len(case_ids))
        try:
            case = dataset.case(case_id)
        except DatasetError as error:
            findings.append(Finding("error", f"cases/{case_id}/case.json", str(error), case_id))
            continue
        groups[case.group].add(case.split)
        findings += _case_findings(dataset, case)
    for group, splits in sorted(groups.items()):
        if len(splits) > 1:
            names = ", ".join(sorted(split or "none" for split in splits))
            findings.append(Finding("error", "cases", f"Group {group} is spread over several splits: {names}."))
    return sorted(findings, key=lambda finding: (finding.level, finding.file))


def _dataset_findings(dataset: Dataset) -> Iterator[Finding]:
    try:
        if Dataset.open(dataset.path).landmarks != dataset.landmarks:
            yield Finding("error", "dataset.json", "The landmarks have changed since the dataset was opened.")
    except DatasetError as error:
        yield Finding("error", "dataset.json", str(error))
    for folder in sorted((dataset.path / "cases").glob("[!.]*")):
        if not (folder / "case.json").is_file():
            yield Finding(
                "error", f"cases/{folder.name}", "This is no case: it has no case.json; remove or restore it."
            )
    for path in dataset.temporary_files(STALE_AFTER_S):
        yield Finding("warning", _relative(dataset, path), "A killed program left this temporary file; delete it.")


def _case_findings(dataset: Dataset, case: Case) -> Iterator[Finding]:
    where = f"cases/{case.id}"
    if case.split is not None and case.split not in SPLITS:
        yield Finding("error", f"{where}/case.json", f"'{case.split}' is not one of {', '.join(SPLITS)}.", case.id)
    yield from _image_findings(case)
    try:
        prediction = case.prediction()
    except DatasetError as error:
        prediction = None
        yield Finding("error", f"{where}/prediction.json", str(error), case.id)
    if prediction is not None:
        points = {landmark.name: landmark.position_lps_mm for landmark in prediction.landmarks}
        if set(points) != set(dataset.landmarks):
            message = "The landmarks are not those of the dataset; predict the case again."
            yield Finding("error", f"{where}/prediction.json", message, case.id)
        for _, message in _point_findings(case, points):
            yield Finding("warning", f"{where}/prediction.json", message, case.id)
    for annotator in case.annotators():
        yield from _annotation_findings(dataset, case, annotator)
    for file in sorted((case.folder / "annotations").glob("[!.]*.mrk.json")):
        annotator = file.name.removesuffix(".mrk.json")
        if annotator not in case.annotators():
            message = f"There is no {annotator}.json beside it, so it does not count; annotate the case again."
            yield Finding("error", _relative(dataset, file), message, case.id)


def verify_image(case: Case) -> None:
    """Raises DatasetError when the image is not here, or is not the one that was added; OSError when unreadable."""
    path = case.image_path
    if path.stat().st_size != case.image_bytes or file_sha256(path) != case.image_sha256:
        raise DatasetError("The image is not the one that was added (size or sha256 differs); restore it.")


def _image_findings(case: Case) -> Iterator[Finding]:
    file = f"cases/{case.id}/" + ("image.nrrd" if case.copied else "case.json")
    try:
        verify_image(case)
    except DatasetError as error:
        yield Finding("error", file, str(error), case.id)
    except OSError:
        yield Finding("error", file, "The image can not be opened; check its read permission.", case.id)


def _annotation_findings(dataset: Dataset, case: Case, annotator: str) -> Iterator[Finding]:
    file = f"cases/{case.id}/annotations/{annotator}.json"
    try:
        annotation = case.annotation(annotator)
    except DatasetError as error:
        yield Finding("error", file, str(error), case.id)
        return
    if set(annotation.points) != set(dataset.landmarks):
        yield Finding("error", file, "The landmarks are not those of the dataset; annotate the case again.", case.id)
    for name, status in annotation.status.items():
        if status not in STATUSES or (status == "missing") != (annotation.points[name] is None):
            message = f"The status '{status}' of {name} does not fit its point; annotate the case again."
            yield Finding("error", file, message, case.id)
    for level, message in _point_findings(case, annotation.points):
        yield Finding(level, file, message, case.id)
    markups = markups_path(case, annotator)
    try:
        shown = read_markups(markups)
    except (MarkupsError, OSError) as error:
        yield Finding("error", _relative(dataset, markups), f"It can not be read: {error}", case.id)
        return
    if not _same(shown, annotation.points):
        message = f"Its points are not those of {annotator}.json, which count; save the annotation again."
        yield Finding("error", _relative(dataset, markups), message, case.id)


def _point_findings(case: Case, points: dict[str, Point | None]) -> Iterator[tuple[Literal["error", "warning"], str]]:
    volume = Volume(np.broadcast_to(np.int16(0), case.size[::-1]), case.affine_lps, case.id)  # geometry only
    for name, point in points.items():
        if point is not None and not volume.contains(point):
            yield "error", f"{name} lies outside the image."
    for left_name, left in points.items():
        kind = left_name.removeprefix("left_")
        right = points.get(f"right_{kind}")
        if kind == left_name or left is None or right is None:
            continue
        if left[0] <= right[0]:
            yield "error", f"The sides of {kind} are swapped: left lies to the right of right."
        low, high = USUAL_DISTANCE_MM.get(kind, (0.0, np.inf))
        distance = math.dist(left, right)
        if not low <= distance <= high:
            yield "warning", f"Left and right {kind} are {distance:.1f} mm apart, usually {low:.0f} to {high:.0f} mm."


def _same(shown: dict[str, Point | None], points: dict[str, Point | None]) -> bool:
    def same(here: Point | None, there: Point | None) -> bool:
        return here is there if here is None or there is None else math.dist(here, there) < 1e-3

    return set(shown) == set(points) and all(same(shown[name], points[name]) for name in points)


def _relative(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.path).as_posix()
