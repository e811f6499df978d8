"""Backgrounds on disk: files or folders of them, and the patients of open-kbp that no training may see.

Each is read when it is first drawn; of the prepared ones a bounded number stays in memory.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import file_sha256
from CarotidLandmarkLib.volume import files_of, read_volume

from .background import Background

# Unenhanced planning CTs of open-kbp (OpenKBP challenge, Babier et al. 2021), by their number there: never trained,
# validated or calibrated on. The sixteen of the usable ones whose names' sha256 ranks lowest.
UNSEEN_PATIENTS = (6, 48, 71, 86, 90, 156, 181, 218, 224, 254, 268, 275, 280, 287, 310, 331)
PREPARED = ".npz"
_SCANS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
# Of prepared backgrounds that stay in memory: about 30 bytes a voxel with what is derived from them, 480 MB.
_KEPT_VOXELS = 16_000_000
# Why a folder or a file is refused, and what to do: where seen patients are asked for, and where unseen ones are.
_REFUSALS = {
    False: (
        "only patients that no training may see",
        "a patient that no training may see",
        "give others, or rename the file where it is no patient of open-kbp",
    ),
    True: (
        "none of the patients that no training sees",
        "not one of the patients that no training sees",
        "give the folder of open-kbp's patients",
    ),
}


def scan_name(path: Path) -> str:
    """The file's or folder's name without what says its format: ``pt_1`` of ``pt_1.nii.gz`` and of ``pt_1.npz``."""
    for suffix in sorted((PREPARED, *_SCANS), key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def scan_sha256(path: Path) -> str:
    """The sha256 of a scan's file, or of its files' together. Nothing of it depends on names: one may be a patient's.

    Raises OSError.
    """
    files = [path] if path.suffix.lower() == PREPARED else files_of(path)
    digests = sorted(map(file_sha256, files))
    return digests[0] if files == [path] else hashlib.sha256("".join(digests).encode()).hexdigest()


def repeated_name(paths: Iterable[Path]) -> str | None:
    """A name that two scans share, if there is one."""
    names = [scan_name(path) for path in paths]
    return next((name for name in names if names.count(name) > 1), None)


def is_unseen(path: Path) -> bool:
    """Whether a file is one of `UNSEEN_PATIENTS`, by its name ``pt_N``."""
    prefix, _, number = scan_name(path).rpartition("pt_")
    return not prefix and number.isdigit() and int(number) in UNSEEN_PATIENTS


def scans(folder: Path) -> list[Path]:
    """What a folder holds, by name: prepared backgrounds where there is one, else CTs; empty for a DICOM series."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    prepared = [path for path in files if path.suffix.lower() == PREPARED]
    return prepared or [path for path in files if path.name.lower().endswith(_SCANS)]


def background_paths(given: Iterable[Path | str], unseen: bool = False) -> list[Path]:
    """Files and folders of backgrounds as one list, ordered by `scan_name`; a folder without scans is a DICOM series.

    Of a folder those that are not `UNSEEN_PATIENTS`, or, where ``unseen``, these alone. Raises ValueError where one
    does not exist, a folder has none to give, two have the same name, or a file is not of the kind that is asked for.
    """
    chosen: list[Path] = []
    folder_refusal, file_refusal, advice = _REFUSALS[unseen]
    for path in map(Path, given):
        if not path.exists():
            raise UserError(f"The background CT {path.name} does not exist; give a file that does.")
        if path.is_dir() and scans(path):
            own = [scan for scan in scans(path) if is_unseen(scan) == unseen]
            if not own:
                raise UserError(f"{path.name} holds {folder_refusal}; {advice}.")
            chosen.extend(own)
        elif is_unseen(path) != unseen:
            raise UserError(f"{path.name} is {file_refusal}; {advice}.")
        else:
            chosen.append(path)
    if twice := repeated_name(chosen):
        raise UserError(f"Two backgrounds are named {twice}; give one of them, or rename it.")
    return sorted(chosen, key=scan_name)


class Backgrounds(Sequence[Background]):
    """Backgrounds by number. A CT is analysed once and stays; a prepared one (.npz) may be read again later."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self._analysed: dict[int, Background] = {}
        self._kept: OrderedDict[int, Background] = OrderedDict()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number):
        """Raises VolumeError where the file can not be used."""
        path = self.paths[number]
        if path.suffix.lower() != PREPARED:
            if number not in self._analysed:
                self._analysed[number] = Background.prepare(read_volume(path))
            return self._analysed[number]
        if number not in self._kept:
            self._kept[number] = Background.load(path)
        self._kept.move_to_end(number)
        while len(self._kept) > 1 and sum(each.hu.size for each in self._kept.values()) > _KEPT_VOXELS:
            self._kept.popitem(last=False)
        return self._kept[number]

    def open(self) -> None:
        """Analyse the CTs among them, and see that the others are prepared backgrounds. Raises VolumeError."""
        for number, path in enumerate(self.paths):
            if path.suffix.lower() == PREPARED:
                Background.check(path)
            else:
                self[number]

    def __getstate__(self) -> dict:
        """For another process: what is quickly read again stays behind."""
        return {**vars(self), "_kept": OrderedDict()}
