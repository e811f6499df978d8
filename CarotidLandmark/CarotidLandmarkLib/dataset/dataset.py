"""Annotated cases on disk: what annotators write and training reads. Safe against kills, several writers, and names.

Layout (schema version 2)::

    dataset.json                            schema version, landmarks
    cases/<id>/case.json                    image (size, sha256), geometry, group (patient), split
    cases/<id>/image.nrrd                   the scan, rewritten without header; absent when it is only referred to
    cases/<id>/prediction.json              the detector's result
    cases/<id>/annotations/<who>.json       the annotation: points, statuses, time, model, mm moved, comment
    cases/<id>/annotations/<who>.draft.json what is not saved yet: see `annotations`

Version 1 had the annotation's points a second time, in a ``<who>.mrk.json``: read as before, never written. Every file
has one writer at a time and is replaced whole, so there are no locks. Opening only reads; see `repair`. Nothing that
identifies a patient is written: no DICOM header, no path or name of a source (see `references`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..detection import Detection, ModelInfo
from ..documents import DocumentError, parse, write
from ..files import (
    TEMPORARY_PREFIX,
    file_sha256,
    is_empty,
    is_left_by_others,
    is_temporary,
    make_folder,
    staged_folder,
    sync,
    write_text,
)
from ..landmarks import Point, is_place
from ..volume import Volume, check_volume, files_of, read_volume, write_volume
from .annotations import (
    STATUSES,
    Annotation,
    AnnotationStatus,
    Mark,
    moved,
    now,
    owners,
    write_annotation,
)
from .cases import IMAGE_FILE, Case, CaseDocument, ImageDocument, read_case, write_case
from .common import (
    SCHEMA_VERSION,
    DatasetError,
    UnreadableError,
    check_annotator,
    check_case_of_letters,
    check_name,
    is_safe_name,
    names_in,
    read_entry,
)
from .references import files_below, remember_place, voxels_sha256

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class _DatasetDocument:
    """``dataset.json``."""

    landmarks: tuple[str, ...]
    schema_version: int

    def __post_init__(self) -> None:
        if not self.landmarks or len(set(self.landmarks)) != len(self.landmarks) or "" in self.landmarks:
            raise ValueError("landmarks are none, or one is there twice")
        if self.schema_version < 1:
            raise ValueError("schema_version is not positive")


class Dataset:
    """A folder of cases. Objects hold no state but the folder and its landmarks: any number may be open at once."""

    def __init__(self, path: Path, landmarks: tuple[str, ...]) -> None:
        self.path = path
        self.landmarks = landmarks

    @classmethod
    def create(cls, path: str | os.PathLike[str], landmarks: Sequence[str]) -> Dataset:
        """Make an empty dataset in a new or empty folder. Raises DatasetError."""
        path = Path(path)
        if not landmarks or len(set(landmarks)) != len(landmarks) or not all(map(is_safe_name, landmarks)):
            raise DatasetError("A dataset needs landmark names, each once, of letters, digits, '_' and '-'.")
        if not can_become_dataset(path):
            raise DatasetError(f"{path.name} exists and is not an empty folder; choose another.")
        make_folder(path / "cases")
        dataset = cls(path, tuple(landmarks))
        dataset.write_version()
        return dataset

    def discard(self) -> None:
        """Take back what `create` has put into the folder, while there is no case. Raises OSError."""
        (self.path / "cases").rmdir()
        (self.path / "dataset.json").unlink()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Dataset:
        """Open an existing dataset of any version up to ours; nothing is changed. Raises DatasetError."""
        path = Path(path)
        if not path.exists():
            raise DatasetError(f"The folder {path.name} is not there; connect its disk, or choose another.")
        if not (path / "dataset.json").is_file():
            raise DatasetError(f"{path.name} is not a dataset (it has no dataset.json); choose one or create it.")
        try:
            return cls(path, _read_dataset(path).landmarks)
        except UnreadableError:
            raise
        except DatasetError as error:
            if is_dataset(path):
                raise
            raise DatasetError(
                f"{path.name} is not a dataset of CarotidLandmark (its dataset.json is another program's, or damaged); "
                "choose one, or create it in a folder of its own."
            ) from error

    def write_version(self) -> None:
        """Write ``dataset.json`` of the present version. Raises OSError."""
        document = {"schema_version": SCHEMA_VERSION, "landmarks": list(self.landmarks)}
        write_text(self.path / "dataset.json", write(document))

    def version(self) -> int:
        """The schema version on the disk. Raises DatasetError."""
        return _read_dataset(self.path).schema_version

    def add_case(
        self,
        image: str | os.PathLike[str] | Volume,
        case_id: str | None = None,
        copy: bool = True,
        group: str | None = None,
        split: str | None = None,
        case_of: Callable[[Volume], str | None] = lambda volume: None,
    ) -> str:
        """Add a scan and return its id (random if not given). The case appears whole or not at all.

        A copy is rewritten as NRRD, so that no header of the source comes with it; ``copy=False`` keeps only size and
        sha256, and for this user the place of the file. ``group`` is the patient (random if not given): cases of one
        group belong to one ``split`` (train, validation, test; None: the group's, which may be none yet). ``case_of``
        is asked before the case appears which one is this scan: another command may have added it during the copy.
        Raises DatasetError, VolumeError, OSError.
        """
        case_id = case_id or f"case-{secrets.token_hex(5)}"
        group = group or f"patient-{secrets.token_hex(5)}"
        check_name("The case id", case_id)
        check_name("The group", group)
        if not (self.path / "dataset.json").exists():  # another command has made the dataset, and taken it back
            make_folder(self.path / "cases")
        if case_id.lower() in {folder.name.lower() for folder in self.folders()}:
            raise DatasetError(f"There is already a case {case_id}; choose another id.")
        split = self._split_of(group, split)
        source = None if isinstance(image, Volume) else Path(image)
        if not copy and (source is None or files_of(source) != [source]):
            raise DatasetError("Only an image in one file can be referred to; copy this one instead.")
        volume = image if isinstance(image, Volume) else read_volume(image)
        check_volume(volume)
        with staged_folder(self.path / "cases" / case_id) as folder:
            if source is None or copy:
                source = folder / IMAGE_FILE
                write_volume(volume, source)
            digest = file_sha256(source)
            reference = ImageDocument(copy, source.stat().st_size, digest, voxels_sha256(volume.array))
            document = CaseDocument(group, split, reference, volume.size, volume.affine_lps.tolist())
            write_case(folder, document)
            if not copy:
                remember_place(digest, source)
            if (self.path / "cases" / case_id).exists():
                raise DatasetError(f"Somebody else has just added a case {case_id}; choose another id.")
            if (same := case_of(volume)) is not None:
                raise DatasetError(f"Somebody else has just added this scan, as {same}; go on with that case.")
        if not (self.path / "dataset.json").exists():
            self.write_version()
        sync(self.path / "cases")
        return case_id

    def folders(self) -> list[Path]:
        """Whatever lies under ``cases`` and may be one, in alphabetical order; not what file managers and servers leave
        there (``Thumbs.db``, ``@eaDir``). Raises DatasetError, as all that lists cases, where nobody can say."""
        names = names_in(self.path / "cases", needed=True)
        return [self.path / "cases" / name for name in names if not (name[0] == "@" or is_left_by_others(name))]

    def case_ids(self) -> list[str]:
        """The cases, readable or not, in alphabetical order."""
        return [folder.name for folder in self.folders() if _has_document(folder)]

    def case(self, case_id: str) -> Case:
        """One case. Raises DatasetError when there is none of that id or its case.json is damaged."""
        folder = self.path / "cases" / case_id
        if not is_safe_name(case_id) or not folder.is_dir():
            raise DatasetError(f"There is no case {case_id} in {self.path.name}; choose one of its cases.")
        return Case.of(folder)

    def cases(self) -> Iterator[Case]:
        """Every case that can be read, in alphabetical order; `damaged` has the others."""
        for case_id in self.case_ids():
            with suppress(DatasetError):
                yield self.case(case_id)

    def annotated_cases(self, split: str | None = None) -> list[Case]:
        """The annotated cases of a split (None: all), for what every annotation counts in, in alphabetical order.

        What is `said` of them is read now, and stays. Raises DatasetError where there is none, or where a case or an
        annotation, of any split, can not be read.
        """
        cases = [case for case in map(self.case, self.case_ids()) if case.truth_annotations]
        chosen = [case for case in cases if split is None or case.split == split]
        if not chosen:
            where = f" in the split '{split}'" if split else ""
            raise DatasetError(f"{self.path.name} has no annotated case{where}; annotate one.")
        return chosen

    def damaged(self) -> dict[str, str]:
        """What under ``cases`` is no case, or none that can be read: the folder's name, and the reason."""
        reasons = {}
        for folder in self.folders():
            if not _has_document(folder):
                reasons[folder.name] = "This is no case: it has no case.json; remove or restore it."
            elif not is_safe_name(folder.name):
                reasons[folder.name] = (
                    f"'{folder.name}' is no name of a case (English letters, digits, '_', '-'); rename the folder."
                )
            else:
                try:
                    read_case(folder)
                except DatasetError as error:
                    reasons[folder.name] = str(error)
        return reasons

    def problems(self) -> list[str]:
        """A sentence for each case, prediction and annotation that can not be read: what listings leave out."""
        sentences = [f"cases/{name}: {reason}" for name, reason in self.damaged().items()]
        return sentences + [str(error) for case in self.cases() for _, error in case.problems()]

    def set_split(self, case_id: str, split: str) -> None:
        """Put a case that has no split into one: see `patients.freeze_splits`. Raises DatasetError, OSError."""
        case = self.case(case_id)
        if split not in SPLITS or case.split not in (None, split):
            raise DatasetError(f"Case {case_id} is in split {case.split}; '{split}' can not be its split.")
        document = replace(read_case(case.folder), split=split)
        write_case(case.folder, document)

    def locate_images(
        self, folder: str | os.PathLike[str], tell: Callable[[str], None] = lambda sentence: None
    ) -> list[str]:
        """Find referenced images below ``folder`` by size and sha256, for this user; returns the ids of their cases.

        ``tell`` is told what can not be looked into. Raises DatasetError, OSError.
        """
        references = [case for case in self.cases() if not case.copied]
        located: set[str] = set()
        for file, digest in files_below(folder, {case.image_bytes for case in references}, tell):
            if same := [case.id for case in references if case.image_sha256 == digest]:
                remember_place(digest, file)
                located.update(same)
        return sorted(located)

    def check_landmarks(self, names: set[str]) -> None:
        """Raises DatasetError when a model that finds ``names`` does not fit."""
        if names != set(self.landmarks):
            raise DatasetError(
                f"The model finds {', '.join(sorted(names))}, but {self.path.name} is about "
                f"{', '.join(sorted(self.landmarks))}; choose a model for these landmarks, or place them by hand."
            )

    def save_prediction(self, case_id: str, detection: Detection) -> None:
        """Store the detector's result; the name of the file it ran on is replaced, in its notes, too.

        Raises DatasetError, OSError.
        """
        case = self.case(case_id)
        self.check_landmarks({landmark.name for landmark in detection.landmarks})
        name = os.path.basename(detection.volume.path)
        whole = rf"(?<![^\W_]){re.escape(name)}(?![^\W_])"  # a scan called s is not in every word
        notes = tuple(re.sub(whole, case_id, note) for note in detection.notes) if name else detection.notes
        detection = replace(detection, volume=replace(detection.volume, path=case_id), notes=notes)
        write_text(case.folder / "prediction.json", detection.to_json())

    def save_annotation(
        self,
        case_id: str,
        annotator: str,
        points: Mapping[str, Point | None],
        status: Mapping[str, AnnotationStatus],
        model: ModelInfo | None = None,
        moved_mm: Mapping[str, float | None] | None = None,
        comment: str = "",
        ask_colleague: bool = False,
    ) -> Annotation:
        """Store one annotator's word on every landmark of the dataset, replacing what the same annotator said before.

        ``points`` are LPS millimetres, None exactly where the status is ``missing``. ``model`` and ``moved_mm`` say
        which prediction the annotator saw and how far from it the points are; without ``moved_mm`` that was the stored
        one. Raises DatasetError, OSError.
        """
        case = self.case(case_id)
        self._check_annotation(case, annotator, points, status)
        if moved_mm is None and (prediction := case.readable_prediction()) is not None:
            before = {landmark.name: landmark.position_lps_mm for landmark in prediction.landmarks}
            model, moved_mm = model or prediction.model, moved(points, before)
        marks = {}
        for name in self.landmarks:
            point = points[name]
            place = None if point is None else tuple(map(float, point))
            marks[name] = Mark(status[name], place, (moved_mm or {}).get(name))  # type: ignore[arg-type]
        annotation = Annotation(
            annotator=annotator, time=now(), model=model, comment=comment, ask_colleague=ask_colleague, landmarks=marks
        )
        write_annotation(case.folder, annotation)
        return annotation

    def annotator_names(self) -> set[str]:
        """Whoever has an annotation or a draft where that can be listed; `problems` names or raises what can not."""
        names: set[str] = set()
        with suppress(DatasetError):
            for folder in self.folders():
                with suppress(DatasetError):
                    names |= owners(folder)
        return names

    def temporary_files(self) -> list[Path]:
        """Temporary files and folders: of saves under way, or of killed ones."""
        patterns = ("", "cases/", "cases/*/", "cases/*/annotations/")
        found = (path for pattern in patterns for path in sorted(self.path.glob(f"{pattern}{TEMPORARY_PREFIX}*")))
        return [path for path in found if is_temporary(path)]

    def _split_of(self, group: str, split: str | None) -> str | None:
        """The split of a new case of a patient. Raises DatasetError where the patient is in another one."""
        if split is not None and split not in SPLITS:
            raise DatasetError(f"'{split}' is not a split; choose one of {', '.join(SPLITS)}.")
        others = {case.split for case in self.cases() if case.group == group}
        if split is None and len(others) == 1:
            return others.pop()
        if others - {split}:
            raise DatasetError(
                f"Group {group} is in split {others.pop()} already; keep a patient's cases in one split."
            )
        return split

    def _check_annotation(
        self, case: Case, annotator: str, points: Mapping[str, Point | None], status: Mapping[str, str]
    ) -> None:
        check_annotator(annotator)
        if annotator not in owners(case.folder):  # else it is known so, and looking through all cases takes time
            check_case_of_letters("The annotator", annotator, self.annotator_names())
        if not set(points) == set(status) == set(self.landmarks):
            raise DatasetError(f"An annotation must speak of each landmark: {', '.join(self.landmarks)}.")
        for name, point in points.items():
            word = status[name]
            if word not in STATUSES:
                raise DatasetError(f"'{word}' is not a status; choose one of {', '.join(STATUSES)}.")
            if (point is None) != (word == "missing"):
                raise DatasetError(f"{name} has status {word}: a missing landmark has no point, any other has one.")
            if point is not None and not is_place(point):
                raise DatasetError(f"The position of {name} is not three finite numbers; place it again.")


def _has_document(folder: Path) -> bool:
    """Whether a folder has a case.json, or may have one: it can not be looked into then, and reading says why."""
    try:
        return (folder / "case.json").is_file()
    except OSError:
        return True


def can_become_dataset(path: Path) -> bool:
    """Whether there is no folder, or nothing in it but an empty ``cases``, as a killed `Dataset.create` leaves it.
    Raises DatasetError, OSError."""
    if not path.is_dir():
        return not path.exists()
    left = {name for name in names_in(path) if not is_left_by_others(name)}
    return not left or (left == {"cases"} and (path / "cases").is_dir() and is_empty(path / "cases"))


def is_dataset(path: Path) -> bool:
    """Whether a folder is a dataset of ours, damaged or not: other programs have a dataset.json, too (nnU-Net)."""
    try:
        document = parse((path / "dataset.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, DocumentError):
        document = {}
    keys = {field.name for field in fields(_DatasetDocument)}
    return bool(keys & document.keys()) if document else os.path.isdir(path / "cases")


def _read_dataset(path: Path) -> _DatasetDocument:
    what = f"dataset.json of {path.name}"
    return read_entry(_DatasetDocument, path / "dataset.json", what, "restore it from a backup")
