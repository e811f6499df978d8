"""Part of the module's panel: the case of a dataset that is in the scene (Qt).

A case is marked by an attribute of its points. Every change of it is on the disk at once, as a draft; saving makes an
annotation of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ... import scene
from ...dataset import Annotation, Case, Dataset, DatasetError, UnreadableError, case_of, check_annotator, patient_group
from ...detection import Detection
from ...scene import DetectionNodes, Review, moved_mm, names_of, restore_landmarks, review_of
from ...volume import VolumeError
from ..words import ask
from .drafts import Drafts, Work, absent_case
from .outcome import NO_MODEL, SAME_FRAME_MM, ImageCheck, outcome_of, shall_be_saved, unseen

CASE_ATTRIBUTE = "CarotidLandmark.Case"  # of a case's points: id and sha256, so that no case of another dataset fits
MARK = re.compile("[A-Za-z0-9_-]{1,64} [0-9a-f]{64}")  # what it says; it becomes part of a path


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
        self._asking = False
        self._followed: list[Drafts] = []
        self._known: dict[str, Case] = {}  # by attribute: read once, there also when the folder is out of reach
        self._volumes: dict[Any, str] = {}  # the attribute by scan, whatever became of the points
        self.image = ImageCheck()

    def use(self, dataset: Dataset | None) -> None:
        """What is in the scene is of this dataset from now on, or of none."""
        self.dataset, self._known, self._followed = dataset, {}, []

    def of_volume(self, volume: Any) -> Case | None:
        """The case whose scan ``volume`` is, also where its points were deleted."""
        self._marked()
        return self._case(self._volumes.get(volume))

    def find(self) -> tuple[Case, DetectionNodes] | None:
        """The case of the dataset that is in the scene: of several, the one whose volume is the input."""
        cases = self._cases()
        return next((each for each in cases if each[1].volume is self._shown()), cases[0] if cases else None)

    @property
    def case_id(self) -> str:
        """Of the case that `find` finds, or ""."""
        case = self.find()
        return case[0].id if case is not None else ""

    def is_up_to_date(self, case_id: str) -> bool:
        """Whether the case is shown, and not as it was before a model had looked."""
        shown = self.find()
        if shown is None or shown[0].id != case_id:
            return False
        return shown[1].detection.model != NO_MODEL or shown[0].readable_prediction() is None

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
        """Take the dataset's cases out of the scene."""
        self._marked()
        for volume in [volume for volume, text in self._volumes.items() if self._case(text) is not None]:
            scene.remove_volume(volume)
        self._followed, self._known = [], {}

    def unsaved(self) -> list[tuple[Case, DetectionNodes]]:
        """The cases in the scene with work that is not saved."""

        def stored(nodes: DetectionNodes) -> Work:
            followed = self._of(nodes)
            return Work() if followed is None else followed.stored  # nothing could be read: what is shown counts

        return [(case, nodes) for case, nodes in self._cases() if not Work.of_nodes(nodes).same_as(stored(nodes))]

    def keep(self) -> str:
        """Write what has changed since the last call as a draft; none is left when it is what was saved.

        Offers an older draft of a case that has just come into the scene. Returns a sentence for the user when the
        draft could not go where it belongs, else "". Raises DatasetError, OSError when it could go nowhere.
        """
        if self.opening or self._asking or not self.annotator or slicer.mrmlScene.IsBatchProcessing():
            return ""
        return " ".join(filter(None, [self._keep(case, nodes) for case, nodes in self._cases()]))

    def not_kept(self) -> list[tuple[Case, Work]]:
        """What was done since `keep` has looked."""
        cases = [(case, self._of(nodes), Work.of_nodes(nodes)) for case, nodes in self._cases()]
        since = [(case, work.since(each.seen)) for case, each, work in cases if each and each.seen is not None]
        return [(case, work) for case, work in since if work != Work()]

    def hand_to(self, annotator: str) -> str:
        """Write `keep`'s drafts, and one for ``annotator`` of what was done since it has looked. See `keep`."""
        words = []
        for case, nodes in self._cases() if self.annotator else ():
            followed = self._of(nodes)
            words.append(self._keep(case, nodes) if followed is None else followed.keep_seen())
        words += [Drafts(case, annotator).keep(work) for case, work in self.not_kept()]
        return " ".join(filter(None, words))

    def save(self, case: Case, nodes: DetectionNodes) -> bool:
        """Make an annotation of what the scene shows: the draft's end. False when the user would rather not.

        Raises DatasetError, OSError.
        """
        assert self.dataset is not None
        self.image.check_to_save(case, nodes)
        if self._of(nodes) is None:
            shown = Work.of_nodes(nodes)
            with suppress(UnreadableError):
                self.keep()
            if Work.of_nodes(nodes) != shown:  # an older draft was taken: nobody has looked at it yet
                return False
        points, status = outcome_of(nodes)
        followed = self._of(nodes)
        if followed is None:
            words = _("An older draft of case {case} can not be read; nothing is saved.")
            raise DatasetError(words.format(case=case.id))
        if not (shall_be_saved(case, nodes, points) and self._may_replace(case, followed)):
            return False
        comment, ask_colleague = Work.of_nodes(nodes)[1:]
        outcome = Work({name: (status[name], points[name]) for name in points}, comment, ask_colleague)
        restore_landmarks(nodes, outcome.landmarks, self.annotator, comment, ask_colleague)
        self.keep()  # a draft equal to the annotation is recognised after a kill between the two
        moved = [moved_mm(nodes, index) for index in range(len(points))]
        annotation = self.dataset.save_annotation(
            case.id,
            self.annotator,
            points,
            status,
            None if nodes.detection.model == NO_MODEL else nodes.detection.model,
            {name: None if mm is None else round(mm, 3) for name, mm in zip(names_of(nodes), moved, strict=True)},
            comment,
            ask_colleague,
        )
        followed.saved(annotation)
        with suppress(OSError, DatasetError):  # it is saved; a draft that says the same asks nothing later
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
            known_as = partial(case_of, self.dataset)
            if (known := known_as(volume)) is not None:
                raise DatasetError(_("This scan is in the dataset already, as {case}.").format(case=known))
            case_id = self.dataset.add_case(volume, group=patient_group(patient), case_of=known_as)
            case = self.dataset.case(case_id)
            if nodes is not None:
                if nodes.detection.model != NO_MODEL:
                    self.dataset.save_prediction(case.id, nodes.detection)
                if Work.of_nodes(nodes) != Work():
                    Drafts(case, self.annotator).keep(Work.of_nodes(nodes))
        return case

    def _cases(self) -> list[tuple[Case, DetectionNodes]]:
        """The cases of the dataset in the scene, each once: what a scene added later has of an open one is not it."""
        cases: dict[str, tuple[Case, DetectionNodes]] = {}
        for text, nodes in self._marked():
            case = self._case(text)
            if case is not None and (case.id not in cases or nodes.volume is self._shown()):
                cases[case.id] = case, nodes
        return list(cases.values())

    def _marked(self) -> list[tuple[str, DetectionNodes]]:
        """The cases of any dataset in the scene; a new list of points in a case's scan is marked, too."""
        self._volumes = {volume: text for volume, text in self._volumes.items() if volume.GetScene() is not None}
        marked = []
        for nodes in scene.find_detections(slicer.mrmlScene):
            text = nodes.points.GetAttribute(CASE_ATTRIBUTE)
            if not text and nodes.volume in self._volumes:
                text = self._volumes[nodes.volume]
                nodes.points.SetAttribute(CASE_ATTRIBUTE, text)
            if text and MARK.fullmatch(text):
                self._volumes[nodes.volume] = text
                marked.append((text, nodes))
        return marked

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

    def _of(self, nodes: DetectionNodes) -> Drafts | None:
        self._followed = [each for each in self._followed if each.points.GetScene() is not None]
        mine = (each for each in self._followed if each.points is nodes.points and each.annotator == self.annotator)
        return next(mine, None)

    def _keep(self, case: Case, nodes: DetectionNodes) -> str:
        followed, words = self._of(nodes), list[str]()
        if followed is None:
            words.append(self._give_back(case, nodes))
            work, followed = Work.of_nodes(nodes), self._follow(case, nodes)
            try:
                words.append(self._offer(case, nodes, followed))
            except (DatasetError, OSError):
                if work != Work():  # an older draft can not be read now: this one does not go in its place
                    Drafts(case, self.annotator).keep_elsewhere(work)
                raise
        followed.seen = Work.of_nodes(nodes)
        return " ".join(filter(None, [*words, followed.keep_seen()]))

    def _give_back(self, case: Case, nodes: DetectionNodes) -> str:
        """What another annotator has said, in a scene that was saved, stays theirs: this one's own is shown instead."""
        owner, work = _fit_name(review_of(nodes)), Work.of_nodes(nodes)
        if owner in ("", self.annotator) or work == Work():
            return ""
        aside = Drafts(case, owner).keep_elsewhere(work)
        annotation, damage = self._read_stored(case)
        stored = Work.of_annotation(annotation)
        restore_landmarks(nodes, stored.landmarks, self.annotator, *stored[1:])
        words = _(
            "The points of case {case} are by {owner}, and are kept for {owner} on this computer; yours are shown."
        )
        return " ".join(filter(None, [words.format(case=case.id, owner=owner), aside, damage]))

    def _open(self, case: Case, choose: Callable[[Any], None]) -> str:
        assert self.dataset is not None
        dataset, words = self.dataset, list[str]()
        try:
            with slicer.util.WaitCursor():  # the event loop turns
                volume = case.read_volume()
            if self.dataset is not dataset:
                raise DatasetError(_("the scene was closed meanwhile."))
            prediction = self._prediction(case, words)
            annotation, damage = self._read_stored(case)  # what was saved must be seen before it is replaced
            if not case.folder.is_dir():  # a draft would be missing, too
                raise DatasetError(_("its folder is out of reach."))
        except (DatasetError, VolumeError) as error:
            message = _("Case {case} can not be opened: {reason}").format(case=case.id, reason=error)
            raise DatasetError(message) from error
        stored = Work.of_annotation(annotation)
        words += self._rescue()
        before = list(self._volumes)
        node = scene.add_volume(slicer.mrmlScene, volume)
        self._volumes[node] = text = f"{case.id} {case.image_sha256}"
        self._known[text] = case
        nodes = self._show(node, prediction or unseen(volume, self.dataset.landmarks))
        nodes.points.SetAttribute(CASE_ATTRIBUTE, text)
        restore_landmarks(nodes, stored.landmarks, self.annotator, *stored[1:])
        self.image.trust(case, node)
        choose(node)
        self._hand_over(before, node)
        return " ".join(filter(None, [*words, damage]))

    def _prediction(self, case: Case, words: list[str]) -> Detection | None:
        assert self.dataset is not None
        try:
            prediction = case.prediction()
            if prediction is None:
                words.append(_("No model has looked at this case: press Detect, or place the points by hand."))
            else:
                self.dataset.check_landmarks({landmark.name for landmark in prediction.landmarks})
            return prediction
        except DatasetError as error:
            words.append(str(error))
            return None

    def _rescue(self) -> list[str]:
        """Keep work on other datasets' cases on this computer: they leave the scene. Raises DatasetError, OSError."""
        words = []
        for text, nodes in self._marked():
            work = Work.of_nodes(nodes)
            if work != Work() and self._case(text) is None:
                drafts = Drafts(absent_case(*text.split()), _fit_name(review_of(nodes)) or self.annotator)
                kept = _("The work on case {case}, which is not of this dataset, is kept on this computer.")
                words += [drafts.keep_elsewhere(work), kept.format(case=text.split()[0])]
        return words

    def _hand_over(self, before: list[Any], node: Any) -> None:
        """The views go from the old volumes to the new one, and the old ones go."""
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        for old in before:
            scene.remove_volume(old)
        self._followed = []

    def _read_stored(self, case: Case) -> tuple[Annotation | None, str]:
        """What this annotator has saved about the case, and a sentence if it is damaged. Raises UnreadableError."""
        try:
            return case.annotation(self.annotator) if case.has_annotation(self.annotator) else None, ""
        except UnreadableError:
            raise
        except DatasetError as error:
            return None, str(error)

    def _may_replace(self, case: Case, followed: Drafts) -> bool:
        """Whether the annotation on the disk is the one that was read here, or a damaged one; asks when it is not.

        Raises UnreadableError when nobody can say.
        """
        there, _damage = self._read_stored(case)
        if there is None or there == followed.annotation:
            return True
        question = _(
            "Case {case} is saved as {name}, and not as it was shown here ({time}). Replace that with what is shown? "
            "With No both stay, yours as a draft."
        )
        words = question.format(case=case.id, name=self.annotator, time=_local(there.time))
        return ask(words, default=qt.QMessageBox.No) is True

    def _follow(self, case: Case, nodes: DetectionNodes) -> Drafts:
        annotation = None
        with suppress(DatasetError, OSError):  # `open` has said it
            annotation, _damage = self._read_stored(case)
        if not Work.of_annotation(annotation).same_as(Work.of_nodes(nodes)):
            annotation = None  # a scene that was loaded shows something else: nobody has seen what is stored
        return Drafts(case, self.annotator, nodes.points, annotation)

    def _offer(self, case: Case, nodes: DetectionNodes, followed: Drafts) -> str:
        """Begin to follow, and ask whether to go on with older drafts. Returns a sentence for the user, or ""."""
        (drafts, words), shown = followed.waiting(), Work.of_nodes(nodes)
        self._followed.append(followed)
        known = [Work.of_draft(draft) for draft, _place in drafts]
        question = _("Work on case {case} of {time} was not saved. Go on with it? No discards it.")
        if not any(shown.same_as(each) for each in [*known, followed.stored]):
            question = _(
                "Work on case {case} of {time} was not saved. Go on with it, in place of what is shown? No discards it."
            )
        for (draft, place), work in zip(drafts, known, strict=True):
            if work.same_as(Work.of_nodes(nodes)):
                continue
            if self._ask(question.format(case=case.id, time=_local(draft.time))):
                restore_landmarks(nodes, draft.landmarks, self.annotator, draft.comment, draft.ask_colleague)
                others = [each for (_draft, each), of in zip(drafts, known, strict=True) if not of.same_as(work)]
                return " ".join(filter(None, [words, *map(followed.put_aside, others)]))
            followed.discard(place)
        return words

    def _ask(self, question: str) -> bool:
        self._asking = True  # the event loop turns: what is shown now must not take the draft's place
        try:
            return ask(question, escape=qt.QMessageBox.Yes) is True
        finally:
            self._asking = False


def _fit_name(review: Review) -> str:
    with suppress(DatasetError):
        check_annotator(review.annotator)
        return review.annotator
    return ""


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
