"""Everything in a dataset that does not fit together, named file by file. Reads only."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import landmarks
from ..geometry import Geometry
from ..landmarks import Points
from .annotations import strangers
from .cases import IMAGE_FILE, Case
from .common import DatasetError, UnreadableError, is_safe_name
from .dataset import SPLITS, Dataset
from .repair import twin_problem, twins

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One inconsistency. ``file`` is relative to the dataset, ``message`` one sentence."""

    level: Level
    file: str
    message: str
    case_id: str | None = None

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.message}"


def check_dataset(dataset: Dataset, progress: Callable[[float], None] | None = None) -> list[Finding]:
    """Every inconsistency, errors first. An error has to be mended before training; a warning asks for a look.

    Reads every image once; ``progress`` gets the fraction done. Raises DatasetError where the cases can not be listed.
    """
    findings = list(_dataset_findings(dataset))
    groups: dict[str, set[str | None]] = defaultdict(set)
    scans: dict[str, list[Case]] = defaultdict(list)
    cases = list(dataset.cases())
    for number, case in enumerate(cases):
        if progress is not None:
            progress(number / len(cases))
        groups[case.group].add(case.split)
        findings += [
            Finding(level, f"cases/{case.id}/{file}", message, case.id)
            for level, file, message in _case_findings(dataset, case)
        ]
        scans[case.voxels_sha256 or case.image_sha256].append(case)
    for same in scans.values():
        if len(same) > 1:
            names = " and ".join(case.id for case in same)
            apart = len({(case.group, case.split) for case in same}) > 1  # what teaches may measure, too
            what = "under two patients or in two splits" if apart else "so it counts twice"
            message = f"{names} are the same scan, {what}; remove one: delete its folder."
            findings.append(Finding("error" if apart else "warning", "cases", message))
    for group, splits in sorted(groups.items()):
        if len(splits) > 1:
            names = ", ".join(sorted(split or "none" for split in splits))
            findings.append(
                Finding(
                    "error",
                    "cases",
                    f"Group {group} is spread over several splits: {names}; give its cases one, in case.json.",
                )
            )
    return sorted(findings, key=lambda finding: (finding.level, finding.file))


def _dataset_findings(dataset: Dataset) -> Iterator[Finding]:
    try:
        if Dataset.open(dataset.path).landmarks != dataset.landmarks:
            yield Finding("error", "dataset.json", "The landmarks have changed since the dataset was opened.")
    except DatasetError as error:
        yield Finding("error", "dataset.json", str(error))
    for name, message in _copies(dataset.path, "dataset.json"):
        yield Finding("warning", name, message)
    for name, reason in dataset.damaged().items():
        has_document = is_safe_name(name) and name in dataset.case_ids()
        yield Finding("error", f"cases/{name}/case.json" if has_document else f"cases/{name}", reason, name)
    for path in dataset.temporary_files():
        message = "A save under way, or what a killed one has left: `carotid-landmark repair` knows which."
        yield Finding("warning", path.relative_to(dataset.path).as_posix(), message)
    names = sorted(dataset.annotator_names())
    for number, name in enumerate(names):
        other = next((other for other in names[:number] if other.lower() == name.lower()), None)
        if other is not None:
            message = f"Annotators {other} and {name} differ in capitals alone; rename the files of one."
            yield Finding("error", "cases", message)


def _case_findings(dataset: Dataset, case: Case) -> Iterator[tuple[Level, str, str]]:
    """Level, file inside the case's folder, message."""
    if case.split is not None and case.split not in SPLITS:
        yield "error", "case.json", f"'{case.split}' is not one of {', '.join(SPLITS)}."
    image = IMAGE_FILE if case.copied else "case.json"
    try:
        case.verify_image()
    except DatasetError as error:
        yield "error", image, str(error)
    except OSError:
        yield "error", image, "The image can not be opened; check its read permission."
    for file, damage in case.problems():
        yield "error", file, str(damage)
    strange = "The landmarks are not those of the dataset; {} the case again."
    prediction = case.readable_prediction()
    if prediction is not None:
        points = {landmark.name: landmark.position_lps_mm for landmark in prediction.landmarks}
        if set(points) != set(dataset.landmarks):
            yield "error", "prediction.json", strange.format("predict")
        for _, message in _implausible(case.geometry, points):
            yield "warning", "prediction.json", message
    for annotator, annotation in case.annotations().items():
        points, file = annotation.points, f"annotations/{annotator}.json"
        if annotation.ask_colleague:
            yield "warning", file, f"{annotator} asks a colleague about this case."
        if set(points) != set(dataset.landmarks):
            yield "error", file, strange.format("annotate")
        for level, message in _implausible(case.geometry, points):
            yield level, file, message
    for name, message in _copies(case.folder, "case.json", "prediction.json"):
        if name != f"{case.id}.json":
            yield "warning", name, message
    with suppress(UnreadableError):  # `Case.problems` has named the folder
        for path in strangers(case.folder):
            yield (
                "warning",
                f"annotations/{path.name}",
                "It counts for nobody: its name is not ANNOTATOR.json; rename or remove it.",
            )
        for path in twins(case):
            problem = twin_problem(case, path)
            if problem is not None:
                yield "error", path.relative_to(case.folder).as_posix(), problem


def _copies(folder: Path, *ours: str) -> Iterator[tuple[str, str]]:
    """Files that are called as copies of ours are by shared disks and file managers, and a sentence about each."""
    for own in ours:
        copy = re.compile(rf"(.+[\W_])?{own.removesuffix('.json')}([\W_].*)?\.json", re.IGNORECASE)
        for name in sorted(path.name for path in folder.glob("[!.]*.json") if copy.fullmatch(path.name)):
            if name != own and not name.endswith(".mrk.json"):
                yield name, f"It may be a copy of {own}, and does not count; see whether both say the same, remove one."


def _implausible(geometry: Geometry, points: Points) -> Iterator[tuple[Level, str]]:
    """What can not be (an error) or is unusual (a warning) about points (LPS mm) of a scan, in sentences."""
    for name, point in points.items():
        if point is not None and not geometry.contains(point):
            yield "error", f"{name} lies outside the image."
    for pair in landmarks.pairs(points):
        left, right = points[pair.left], points[pair.right]
        if left is None or right is None:
            continue
        if left[0] <= right[0]:
            yield "error", f"{pair.left} and {pair.right} are swapped: left lies to the right of right."
        low, high = pair.usual_distance_mm
        distance = math.dist(left, right)
        if not low <= distance <= high:
            usual = f"usually {low:.0f} to {high:.0f} mm"
            yield "warning", f"Left and right {pair.kind} are {distance:.1f} mm apart, {usual}."
