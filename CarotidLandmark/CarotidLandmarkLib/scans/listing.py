"""Which scans are meant by the files and folders of a command; how a folder of scans is told from a DICOM folder.

A folder that holds DICOM images itself is one scan, and so is one below which all is of one DICOM study. Any other
folder is a folder of scans: each image file in it is one, and each folder in it is looked at in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..dataset import is_dataset
from ..errors import UserError, some_of
from ..files import is_left_by_others
from ..volume import IMAGE_SUFFIXES, printable, study_of

SUFFIXES = (*IMAGE_SUFFIXES, ".zip")
_MOST_NAMED = 3


@dataclass(frozen=True)
class Scan:
    """A file or a DICOM folder. ``name``: where it lies inside the folder that was given, for people."""

    path: Path
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """``many``: not one scan, but several, or a folder of scans (of one, even). ``notes``: what was decided."""

    scans: tuple[Scan, ...]
    many: bool
    notes: tuple[str, ...]


@dataclass
class _Folder:
    """What lies in a folder. ``study``: of its first DICOM image, None where it has none itself; ``others``: what
    is neither this nor an image file."""

    path: Path
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    can_be_read: bool = True
    study: tuple[str, str] | None = None
    folders: list[_Folder] = field(default_factory=list)

    def below(self) -> Iterator[_Folder]:
        yield self
        for folder in self.folders:
            yield from folder.below()

    def is_one_scan(self) -> bool:
        studies = {each.study for each in self.below() if each.study is not None}
        return self.study is not None or (len(studies) == 1 and not any(each.images for each in self.below()))

    def scans(self) -> Iterator[Path]:
        if self.is_one_scan() or not self.can_be_read:  # the reader says why it can not be read
            yield self.path
            return
        yield from self.images
        for folder in self.folders:
            yield from folder.scans()


def list_scans(paths: Sequence[Path], output: Path) -> Listing:
    """The scans that ``paths`` mean, each once, in their order. ``output``, where results go, is not looked into.

    A path that is not there is a scan, too: reading it says so. Raises UserError on a dataset.
    """
    scans: dict[str, Scan] = {}
    notes: list[str] = []
    many = len(paths) > 1
    for path in paths:
        listed = [Scan(path, _stem(path.name) or path.resolve().name)]
        if path.is_dir():
            if is_dataset(path):
                raise UserError(f"{path} is a dataset; detect in it with: carotid-landmark cohort {path} --predict.")
            folder = _look(path, os.path.realpath(output), set())
            inside = list(folder.scans())
            if inside and not folder.is_one_scan():
                listed = [Scan(each, _stem(each.relative_to(path).as_posix())) for each in inside]
                many = True
                notes.append(_folder_note(folder, inside))
            elif left := [image.name for each in folder.below() for image in each.images]:
                rest = some_of(left, _MOST_NAMED)
                note = f"{path.name} holds DICOM images and was read as one DICOM scan; not read: {rest}."
                listed = [Scan(path, listed[0].name, (printable(note),))]
        for scan in listed:
            place = os.path.realpath(scan.path)
            if place in scans:
                notes.append(f"{scan.path} was given twice; it is done once.")
            else:
                scans[place] = scan
    return Listing(tuple(scans.values()), many, tuple(map(printable, notes)))


def _look(path: Path, output: str, seen: set[str]) -> _Folder:
    """A folder and all below; a linked one is entered once."""
    folder = _Folder(path)
    seen.add(os.path.realpath(path))
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        folder.can_be_read = False
        return folder
    for entry in entries:
        if is_left_by_others(entry.name):
            continue
        place = Path(entry.path)
        if _is(entry.is_dir):
            real = os.path.realpath(place)
            if real not in seen and real != output:
                folder.folders.append(_look(place, output, seen))
        elif entry.name.lower().endswith(SUFFIXES):
            folder.images.append(place)
        elif folder.study is None:
            folder.study = study_of(place) if _is(entry.is_file) else None
            if folder.study is None:
                folder.others.append(place)
    return folder


def _is(kind: Callable[[], bool]) -> bool:
    """Whether it is a folder, or a file: a link in a circle, or to where nobody may look, is neither."""
    try:
        return kind()
    except OSError:
        return False


def _folder_note(folder: _Folder, scans: list[Path]) -> str:
    files = sum(path.is_file() for path in scans)
    folders = len(scans) - files
    counts = ((files, "file"), (folders, "DICOM folder"))
    others = [path.name for each in folder.below() if each.study is None for path in each.others]
    left = f" Other files are left out: {some_of(others, _MOST_NAMED)}." if others else ""
    parts = " and ".join(f"{count} {what}{'s' * (count > 1)}" for count, what in counts if count)
    return (
        f"{folder.path} was taken for a folder of {len(scans)} scan{'s' * (len(scans) > 1)} ({parts}): it holds "
        f"neither DICOM images itself nor one single study below.{left}"
    )


def _stem(name: str) -> str:
    """A name without the ending of an image file."""
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or name
    return name
