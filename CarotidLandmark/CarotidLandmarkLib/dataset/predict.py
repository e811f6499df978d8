"""A dataset without a screen: predict every case that needs it, and one table of all results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundle import Bundle
from ..detection import CSV_COLUMNS, Detection, DetectionSettings
from ..documents import csv_text
from ..files import write_text
from ..volume import VolumeError
from .annotations import Annotation
from .cases import Case
from .common import DatasetError
from .dataset import Dataset

if TYPE_CHECKING:
    from ..detector import Detector

Progress = Callable[[str, float], None]

TABLE_COLUMNS = (*CSV_COLUMNS, "annotator", "ask_colleague", "comment")


def cases_to_predict(dataset: Dataset, bundle: Bundle, settings: DetectionSettings) -> list[str]:
    """The ids of cases without a prediction by this model and these settings: an interrupted run goes on where it was.

    Raises DatasetError when the model finds other landmarks than the dataset is about.
    """
    dataset.check_landmarks({landmark.name for landmark in bundle.metadata.landmarks})
    sha256 = bundle.metadata.weights_sha256
    return [case.id for case in dataset.cases() if not _made_by(case.readable_prediction(), sha256, settings)]


def predict_cases(
    dataset: Dataset, case_ids: list[str], detector: Detector, settings: DetectionSettings, progress: Progress
) -> Iterator[tuple[str, str | None]]:
    """Predict and store case after case; yields each id with None, or with the sentence why it could not be done.

    ``progress(words, fraction)`` is called with the fraction of the whole cohort.
    """
    for number, case_id in enumerate(case_ids):

        def step(words: str, fraction: float, case_id: str = case_id, number: int = number) -> None:
            progress(f"{case_id}: {words}", (number + fraction) / len(case_ids))

        try:
            step("reading", 0.0)
            detection = detector.detect(dataset.case(case_id).read_volume(), settings, step)
            dataset.save_prediction(case_id, detection)
        except (VolumeError, DatasetError) as error:
            yield case_id, str(error)
        else:
            yield case_id, None


def write_table(dataset: Dataset, path: Path) -> tuple[int, int]:
    """Write all that is known of every case to a CSV file, atomically: a row per landmark of the prediction, and of
    each annotation, which has the name in the column ``annotator``. What can not be read is left out.

    Returns how many cases have a prediction in it, and how many annotations there are. Raises OSError.
    """
    rows: list[dict[str, Any]] = []
    predicted = annotated = 0
    for case in dataset.cases():
        prediction = case.readable_prediction()
        if prediction is not None:
            rows += [dict.fromkeys(TABLE_COLUMNS, "") | row for row in prediction.to_csv_rows()]
            predicted += 1
        for annotator in case.annotators():
            rows += _annotation_rows(case, case.annotation(annotator))
            annotated += 1
    write_text(path, csv_text(TABLE_COLUMNS, rows))
    return predicted, annotated


def _annotation_rows(case: Case, annotation: Annotation) -> Iterator[dict[str, Any]]:
    model = annotation.model
    for name, point in annotation.points.items():
        x, y, z = point or ("",) * 3
        yield dict.fromkeys(TABLE_COLUMNS, "") | {
            "volume": case.id,
            "landmark": name,
            "status": annotation.status[name],
            "x_lps_mm": x,
            "y_lps_mm": y,
            "z_lps_mm": z,
            "model": "" if model is None else f"{model.name} {model.version}",
            "annotator": annotation.annotator,
            "ask_colleague": "yes" if annotation.ask_colleague else "no",
            "comment": annotation.comment,
        }


def _made_by(prediction: Detection | None, sha256: str, settings: DetectionSettings) -> bool:
    return (
        prediction is not None
        and (prediction.model.sha256, prediction.passes, prediction.seed) == (sha256, settings.passes, settings.seed)
        and prediction.level in (None, settings.level)
    )
