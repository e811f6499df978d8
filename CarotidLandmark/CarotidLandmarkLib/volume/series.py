"""Which CT of a DICOM folder is read, and why: the choice, its notes, its refusals, and the list of what is there."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom

from ..errors import some_of
from .dicom import Slice, header_of, is_directory_file, lenient, read_slices
from .parts import LOCALIZER, SINGLE, Part, parts
from .scan import VolumeError, damaged, text_name
from .stack import read_stack
from .stored import Progress

HEADERS = 0.3  # of the time to read a series
ZIP = b"PK\3\4"  # how such a file begins
LARGEST_ZIP_RATIO = 200  # scans shrink to a half or a tenth; more is a trap
MOST_NAMED = 8
MOST_ODD = 3  # slices that do not belong to a series, and are told of as such
PACKED = {".gz", ".bz2", ".xz", ".zip", ".7z", ".rar", ".tar", ".tgz"}
UNREAD = "damaged, packed, no read permission, or a link that leads nowhere"
LARGEST_COUNT = 5000  # of images in a series: larger numbers are no counts


@dataclass(frozen=True)
class SeriesRow:
    """A row of `list_series`. ``number`` is what `read_volume` takes; ``reason`` says why it is read, or why not."""

    number: str
    description: str
    kind: str
    slices: int
    spacing_mm: tuple[float, ...] | None
    part: str
    chosen: bool
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """As text: number, description, type, slices, spacing, part, reason."""
        spacing = " x ".join(f"{value:.3g}" for value in self.spacing_mm or ())
        return self.number, self.description, self.kind, str(self.slices), spacing, self.part, self.reason


def read_series(
    path: Path, series: str | None, progress: Progress, alias: str | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Read one CT of a folder, a zip file or a multi-frame file: the best one, or the one of that UID or number.

    Returns the array [k, j, i] in HU (int16 or float32), its affine (voxel to LPS millimetres) and notes: sentences
    that say what was chosen, moved or left out. ``alias``: what they call it instead of its name; then no name of a
    file in it and no words of its headers are in them, either. Raises VolumeError.
    """
    with _parts(path, lambda share: progress(HEADERS * share), alias) as (name, whole, notes):
        part, choice = _choose(name, whole, series, discreet=alias is not None)
        assert part.stack is not None
        array = read_stack(part.stack, name, lambda share: progress(HEADERS + (1 - HEADERS) * share))
    return array, part.stack.affine, (*choice, *part.stack.notes, *notes)


def list_series(path: str | os.PathLike[str]) -> list[SeriesRow]:
    """What a DICOM folder, zip file or multi-frame file holds, by number. Raises VolumeError if it holds no images."""
    with _parts(Path(path)) as (name, whole, _):
        try:
            chosen, _ = _choose(name, whole, None)
        except VolumeError:
            chosen = None
        return [_row(part, chosen) for part in whole]


def patient_id(path: Path, series: str | None = None) -> str:
    """The Patient ID of the series that `read_series` reads, "" where it has none: an identifier, for `patients` only.

    Raises VolumeError.
    """
    with _parts(path) as (name, whole, _):
        return _choose(name, whole, series)[0].file.patient


def series_files(path: Path) -> list[Path]:
    """The files that `read_series` looks into: of a zip file it alone, of a DICOMDIR all around it. Raises OSError."""
    return [file for file in _files(_place(path)) if os.path.isfile(file)]


def study_of(file: Path) -> tuple[str, str] | None:
    """Patient ID and Study Instance UID of a DICOM image; None of any other file, and of one that can not be read."""
    try:
        with lenient():
            slices = read_slices(file, text_name(file))
    except (VolumeError, OSError):
        return None
    return (slices[0].file.patient, slices[0].file.study) if slices else None


def series_headers(path: str | os.PathLike[str], series: str | None = None) -> list[pydicom.Dataset]:
    """The headers, without pixels, of the files that `read_series` reads.

    They name the patient: for a report that goes back to where the scan came from, and for nothing else. Raises
    VolumeError.
    """
    with _parts(Path(path)) as (name, whole, _):
        part, _ = _choose(name, whole, series)
        return [header_of(file, name) for file in dict.fromkeys(one.file.path for one in part.slices)]


