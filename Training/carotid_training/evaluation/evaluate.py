"""carotid-train evaluate: how good a model is on annotated cases, in tables and figures.

Whatever is stopped half-way goes on where it was: each case's detection is kept, and used again while the model, the
scan and the settings are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from CarotidLandmarkLib.bundle import Bundle, open_bundle
from CarotidLandmarkLib.dataset import SPLITS, Case, Dataset, DatasetError
from CarotidLandmarkLib.detection import DEFAULTS, Detection, DetectionSettings
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.landmarks import LandmarkSpec
from CarotidLandmarkLib.volume import VolumeError
from CarotidLandmarkLib.work import Step, part, progress
from rich.console import Console

from ..records import library_sha256, write_record
from .datasets import datasets_csv, datasets_markdown, side_by_side
from .figures import save, worst_cases, write_figures
from .outcomes import Outcome, outcomes_of
from .summary import Measure, Model, landmarks_csv, measure, summary_csv
from .tables import summary_markdown, worst

EVERY_SPLIT = "all"
CODE = library_sha256("*.py", "nets/*.py", "volume/*.py")  # what a detection follows from


@dataclass(frozen=True)
class Settings:
    """How the detector is run."""

    device: str = "auto"
    passes: int = DEFAULTS.passes
    seed: int = 0


def evaluate(
    bundle: Bundle,
    datasets: Sequence[Dataset],
    output: Path,
    split: str = "test",
    settings: Settings | None = None,
    step: Step = lambda words, share: None,
) -> list[Measure]:
    """Run ``bundle`` over the annotated cases of a split and write tables and figures into ``output``.

    The cases of several datasets are measured together, each named DATASET/CASE. ``step(words, share)`` is told how far
    it is. Raises ValueError with a sentence (DatasetError, VolumeError, DeviceError, BundleError are such) and OSError.
    """
    settings = settings or Settings()
    if split not in (*SPLITS, EVERY_SPLIT):
        raise DatasetError(f"'{split}' is not a split; choose one of {', '.join(SPLITS)}, {EVERY_SPLIT}.")
    model = Model.of(bundle.metadata)
    names = [dataset.path.resolve().name for dataset in datasets]
    if len(set(names)) < len(names):
        raise DatasetError("Two of the datasets have one name; give one of them, or rename its folder.")
    for dataset in datasets:
        check_landmarks(bundle.metadata.landmarks, dataset)
    chosen = [dataset.annotated_cases(None if split == EVERY_SPLIT else split) for dataset in datasets]
    total = sum(map(len, chosen))
    detector = Detector(bundle, settings.device)
    by_dataset: dict[str, list[Outcome]] = {}
    images: dict[str, Case] = {}
    for name, cases in zip(names, chosen, strict=True):
        inside = part(step, start=len(images) / total, share=len(cases) / total)
        alone = len(datasets) == 1
        prefix, folder = ("", output / "detections") if alone else (f"{name}/", output / "detections" / name)
        images |= {prefix + case.id: case for case in cases}
        by_dataset[name] = [
            replace(each, case_id=prefix + each.case_id, group=_patient(each, prefix))
            for each in detect_cases(detector, cases, folder, settings, inside)
        ]
    outcomes = [each for some in by_dataset.values() for each in some]
    facts = {
        "model": f"{model.title}, weights {bundle.metadata.weights_sha256[:12]}",
        "cases": f"{', '.join(f'{len(c)} of {n}' for n, c in zip(names, chosen, strict=True))}, split {split}",
        "noise passes": f"{settings.passes}, seed {settings.seed}",
        "device": " ".join([detector.device, *detector.notes]),
    }
    step("tables", 1.0)
    rows = write_tables(output, by_dataset, model, facts, settings.seed)
    step("figures", 1.0)
    write_figures(output / "figures", outcomes, model)
    step("worst cases", 1.0)
    seen = [each for each in worst(outcomes) if images[each.case_id].has_image]  # else a detection that was kept
    gallery = worst_cases(seen, model, lambda name: images[name].read_volume())
    save(gallery, output / "figures", "worst_cases")
    return rows


def _patient(outcome: Outcome, prefix: str) -> str:
    """One patient in several datasets is one; a name that is a case's own says nothing beyond its dataset."""
    return prefix + outcome.group if outcome.group == outcome.case_id else outcome.group


