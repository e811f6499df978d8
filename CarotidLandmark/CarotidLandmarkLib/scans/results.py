"""The results of many scans: a folder of each, and scans.json, which says of what and with which model and settings.

The record makes an interrupted run go on: a scan that has results by the same model and settings, of the same files, is
done. Results of other models or settings are never mixed into one folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..detection import Detection, DetectionSettings, ModelInfo
from ..documents import DocumentError, build, parse, write
from ..errors import UserError, some_of
from ..files import (
    BusyError,
    file_sha256,
    is_device,
    is_left_by_others,
    locked,
    make_folder,
    remove_stale,
    temporary_in,
    write_text,
)
from ..report import DETECTION_FILE, check_replaceable, results_folder, write_results, write_thumbnail
from ..volume import files_of, read_volume
from ..work import Step
from .listing import Scan

if TYPE_CHECKING:
    from ..detector import Detector

RECORD_FILE = "scans.json"
FILES_FILE = "scan.sha256"  # in each folder: `_state_of` and `_content_of` its scan; earlier ones have the first alone
LOCK_FILE = ".scans.lock"  # whose holder alone reads the record to write it
LOCK_S = 60.0
SCHEMA_VERSION = 1
_LONGEST_NAME = 100  # bytes: a name has 255 at most, and a number or a prefix may come to it
_TAKEN = {RECORD_FILE, "summary.csv", "summary.html"}  # files beside the scans' folders


@dataclass(frozen=True)
class _Record:
    """``scans.json``. ``scans``: the name of each result's folder, and where its scan lies."""

    model: ModelInfo
    passes: int
    level: float
    seed: int
    scans: dict[str, str]
    schema_version: int = SCHEMA_VERSION

    def detection_settings(self) -> DetectionSettings:
        return DetectionSettings(self.passes, self.level, self.seed)

    def settings(self) -> dict[str, object]:
        words = f"{self.model.name} {self.model.version} (weights {self.model.sha256[:8]})"
        return {"model": words, "passes": self.passes, "level": self.level, "seed": self.seed}


@dataclass(frozen=True)
class ScanTask:
    """A scan to detect in, on any machine that sees it and the folder of its results by these absolute paths."""

    name: str
    scan: str
    folder: str
    model: ModelInfo
    settings: DetectionSettings
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The same for the same results."""
        document = repr((self.scan, self.folder, self.model, self.settings))
        return hashlib.sha256(document.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def detection(self) -> Detection | None:
        """Its result by this model and these settings, None where there is none."""
        try:
            detection = Detection.from_json(Path(self.folder, DETECTION_FILE).read_bytes())
        except (OSError, ValueError):
            return None
        return detection if detection.made_by(self.model, self.settings) else None

    def is_done(self) -> bool:
        """Whether there is a result of the files that the scan consists of now."""
        return self.has_changed() is False and self.detection() is not None

    def has_changed(self) -> bool | None:
        """Whether the scan's files are others than those that were read; None where they are away, or never were.

        They are read where their dates alone may differ: a copy, a link or new rights change no scan.
        """
        try:
            state, _, content = Path(self.folder, FILES_FILE).read_text(encoding="utf-8").strip().partition("\n")
            if not os.path.exists(self.scan):
                return None
            if not content:
                return state not in (_state_of(self.scan), _state_of(self.scan, hidden=True))
            return state != _state_of(self.scan) and content != _content_of(self.scan)
        except (OSError, ValueError):
            return None

    def run(self, detector: Detector, step: Step) -> tuple[str, ...]:
        """Read, detect, write the folder; returns the notes. Raises VolumeError, ReportError, OSError."""
        step("reading", 0.0)
        check_replaceable(Path(self.folder))
        there = os.path.exists(self.scan)
        states = f"{_state_of(self.scan)}\n{_content_of(self.scan)}" if there else ""
        started = time.perf_counter()
        volume = read_volume(self.scan)
        load_s = time.perf_counter() - started
        volume = replace(volume, notes=(*volume.notes, *self.notes))
        detection = detector.detect(volume, self.settings, step, load_s)
        with results_folder(Path(self.folder)) as folder:
            write_results(folder, volume, detection)
            write_thumbnail(folder, volume, detection)
            write_text(folder / FILES_FILE, states + "\n")
        return detection.notes


@dataclass(frozen=True)
class Results:
    """A folder of results. ``tasks``: the scans that are asked for."""

    output: Path
    tasks: tuple[ScanTask, ...]
    _record: _Record = field(repr=False)

    def begin(self) -> None:
        """Write the record, so that the folders belong to these scans from now on; remove what killed programs have
        left. Raises OSError, and UserError where another command has just given a folder of these to another scan, or
        begun with other settings."""
        make_folder(self.output)
        remove_stale(self.output, temporary_in(self.output))
        try:
            with locked(self.output / LOCK_FILE, LOCK_S):
                self._write_record()
        except BusyError as error:
            raise UserError(
                f"Another command holds {self.output / LOCK_FILE} and does not go on; end it, then give this one again."
            ) from error

    def _write_record(self) -> None:
        _check_settings(self.output, _read(self.output), self._record)
        scans = self._scans()
        if taken := [task.name for task in self.tasks if scans[task.name] != task.scan]:
            raise UserError(
                f"Another command has just begun in {self.output}, and its {some_of(taken, 3)} is another scan; give "
                "the same command again, or another folder."
            )
        write_text(self.output / RECORD_FILE, write(asdict(replace(self._record, scans=scans))))

    def all_tasks(self) -> list[ScanTask]:
        """``tasks``, then the scans of other commands, earlier ones and such as run now. Raises UserError."""
        names = {task.name for task in self.tasks}
        model, settings = self._record.model, self._record.detection_settings()
        others = ((name, scan) for name, scan in self._scans().items() if name not in names)
        return [
            *self.tasks,
            *(ScanTask(name, scan, os.path.abspath(self.output / name), model, settings) for name, scan in others),
        ]

    def _scans(self) -> dict[str, str]:
        """The record's, with what another command has written meanwhile."""
        now = _read(self.output)
        return self._record.scans | (now.scans if now is not None else {})


