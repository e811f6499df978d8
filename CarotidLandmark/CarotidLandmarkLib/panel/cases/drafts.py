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


class Drafts:
    """The draft of one case by one annotator: beside the case, or in the user's own folder when that fails.

    And what is on the disk about ``points``, whose changes go to it: ``annotation``, as it was read.
    """

    def __init__(self, case: Case, annotator: str, points: Any = None, annotation: Annotation | None = None) -> None:
        self._case, self.annotator, self.points, self.annotation = case, annotator, points, annotation
        self.last: Work | None = None  # None: not compared yet
        self._known: Draft | None = None  # beside the case, as last read or written here

    @property
    def stored(self) -> Work:
        return Work.of_annotation(self.annotation)

    def latest(self) -> tuple[Draft | None, str]:
        """The newer of the two, or None, and a sentence for the user, or "": a damaged one is put aside.

        Raises DatasetError, OSError when one can not be read now.
        """
        drafts, words = [], []
        for place in (self._case, self._elsewhere()):
            try:
                drafts.append(dataset.read_draft(place, self.annotator))
            except UnreadableError:
                raise
            except DatasetError:
                words.append(dataset.set_draft_aside(place, self.annotator))
                drafts.append(None)
        self._known = drafts[0]
        newest = max(filter(None, drafts), key=lambda each: each.time, default=None)
        return newest, " ".join(words)

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

    def remove(self) -> None:
        """Forget both, but what another Slicer keeps beside the case. Raises DatasetError (bad name), OSError."""
        dataset.remove_draft(self._elsewhere(), self.annotator)
        if not self._is_of_another():
            dataset.remove_draft(self._case, self.annotator)
            self._known = None

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
