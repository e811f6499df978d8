"""Part of the module's panel: where unsaved work goes, also while the dataset's folder is out of reach."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from slicer.i18n import tr as _

from ... import dataset
from ...dataset import Annotation, Case, DatasetError, Draft, Reviewed, UnreadableError
from ...files import user_directory
from ...scene import DetectionNodes, review_of, reviewed_landmarks, same_landmarks


class Work(NamedTuple):
    """What an annotator has said about a case; nothing, at first."""

    landmarks: Reviewed = {}  # noqa: RUF012 - nobody writes to it
    comment: str = ""
    ask_colleague: bool = False

    @classmethod
    def of_nodes(cls, nodes: DetectionNodes) -> Work:
        """What the scene has of it."""
        review = review_of(nodes)
        return cls(reviewed_landmarks(nodes), review.comment, review.ask_colleague)

    @classmethod
    def of_annotation(cls, annotation: Annotation | None) -> Work:
        """What an annotation has of it."""
        if annotation is None:
            return cls()
        marks = {name: (mark.status, mark.position_lps_mm) for name, mark in annotation.landmarks.items()}
        return cls(marks, annotation.comment, annotation.ask_colleague)

    @classmethod
    def of_draft(cls, draft: Draft) -> Work:
        """What a draft has of it."""
        return cls(draft.landmarks, draft.comment, draft.ask_colleague)

    def same_as(self, other: Work) -> bool:
        """Whether both say the same; files round places a little."""
        return self[1:] == other[1:] and same_landmarks(self.landmarks, other.landmarks)

    def since(self, before: Work) -> Work:
        """What is said here and was not said before."""
        marks = {
            name: mark
            for name, mark in self.landmarks.items()
            if not same_landmarks({name: mark}, {each: old for each, old in before.landmarks.items() if each == name})
        }
        comment = self.comment if self.comment != before.comment else ""
        return Work(marks, comment, self.ask_colleague and not before.ask_colleague)


class Drafts:
    """The draft of one case by one annotator: beside the case, or in the user's own folder when that fails.

    And what is on the disk about ``points``, whose changes go to it: ``annotation``, as it was read.
    """

    def __init__(self, case: Case, annotator: str, points: Any = None, annotation: Annotation | None = None) -> None:
        self._case, self.annotator, self.points, self.annotation = case, annotator, points, annotation
        self.seen: Work | None = None  # as the scene had it when last looked at, None: not yet
        self._last: Work | None = None  # as it was when last compared with what is on the disk
        self._known: Draft | None = None  # beside the case, as last read or written here

    @property
    def stored(self) -> Work:
        return Work.of_annotation(self.annotation)

    def waiting(self) -> tuple[list[tuple[Draft, Case]], str]:
        """Both with their places, the newer one first, and a sentence for the user, or "": a damaged one is put aside.

        Raises DatasetError, OSError when one can not be read now.
        """
        (self._known, words), (other, more) = self._read(self._case), self._read(self._elsewhere())
        drafts = [(self._known, self._case), (other, self._elsewhere())]
        there = [(draft, place) for draft, place in drafts if draft is not None]
        return sorted(there, key=lambda each: each[0].time, reverse=True), " ".join(filter(None, [words, more]))

    def discard(self, place: Case) -> None:
        """Forget one of those that wait, if it is as it was then. Raises DatasetError (bad name), OSError."""
        if place is not self._case or not self._is_of_another():
            dataset.remove_draft(place, self.annotator)

    def put_aside(self, place: Case) -> str:
        """Rename one of those that wait, and say so: nothing is written in its place. Raises OSError."""
        name = dataset.set_draft_aside(place, self.annotator, "aside")
        return _("Other unsaved work on case {case} was put aside as {name}.").format(case=place.id, name=name)

    def keep_seen(self) -> str:
        """Bring the disk in line with what was seen: see `keep`, or none is left where that is what was saved."""
        words, seen = "", self.seen
        if seen is not None and seen != self._last:
            if not seen.same_as(self.stored):
                words = self.keep(seen)
            elif self._case.folder.is_dir():
                self.remove()
            self._last = seen
        return words

    def saved(self, annotation: Annotation) -> None:
        """What was seen is an annotation now."""
        self.annotation, self._last = annotation, None

    def keep(self, work: Work) -> str:
        """Write it. Returns "" or a sentence that says why it is not beside the case.

        Raises DatasetError, OSError when it could be written nowhere.
        """
        try:
            if not self._case.folder.is_dir():
                raise FileNotFoundError(2, _("the folder of the case is not there"))
            if self._is_of_another():
                reason = _("A draft of case {case} by {name} was written elsewhere meanwhile.")
                raise DatasetError(reason.format(case=self._case.id, name=self.annotator))
            dataset.write_draft(self._case, self.annotator, *work)
            self._known = dataset.read_draft(self._case, self.annotator)
        except (OSError, DatasetError) as error:
            self.keep_elsewhere(work)
            reason = str(error)
            if isinstance(error, OSError):
                reason = _("The dataset can not be read or written ({reason}).").format(reason=error.strerror or error)
            words = _("{reason} Your work on case {case} is kept on this computer meanwhile.")
            return words.format(reason=reason, case=self._case.id)
        with suppress(OSError):
            dataset.remove_draft(self._elsewhere(), self.annotator)
        return ""

    def keep_elsewhere(self, work: Work) -> None:
        """Write it into the user's own folder. Raises DatasetError (bad name), OSError."""
        dataset.write_draft(self._elsewhere(make=True), self.annotator, *work)

    def rescue(self, work: Work) -> str:
        """`keep_elsewhere` where nobody has looked at what waits there: other work is put aside, and that is said."""
        draft, words = self._read(place := self._elsewhere())
        if draft is not None and not Work.of_draft(draft).same_as(work):
            words = self.put_aside(place)
        self.keep_elsewhere(work)
        return words

    def remove(self) -> None:
        """Forget both, but what another Slicer keeps beside the case. Raises DatasetError (bad name), OSError."""
        dataset.remove_draft(self._elsewhere(), self.annotator)
        if not self._is_of_another():
            dataset.remove_draft(self._case, self.annotator)
            self._known = None

    def _read(self, place: Case) -> tuple[Draft | None, str]:
        try:
            return dataset.read_draft(place, self.annotator), ""
        except UnreadableError:
            raise
        except DatasetError:
            name = dataset.set_draft_aside(place, self.annotator, "damaged")
            words = _("The unsaved work on case {case} ({name}.draft.json) is damaged; it was put aside as {aside}.")
            return None, words.format(case=place.id, name=self.annotator, aside=name)

    def _is_of_another(self) -> bool:
        """Whether what lies beside the case was written by somebody else since it was last looked at here."""
        there = dataset.read_draft(self._case, self.annotator)
        return there is not None and there != self._known

    def _elsewhere(self, make: bool = False) -> Case:
        """The same case with a folder of this user's; no other dataset has an image with the same sha256 by chance."""
        folder = user_directory() / "drafts" / f"{self._case.id}-{self._case.image_sha256[:16]}"
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        return replace(self._case, folder=folder)


def absent_case(case_id: str, image_sha256: str) -> Case:
    """Stands for a case whose dataset is not here: its drafts can be kept on this computer alone."""
    nowhere: Any = None
    return Case(case_id, nowhere, "", None, nowhere, False, 0, image_sha256, "")
