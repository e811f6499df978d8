"""Part of the module's panel: which folders can be opened as a dataset, and which can become one (Qt)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from slicer.i18n import tr as _

from ... import scene
from ...bundle import Bundle
from ...dataset import Dataset, DatasetError
from ..logic import bundle_title
from ..words import ask

Models = Mapping[str, tuple[str, ...]]


def landmarks_of(bundles: Iterable[Bundle]) -> Models:
    """What each model finds, by the model's title."""
    return {bundle_title(bundle): tuple(landmark.name for landmark in bundle.metadata.landmarks) for bundle in bundles}


def open_dataset(path: Path, models: Models) -> Dataset:
    """The dataset in a folder. Raises DatasetError, also for landmarks that neither the module nor a model knows."""
    dataset = Dataset.open(path)
    if set(dataset.landmarks) not in [set(scene.LABELS), *map(set, models.values())]:
        words = _("{folder} is about {landmarks}, which no model here finds; choose another dataset.")
        raise DatasetError(words.format(folder=dataset.path.name, landmarks=", ".join(dataset.landmarks)))
    return dataset


def open_or_create(path: Path, models: Models, model: str) -> Dataset | None:
    """The same; an empty folder becomes a dataset of what ``model`` finds after a question. None when it shall not.

    Raises DatasetError, OSError.
    """
    if not path.is_dir() or any(path.iterdir()):
        return open_dataset(path, models)
    question = _("{folder} is empty. Make it a new dataset?").format(folder=path.name)
    if not ask(question):
        return None
    return Dataset.create(path, models.get(model, tuple(scene.LABELS)))
