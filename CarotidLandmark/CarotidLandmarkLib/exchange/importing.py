"""What is taken over into a dataset: read, matched to a case and checked first, written when nothing is against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..dataset import Case, Dataset, check_annotator, read_draft, write_draft
from ..errors import UserError
from ..geometry import Geometry
from ..landmarks import Point
from .common import ExchangeError, Frame
from .labels import landmark_points
from .matching import Matcher
from .places import FRAMES, check_places, frame_of, lie_in, to_lps
from .points import PointList, read_points

COMMENT = "imported"  # a source's name would say whose scan it is
SAME_MM = 1e-3


@dataclass(frozen=True)
class Import:
    """What a file says of a case. ``points``: LPS mm, None where the landmark is stated to be missing from the scan.

    Landmarks that are not in it have not been spoken of. ``notes``: what was decided, or is doubtful; clauses.
    """

    source: str
    case: Case
    points: dict[str, Point | None]
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


def points_of_scan(
    file: Path, geometry: Geometry, landmarks: Sequence[str], scan: str, options: PointsOptions
) -> tuple[dict[str, Point | None], tuple[str, ...]]:
    """The points of a file that is about one known scan: LPS mm by landmark, and notes. Raises ExchangeError, ..."""
    lists = read_points(file, options.columns, options.frame)
    if len(lists) > 1:
        lists = [each for each in lists if each.scan == scan]
    if len(lists) != 1:
        raise ExchangeError(
            f"{file.name} has points of several scans, and none is called {scan}; give the points of one."
        )
    return _placed(lists[0], geometry, landmarks, scan, options)


def without_conflicts(plan: Sequence[Import | UserError]) -> list[Import | UserError]:
    """The same, but two files that speak of one case are both refused: nobody knows which is right."""
    sources: dict[str, list[str]] = {}
    for item in plan:
        if isinstance(item, Import):
            sources.setdefault(item.case.id, []).append(item.source)
    result: list[Import | UserError] = []
    for item in plan:
        if isinstance(item, Import) and len(sources[item.case.id]) > 1:
            both = " and ".join(dict.fromkeys(sources[item.case.id]))
            text = f"{item.source} is about case {item.case.id}, of which {both} speak"
            item = ExchangeError(f"{text}; give one of them.")
        result.append(item)
    return result


def save_import(dataset: Dataset, item: Import, annotator: str, draft: bool, replaces: bool) -> str:
    """Write what was planned; a sentence on what has become of it. Raises ExchangeError, DatasetError, OSError.

    It becomes an annotation where it speaks of every landmark, else (or where ``draft`` asks for it) a draft, which
    somebody has to complete. What the annotator has said before stays unless it ``replaces`` that.
    """
    check_annotator(annotator)
    case = item.case
    before = case.annotation(annotator).points if case.has_annotation(annotator) and not replaces else None
    if before is not None:
        if _same(before, item.points):
            return f"{case.id}: {item.source} was there already"
        raise ExchangeError(
            f"Case {case.id} has an annotation by {annotator} that {item.source} would replace; "
            "ask for that with --replace, or choose another --annotator."
        )
    if not replaces and (old := read_draft(case, annotator)) is not None:
        if _same({name: point for name, (_, point) in old.landmarks.items()}, item.points):
            return f"{case.id}: {item.source} was there already, as a draft"
        raise ExchangeError(
            f"Case {case.id} has unsaved work by {annotator} that {item.source} would replace; "
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

    case, how = matcher.case(file, points.scan, fits)
    result, notes = _placed(points, case.geometry, dataset.landmarks, case.id, options)
    return Import(points.scan or points.source, case, result, (*filter(None, [how]), *notes))


def _placed(
    points: PointList, geometry: Geometry, landmarks: Sequence[str], scan: str, options: PointsOptions
) -> tuple[dict[str, Point | None], tuple[str, ...]]:
    notes: list[str] = []
    frame = points.frame
    if frame is None:
        frame, note = frame_of(points.points, geometry, points.source)
        notes.append(note)
    named, decided = landmark_points(replace(points, frame=frame), landmarks, options.labels)
    result = {name: None if point is None else to_lps(point, frame, geometry) for name, point in named.items()}
    if not result:
        raise ExchangeError(
            f"{points.source} has no point of {', '.join(landmarks)}; say what its labels mean with --label."
        )
    check_places(result, geometry, points.source, scan)
    if options.missing:
        result |= {name: None for name in landmarks if name not in result}
    return {name: result[name] for name in landmarks if name in result}, (*notes, *decided)


def _same(some: Mapping[str, Point | None], others: Mapping[str, Point | None]) -> bool:
    def same(here: Point | None, there: Point | None) -> bool:
        if here is None or there is None:
            return here is there
        return max(abs(a - b) for a, b in zip(here, there, strict=True)) < SAME_MM

    return set(some) == set(others) and all(same(some[name], others[name]) for name in some)
