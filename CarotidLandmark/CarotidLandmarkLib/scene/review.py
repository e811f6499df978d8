"""What an annotator says about the points of a detection, kept in their node: saved, reloaded and undone with it.

A landmark is ``predicted`` (nobody has looked), ``corrected`` (moved by hand), ``accepted`` or ``missing`` (said by the
annotator). The status is written behind the point's label, so that every view shows it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..detection import Detection
from .nodes import DetectionNodes, place_predictions, position_lps, set_position, show_detection

REVIEW_ATTRIBUTE = "CarotidLandmark.Review"
STATUSES = ("predicted", "corrected", "accepted", "missing")
# A drag that ends where it began is not a correction.
LEAST_MOVE_MM = 0.01

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Review:
    """``status``, ``labels``: by landmark name. Labels are without the status."""

    labels: dict[str, str]
    status: dict[str, str]
    annotator: str = ""
    comment: str = ""
    reviewed: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for name, status in self.status.items() if status != "predicted")
        object.__setattr__(self, "reviewed", names)


def review_of(nodes: DetectionNodes) -> Review:
    """The review as it stands; everything is ``predicted`` where there is none yet."""
    text = nodes.points.GetAttribute(REVIEW_ATTRIBUTE)
    if text:
        document = json.loads(text)
        document.pop("reviewed")
        return Review(**document)
    names = [landmark.name for landmark in nodes.detection.landmarks]
    labels = {name: nodes.points.GetNthControlPointLabel(index) for index, name in enumerate(names)}
    return Review(labels, dict.fromkeys(names, "predicted"))


def write_review(nodes: DetectionNodes, review: Review) -> None:
    """Keep ``review`` with the points and show each status on its point; a missing landmark's ellipsoid is hidden."""
    nodes.points.SetAttribute(REVIEW_ATTRIBUTE, json.dumps(asdict(review)))
    for index, landmark in enumerate(nodes.detection.landmarks):
        status = review.status[landmark.name]
        nodes.points.SetNthControlPointLabel(index, f"{review.labels[landmark.name]} ({status})")
        visible = landmark.confidence is not None and status != "missing"
        nodes.ellipsoids[landmark.name].GetDisplayNode().SetVisibility(visible)


def enable_undo(nodes: DetectionNodes) -> None:
    """Let the scene's undo cover the points; it is off by default and then covers only nodes that ask for it."""
    nodes.points.GetScene().SetUndoOn()
    nodes.points.SetUndoEnabled(True)


def remember(nodes: DetectionNodes) -> None:
    """Make the present state one that Undo comes back to. Called before every change."""
    nodes.points.GetScene().SaveStateForUndo(nodes.points)


def undo(nodes: DetectionNodes) -> None:
    """Go back to the last state in which a point or its status was another one.

    Some versions of Slicer remember the beginning of a drag themselves: such a state is like the next and is skipped.
    """
    scene = nodes.points.GetScene()
    now = _state(nodes)
    while scene.GetNumberOfUndoLevels() > 0 and _state(nodes) == now:
        scene.Undo()
    write_review(nodes, review_of(nodes))


def _state(nodes: DetectionNodes) -> tuple[Any, ...]:
    return review_of(nodes), [position_lps(nodes, index) for index in range(nodes.points.GetNumberOfControlPoints())]


def names_of(nodes: DetectionNodes) -> list[str]:
    """Landmark names in the order of the control points."""
    return [landmark.name for landmark in nodes.detection.landmarks]


def moved_mm(nodes: DetectionNodes, index: int) -> float | None:
    """Distance of point ``index`` from its prediction; None without a point or without a predicted position."""
    now, predicted = position_lps(nodes, index), nodes.detection.landmarks[index].position_lps_mm
    return None if now is None or predicted is None else float(np.linalg.norm(np.subtract(now, predicted)))


def set_status(nodes: DetectionNodes, index: int, status: str) -> None:
    """Say ``status`` about point ``index`` without moving it."""
    review = review_of(nodes)
    write_review(nodes, replace(review, status={**review.status, names_of(nodes)[index]: status}))


