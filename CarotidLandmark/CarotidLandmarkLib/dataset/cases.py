"""Annotated cases on disk: what annotators write and training reads. Safe against kills, several writers, and names.

Layout (schema version 1)::

    dataset.json                            schema version, landmarks
    cases/<id>/case.json                    image (size, sha256), geometry, group (patient), split
    cases/<id>/image.nrrd                   the scan, rewritten without header; absent when it is only referred to
    cases/<id>/prediction.json              the detector's result
    cases/<id>/annotations/<who>.json       the annotation: points, statuses, time, model, mm moved, comment
    cases/<id>/annotations/<who>.mrk.json   its points for Slicer
    cases/<id>/annotations/<who>.draft.json what is not saved yet: see `drafts`

Every file has one writer at a time and is replaced whole, so there are no locks. Nothing that identifies a patient is
written: no DICOM header, no path or name of a source. Where a referenced image lies is kept in the user's home.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..detection import Detection, ModelInfo
from ..errors import UserError
from ..files import TEMPORARY_PREFIX, staged_folder, sync, user_directory, write_text
from ..markups import write_markups
from ..volume import Volume, check_volume, read_volume, write_volume

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
STATUSES = ("accepted", "corrected", "missing")
STALE_AFTER_S = 3600  # no save takes an hour: an older temporary file was left by a killed program
_IMAGE_FILE = "image.nrrd"
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Point = tuple[float, float, float]
AnnotationStatus = Literal["accepted", "corrected", "missing"]


class DatasetError(UserError):
    """The dataset can not be used so. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True)
class Annotation:
    """What one annotator says about one case. ``points`` are LPS millimetres, None where the landmark is missing."""

    annotator: str
    time: str  # UTC, ISO 8601
    points: dict[str, Point | None]
    status: dict[str, AnnotationStatus]
    moved_mm: dict[str, float | None]  # distance from the prediction, None without one
    model: ModelInfo | None  # whose prediction the annotator saw
    comment: str


