"""Part of the module's panel: which folders can be opened as a dataset, and which can become one (Qt)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from slicer.i18n import tr as _

from ...dataset import Dataset, can_become_dataset
from ...landmarks import LABELS
from ..words import ask

Models = Mapping[str, tuple[str, ...]]  # as `CarotidLandmarkLogic.landmarks` gives them


def without_model(dataset: Dataset, models: Models) -> list[str]:
    """A sentence for the user where no model here finds what the dataset is about, else none."""
    if set(dataset.landmarks) in map(set, models.values()):
        return []
    words = _("No model here finds {landmarks}: place the points by hand, until one has learnt them.")
    return [words.format(landmarks=", ".join(dataset.landmarks))]


def open_or_create(path: Path, models: Models, model: str) -> Dataset | None:
    """The dataset in a folder; an empty one becomes a dataset of what ``model`` finds after a question.

    None when it shall not. Raises DatasetError, OSError.
    """
    if not path.is_dir() or not can_become_dataset(path):
        return Dataset.open(path)
    question = _("{folder} is empty. Make it a new dataset?").format(folder=path.name)
    if not ask(question):
        return None
    return Dataset.create(path, models.get(model, tuple(LABELS)))
