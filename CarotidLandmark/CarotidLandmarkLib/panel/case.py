"""Part of the module's panel: the case of a dataset that is in the scene (Qt).

A case is marked by an attribute of its points. Every change of it is on the disk at once, as a draft; saving makes an
annotation of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..dataset import (
    Annotation,
    AnnotationStatus,
    Case,
    Dataset,
    DatasetError,
    Point,
    case_of,
    patient_group,
    verify_image,
)
from ..detection import Detection, LandmarkResult, ModelInfo, Quality
from ..landmarks import pairs
from ..scene import DetectionNodes
from ..scene import display as scene_display
from ..scene.review import (
    LEAST_MOVE_MM,
    moved_mm,
    names_of,
    restore_landmarks,
    review_of,
    reviewed_landmarks,
    same_landmarks,
)
from ..volume import Volume, VolumeError
from .drafts import Work, keep_draft, latest_draft, remove_drafts
from .words import ask, rendering_logic

CASE_ATTRIBUTE = "CarotidLandmark.Case"  # of a case's points: id and sha256, so that no case of another dataset fits
NO_MODEL = ModelInfo("no model", "", "")
SAME_FRAME_MM = 1e-3


@dataclass
class _Followed:
    """The points whose changes go to a draft of ``annotator``, and what is on the disk about them."""

    points: Any
    annotator: str
    annotation: Annotation | None  # as it was read
    stored: Work
    kept: Work | None  # None: not compared yet


class CaseInScene:
    """Brings cases of ``dataset`` into the scene, keeps drafts of what ``annotator`` does there, saves it.

    Both are set by the panel; None and "" while there is none. ``show`` puts a detection into the scene and returns its
    nodes; ``shown`` gives the volume that is the panel's input.
    """

    def __init__(self, show: Callable[[Any, Detection], DetectionNodes], shown: Callable[[], Any]) -> None:
        self.dataset: Dataset | None = None
        self.annotator = ""
        self._show, self._shown = show, shown
        self.opening = False  # the event loop turns while a case is opened: nothing else may be done then
        self._followed: list[_Followed] = []
        self._known: dict[str, Case] = {}  # by attribute: read once, there also when the folder is out of reach
        self._volumes: list[Any] = []  # that `open` has added, whatever became of their points

    def find(self) -> tuple[Case, DetectionNodes] | None:
        """The case of the dataset that is in the scene: of several, the one whose volume is the input."""
        cases = self._cases()
        shown = [each for each in cases if each[1].volume is self._shown()]
        return next(iter([*shown, *cases]), None)

    def open(self, case: Case, choose: Callable[[Any], None]) -> str:
        """Show a case in place of the one in the scene; ``choose`` makes its volume the input.

        Returns a sentence for the user, or "". Raises DatasetError when the case can not be read; the scene is as it
        was then.
        """
        self.opening = True
        try:
            words = self._open(case, choose)
            slicer.app.processEvents()  # it is seen, and what was pressed before that is spent
            return words
        finally:
            self.opening = False

    def remove(self) -> None:
        """Take what `open` has shown out of the scene."""
        for volume in self._old_volumes():
            scene.remove_volume(volume)
        self._followed, self._known, self._volumes = [], {}, []

    def unsaved(self) -> list[tuple[Case, DetectionNodes]]:
        """The cases in the scene with work that is not saved."""
        return [
            (case, nodes)
            for case, nodes in self._cases()
            if (followed := self._of(nodes)) is not None and not _same(_work(nodes), followed.stored)
        ]

    def keep(self) -> str:
        """Write what has changed since the last call as a draft; none is left when it is what was saved.

        Offers an older draft of a case that has just come into the scene. Returns a sentence for the user when the
        draft could not go where it belongs, else "". Raises DatasetError, OSError when it could go nowhere.
        """
        if self.opening or not self.annotator or slicer.mrmlScene.IsBatchProcessing():
            return ""
        return " ".join(filter(None, [self._keep(case, nodes) for case, nodes in self._cases()]))

    def save(self, case: Case, nodes: DetectionNodes) -> bool:
        """Make an annotation of what the scene shows: the draft's end. False when the user would rather not.

        Raises DatasetError, OSError.
        """
        assert self.dataset is not None
        check_place(case, nodes)
        points, status = _outcome(nodes)
        followed = self._of(nodes)
        if not (_sides_fit(nodes, points) and (followed is None or self._may_replace(case, followed))):
            return False
        outcome = {name: (status[name], points[name]) for name in points}
        comment = review_of(nodes).comment
        restore_landmarks(nodes, outcome, self.annotator, comment)
        self.keep()  # a draft equal to the annotation is recognised after a kill between the two
        moved = [moved_mm(nodes, index) for index in range(len(points))]
        self.dataset.save_annotation(
            case.id,
            self.annotator,
            points,
            status,
            None if nodes.detection.model == NO_MODEL else nodes.detection.model,
            {name: None if mm is None else round(mm, 3) for name, mm in zip(names_of(nodes), moved, strict=True)},
            comment,
        )
        self._followed = [each for each in self._followed if each.points is not nodes.points]
        annotation = self._read_stored(case)
        self._followed.append(_Followed(nodes.points, self.annotator, annotation, (outcome, comment), None))
        self.keep()
        return True

    def add(self, volume_node: Any, patient: str) -> Case:
        """Copy a scan of the scene into the dataset, with its detection; corrections of it become a draft.

        ``patient``: a word for whose it is, see `adding.patient_group`. Raises DatasetError, VolumeError, SceneError,
        OSError.
        """
        assert self.dataset is not None
        volume = scene.volume_from_node(volume_node)
        nodes = scene.find_detection(volume_node)
        if nodes is not None:
            self.dataset.check_landmarks(set(names_of(nodes)))
            if not np.allclose(scene.frame_of(nodes), volume.affine_lps, atol=SAME_FRAME_MM):
                words = _("{name} was moved after its detection; detect again, or take it back, before you add it.")
                raise DatasetError(words.format(name=volume.name))
        with slicer.util.WaitCursor():
            known = case_of(self.dataset, volume)
            if known is not None:
                raise DatasetError(_("This scan is in the dataset already, as {case}.").format(case=known))
            case = self.dataset.case(self.dataset.add_case(volume, group=patient_group(patient)))
            if nodes is not None:
                self.dataset.save_prediction(case.id, nodes.detection)
                if any(_work(nodes)):
                    keep_draft(case, self.annotator, _work(nodes))
        return case

    def _cases(self) -> list[tuple[Case, DetectionNodes]]:
        """The cases of the dataset in the scene, each once: what a scene added later has of an open one is not it."""
        cases: dict[str, tuple[Case, DetectionNodes]] = {}
        for nodes in scene.find_detections(slicer.mrmlScene):
            case = self._case(nodes.points.GetAttribute(CASE_ATTRIBUTE))
            if case is not None and (case.id not in cases or nodes.volume is self._shown()):
                cases[case.id] = case, nodes
        return list(cases.values())

    def _case(self, text: str | None) -> Case | None:
        if not text or self.dataset is None:
            return None
        if text not in self._known:
            case_id, _space, digest = text.partition(" ")
            try:
                case = self.dataset.case(case_id)
            except (DatasetError, OSError):  # of another dataset
                return None
            if case.image_sha256 != digest:
                return None
            self._known[text] = case
        return self._known[text]

    def _of(self, nodes: DetectionNodes) -> _Followed | None:
        self._followed = [each for each in self._followed if each.points.GetScene() is not None]
        mine = [each for each in self._followed if each.points is nodes.points and each.annotator == self.annotator]
        return mine[0] if mine else None

    def _keep(self, case: Case, nodes: DetectionNodes) -> str:
        followed = self._of(nodes) or self._follow(case, nodes)
        work, words = _work(nodes), ""
        if work != followed.kept:
            if not _same(work, followed.stored):
                words = keep_draft(case, self.annotator, work)
            elif case.folder.is_dir():
                remove_drafts(case, self.annotator)
            followed.kept = work
        return words

    def _open(self, case: Case, choose: Callable[[Any], None]) -> str:
        assert self.dataset is not None
        words, prediction = [], None
        try:
            with slicer.util.WaitCursor():
                verify_image(case)
                volume = case.read_volume()
        except (DatasetError, VolumeError) as error:
            message = _("Case {case} can not be opened: {reason}").format(case=case.id, reason=error)
            raise DatasetError(message) from error
        try:
            prediction = case.prediction()
            if prediction is not None:
                self.dataset.check_landmarks({landmark.name for landmark in prediction.landmarks})
            else:
                words.append(_("No model has looked at this case: press Detect, or place the points by hand."))
        except DatasetError as error:
            words.append(str(error))
            prediction = None
        stored: Work = ({}, "")
        try:
            stored = _work_of(self._read_stored(case))
        except DatasetError as error:
            words.append(str(error))
        before = self._old_volumes()
        node = scene.add_volume(slicer.mrmlScene, volume)
        self._volumes.append(node)
        nodes = self._show(node, prediction or unseen(volume, self.dataset.landmarks))
        text = f"{case.id} {case.image_sha256}"
        nodes.points.SetAttribute(CASE_ATTRIBUTE, text)
        self._known[text] = case
        restore_landmarks(nodes, stored[0], self.annotator, stored[1])
        choose(node)
        self._hand_over(before, node)
        return " ".join(words)

    def _old_volumes(self) -> list[Any]:
        """What `open` has added, and cases that came with a scene; a copy that the user has made is the user's."""
        marked = [n.volume for n in scene.find_detections(slicer.mrmlScene) if n.points.GetAttribute(CASE_ATTRIBUTE)]
        own = [volume for volume in self._volumes if volume.GetScene() is slicer.mrmlScene]
        return [*marked, *(volume for volume in own if not any(volume is each for each in marked))]

    def _hand_over(self, before: list[Any], node: Any) -> None:
        """The views go from the old volumes to the new one, and the old ones go."""
        rendering = rendering_logic()
        vessels = any(scene_display.vessels_shown(old, rendering) for old in before)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        for old in before:
            scene.remove_volume(old)
        self._volumes, self._followed = [node], []
        if vessels:
            scene_display.show_vessels(node, rendering)

    def _read_stored(self, case: Case) -> Annotation | None:
        """What this annotator has saved about the case. Raises DatasetError when that is damaged."""
        return case.annotation(self.annotator) if case.has_annotation(self.annotator) else None

    def _may_replace(self, case: Case, followed: _Followed) -> bool:
        """Whether the annotation on the disk is the one that was read here; asks when it is not."""
        try:
            there = self._read_stored(case)
        except DatasetError:  # damaged: to be annotated again
            return True
        if there is None or there == followed.annotation:
            return True
        question = _(
            "Case {case} was saved as {name} elsewhere meanwhile ({time}). Replace that with what is shown? "
            "With No both stay, yours as a draft."
        )
        words = question.format(case=case.id, name=self.annotator, time=_local(there.time))
        return ask(words, qt.QMessageBox.Yes | qt.QMessageBox.No, default=qt.QMessageBox.No) is True

    def _follow(self, case: Case, nodes: DetectionNodes) -> _Followed:
        annotation = None
        with suppress(DatasetError, OSError):  # `open` has said it
            annotation = self._read_stored(case)
        followed = _Followed(nodes.points, self.annotator, annotation, _work_of(annotation), None)
        self._followed.append(followed)
        draft, work = latest_draft(case, self.annotator), _work(nodes)
        if draft is not None and not _same((draft.landmarks, draft.comment), work):
            question = _("Work on case {case} of {time} was not saved. Go on with it? No discards it.")
            words = question.format(case=case.id, time=_local(draft.time))
            if ask(words, qt.QMessageBox.Yes | qt.QMessageBox.No):
                restore_landmarks(nodes, draft.landmarks, self.annotator, draft.comment)
        return followed


