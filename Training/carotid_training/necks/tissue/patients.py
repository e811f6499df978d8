"""Backgrounds on disk: files or folders of them, and the patients of open-kbp that no training may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from CarotidLandmarkLib.errors import UserError

# Unenhanced planning CTs of open-kbp (OpenKBP challenge, Babier et al. 2021), by their number there: never trained,
# validated or calibrated on. The sixteen of the usable ones whose names' sha256 ranks lowest.
UNSEEN_PATIENTS = (6, 48, 71, 86, 90, 156, 181, 218, 224, 254, 268, 275, 280, 287, 310, 331)
PREPARED = ".npz"
_SCANS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def scan_name(path: Path) -> str:
    """The file's or folder's name without what says its format: ``pt_1`` of ``pt_1.nii.gz`` and of ``pt_1.npz``."""
    for suffix in sorted((PREPARED, *_SCANS), key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def is_unseen(path: Path) -> bool:
    """Whether a file is one of `UNSEEN_PATIENTS`, by its name ``pt_N``."""
    prefix, _, number = scan_name(path).rpartition("pt_")
    return not prefix and number.isdigit() and int(number) in UNSEEN_PATIENTS


def scans(folder: Path) -> list[Path]:
    """What a folder holds, by name: prepared backgrounds where there is one, else CTs; empty for a DICOM series."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    prepared = [path for path in files if path.suffix.lower() == PREPARED]
    return prepared or [path for path in files if path.name.lower().endswith(_SCANS)]


def patients(folder: Path | str, unseen: bool) -> list[Path]:
    """The scans of a folder without `UNSEEN_PATIENTS`, or, where ``unseen``, these alone."""
    return [path for path in scans(Path(folder)) if is_unseen(path) == unseen]


def background_paths(given: Iterable[Path | str], unseen: bool = False) -> list[Path]:
    """Files and folders of backgrounds as one list, ordered by `scan_name`; a folder without scans is a DICOM series.

    Raises ValueError where one does not exist, a folder has none to give, two have the same name, or a file is one of
    `UNSEEN_PATIENTS` though ``unseen`` is False, or the other way round.
    """
    chosen: list[Path] = []
    for path in map(Path, given):
        if not path.exists():
            raise UserError(f"The background CT {path.name} does not exist; give a file that does.")
        if path.is_dir() and scans(path):
            own = patients(path, unseen)
            if not own:
                raise UserError(f"{path.name} holds {_ONLY[not unseen]}; {_ADVICE[unseen]}.")
            chosen.extend(own)
        elif is_unseen(path) != unseen:
            raise UserError(f"{path.name} is {_ONE[not unseen]}; {_ADVICE[unseen]}.")
        else:
            chosen.append(path)
    _check_names(chosen)
    return sorted(chosen, key=scan_name)


_ONLY = {True: "only patients that no training may see", False: "none of the patients that no training sees"}
_ONE = {True: "a patient that no training may see", False: "not one of the patients that no training sees"}
_ADVICE = {
    False: "give others, or rename the file where it is no patient of open-kbp",
    True: "give the folder of open-kbp's patients",
}


def _check_names(paths: Sequence[Path]) -> None:
    names = [scan_name(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two backgrounds are named {name}; give one of them, or rename it.")
