"""Part of the module's panel: where unsaved work goes, also while the dataset's folder is out of reach."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
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
        self._met: dict[Path, Draft | None] = {}  # by folder: what lay there when it was last read or written here

    @property
    def stored(self) -> Work:
        return Work.of_annotation(self.annotation)

    def waiting(self) -> tuple[list[tuple[Draft, Case]], str]:
        """Both with their places, the newer one first, and a sentence for the user, or "": a damaged one is put aside.

        Raises DatasetError, OSError when one can not be read now.
        """
        places = (self._case, self._elsewhere())
        words = [self._look(place) for place in places]
        there = [(draft, place) for place in places if (draft := self._met[place.folder]) is not None]
        return sorted(there, key=lambda each: each[0].time, reverse=True), " ".join(filter(None, words))

    def discard(self, place: Case) -> None:
        """Forget one of those that wait, if it is as it was then. Raises DatasetError (bad name), OSError."""
        if not self._is_new(place):
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
            if self._is_new(self._case):
                reason = _("A draft of case {case} by {name} was written elsewhere meanwhile.")
                raise DatasetError(reason.format(case=self._case.id, name=self.annotator))
            self._write(self._case, work)
        except (OSError, DatasetError) as error:
            aside, reason = self.keep_elsewhere(work), str(error)
            if isinstance(error, OSError):
                reason = _("The dataset can not be read or written ({reason}).").format(reason=error.strerror or error)
            words = _("{reason} Your work on case {case} is kept on this computer meanwhile.")
            return " ".join(filter(None, [words.format(reason=reason, case=self._case.id), aside]))
        with suppress(OSError, DatasetError):
            aside = self._make_room(self._elsewhere(), work)
            dataset.remove_draft(self._elsewhere(), self.annotator)
            return aside
        return ""

    def keep_elsewhere(self, work: Work) -> str:
        """Write it into the user's own folder. What nobody has looked at there is put aside, and that is said.

        Raises DatasetError (bad name), OSError.
        """
        words = self._make_room(place := self._elsewhere(make=True), work)
        self._write(place, work)
        return words

    def remove(self) -> None:
        """Forget both, but what was not looked at here. Raises DatasetError (bad name), OSError."""
        for place in (self._elsewhere(), self._case):
            self.discard(place)

    def _write(self, place: Case, work: Work) -> None:
        dataset.write_draft(place, self.annotator, *work)
        self._met[place.folder] = dataset.read_draft(place, self.annotator)

    def _look(self, place: Case) -> str:
        """Meet what lies there; a damaged draft is put aside, and that is said. Raises UnreadableError, OSError."""
        if place is self._case and not place.folder.is_dir():
            words = _("The folder of case {case} is out of reach, and with it work that may wait there.")
            raise UnreadableError(words.format(case=place.id))
        try:
            self._met[place.folder] = dataset.read_draft(place, self.annotator)
            return ""
        except UnreadableError:
            raise
        except DatasetError:
            self._met[place.folder] = None
            name = dataset.set_draft_aside(place, self.annotator, "damaged")
            words = _("The unsaved work on case {case} ({name}.draft.json) is damaged; it was put aside as {aside}.")
            return words.format(case=place.id, name=self.annotator, aside=name)

    def _make_room(self, place: Case, work: Work) -> str:
        """Put aside what lies there and was not looked at here, if it says something else, or can not be read."""
        try:
            there = dataset.read_draft(place, self.annotator)
            free = there is None or there == self._met.get(place.folder) or Work.of_draft(there).same_as(work)
        except DatasetError:
            free = False
        return "" if free else self.put_aside(place)

    def _is_new(self, place: Case) -> bool:
        """Whether what lies there was written by somebody else since it was last looked at here."""
        there = dataset.read_draft(place, self.annotator)
        return there is not None and there != self._met.get(place.folder)

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