def check_place(case: Case, nodes: DetectionNodes) -> None:
    """Raises DatasetError when what is in the scene is not the image of the case in its own geometry any more."""
    image = nodes.volume.GetImageData()
    size = image.GetDimensions() if image is not None else ()
    if tuple(size) != tuple(case.size) or not np.allclose(scene.frame_of(nodes), case.affine_lps, atol=SAME_FRAME_MM):
        words = _("The scan of case {case} was cropped, resampled, or detected again after it was moved.")
        raise DatasetError(" ".join([words.format(case=case.id), _("Open the case again (Next, Previous).")]))


def unseen(volume: Volume, landmarks: tuple[str, ...]) -> Detection:
    """What stands for a detection where no model has looked: points can be placed by hand."""
    nothing = tuple(LandmarkResult(name, "missing", 0.0) for name in landmarks)
    return Detection(volume.info, NO_MODEL, 0, 0, "", {}, nothing, Quality("review", (_("No model has looked."),)))


def _work(nodes: DetectionNodes) -> Work:
    return reviewed_landmarks(nodes), review_of(nodes).comment


def _work_of(annotation: Annotation | None) -> Work:
    if annotation is None:
        return {}, ""
    return {name: (annotation.status[name], annotation.points[name]) for name in annotation.points}, annotation.comment


