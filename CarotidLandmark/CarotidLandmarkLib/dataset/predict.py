"""A dataset without a screen: predict every case that needs it, and one table of all results."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle import Bundle
from ..detection import CSV_COLUMNS, Detection
from ..files import write_text
from ..volume import VolumeError
from .cases import Dataset, DatasetError

if TYPE_CHECKING:
    from ..detector import Detector

Progress = Callable[[str, float], None]


def cases_to_predict(dataset: Dataset, bundle: Bundle, passes: int, level: float, seed: int) -> list[str]:
    """The ids of cases without a prediction by this model and these settings: an interrupted run goes on where it was.

    Raises DatasetError when the model finds other landmarks than the dataset is about.
    """
    names = {landmark.name for landmark in bundle.metadata.landmarks}
    if names != set(dataset.landmarks):
        raise DatasetError(
            f"The model finds {', '.join(sorted(names))}, but {dataset.path.name} is about "
            f"{', '.join(sorted(dataset.landmarks))}; choose a model for these landmarks."
        )
    settings = (bundle.metadata.weights_sha256, passes, seed, {level})
    return [case_id for case_id in dataset.case_ids() if _settings(dataset, case_id, level) != settings]


def predict_cases(
    dataset: Dataset, case_ids: list[str], detector: Detector, passes: int, level: float, seed: int, progress: Progress
) -> Iterator[tuple[str, str | None]]:
    """Predict and store case after case; yields each id with None, or with the sentence why it could not be done.

    ``progress(words, fraction)`` is called with the fraction of the whole cohort.
    """
    for number, case_id in enumerate(case_ids):

        def step(words: str, fraction: float, case_id: str = case_id, number: int = number) -> None:
            progress(f"{case_id}: {words}", (number + fraction) / len(case_ids))

        try:
            step("reading", 0.0)
            volume = dataset.case(case_id).read_volume()
            detection = detector.detect(volume, passes=passes, level=level, seed=seed, progress=step)
            dataset.save_prediction(case_id, detection)
        except (VolumeError, DatasetError) as error:
            yield case_id, str(error)
        else:
            yield case_id, None


def write_table(dataset: Dataset, path: Path) -> int:
    """Write every case's prediction to a CSV file, one row per landmark, atomically; returns the number of cases in it.

    Raises DatasetError, OSError.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    written = 0
    for case_id in dataset.case_ids():
        prediction = dataset.case(case_id).prediction()
        if prediction is not None:
            writer.writerows(prediction.to_csv_rows())
            written += 1
    write_text(path, text.getvalue())
    return written


def _settings(dataset: Dataset, case_id: str, level: float) -> tuple[str, int, int, set[float]] | None:
    try:
        prediction = dataset.case(case_id).prediction()
    except DatasetError:  # a damaged one is made again
        return None
    if prediction is None:
        return None
    return prediction.model.sha256, prediction.passes, prediction.seed, _levels(prediction) or {level}


def _levels(prediction: Detection) -> set[float]:
    return {landmark.confidence.level for landmark in prediction.landmarks if landmark.confidence is not None}