@dataclass(frozen=True)
class Case:
    """One scan of a dataset. ``size`` is (i, j, k); ``affine_lps`` maps a voxel (i, j, k, 1) to LPS millimetres."""

    id: str
    folder: Path
    group: str
    split: str | None
    size: tuple[int, int, int]
    affine_lps: np.ndarray
    copied: bool
    image_bytes: int
    image_sha256: str

    @property
    def image_path(self) -> Path:
        """The image file. Raises DatasetError when it is not on this machine."""
        path = self.folder / _IMAGE_FILE
        if not self.copied:
            pointer = _locations() / self.image_sha256
            path = Path(pointer.read_text(encoding="utf-8")) if pointer.is_file() else path
        if not path.is_file():
            raise DatasetError(
                f"The image of case {self.id} is not here; restore it, or locate the folder that holds it."
            )
        return path

    def read_volume(self) -> Volume:
        """The scan, named by the case. Raises DatasetError, VolumeError."""
        return replace(read_volume(self.image_path), name=self.id)

    def prediction(self) -> Detection | None:
        """The detector's stored result. Raises DatasetError on a damaged file."""
        path = self.folder / "prediction.json"
        if not path.exists():
            return None
        try:
            return Detection.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DatasetError(f"prediction.json of case {self.id} can not be read; predict the case again.") from error

    def annotators(self) -> list[str]:
        """Who has annotated this case."""
        files = (self.folder / "annotations").glob("*.json")
        return sorted(file.stem for file in files if _SAFE_NAME.fullmatch(file.stem))

    def annotation(self, annotator: str) -> Annotation:
        """One annotator's word. Raises DatasetError on a missing or damaged file."""
        document = _read_json(self.folder / "annotations" / f"{annotator}.json", f"The annotation of case {self.id}")
        try:
            landmarks = document["landmarks"]
            return Annotation(
                annotator=annotator,
                time=document["time"],
                points={name: _point(entry["position_lps_mm"]) for name, entry in landmarks.items()},
                status={name: entry["status"] for name, entry in landmarks.items()},
                moved_mm={name: entry["moved_mm"] for name, entry in landmarks.items()},
                model=None if document["model"] is None else ModelInfo(**document["model"]),
                comment=document["comment"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"The annotation of case {self.id} by {annotator} is damaged; annotate it again."
            ) from error


class Dataset:
    """A folder of cases. Objects hold no state but the folder and its landmarks: any number may be open at once."""

    def __init__(self, path: Path, landmarks: tuple[str, ...]) -> None:
        self.path = path
        self.landmarks = landmarks

    @classmethod
    def create(cls, path: str | os.PathLike[str], landmarks: Sequence[str]) -> Dataset:
        """Make an empty dataset in a new or empty folder. Raises DatasetError."""
        path = Path(path)
        if not landmarks or len(set(landmarks)) != len(landmarks) or not all(map(_SAFE_NAME.fullmatch, landmarks)):
            raise DatasetError("A dataset needs landmark names, each once, of letters, digits, '_' and '-'.")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise DatasetError(f"{path.name} exists and is not an empty folder; choose another.")
        (path / "cases").mkdir(parents=True)
        document = {"schema_version": SCHEMA_VERSION, "landmarks": list(landmarks)}
        write_text(path / "dataset.json", _to_json(document))
        return cls(path, tuple(landmarks))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Dataset:
        """Open an existing dataset; what a killed program left behind is put in order first. Raises DatasetError."""
        path = Path(path)
        if not (path / "dataset.json").is_file():
            raise DatasetError(f"{path.name} is not a dataset (it has no dataset.json); choose one or create it.")
        document = _read_json(path / "dataset.json", path.name)
        version = document.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise DatasetError(
                f"{path.name} was written by a newer CarotidLandmark (schema {version}, this one reads "
                f"{SCHEMA_VERSION}); update CarotidLandmark."
            )
        landmarks = document.get("landmarks")
        if version != SCHEMA_VERSION or not landmarks or not all(isinstance(name, str) for name in landmarks):
            raise DatasetError(f"dataset.json of {path.name} is damaged; restore it from a backup.")
        dataset = cls(path, tuple(landmarks))
        dataset._tidy()
        return dataset

    def add_case(
        self,
        image: str | os.PathLike[str] | Volume,
        case_id: str | None = None,
        copy: bool = True,
        group: str | None = None,
        split: str | None = None,
    ) -> str:
        """Add a scan and return its id (random if not given). The case appears whole or not at all.

        A copy is rewritten as NRRD, so that no header of the source comes with it; ``copy=False`` keeps only size and
        sha256, and for this user the place of the file. ``group`` is the patient (random if not given): cases of one
        group belong to one ``split`` (train, validation, test; None: the group's, which may be none yet). Raises
        DatasetError, VolumeError, OSError.
        """
        case_id = case_id or f"case-{secrets.token_hex(5)}"
        group = group or f"patient-{secrets.token_hex(5)}"
        for word, value in (("case id", case_id), ("group", group)):
            if not _SAFE_NAME.fullmatch(value):
                raise DatasetError(f"The {word} '{value}' must be letters, digits, '_' and '-' (64 at most).")
        if case_id.lower() in map(str.lower, self.case_ids()):
            raise DatasetError(f"There is already a case {case_id}; choose another id.")
        if split is not None and split not in SPLITS:
            raise DatasetError(f"'{split}' is not a split; choose one of {', '.join(SPLITS)}.")
        others = {case.split for case in map(self.case, self.case_ids()) if case.group == group}
        if split is None and len(others) == 1:
            split = others.pop()
        elif others - {split}:
            raise DatasetError(
                f"Group {group} is in split {others.pop()} already; keep a patient's cases in one split."
            )
        source = None if isinstance(image, Volume) else Path(image)
        if not copy and (source is None or source.is_dir() or source.suffix.lower() in (".nhdr", ".mhd")):
            raise DatasetError("Only an image in one file can be referred to; copy this one instead.")
        volume = image if isinstance(image, Volume) else read_volume(image)
        check_volume(volume)
        with staged_folder(self.path / "cases" / case_id) as folder:
            if source is None or copy:
                source = folder / _IMAGE_FILE
                write_volume(volume, source)
            digest = file_sha256(source)
            document = {
                "schema_version": SCHEMA_VERSION,
                "group": group,
                "split": split,
                "image": {"copied": copy, "bytes": source.stat().st_size, "sha256": digest},
                "size": list(volume.size),
                "affine_lps": volume.affine_lps.tolist(),
            }
            write_text(folder / "case.json", _to_json(document))
            if (self.path / "cases" / case_id).exists():
                raise DatasetError(f"Somebody else has just added a case {case_id}; choose another id.")
        sync(self.path / "cases")
        if not copy:
            _remember(digest, source)
        return case_id

    def case_ids(self) -> list[str]:
        """The cases, in alphabetical order."""
        return sorted(file.parent.name for file in (self.path / "cases").glob("[!.]*/case.json"))

    def case(self, case_id: str) -> Case:
        """One case. Raises DatasetError when there is none of that id or its case.json is damaged."""
        folder = self.path / "cases" / case_id
        if not _SAFE_NAME.fullmatch(case_id) or not folder.is_dir():
            raise DatasetError(f"There is no case {case_id} in {self.path.name}; choose one of its cases.")
        document = _read_json(folder / "case.json", f"case.json of case {case_id}")
        try:
            i, j, k = map(int, document["size"])
            return Case(
                id=case_id,
                folder=folder,
                group=str(document["group"]),
                split=document["split"],
                size=(i, j, k),
                affine_lps=np.array(document["affine_lps"], dtype=float).reshape(4, 4),
                copied=bool(document["image"]["copied"]),
                image_bytes=int(document["image"]["bytes"]),
                image_sha256=str(document["image"]["sha256"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"case.json of case {case_id} is damaged; restore it from a backup.") from error

    def set_split(self, case_id: str, split: str) -> None:
        """Put a case that has no split into one: see `patients.freeze_splits`. Raises DatasetError, OSError."""
        case = self.case(case_id)
        if split not in SPLITS or case.split not in (None, split):
            raise DatasetError(f"Case {case_id} is in split {case.split}; '{split}' can not be its split.")
        document = _read_json(case.folder / "case.json", f"case.json of case {case_id}")
        write_text(case.folder / "case.json", _to_json({**document, "split": split}))

    def locate_images(self, folder: str | os.PathLike[str]) -> list[str]:
        """Find referenced images below ``folder`` by size and sha256, for this user; returns the ids of cases found."""
        wanted: dict[int, list[Case]] = {}
        for case in map(self.case, self.case_ids()):
            if not case.copied:
                wanted.setdefault(case.image_bytes, []).append(case)
        found = []
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            candidates = wanted.get(file.stat().st_size, [])
            digest = file_sha256(file) if candidates else ""
            for case in candidates:
                if case.image_sha256 == digest:
                    _remember(digest, file)
                    found.append(case.id)
        return sorted(set(found))

    def check_landmarks(self, names: set[str]) -> None:
        """Raises DatasetError when a model that finds ``names`` does not fit."""
        if names != set(self.landmarks):
            raise DatasetError(
                f"The model finds {', '.join(sorted(names))}, but {self.path.name} is about "
                f"{', '.join(sorted(self.landmarks))}; choose a model for these landmarks."
            )

    def save_prediction(self, case_id: str, detection: Detection) -> None:
        """Store the detector's result; the name of the file it ran on is replaced. Raises DatasetError, OSError."""
        case = self.case(case_id)
        self.check_landmarks({landmark.name for landmark in detection.landmarks})
        detection = replace(detection, volume=replace(detection.volume, path=case_id))
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
    ) -> Annotation:
        """Store one annotator's word on every landmark of the dataset, replacing what the same annotator said before.

        ``points`` are LPS millimetres, None exactly where the status is ``missing``. ``moved_mm`` is the distance from
        the stored prediction when not given, and ``model`` the one that made it. Raises DatasetError, OSError.
        """
        case = self.case(case_id)
        self._check_annotation(annotator, points, status)
        prediction = case.prediction()
        if prediction is not None:
            model = model or prediction.model
            moved_mm = moved_mm if moved_mm is not None else _moved(points, prediction)
        annotation = Annotation(
            annotator=annotator,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            points={name: _point(points[name]) for name in self.landmarks},
            status={name: status[name] for name in self.landmarks},
            moved_mm={name: (moved_mm or {}).get(name) for name in self.landmarks},
            model=model,
            comment=comment,
        )
        folder = case.folder / "annotations"
        folder.mkdir(exist_ok=True)
        markups = markups_path(case, annotator)
        document = {
            "schema_version": SCHEMA_VERSION,
            "time": annotation.time,
            "model": None if model is None else asdict(model),
            "comment": comment,
            "landmarks": {
                name: {
                    "status": annotation.status[name],
                    "position_lps_mm": annotation.points[name],
                    "moved_mm": annotation.moved_mm[name],
                }
                for name in self.landmarks
            },
            # a kill between the two files is recognised by it, and finished on the next open
            "replaces_markups_sha256": file_sha256(markups) if markups.exists() else None,
        }
        write_text(folder / f"{annotator}.json", _to_json(document))
        write_markups(markups, annotation.points)
        return annotation

    def annotations(self, case_id: str) -> dict[str, Annotation]:
        """Everybody's annotation of a case, by annotator. Raises DatasetError."""
        case = self.case(case_id)
        return {annotator: case.annotation(annotator) for annotator in case.annotators()}

    def temporary_files(self, older_than_s: float) -> list[Path]:
        """Temporary files and folders that no running save can still be writing."""
        limit = time.time() - older_than_s
        found = []
        for pattern in ("", "cases/", "cases/*/", "cases/*/annotations/"):
            for path in self.path.glob(f"{pattern}{TEMPORARY_PREFIX}*"):
                try:
                    if path.stat().st_mtime < limit:
                        found.append(path)
                except FileNotFoundError:  # its save has just ended
                    pass
        return found

    def _check_annotation(self, annotator: str, points: Mapping[str, Point | None], status: Mapping[str, str]) -> None:
        check_annotator(annotator)
        if set(points) != set(self.landmarks) or set(status) != set(self.landmarks):
            raise DatasetError(f"An annotation must speak of each landmark: {', '.join(self.landmarks)}.")
        for name in self.landmarks:
            point = points[name]
            if status[name] not in STATUSES:
                raise DatasetError(f"'{status[name]}' is not a status; choose one of {', '.join(STATUSES)}.")
            if (point is None) != (status[name] == "missing"):
                raise DatasetError(
                    f"{name} has status {status[name]}: a missing landmark has no point, any other has one."
                )
            if point is not None and not (len(point) == 3 and np.isfinite(point).all()):
                raise DatasetError(f"The position of {name} is not three finite numbers; place it again.")

    def _tidy(self) -> None:
        """Finish annotations whose writer was killed between its two files; remove stale temporary files."""
        try:
            for path in self.temporary_files(STALE_AFTER_S):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            for file in self.path.glob("cases/[!.]*/annotations/[!.]*.json"):
                if _SAFE_NAME.fullmatch(file.stem):
                    self._finish(file)
        except PermissionError:  # somebody else's files, or a read-only share: reading works all the same
            pass

    def _finish(self, file: Path) -> None:
        markups = file.with_suffix(".mrk.json")
        try:
            replaces = _read_json(file, file.name).get("replaces_markups_sha256")
            found = file_sha256(markups) if markups.exists() else None
            if found == replaces:
                points = self.case(file.parents[1].name).annotation(file.stem).points
                write_markups(markups, points)
        except DatasetError:  # `check` names it
            pass


def check_annotator(name: str) -> None:
    """Raises DatasetError on a name that can not be part of a file name on every machine."""
    if not _SAFE_NAME.fullmatch(name):
        raise DatasetError(f"The annotator's name '{name}' must be letters, digits, '_' and '-' (64 at most).")


def markups_path(case: Case, annotator: str) -> Path:
    """The annotator's points for Slicer."""
    return case.folder / "annotations" / f"{annotator}.mrk.json"


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _locations() -> Path:
    """Where this user's referenced images lie: one small file per image, named by its sha256."""
    return user_directory() / "images"


def _remember(digest: str, image: Path) -> None:
    _locations().mkdir(parents=True, exist_ok=True)
    write_text(_locations() / digest, str(image.resolve()))


def _moved(points: Mapping[str, Point | None], prediction: Detection) -> dict[str, float | None]:
    moved: dict[str, float | None] = {}
    for name, point in points.items():
        predicted = prediction[name].position_lps_mm
        moved[name] = None if point is None or predicted is None else round(math.dist(point, predicted), 3)
    return moved


def _point(values: Sequence[float] | None) -> Point | None:
    if values is None:
        return None
    x, y, z = (float(value) for value in values)
    return x, y, z


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{what} can not be read ({path.name} is missing or damaged); restore it from a backup."
        ) from error
    if not isinstance(document, dict):
        raise DatasetError(f"{what} can not be read ({path.name} is damaged); restore it from a backup.")
    return document


def _to_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
