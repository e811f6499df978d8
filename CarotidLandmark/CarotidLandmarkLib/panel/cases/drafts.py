"""Part of the module's panel: where unsaved work goes, also while the dataset's folder is out of reach."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from slicer.i18n import tr as _

from ...dataset import (
    Annotation,
    Case,
    DatasetError,
    Draft,
    Reviewed,
    UnreadableError,
    read_draft,
    remove_draft,
    set_draft_aside,
    write_draft,
)
from ...files import user_directory
from ...scene import DetectionNodes, review_of, reviewed_landmarks, same_landmarks


class Work(NamedTuple):
    """What an annotator has said about a case; nothing, at first."""

    landmarks: Reviewed = {}  # noqa: RUF012 - nobody writes to it
    comment: str = ""
    ask_colleague: bool = False

    @classmethod
    def shown(cls, nodes: DetectionNodes) -> Work:
        """What the scene has of it."""
        review = review_of(nodes)
        return cls(reviewed_landmarks(nodes), review.comment, review.ask_colleague)

    @classmethod
    def saved(cls, annotation: Annotation | None) -> Work:
        """What an annotation has of it."""
        if annotation is None:
            return cls()
        marks = {name: (annotation.status[name], annotation.points[name]) for name in annotation.points}
        return cls(marks, annotation.comment, annotation.ask_colleague)

    @classmethod
    def kept(cls, draft: Draft) -> Work:
        """What a draft has of it."""
        return cls(draft.landmarks, draft.comment, draft.ask_colleague)

    def same_as(self, other: Work) -> bool:
        """Whether both say the same; files round places a little."""
        return self[1:] == other[1:] and same_landmarks(self.landmarks, other.landmarks)


class Drafts:
    """The draft of one case by one annotator: beside the case, or in the user's own folder when that fails."""

    def __init__(self, case: Case, annotator: str) -> None:
        self._case, self._annotator = case, annotator
        self._known: Draft | None = None  # beside the case, as last read or written here

    def latest(self) -> tuple[Draft | None, str]:
        """The newer of the two, or None, and a sentence for the user, or "": a damaged one is put aside.

        Raises DatasetError, OSError when one can not be read now.
        """
        drafts, words = [], []
        for place in (self._case, self._elsewhere()):
            try:
                drafts.append(read_draft(place, self._annotator))
            except UnreadableError:
                raise
            except DatasetError:
                words.append(set_draft_aside(place, self._annotator))
                drafts.append(None)
        self._known = drafts[0]
        return max((each for each in drafts if each is not None), key=lambda each: each.time, default=None), " ".join(
            words
        )

    def keep(self, work: Work) -> str:
        """Write it. Returns "" or a sentence that says why it is not beside the case.

        Raises DatasetError, OSError when it could be written nowhere.
        """
        try:
            if not self._case.folder.is_dir():
                raise FileNotFoundError(2, _("the folder of the case is not there"))
            if self._is_of_another():
                reason = _("A draft of case {case} by {name} was written elsewhere meanwhile.")
                raise DatasetError(reason.format(case=self._case.id, name=self._annotator))
            write_draft(self._case, self._annotator, *work)
            self._known = read_draft(self._case, self._annotator)
        except (OSError, DatasetError) as error:
            self.keep_elsewhere(work)
            if isinstance(error, DatasetError):
                reason = str(error)
            else:
                reason = _("The dataset can not be read or written ({reason}).").format(reason=error.strerror or error)
            return _("{reason} Your work on case {case} is kept on this computer meanwhile.").format(
                reason=reason, case=self._case.id
            )
        with suppress(OSError):
            remove_draft(self._elsewhere(), self._annotator)
        return ""

    def keep_elsewhere(self, work: Work) -> None:
        """Write it into the user's own folder. Raises DatasetError (bad name), OSError."""
        write_draft(self._elsewhere(make=True), self._annotator, *work)

    def remove(self) -> None:
        """Forget both, but what another Slicer keeps beside the case. Raises DatasetError (bad name), OSError."""
        remove_draft(self._elsewhere(), self._annotator)
        if not self._is_of_another():
            remove_draft(self._case, self._annotator)
            self._known = None

    def _is_of_another(self) -> bool:
        """Whether what lies beside the case was written by somebody else since it was last looked at here."""
        there = read_draft(self._case, self._annotator)
        return there is not None and there != self._known

    def _elsewhere(self, make: bool = False) -> Case:
        """The same case with a folder of this user's; no other dataset has an image with the same sha256 by chance."""
        folder = user_directory() / "drafts" / f"{self._case.id}-{self._case.image_sha256[:16]}"
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        return replace(self._case, folder=folder)