def _same(some: Work, other: Work) -> bool:
    return some[1] == other[1] and same_landmarks(some[0], other[0])


def _outcome(nodes: DetectionNodes) -> tuple[dict[str, Point | None], dict[str, AnnotationStatus]]:
    """Points and statuses to save: what is shown counts, looked at or not, unless no model has looked either.

    Raises DatasetError then, and for a point that is not placed.
    """
    points: dict[str, Point | None] = {}
    status: dict[str, AnnotationStatus] = {}
    touched, labels = reviewed_landmarks(nodes), review_of(nodes).labels
    for index, name in enumerate(names_of(nodes)):
        if scene.is_unset(nodes, index):
            words = _("{label} is not placed: press Undo, bring it back, or mark it missing.")
            raise DatasetError(words.format(label=labels[name]))
        if name not in touched and nodes.detection.model == NO_MODEL:
            words = _("{label}: place it (Bring back), or accept that it is missing.")
            raise DatasetError(words.format(label=labels[name]))
        points[name], moved = scene.position_lps(nodes, index), moved_mm(nodes, index)
        if points[name] is None:
            status[name] = "missing"
        else:
            status[name] = "accepted" if moved is not None and moved <= LEAST_MOVE_MM else "corrected"
    return points, status


def _sides_fit(nodes: DetectionNodes, points: dict[str, Point | None]) -> bool:
    """Whether what is called left is on the patient's left of its counterpart; asks when it is not."""
    labels = review_of(nodes).labels
    for pair in pairs(points):
        left, right = points[pair.left], points[pair.right]
        if left is not None and right is not None and left[0] < right[0]:
            question = _("{left} is on the patient's right of {right}. Save them so?")
            words = question.format(left=labels[pair.left], right=labels[pair.right])
            if not ask(words, qt.QMessageBox.Yes | qt.QMessageBox.No, default=qt.QMessageBox.No):
                return False
    return True


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
