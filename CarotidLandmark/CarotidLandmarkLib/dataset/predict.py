"""A dataset without a screen: predict every case that needs it, and one table of all results."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..detection import CSV_COLUMNS, DetectionSettings, ModelInfo
from ..documents import csv_text
from ..files import write_text
from .annotations import Annotation
from .cases import Case
from .dataset import Dataset

if TYPE_CHECKING:
    from ..detector import Detector

Progress = Callable[[str, float], None]

TABLE_COLUMNS = (*CSV_COLUMNS, "annotator", "ask_colleague", "comment")
_EMPTY: dict[str, Any] = dict.fromkeys(TABLE_COLUMNS, "")


@dataclass(frozen=True)
class CaseTask:
    """A case to predict, on any machine that sees the dataset by this absolute path (a `work.Task`)."""

    dataset: str
    name: str
    model: ModelInfo
    settings: DetectionSettings

    @property
    def key(self) -> str:
        """The same for the same prediction."""
        return hashlib.sha256(repr(self).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def is_done(self) -> bool:
        """Whether the case has a prediction by this model and these settings. Raises DatasetError."""
        prediction = self._case().readable_prediction()
        return prediction is not None and prediction.made_by(self.model, self.settings)

    def run(self, detector: Detector, step: Progress) -> tuple[str, ...]:
        """Read, detect, store; returns the notes. Raises VolumeError, DatasetError, OSError."""
        step("reading", 0.0)
        started = time.perf_counter()
        volume = self._case().read_volume()
        detection = detector.detect(volume, self.settings, step, time.perf_counter() - started)
        Dataset.open(self.dataset).save_prediction(self.name, detection)
        return detection.notes

    def _case(self) -> Case:
        return Dataset.open(self.dataset).case(self.name)


def cases_to_predict(dataset: Dataset, bundle: Bundle, settings: DetectionSettings) -> list[CaseTask]:
    """Cases without a prediction by this model and these settings: an interrupted run goes on where it was.

    Raises DatasetError when the model finds other landmarks than the dataset is about.
    """
    dataset.check_landmarks({landmark.name for landmark in bundle.metadata.landmarks})
    model, folder = bundle.metadata.info, os.path.abspath(dataset.path)
    tasks = [CaseTask(folder, case.id, model, settings) for case in dataset.cases()]
    return [task for task in tasks if not task.is_done()]


def write_table(dataset: Dataset, path: Path) -> tuple[int, int]:
    """Write all that is known of every case to a CSV file, atomically: a row per landmark of the prediction, and of
    each annotation, which has the name in the column ``annotator``. The column ``volume`` is the case. What can not be
    read is left out.

    Returns how many cases have a prediction in it, and how many annotations there are. Raises OSError.
    """
    rows: list[dict[str, Any]] = []
    predicted = annotated = 0
    for case in dataset.cases():
        prediction, annotations = case.readable_prediction(), case.annotations().values()
        if prediction is not None:
            named = {"volume": case.id}  # a folder that was renamed since is another case
            rows += [_EMPTY | row | named for row in prediction.to_csv_rows()]
            predicted += 1
        rows += [row for annotation in annotations for row in _annotation_rows(case, annotation)]
        annotated += len(annotations)
    write_text(path, csv_text(TABLE_COLUMNS, rows))
    return predicted, annotated


def _annotation_rows(case: Case, annotation: Annotation) -> Iterator[dict[str, Any]]:
    model = annotation.model
    for name, mark in annotation.landmarks.items():
        x, y, z = mark.position_lps_mm or ("",) * 3
        yield _EMPTY | {
            "volume": case.id,
            "landmark": name,
            "status": mark.status,
            "x_lps_mm": x,
            "y_lps_mm": y,
            "z_lps_mm": z,
            "model": "" if model is None else f"{model.name} {model.version}",
            "annotator": annotation.annotator,
            "ask_colleague": "yes" if annotation.ask_colleague else "no",
            "comment": annotation.comment,
        }