def plan_results(output: Path, scans: Sequence[Scan], model: ModelInfo, settings: DetectionSettings) -> Results:
    """What is to be done to have the results of ``scans`` in ``output``. Writes nothing.

    Raises UserError where ``output`` is no place for them: a file, inside a scan, or results of other settings.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; give the name of a folder for the results.")
    for scan in scans:
        if scan.path.is_dir() and Path(os.path.realpath(output)).is_relative_to(os.path.realpath(scan.path)):
            raise UserError(f"{output} lies inside the scan {scan.path}; give a folder outside it for the results.")
    wanted = _Record(model, settings.passes, settings.level, settings.seed, {})
    record = _read(output)
    _check_settings(output, record, wanted)
    folders = dict(record.scans) if record is not None else {}
    known = {os.path.realpath(place): name for name, place in folders.items()}
    taken = {name.lower() for name in (*folders, *_TAKEN, *(os.listdir(output) if output.is_dir() else ()))}
    count = Counter(_folder_name(scan.name) for scan in scans)
    tasks = {}
    for scan in scans:
        name = known.get(os.path.realpath(scan.path))
        if name is None:
            name = _folder_name(scan.name)
            if count[name] > 1:
                name = _folder_name(f"{scan.path.absolute().parent.name}/{scan.name}")
            name = _free(name, taken)
            taken.add(name.lower())
            folders[name] = os.path.abspath(scan.path)
        folder = os.path.abspath(output / name)
        tasks[name] = ScanTask(name, folders[name], folder, model, settings, scan.notes)
    return Results(output, tuple(tasks.values()), replace(wanted, scans=folders))


def tasks_of(output: Path) -> list[ScanTask]:
    """The scans of which ``output`` has results; none where it is no folder of many. Raises UserError."""
    record = _read(output)
    if record is None:
        return []
    return Results(output, (), record).all_tasks()


def _read(output: Path) -> _Record | None:
    file = output / RECORD_FILE
    if not file.exists():
        return None
    try:
        return build(_Record, parse(file.read_bytes()))
    except DocumentError as error:
        raise UserError(f"{file} is damaged ({error}); give another folder, or remove this one.") from error


def _check_settings(output: Path, record: _Record | None, wanted: _Record) -> None:
    """Raises UserError where there are results of another model or other settings than the ``wanted`` ones."""
    there, asked = record.settings() if record is not None else {}, wanted.settings()
    if differing := [name for name in there if there[name] != asked[name]]:
        before, now = (", ".join(f"{name} {each[name]}" for name in differing) for each in (there, asked))
        raise UserError(f"{output} holds results with {before}, not {now}; give another folder for these.")


def _files_of(scan: str) -> list[Path]:
    """The files of a scan, without those that systems and file managers leave in its folder. Raises OSError."""
    return [file for file in files_of(Path(scan)) if file == Path(scan) or not is_left_by_others(file.name)]


def _content_of(scan: str) -> str:
    """A digest of which files a scan consists of, and of what is in them. Raises OSError."""
    digest = hashlib.sha256()
    for file in _files_of(scan):
        digest.update(os.fsencode(file) + b"\0" + file_sha256(file).encode())
    return digest.hexdigest()


def _state_of(scan: str, hidden: bool = False) -> str:
    """A digest of which files a scan consists of, and of when each was last written or replaced; with the ``hidden``
    ones, as earlier versions took it. Raises OSError."""
    digest = hashlib.sha256()
    for file in files_of(Path(scan)) if hidden else _files_of(scan):
        about = os.stat(file)  # the change time, too: a file may be replaced by one of the same date and size
        digest.update(os.fsencode(file) + b"\0" + repr((about.st_size, about.st_mtime_ns, about.st_ctime_ns)).encode())
    return digest.hexdigest()


def _folder_name(name: str) -> str:
    """A folder's name for a scan's, good on every machine."""
    name = re.sub(r"[^\w.-]+", "_", name).strip("._")
    name = name.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(".") or "scan"
    return f"scan_{name}" if is_device(name) else name


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}-{number}"
    return free
