"""Part of the module's panel: where unsaved work goes, also while the dataset's folder is out of reach."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from slicer.i18n import tr as _

from ..dataset import Case, DatasetError, Draft, Reviewed, read_draft, remove_draft, write_draft
from ..files import user_directory

Work = tuple[Reviewed, str]  # what an annotator has said about the landmarks, and the comment


def keep_draft(case: Case, annotator: str, work: Work) -> str:
    """Write a draft: beside the case, or in the user's own folder when that fails. Returns "" or a sentence.

    Raises DatasetError, OSError when it could be written nowhere.
    """
    try:
        if not case.folder.is_dir():
            raise FileNotFoundError(2, _("the folder of the case is not there"))
        write_draft(case, annotator, *work)
    except (OSError, DatasetError) as error:
        write_draft(_elsewhere(case, make=True), annotator, *work)
        if isinstance(error, DatasetError):
            reason = str(error)
        else:
            reason = _("The dataset can not be read or written ({reason}).").format(reason=error.strerror or error)
        return reason + " " + _("Your work on case {case} is kept on this computer meanwhile.").format(case=case.id)
    with suppress(OSError):
        remove_draft(_elsewhere(case), annotator)
    return ""


def latest_draft(case: Case, annotator: str) -> Draft | None:
    """The newer of the two, or None. Raises DatasetError on a damaged file."""
    drafts = [read_draft(place, annotator) for place in (case, _elsewhere(case))]
    return max((draft for draft in drafts if draft is not None), key=lambda draft: draft.time, default=None)


def remove_drafts(case: Case, annotator: str) -> None:
    """Forget both. Raises DatasetError (bad name), OSError."""
    for place in (_elsewhere(case), case):
        remove_draft(place, annotator)


def _elsewhere(case: Case, make: bool = False) -> Case:
    """The same case with a folder of this user's; no other dataset has an image with the same sha256 by chance."""
    folder = user_directory() / "drafts" / f"{case.id}-{case.image_sha256[:16]}"
    if make:
        folder.mkdir(parents=True, exist_ok=True)
    return replace(case, folder=folder)
