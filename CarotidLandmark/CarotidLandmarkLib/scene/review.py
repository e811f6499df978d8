"""What an annotator says about the points of a detection, kept in their node: saved, reloaded and undone with it.

A landmark is ``predicted`` (nobody has looked), ``corrected`` (moved by hand), ``accepted`` or ``missing`` (said by the
annotator). The colour of the point shows whether somebody has looked. Every change of a point counts, wherever it was
made: `settle` compares the points with where they were when somebody last spoke of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..detection import Detection
from ..landmarks import Point, apart_mm
from .nodes import DetectionNodes, remove_detection
from .points import (
    apply,
    control_point,
    displacement,
    is_unset,
    position_lps,
    renew_points,
    set_frame,
    set_position,
    unset_position,
)
from .regions import add_detection, describe, follow_volume, marks_of, show_detection
from .volumes import affine_of

REVIEW_ATTRIBUTE = "CarotidLandmark.Review"
HISTORY_ATTRIBUTE = "CarotidLandmark.History"
# A drag that ends where it began is not a correction.
LEAST_MOVE_MM = 0.01
LONGEST_HISTORY = 100


@dataclass(frozen=True)
class Review:
    """``status``, ``labels``, ``places`` (LPS mm in the detection's frame, None without one): by landmark name."""

    labels: dict[str, str]
    status: dict[str, str]
    annotator: str = ""
    comment: str = ""
    ask_colleague: bool = False
    places: dict[str, Point | None] = field(default_factory=dict)

    @property
    def reviewed(self) -> tuple[str, ...]:
        """The landmarks that somebody has spoken of."""
        return tuple(name for name, status in self.status.items() if status != "predicted")

    @property
    def absent(self) -> tuple[str, ...]:
        """Those of them that are not in the scan, as somebody has said or accepted."""
        return tuple(name for name in self.reviewed if self.places.get(name) is None)


def review_of(nodes: DetectionNodes) -> Review:
    """The review as it stands; everything is ``predicted`` where there is none yet."""
    detection = nodes.detection
    predicted = {landmark.name: landmark.position_lps_mm for landmark in detection.landmarks}
    text = nodes.points.GetAttribute(REVIEW_ATTRIBUTE)
    if not text:
        return Review(detection.labels, dict.fromkeys(predicted, "predicted"), places=predicted)
    document = json.loads(text)
    # an older version wrote `reviewed`, a newer one may write what is not known here
    document = {each.name: document[each.name] for each in fields(Review) if each.name in document}
    places = document.pop("places", None)
    if places is None:  # an older version did not write them
        unsaid = [name for name, status in document["status"].items() if status == "predicted"]
        places = {**_places(nodes), **{name: predicted[name] for name in unsaid if name in predicted}}
    return Review(places={name: None if place is None else tuple(place) for name, place in places.items()}, **document)


def write_review(nodes: DetectionNodes, review: Review) -> None:
    """Keep ``review`` with the points and show each status on its point.

    The ellipsoid of a landmark that somebody calls absent is hidden until it is there again; else its visibility is the
    user's.
    """
    before = review_of(nodes).absent
    nodes.points.SetAttribute(REVIEW_ATTRIBUTE, json.dumps(asdict(review)))
    marks = marks_of(nodes.detection)
    for index, landmark in enumerate(nodes.detection.landmarks):
        status, place = review.status[landmark.name], control_point(nodes, index)
        if place >= 0:
            nodes.points.SetNthControlPointLabel(place, marks[landmark.name])
            nodes.points.SetNthControlPointSelected(place, status == "predicted")
        absent = landmark.name in review.absent
        model = nodes.ellipsoids.get(landmark.name)
        display = None if model is None else model.GetDisplayNode()  # the user may have deleted either
        if display is not None and (absent or landmark.name in before):
            display.SetVisibility(not absent)
    who = f" by {review.annotator}" if review.annotator else ""
    describe(nodes, {name: review.status[name] + who for name in review.reviewed})


def settle(nodes: DetectionNodes) -> list[int]:
    """Say of every point that was moved since somebody last spoke of it that it is corrected. Can be undone.

    Points and ellipsoids are taken along with their volume first. A point that was cleared or deleted is there again,
    not placed; it counts as predicted until it is. Returns the numbers of the landmarks whose points were moved.
    """
    renew_points(nodes)
    follow_volume(nodes)
    review, names = review_of(nodes), names_of(nodes)
    cleared = [  # these had a point, and have none since somebody has cleared it
        review.status[landmark.name] == "predicted" and landmark.position_lps_mm is not None
        for landmark in nodes.detection.landmarks
    ]
    for index, name in enumerate(names):
        if is_unset(nodes, index) and review.places.get(name) is None and not cleared[index]:
            set_position(nodes, index, None)  # there was no point to clear
    now = _places(nodes)
    moved = [
        index
        for index, name in enumerate(names)
        if apart_mm(now[name], before := review.places.get(name)) > LEAST_MOVE_MM
        or (cleared[index] and now[name] is before is None and not is_unset(nodes, index))  # now said to be missing
    ]
    if moved:
        _push(nodes, review)
        status = {names[index]: _status_of_place(nodes, index) for index in moved}
        write_review(nodes, replace(review, status={**review.status, **status}, places=now))
    else:
        marks, points = marks_of(nodes.detection), nodes.points
        places = [control_point(nodes, index) for index in range(len(names))]
        shown = [(points.GetNthControlPointLabel(n), bool(points.GetNthControlPointSelected(n))) for n in places]
        if shown != [(marks[name], review.status[name] == "predicted") for name in names]:
            write_review(nodes, review)  # somebody has renamed or selected a point
    return moved


def _status_of_place(nodes: DetectionNodes, index: int) -> str:
    if position_lps(nodes, index) is not None:
        return "corrected"
    return "predicted" if is_unset(nodes, index) else "missing"


def remember(nodes: DetectionNodes) -> None:
    """Make the present state one that Undo comes back to. Called before every change."""
    settle(nodes)
    _push(nodes, review_of(nodes))


def can_undo(nodes: DetectionNodes) -> bool:
    """Whether `undo` has something to go back to."""
    now = _state(review_of(nodes))
    return any(before != now for before in _history(nodes))


def undo(nodes: DetectionNodes) -> None:
    """Go back to the last state in which a point of this detection or its status was another one."""
    settle(nodes)
    review, history = review_of(nodes), _history(nodes)
    now = _state(review)
    while history and (before := history.pop()) is not None:
        if before != now:
            for index, landmark in enumerate(nodes.detection.landmarks):
                place = before["places"][landmark.name]
                if place is None and before["status"][landmark.name] == "predicted" and landmark.position_lps_mm:
                    unset_position(nodes, index)
                elif place != now["places"][landmark.name]:
                    set_position(nodes, index, place)
            _say(nodes, replace(review, status=before["status"]))
            break
    nodes.points.SetAttribute(HISTORY_ATTRIBUTE, json.dumps(history))


def _state(review: Review) -> dict[str, Any]:
    places = {name: None if place is None else list(place) for name, place in review.places.items()}
    return {"status": review.status, "places": places}


def _history(nodes: DetectionNodes) -> list[dict[str, Any]]:
    return json.loads(nodes.points.GetAttribute(HISTORY_ATTRIBUTE) or "[]")


def _push(nodes: DetectionNodes, review: Review) -> None:
    history, state = _history(nodes), _state(review)
    if not history or history[-1] != state:
        nodes.points.SetAttribute(HISTORY_ATTRIBUTE, json.dumps([*history, state][-LONGEST_HISTORY:]))


def _places(nodes: DetectionNodes) -> dict[str, Point | None]:
    return {name: position_lps(nodes, index) for index, name in enumerate(names_of(nodes))}


def _say(nodes: DetectionNodes, review: Review) -> None:
    """`write_review`, of the points where they are now."""
    write_review(nodes, replace(review, places=_places(nodes)))


def names_of(nodes: DetectionNodes) -> list[str]:
    """Landmark names in the order of the detection."""
    return [landmark.name for landmark in nodes.detection.landmarks]


def moved_mm(nodes: DetectionNodes, index: int) -> float | None:
    """Distance of point ``index`` from its prediction; None without a point or without a predicted position."""
    now, predicted = position_lps(nodes, index), nodes.detection.landmarks[index].position_lps_mm
    return None if now is None or predicted is None else math.dist(now, predicted)


def set_status(nodes: DetectionNodes, index: int, status: str) -> None:
    """Say ``status`` about point ``index`` without moving it."""
    review = review_of(nodes)
    _say(nodes, replace(review, status={**review.status, names_of(nodes)[index]: status}))


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
    set_position(nodes, index, nodes.detection.landmarks[index].position_lps_mm)
    set_status(nodes, index, "predicted")


def replace_detection(
    nodes: DetectionNodes, detection: Detection, keep: Iterable[str] = (), frame_lps: np.ndarray | None = None
) -> DetectionNodes:
    """Put a newer detection in place of an older one; what was before can not be undone. Returns its nodes.

    Points named in ``keep`` stay where the annotator has them, with their status, if the newer detection has such a
    landmark; the others become predictions again. ``frame_lps``: see `add_detection`.
    """
    settle(nodes)
    review, old = review_of(nodes), displacement(nodes)
    set_frame(nodes, affine_of(nodes.volume) if frame_lps is None else frame_lps)
    to_new = np.linalg.inv(displacement(nodes)) @ old
    places = {name: None if place is None else apply(to_new, place) for name, place in review.places.items()}
    marks: dict[str, tuple[str, Any]] = {name: (review.status[name], places[name]) for name in keep}
    if set(names_of(nodes)) == set(detection.labels):
        show_detection(nodes, detection)
    else:
        remove_detection(nodes)
        nodes = add_detection(nodes.volume, detection, frame_lps)
    restore_landmarks(nodes, marks, review.annotator, review.comment, review.ask_colleague)
    nodes.points.SetAttribute(HISTORY_ATTRIBUTE, "[]")
    return nodes


def reviewed_landmarks(nodes: DetectionNodes) -> dict[str, tuple[str, Point | None]]:
    """What the annotator has said: name -> status and place (LPS millimetres, None where there is no point).

    Landmarks that nobody has touched, and points that are not placed, are left out.
    """
    settle(nodes)
    status = review_of(nodes).status
    return {
        name: (status[name], position_lps(nodes, index))
        for index, name in enumerate(names_of(nodes))
        if status[name] != "predicted" and not is_unset(nodes, index)
    }


def restore_landmarks(
    nodes: DetectionNodes,
    landmarks: Mapping[str, tuple[str, Point | None]],
    annotator: str,
    comment: str,
    ask_colleague: bool = False,
) -> None:
    """Bring back what `reviewed_landmarks` gave; landmarks that are not in it become predictions again."""
    review = review_of(nodes)
    for index, landmark in enumerate(nodes.detection.landmarks):
        predicted = ("predicted", landmark.position_lps_mm)
        set_position(nodes, index, landmarks.get(landmark.name, predicted)[1])
    status = {name: landmarks[name][0] if name in landmarks else "predicted" for name in review.status}
    remarks = replace(review, annotator=annotator, comment=comment, ask_colleague=ask_colleague)
    _say(nodes, replace(remarks, status=status))


def same_landmarks(
    some: Mapping[str, tuple[str, Point | None]], others: Mapping[str, tuple[str, Point | None]]
) -> bool:
    """Whether two results of `reviewed_landmarks` say the same; a scene's files round the places a little."""
    return some.keys() == others.keys() and all(
        some[name][0] == others[name][0] and apart_mm(some[name][1], others[name][1]) <= LEAST_MOVE_MM for name in some
    )
