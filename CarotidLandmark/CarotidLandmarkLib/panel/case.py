"""Part of the module's panel: the case of a dataset that is in the scene (Qt).

One case at a time, marked by an attribute of its volume. Every change of it is on the disk at once, as a draft; saving
makes an annotation of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..dataset import (
    AnnotationStatus,
    Case,
    Dataset,
    DatasetError,
    Point,
    Reviewed,
    case_of,
    patient_group,
    read_draft,
    remove_draft,
    verify_image,
    write_draft,
)
from ..detection import Detection, LandmarkResult, ModelInfo, Quality
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
from .words import ask

CASE_ATTRIBUTE = "CarotidLandmark.Case"  # of a case's volume: id and sha256, so that no case of another dataset fits
NO_MODEL = ModelInfo("no model", "", "")

Work = tuple[Reviewed, str]  # what an annotator has said about the landmarks, and the comment


class CaseInScene:
    """Brings cases of ``dataset`` into the scene, keeps drafts of what ``annotator`` does there, saves it.

    Both are set by the panel; None and "" while there is none. ``show`` puts a detection into the scene and returns its
    nodes; ``volumes`` gives the scene's scans.
    """

    def __init__(self, show: Callable[[Any, Detection], DetectionNodes], volumes: Callable[[], list[Any]]) -> None:
        self.dataset: Dataset | None = None
        self.annotator = ""
        self._show, self._volumes = show, volumes
        self.opening = False  # the event loop turns while an image is read: nothing else may be opened then
        self._followed: Any = None  # the points whose changes go to a draft
        self._stored: Work = ({}, "")
        self._kept: Work | None = None

    def find(self) -> tuple[Case, DetectionNodes] | None:
        """The case of the dataset that is in the scene, be it the input volume or not."""
        if self.dataset is None:
            return None
        for volume in self._case_volumes():
            case_id, _space, digest = volume.GetAttribute(CASE_ATTRIBUTE).partition(" ")
            nodes = scene.find_detection(volume)
            try:
                case = self.dataset.case(case_id)
            except DatasetError:  # of another dataset
                continue
            if nodes is not None and case.image_sha256 == digest:
                return case, nodes
        return None

    def open(self, case: Case, choose: Callable[[Any], None]) -> str:
        """Show a case in place of the one in the scene; ``choose`` makes its volume the input.

        Returns a sentence for the user, or "". Raises DatasetError when the case can not be read; the scene is as it
        was then.
        """
        self.opening = True
        try:
            return self._open(case, choose)
        finally:
            self.opening = False

    def remove(self) -> None:
        """Take what `open` has shown out of the scene."""
        for volume in self._case_volumes():
            scene.remove_volume(volume)

    def unsaved(self) -> str:
        """The id of the case in the scene when there is unsaved work on it, as `keep` last saw it; else ""."""
        found = self.find()
        if found is None or self._kept is None or _same(self._kept, self._stored):
            return ""
        return found[0].id

    def keep(self) -> None:
        """Write what has changed since the last call as a draft; none is left when it is what was saved.

        Offers an older draft of a case that has just come into the scene. Raises DatasetError, OSError.
        """
        found = self.find()
        if found is None or self.opening or not self.annotator or slicer.mrmlScene.IsBatchProcessing():
            return
        case, nodes = found
        if nodes.points is not self._followed:
            self._follow(case, nodes)
        work = _work(nodes)
        if work != self._kept:
            if _same(work, self._stored):
                remove_draft(case, self.annotator)
            else:
                write_draft(case, self.annotator, *work)
            self._kept = work

    def save(self, case: Case, nodes: DetectionNodes) -> None:
        """Make an annotation of what the scene shows: the draft's end. Raises DatasetError, OSError."""
        assert self.dataset is not None
        points, status = _outcome(nodes)
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
        self._stored, self._kept = (outcome, comment), None
        self.keep()

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
        with slicer.util.WaitCursor():
            known = case_of(self.dataset, volume)
            if known is not None:
                raise DatasetError(_("This scan is in the dataset already, as {case}.").format(case=known))
            case = self.dataset.case(self.dataset.add_case(volume, group=patient_group(patient)))
            if nodes is not None:
                self.dataset.save_prediction(case.id, nodes.detection)
                if any(_work(nodes)):
                    write_draft(case, self.annotator, *_work(nodes))
        return case

    def _open(self, case: Case, choose: Callable[[Any], None]) -> str:
        assert self.dataset is not None
        try:
            with slicer.util.WaitCursor():
                verify_image(case)
                volume = case.read_volume()
                prediction = case.prediction()
            if prediction is not None:
                self.dataset.check_landmarks({landmark.name for landmark in prediction.landmarks})
        except (DatasetError, VolumeError) as error:
            message = _("Case {case} can not be opened: {reason}").format(case=case.id, reason=error)
            raise DatasetError(message) from error
        words = "" if prediction else _("No model has looked at this case: press Detect, or place the points by hand.")
        try:
            stored = self._read_stored(case)
        except DatasetError as error:
            stored, words = ({}, ""), str(error)
        before = self._case_volumes()
        node = scene.add_volume(slicer.mrmlScene, volume)
        node.SetAttribute(CASE_ATTRIBUTE, f"{case.id} {case.image_sha256}")
        nodes = self._show(node, prediction or unseen(volume, self.dataset.landmarks))
        restore_landmarks(nodes, stored[0], self.annotator, stored[1])
        choose(node)
        self._hand_over(before, node)
        return words

    def _case_volumes(self) -> list[Any]:
        return [node for node in self._volumes() if node.GetAttribute(CASE_ATTRIBUTE)]

    def _hand_over(self, before: list[Any], node: Any) -> None:
        """The views go from the old volumes to the new one, and the old ones go."""
        rendering = slicer.modules.volumerendering.logic()
        vessels = any(scene_display.vessels_shown(old, rendering) for old in before)
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        for old in before:
            scene.remove_volume(old)
        slicer.mrmlScene.ClearUndoStack()  # Undo would bring back the points of the case before
        if vessels:
            scene_display.show_vessels(node, rendering)

    def _read_stored(self, case: Case) -> Work:
        """What this annotator has saved about the case. Raises DatasetError when that is damaged."""
        if not case.has_annotation(self.annotator):
            return {}, ""
        saved = case.annotation(self.annotator)
        return {name: (saved.status[name], saved.points[name]) for name in saved.points}, saved.comment

    def _follow(self, case: Case, nodes: DetectionNodes) -> None:
        self._followed, self._stored, self._kept = nodes.points, ({}, ""), _work(nodes)
        self._stored = self._read_stored(case)
        draft = read_draft(case, self.annotator)
        if draft is not None and not _same((draft.landmarks, draft.comment), self._kept):
            time = f"{datetime.fromisoformat(draft.time).astimezone():%Y-%m-%d %H:%M}"
            question = _("Work on case {case} of {time} was not saved. Go on with it? No discards it.")
            if ask(question.format(case=case.id, time=time), qt.QMessageBox.Yes | qt.QMessageBox.No):
                restore_landmarks(nodes, draft.landmarks, self.annotator, draft.comment)
        self._kept = None  # now compare with what is on the disk