def check_landmarks(landmarks: Sequence[LandmarkSpec], dataset: Dataset) -> None:
    """Raises DatasetError where a dataset, or an annotated case, has no word on one of a model's ``landmarks``."""
    names, known = {landmark.name for landmark in landmarks}, set(dataset.landmarks)
    if not names <= known:
        raise DatasetError(
            f"The model finds {', '.join(sorted(names))}, but {dataset.path.name} is about "
            f"{', '.join(sorted(known))}; choose a model for these landmarks."
        )
    for case in dataset.cases():
        if case.truth_annotations:
            case.consensus(sorted(names))


def detect_cases(detector: Detector, cases: list[Case], folder: Path, settings: Settings, step: Step) -> list[Outcome]:
    """The outcomes of all cases; detections are kept in ``folder`` and taken from there where nothing has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = detector.bundle.metadata
    level = Model.of(metadata).volume_level
    outcomes = []
    for number, case in enumerate(cases):
        inside = part(step, f"{case.id}: ", number / len(cases), 1 / len(cases))
        # The verdict follows from the regions, so the calibration counts as much as the weights.
        key = {
            "model_sha256": hashlib.sha256(metadata.to_json().encode()).hexdigest(),
            "code": CODE,
            "image_sha256": case.image_sha256,
            "passes": settings.passes,
            "seed": settings.seed,
            "level": level,
            "device": detector.device,
        }
        file = folder / f"{case.id}.json"
        detection = kept_detection(file, key)
        if detection is not None and case.has_image:
            case.verify_image()
        elif detection is None:
            inside("reading", 0.0)
            try:
                detection = detector.detect(
                    case.read_volume(), DetectionSettings(settings.passes, level, settings.seed), inside
                )
            except VolumeError as error:
                raise DatasetError(f"Case {case.id} can not be evaluated: {error}") from error
            document = {"made_with": {**key, "device": detector.device}, "detection": json.loads(detection.to_json())}
            write_record(file, document)
        outcomes += outcomes_of(case, detection)
    return outcomes


def kept_detection(file: Path, key: dict[str, Any]) -> Detection | None:
    """The detection that was kept in ``file``, unless it is damaged or was made with anything other than ``key``."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return Detection.from_json(json.dumps(document["detection"])) if document["made_with"] == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # absent, or damaged: it is made again
        return None


def write_tables(
    output: Path, by_dataset: Mapping[str, Sequence[Outcome]], model: Model, facts: dict[str, str], seed: int = 0
) -> list[Measure]:
    """Write summary.md, summary.csv and landmarks.csv, of several datasets datasets.csv; returns the numbers. OSError.

    ``seed``: the bootstrap's.
    """
    outcomes = [outcome for some in by_dataset.values() for outcome in some]
    rows, compared = measure(outcomes, model, seed), ""
    (output / "figures").mkdir(parents=True, exist_ok=True)
    if len(by_dataset) > 1:
        datasets = side_by_side(by_dataset, model, seed)
        compared = datasets_markdown(datasets)
        write_text(output / "datasets.csv", datasets_csv(datasets))
    else:
        (output / "datasets.csv").unlink(missing_ok=True)  # of an evaluation before, on others
    write_text(output / "summary.csv", summary_csv(rows))
    write_text(output / "landmarks.csv", landmarks_csv(outcomes, model))
    write_text(output / "summary.md", summary_markdown(rows, outcomes, model, facts, compared))
    return rows


def main(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A model bundle's folder, or a bundled model's name.")
    ],
    datasets: Annotated[
        list[Path],
        typer.Argument(metavar="DATASET...", help="Folders with dataset.json; several are measured together."),
    ],
    split: Annotated[str, typer.Option(help="train, validation, test, or all.")] = "test",
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results; made if needed.")] = Path(
        "evaluation"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    passes: Annotated[int, typer.Option(min=2, help="Noise passes.")] = DEFAULTS.passes,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the bootstrap.")] = 0,
) -> None:
    """Measure a model on annotated cases: error, sides, presence, calibration; tables, figures, worst cases."""
    console = Console(stderr=True)
    with progress() as step:
        opened = [Dataset.open(path) for path in datasets]
        evaluate(open_bundle(bundle), opened, output, split, Settings(device, passes, seed), step)
    console.print(f"Wrote {output / 'summary.md'}", markup=False, highlight=False, soft_wrap=True)