@contextmanager
def _parts(
    path: Path, progress: Progress = lambda share: None, alias: str | None = None
) -> Iterator[tuple[str, list[Part], tuple[str, ...]]]:
    """The name of a folder or file, all parts in it, and notes; their files can be read until the block ends.

    ``alias``: as of `read_series`.
    """
    name = alias or text_name(path)
    slices: list[Slice] = []
    unread: list[str] = []
    others: list[Path] = []
    # damaged headers hold numbers of any size
    with np.errstate(all="ignore"), lenient(), _folder(path, name) as folder:
        files = list(_files(folder))
        if not files:
            raise VolumeError(f"{name} is an empty folder; give a folder with the DICOM files of one CT.")
        for number, file in enumerate(files, start=1):
            try:
                if file.is_file():
                    images = read_slices(file, name)
                    slices += images or []
                    if images is None and not file.name.startswith("."):
                        others.append(file)
                elif file.is_symlink() or file.is_dir():
                    unread.append(text_name(file))
            except OSError:
                unread.append(text_name(file))
            progress(number / len(files))
        suffixes = {_suffix(one.file.path) for one in slices} | PACKED
        others = [file for file in others if not file.name.lower().endswith(".nii.gz")]  # a scan, and no DICOM
        lost = [file for file in others if _suffix(file) in suffixes and (file.suffix or not _is_text(file))]
        unread += [text_name(file) for file in lost]
        which = str(len(unread)) if alias else some_of(unread, 3)
        left = f" ({which}: {UNREAD})" if unread else ""
        if not slices:
            raise VolumeError(f"{name} holds no DICOM images{left}; give a folder with the DICOM files of one CT.")
        notes = (f"{name} holds files or folders that could not be read and were left out{left}.",) if unread else ()
        whole = parts(slices)
        yield name, [replace(part, label="") for part in whole] if alias else whole, notes


def _plain(name: str) -> str:
    """A file's name with nothing in it that a file system might refuse."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[-100:]


def _suffix(file: Path) -> str:
    """The end of a file's name in lower case, "" for numbers: those of a UID, or of an image."""
    suffix = file.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def _is_text(file: Path) -> bool:
    """Whether a file is one for people: on a CD such lie beside the images, without a suffix as they are."""
    with file.open("rb") as stream:
        start = stream.read(4096)
    return bool(start) and re.search(rb"[\x00-\x08\x0e-\x1f]", start) is None