def accept(nodes: DetectionNodes, index: int) -> None:
    """The point, or its absence, is right as it is. Can be undone."""
    remember(nodes)
    set_status(nodes, index, "accepted")


def mark_missing(nodes: DetectionNodes, index: int) -> None:
    """The landmark is not in this scan. Can be undone."""
    remember(nodes)
    set_position(nodes, index, None)
    set_status(nodes, index, "missing")


def bring_back(nodes: DetectionNodes, index: int, otherwise_lps: Any) -> None:
    """Undo `mark_missing`: the point returns to its prediction, or to ``otherwise_lps`` where nothing was predicted."""
    remember(nodes)
    predicted = nodes.detection.landmarks[index].position_lps_mm
    set_position(nodes, index, otherwise_lps if predicted is None else predicted)
    set_status(nodes, index, "corrected" if predicted is None else "predicted")


def reset(nodes: DetectionNodes, index: int) -> None:
    """Back to what the detector said, reviewed by nobody. Can be undone."""
    remember(nodes)
    place_predictions(nodes, nodes.detection, (names_of(nodes)[index],))
    set_status(nodes, index, "predicted")


def replace_detection(nodes: DetectionNodes, detection: Detection, keep: Iterable[str] = ()) -> None:
    """Put a newer detection of the same landmarks in place of an older one.

    Points named in ``keep`` stay where the annotator has them, with their status; the others become predictions again.
    """
    kept = set(keep)
    review = review_of(nodes)
    places = {name: position_lps(nodes, index) for index, name in enumerate(names_of(nodes)) if name in kept}
    show_detection(nodes, detection)
    place_predictions(nodes, detection, [name for name in review.status if name not in kept])
    for index, name in enumerate(names_of(nodes)):  # another model may list the landmarks in another order
        if name in places:
            set_position(nodes, index, places[name])
    status = {name: status if name in kept else "predicted" for name, status in review.status.items()}
    write_review(nodes, replace(review, status=status))


def reviewed_landmarks(nodes: DetectionNodes) -> dict[str, tuple[str, Point | None]]:
    """What the annotator has said: name -> status and place (LPS millimetres, None where there is no point).

    A point that somebody has moved without saying so (a drag under way) counts as corrected. Landmarks that nobody has
    touched are left out.
    """
    status = review_of(nodes).status
    touched: dict[str, tuple[str, Point | None]] = {}
    for index, landmark in enumerate(nodes.detection.landmarks):
        said, place = status[landmark.name], position_lps(nodes, index)
        if said == "predicted" and _apart_mm(place, landmark.position_lps_mm) > LEAST_MOVE_MM:
            said = "missing" if place is None else "corrected"
        if said != "predicted":
            touched[landmark.name] = said, place
    return touched


def restore_landmarks(
    nodes: DetectionNodes, landmarks: Mapping[str, tuple[str, Point | None]], annotator: str, comment: str
) -> None:
    """Bring back what `reviewed_landmarks` gave; landmarks that are not in it become predictions again."""
    review = review_of(nodes)
    place_predictions(nodes, nodes.detection, [name for name in review.status if name not in landmarks])
    for index, name in enumerate(names_of(nodes)):
        if name in landmarks:
            set_position(nodes, index, landmarks[name][1])
    status = {name: landmarks[name][0] if name in landmarks else "predicted" for name in review.status}
    write_review(nodes, replace(review, status=status, annotator=annotator, comment=comment))


def same_landmarks(
    some: Mapping[str, tuple[str, Point | None]], others: Mapping[str, tuple[str, Point | None]]
) -> bool:
    """Whether two results of `reviewed_landmarks` say the same; a scene's files round the places a little."""
    return some.keys() == others.keys() and all(
        some[name][0] == others[name][0] and _apart_mm(some[name][1], others[name][1]) <= LEAST_MOVE_MM for name in some
    )


def _apart_mm(here: Point | None, there: Point | None) -> float:
    if here is None or there is None:
        return 0.0 if here is there else math.inf
    return math.dist(here, there)