def unseen(volume: Volume, landmarks: tuple[str, ...]) -> Detection:
    """What stands for a detection where no model has looked: points can be placed by hand."""
    nothing = tuple(LandmarkResult(name, "missing", 0.0) for name in landmarks)
    return Detection(volume.info, NO_MODEL, 0, 0, "", {}, nothing, Quality("review", (_("No model has looked."),)))


def _work(nodes: DetectionNodes) -> Work:
    return reviewed_landmarks(nodes), review_of(nodes).comment


def _same(some: Work, other: Work) -> bool:
    return some[1] == other[1] and same_landmarks(some[0], other[0])


def _outcome(nodes: DetectionNodes) -> tuple[dict[str, Point | None], dict[str, AnnotationStatus]]:
    """Points and statuses to save: what is shown counts, looked at or not, unless no model has looked either.

    Raises DatasetError then.
    """
    points: dict[str, Point | None] = {}
    status: dict[str, AnnotationStatus] = {}
    touched = reviewed_landmarks(nodes)
    for index, name in enumerate(names_of(nodes)):
        if name not in touched and nodes.detection.model == NO_MODEL:
            label = review_of(nodes).labels[name]
            raise DatasetError(_("{label}: place it (Bring back), or accept that it is missing.").format(label=label))
        points[name], moved = scene.position_lps(nodes, index), moved_mm(nodes, index)
        if points[name] is None:
            status[name] = "missing"
        else:
            status[name] = "accepted" if moved is not None and moved <= LEAST_MOVE_MM else "corrected"
    return points, status
