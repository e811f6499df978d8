"""What is taken over into a dataset: read, matched to a case and checked first, written when nothing is against it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from ..dataset import Case, Dataset, check_annotator, read_draft, write_draft
from ..errors import UserError
from ..geometry import Geometry
from ..landmarks import Point
from ..vessels import carotid_forks, carotid_masks, read_segmentation
from .labels import landmark_points
from .matching import Matcher
from .places import FRAMES, Frame, check_places, frame_of, lie_in, to_lps
from .points import PointList, read_points

ANNOTATOR = "segmentation"  # of the forks of segmented vessels: drafts to be looked at
COMMENT = "imported"  # a source's name would say whose scan it is
SAME_MM = 1e-3


@dataclass(frozen=True)
class Import:
    """What a file says of a case. ``points``: LPS mm, None where the landmark is stated to be missing from the scan.

    Landmarks that are not in it have not been spoken of. ``by_place``: the case was told by nothing but the points'
    place. ``notes``: what was decided, or is doubtful; clauses.
    """

    source: str
    case: Case
    points: dict[str, Point | None]
    by_place: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PointsOptions:
    """How to read files of points: see `read_points`; ``labels``: what a label means, "" to leave it out.

    ``missing``: a landmark without a point is not in the scan; else nothing is known of it.
    """

    columns: Mapping[str, str]
    frame: Frame | None
    labels: Mapping[str, str]
    missing: bool = False


def plan_points(dataset: Dataset, files: Sequence[Path], options: PointsOptions) -> Iterator[Import | UserError]:
    """What files of points would bring into a dataset, or why one of them does not. Nothing is written."""
    matcher = Matcher(dataset)
    for file in files:
        try:
            lists = read_points(file, options.columns, options.frame)
        except UserError as error:
            yield error
            continue
        for points in lists:
            try:
                yield _import(dataset, matcher, file, points, options)
            except UserError as error:
                yield error


def plan_segmentations(
    dataset: Dataset, files: Sequence[Path], given: Mapping[str, str]
) -> Iterator[Import | UserError]:
    """What segmentations would bring into a dataset, or why one of them does not. Nothing is written."""
    matcher = Matcher(dataset)
    for file in files:
        try:
            segmentation = read_segmentation(file)
            masks = carotid_masks(segmentation, given)
            exact = {case.id: one for case in matcher.cases if (one := segmentation.on_voxels_of(case.geometry))}
            box = _box(np.logical_or.reduce(list(masks.values())), segmentation.geometry)

            def fits(case: Case, exact: Mapping[str, object] = exact, box: np.ndarray = box) -> bool:
                return case.id in exact if exact else case.geometry.contains(box)

            case, by_place = matcher.case(file, "", fits)
            if case.id not in exact and segmentation.unsaid:
                raise UserError(
                    f"{segmentation.doubt}, and its voxels are not those of case {case.id}; export it again with its "
                    "orientation and place."
                )
            if case.id not in exact and not case.geometry.contains(box):
                raise UserError(
                    f"{file.name} has another geometry than case {case.id}: labels lie outside its image; "
                    "segment this scan."
                )
            segmentation = exact.get(case.id, segmentation)
            points, doubts = carotid_forks(masks, segmentation, dataset.landmarks, case.read_volume())
            check_places(points, case.geometry, file.name, case.id)
            notes = (*(note.removesuffix(".") for note in segmentation.notes), *doubts)
            yield Import(file.name, case, points, by_place, notes)
        except UserError as error:
            yield error


def points_of_scan(
    file: Path, geometry: Geometry, landmarks: Sequence[str], scan: str, options: PointsOptions
) -> tuple[dict[str, Point | None], tuple[str, ...]]:
    """The points of a file that is about one known scan: LPS mm by landmark, and notes. Raises UserError, ..."""
    lists = read_points(file, options.columns, options.frame)
    if len(lists) > 1:
        lists = [each for each in lists if each.scan == scan]
    if len(lists) != 1:
        raise UserError(f"{file.name} has points of several scans, and none is called {scan}; give the points of one.")
    return _placed(lists[0], geometry, landmarks, scan, options)


def without_conflicts(plan: Sequence[Import | UserError]) -> list[Import | UserError]:
    """The same, but two files that speak of one case are both refused: nobody knows which is right.

    What names a case goes before what only lies in it.
    """
    named: dict[str, list[str]] = defaultdict(list)
    placed: dict[str, list[str]] = defaultdict(list)
    for item in plan:
        if isinstance(item, Import):
            (placed if item.by_place else named)[item.case.id].append(item.source)

    def judge(item: Import | UserError) -> Import | UserError:
        if isinstance(item, UserError):
            return item
        rivals = named[item.case.id] or placed[item.case.id]
        if item.by_place and named[item.case.id]:
            return UserError(
                f"No case matches {item.source}: its points lie in case {item.case.id}, but that is {rivals[0]}; "
                "add the scan first."
            )
        if len(rivals) == 1:
            return item
        both = " and ".join(dict.fromkeys(rivals))
        return UserError(f"{item.source} is about case {item.case.id}, of which {both} speak; give one of them.")

    return [judge(item) for item in plan]


def save_import(dataset: Dataset, item: Import, annotator: str, draft: bool, replaces: bool) -> str:
    """Write what was planned; a sentence on what has become of it. Raises UserError, DatasetError, OSError.

    It becomes an annotation where it speaks of every landmark, else (or where ``draft`` asks for it) a draft, which
    somebody has to complete. What the annotator has said before stays unless it ``replaces`` that.
    """
    check_annotator(annotator)
    case = item.case
    points, kind, where = None, "", ""
    if not replaces and case.has_annotation(annotator):
        points, kind = case.annotation(annotator).points, "an annotation"
    elif not replaces and (old := read_draft(case, annotator)) is not None:
        points = {name: point for name, (_, point) in old.landmarks.items()}
        kind, where = "unsaved work", ", as a draft"
    if points is not None:
        if _same(points, item.points):
            return f"{case.id}: {item.source} was there already{where}"
        raise UserError(
            f"Case {case.id} has {kind} by {annotator} that {item.source} would replace; "
            "ask for that with --replace, or choose another --annotator."
        )
    status = {name: "missing" if point is None else "corrected" for name, point in item.points.items()}
    lacking = [name for name in dataset.landmarks if name not in item.points]
    if draft or lacking:
        write_draft(case, annotator, {name: (status[name], item.points[name]) for name in item.points}, COMMENT)
        rest = f"; nothing is said of {', '.join(lacking)}" if lacking else ""
        return f"{case.id}: {item.source}, a draft to be looked at{rest}"
    dataset.save_annotation(case.id, annotator, item.points, status, comment=COMMENT)  # type: ignore[arg-type]
    return f"{case.id}: {item.source}"


def _import(dataset: Dataset, matcher: Matcher, file: Path, points: PointList, options: PointsOptions) -> Import:
    frames = FRAMES if points.frame is None else (points.frame,)
    placed = any(point is not None for point in points.points.values())

    def fits(case: Case) -> bool:
        return placed and any(lie_in(points.points, frame, case.geometry) for frame in frames)

    case, by_place = matcher.case(file, points.scan, fits)
    result, notes = _placed(points, case.geometry, dataset.landmarks, case.id, options)
    return Import(points.scan or points.source, case, result, by_place, notes)


def _placed(
    points: PointList, geometry: Geometry, landmarks: Sequence[str], scan: str, options: PointsOptions
) -> tuple[dict[str, Point | None], tuple[str, ...]]:
    notes = [*points.notes]
    frame = points.frame
    if all(point is None for point in points.points.values()):
        frame = "LPS"  # of nothing
    if frame is None:
        frame, note = frame_of(points.points, geometry, points.source)
        notes.append(note)
    if frame == "voxel":
        notes.append(
            "voxels were counted from 0 along the axes of this scan's image: look whether the points are right"
        )
    named, decided = landmark_points(replace(points, frame=frame), landmarks, options.labels)
    result = {name: None if point is None else to_lps(point, frame, geometry) for name, point in named.items()}
    if not result:
        raise UserError(
            f"{points.source} has no point of {', '.join(landmarks)}; say what its labels mean with --label."
        )
    check_places(result, geometry, points.source, scan)
    if options.missing:
        result |= {name: None for name in landmarks if name not in result}
    return {name: result[name] for name in landmarks if name in result}, (*notes, *decided)


def _same(some: Mapping[str, Point | None], others: Mapping[str, Point | None]) -> bool:
    return some.keys() == others.keys() and all(
        point is other if point is None or other is None else np.allclose(point, other, rtol=0, atol=SAME_MM)
        for point, other in ((point, others[name]) for name, point in some.items())
    )


def _box(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The corners of what is in a mask, LPS mm: [8, 3]."""
    where = np.argwhere(mask)[:, ::-1]
    return geometry.to_lps(list(product(*zip(where.min(axis=0), where.max(axis=0), strict=True))))