@contextmanager
def _folder(path: Path, name: str) -> Iterator[Path]:
    """The folder or file to look into: what a zip file holds, what lies around a DICOMDIR."""
    if path.is_dir() or not _start(path).startswith(ZIP):
        yield _place(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
                if size > min(LARGEST_ZIP_RATIO * path.stat().st_size + (1 << 20), shutil.disk_usage(folder).free):
                    raise VolumeError(
                        f"{name} would become {size / 1e6:.0f} MB; unpack it yourself and give the folder."
                    )
                places: dict[str, int] = {}
                for number, member in enumerate(archive.infolist()):
                    if not member.is_dir():  # their names may be no names here
                        place, _, file = member.filename.rpartition("/")
                        target = Path(folder, str(places.setdefault(place, len(places))), _plain(file))
                        if target.exists():
                            target = target.with_name(f"{number}-{target.name}")
                        target.parent.mkdir(exist_ok=True)
                        with archive.open(member) as source, target.open("wb") as copy:
                            while block := source.read(1 << 20):
                                copy.write(block)
        except VolumeError:
            raise
        except Exception as error:  # zipfile raises errors of any class on damaged files
            if isinstance(error, RuntimeError) and "password" in str(error):
                raise VolumeError(f"{name} is protected by a password; unpack it and give the folder.") from error
            if isinstance(error, (zipfile.BadZipFile, EOFError, zlib.error)):
                raise damaged(name) from error
            raise VolumeError(
                f"{name} is a zip file that can not be unpacked here ({type(error).__name__}); "
                "unpack it and give the folder."
            ) from error
        yield Path(folder)


def _place(path: Path) -> Path:
    """The folder around a DICOMDIR; anything else itself. Raises OSError."""
    start = b"" if path.is_dir() else _start(path)
    return path.absolute().parent if is_directory_file(start) and not start.startswith(ZIP) else path


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(1024)


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; a linked folder is entered once. Pipes and devices are no files.

    Folders that can not be looked into come last.
    """
    if folder.is_file():
        yield folder
        return
    seen = set()
    closed: list[Path] = []
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)), followlinks=True)
    for top, folders, names in walk:
        place = os.path.realpath(top)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(top, name) for name in sorted(names))
    yield from closed


def _choose(name: str, whole: list[Part], series: str | None, discreet: bool = False) -> tuple[Part, tuple[str, ...]]:
    """The part to read, and notes; ``discreet``: without words of a header.

    Raises VolumeError with the reason of each part that does not fit.
    """
    scans = [part for part in whole if part.is_ct]
    if series is not None:
        matches = [p for p in whole if series in (p.number, p.file.uid, p.file.number)]
        matches = [part for part in matches if part.number == series] or matches
        if not matches:
            numbers = ", ".join(part.number for part in scans) or "no CT"
            raise VolumeError(f"{name} has no series {series}; choose one of: {numbers}.")
        scans = [part for part in matches if part.is_ct] or matches
    chosen = max(scans or whole, key=lambda part: part.rank)  # the first of equals
    if chosen.stack is None:
        raise _refusal(name, scans or whole, whole)
    same = [part for part in whole if part.file.uid == chosen.file.uid and part.is_scan and part not in scans]
    others = [part for part in (*scans, *same) if part is not chosen]
    notes = []
    if others:
        reasons = some_of([f"{part.name}: {_reason(part, chosen)}" for part in others], MOST_NAMED)
        notes.append(
            f"{name} holds {len(others) + 1} CT series or parts of series; {chosen.name} was read; not read: {reasons}."
        )
    strangers = sum(not part.studies & chosen.studies for part in others)
    if strangers:
        notes.append(
            f"Of what was not read, {strangers} are of other studies than {chosen.name}; "
            "give each study a folder of its own to have all of them."
        )
    if not chosen.is_axial:
        notes.append(f"{name} holds no axial CT; {chosen.name} was read.")
    if not chosen.is_original:
        kind = "" if discreet else f" ({chosen.kind})"
        notes.append(f"{chosen.name.capitalize()} may be computed, not scanned{kind}.")
    elif chosen.doubt:
        notes.append(
            f"{chosen.name.capitalize()} may be computed, not scanned: its description speaks of {chosen.doubt}."
        )
    if len({one.file.uid for one in chosen.slices}) > 1:
        notes.append(f"Slices of {chosen.name} have series UIDs of their own; they were read as one series.")
    if len({one.file.frame_of_reference for one in chosen.slices}) > 1:
        notes.append(f"Slices of {chosen.name} have frames of reference of their own; they were placed as in one.")
    notes += _lost_at_ends(chosen, whole)
    return chosen, tuple(notes)


def _lost_at_ends(chosen: Part, whole: list[Part]) -> list[str]:
    """A note where image numbers, or their count, say that slices below the first or above the last are not there."""
    files = len({one.file.path for one in chosen.slices})
    if files < chosen.file.files:
        total = f"{chosen.file.files} files (In-concatenation Total Number)"
        return [f"{chosen.name.capitalize()} is to come in {total} and is in {files}; the others are absent."]
    if files < len(chosen.slices):
        return []  # frames have no numbers
    series = [one for part in whole if part.file.uid == chosen.file.uid for one in part.slices]
    numbers = [one.instance for one in series if one.instance is not None]
    expected = chosen.file.expected
    if len(chosen.slices) < expected <= LARGEST_COUNT and len(series) < expected:
        return [
            f"{chosen.name.capitalize()} is to have {expected} images (Images in Acquisition); the others are absent."
        ]
    if len(set(numbers)) == len(numbers) > 0 and 1 < min(numbers) <= LARGEST_COUNT:
        return [f"The image numbers of {chosen.name} begin at {min(numbers)}; earlier images are absent."]
    return []


def _refusal(name: str, candidates: list[Part], whole: list[Part]) -> VolumeError:
    part = candidates[0]
    same = [one for one in whole if one.file.uid == part.file.uid and one is not part]
    odd = [one for one in same if len(one.slices) == 1 and one.finding != LOCALIZER]
    if len(candidates) == 1 and part.is_ct and 0 < len(odd) <= MOST_ODD:
        count = "One slice" if len(odd) == 1 else f"{len(odd)} slices"
        return VolumeError(
            f"{count} of {part.name} in {name} can not be read with the others: another orientation, pixel size or "
            f"modality stands in the header; without, it {part.finding}. Have the headers corrected."
        )
    if len(candidates) == 1 and (part.is_ct or part.finding == SINGLE):
        return VolumeError(f"{name} {part.finding}; {part.advice}.")
    reasons = some_of([f"{part.name} {part.finding}" for part in candidates], MOST_NAMED, "; ")
    return VolumeError(f"{name} holds no CT that can be read: {reasons}. Give a folder with one whole CT.")


def _reason(part: Part, chosen: Part | None) -> str:
    """Why a part is not the chosen one, or is."""
    if part.stack is None:
        return part.finding
    if part is chosen:
        words = {"axial": part.is_axial, "original": part.is_original, "enhanced": part.enhancement > 0}
        return "is read: " + ", ".join(word for word, holds in words.items() if holds)
    if chosen is not None and part.rank == chosen.rank:
        return "fits as well"
    if not part.is_axial:
        return "is not axial"
    if not part.is_original:
        return "is derived"
    if chosen is not None and chosen.enhancement > part.enhancement:
        return f"says nothing of {'vessels' if part.enhancement else 'contrast'}"
    if part.doubt and not (chosen and chosen.doubt):
        return f"its description speaks of {part.doubt}"
    return "is smaller"


def _row(part: Part, chosen: Part | None) -> SeriesRow:
    spacing = None
    if part.stack is not None:
        spacing = tuple(np.linalg.norm(part.stack.affine[:3, :3], axis=0).tolist())
    return SeriesRow(
        number=part.number,
        description=part.file.description,
        kind="/".join(part.file.kind),
        slices=len(part.slices),
        spacing_mm=spacing,
        part=part.label,
        chosen=part is chosen,
        reason=_reason(part, chosen),
    )
