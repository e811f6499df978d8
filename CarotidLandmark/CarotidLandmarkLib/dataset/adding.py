"""What has to be known of a scan that becomes a case: whether it is one already, and whose it is, without a name.

A dataset calls a patient a *group*. Whatever stands for the patient elsewhere (a DICOM Patient ID, a number of a list)
becomes one by HMAC-SHA256 under a random key. The key stays in the user's own folder and never enters a dataset: who
has the dataset alone can not find out by trying all possible words, as with a plain hash. What follows from that:
another user's key makes another group of the same patient.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path

from ..files import TEMPORARY_PREFIX, file_sha256, sync, user_directory
from ..volume import Volume, VolumeError, files_of
from .cases import Case
from .common import DatasetError
from .dataset import Dataset
from .references import remember_place, voxels_sha256

KEY_BYTES = 32


class KnownCases:
    """A dataset's cases for `case_of` many scans: each is read once, also those that others add meanwhile."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._read: dict[str, Case] = {}

    def cases(self) -> list[Case]:
        """Every case that can be read, in alphabetical order."""
        ids = self._dataset.case_ids()
        for case_id in ids:
            if case_id not in self._read:
                with suppress(DatasetError):
                    self._read[case_id] = self._dataset.case(case_id)
        return [self._read[case_id] for case_id in ids if case_id in self._read]


def case_of(dataset: Dataset | KnownCases, volume: Volume) -> str | None:
    """The id of the case that is this scan, by size, place and every voxel, in whatever order they are stored; None
    when there is none."""
    for case in dataset.cases():
        same = case.geometry.same_as(volume.geometry)
        array = volume.array if same else case.geometry.reordered(volume.array, volume.geometry)
        with suppress(DatasetError, VolumeError):  # its image is not here: `check` names it
            if array is not None and case.voxels_digest() == voxels_sha256(array):
                return case.id
    return None


def case_of_file(dataset: Dataset | KnownCases, path: Path) -> str | None:
    """The id of the case that refers to a file with this content, whose place is known from now on; None without one.

    None also of a scan in several files. Raises OSError.
    """
    if files_of(path) != [path]:
        return None
    references = [case for case in dataset.cases() if not case.copied and case.image_bytes == path.stat().st_size]
    digest = file_sha256(path) if references else ""
    for case in references:
        if case.image_sha256 == digest:
            remember_place(digest, path)
            return case.id
    return None


def patient_group(word: str) -> str:
    """The group of the patient whom ``word`` stands for: always the same one for this user; a new one for "".

    Signs that Unicode writes in several ways (the ü of macOS) are one. Raises DatasetError when the key is damaged,
    OSError.
    """
    word = unicodedata.normalize("NFC", word.strip())
    if not word:
        return f"patient-{secrets.token_hex(5)}"
    text = word.encode("utf-8", "surrogatepass")  # bytes that are no UTF-8 are a word, too
    return f"patient-{hmac.new(_key(), text, hashlib.sha256).hexdigest()[:10]}"


def _key() -> bytes:
    """This user's key, made when it is first needed; readable by nobody else."""
    path = user_directory() / "patient-key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.stat().st_size:  # a full disk has left it
        path.unlink()
    if not path.exists():
        fresh = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(secrets.token_bytes(KEY_BYTES))
            sync(fresh)
            try:
                os.link(fresh, path)
            except FileExistsError:  # another command has just made one
                pass
            except OSError:  # of a file system without links
                os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise DatasetError(f"{path} is damaged; restore it, or delete it: then scans to come make new patients.")
    return key
