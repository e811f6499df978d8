"""What the weights of a run find, as the program detects, and the columns of a table that say how far off it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from carotid_training.evaluation.evaluate import Settings, detect_cases
from carotid_training.evaluation.metrics import error_statistics, errors_mm, mean_error
from carotid_training.evaluation.outcomes import Outcome
from carotid_training.release.export import metadata_of, model_of
from CarotidLandmarkLib.bundle import Architecture, Bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detector import Detector, bfloat16_is_fast
from CarotidLandmarkLib.landmarks import Point
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from CarotidLandmarkLib.nets.pyramid import Pyramid

from ..tables import Row


@contextmanager
def as_detected() -> Iterator[None]:
    """Nets run on the CPU in the precision in which the program runs them."""
    fast = bfloat16_is_fast(torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        yield


def scans(
    dataset: Dataset, split: str | None, architecture: Architecture
) -> Iterator[tuple[Pyramid, list[Point | None]]]:
    """Of every annotated case what the nets see, and where its landmarks are: LPS mm, None where absent."""
    names = [landmark.name for landmark in architecture.landmarks]
    for case in dataset.annotated_cases(split):
        truth = case.consensus(names)
        yield Pyramid(case.read_volume(), architecture.scales_mm), [truth[name] for name in names]


def net_of_run(run: Path) -> tuple[MultiScaleLocNet, dict[str, Any]]:
    """The net of a training run, a checkpoint or a bundle, and what is known of its training."""
    architecture, state, training, _ = model_of(run)
    net = MultiScaleLocNet(architecture)
    net.load_state_dict({name: values.float() for name, values in state.items()})
    return net.eval(), training


def found_by(run: Path, dataset: Dataset, split: str, folder: Path, settings: Settings) -> list[Outcome]:
    """What the weights of a run, a checkpoint or a bundle find, without its judgement; ``folder`` keeps detections."""
    architecture, state, training, _ = model_of(run)
    with tempfile.TemporaryDirectory() as temporary:
        metadata = metadata_of(architecture, "checkpoint", "0", training)
        detector = Detector(Bundle.save(Path(temporary) / "checkpoint", metadata, state, ""), settings.device)
        cases = dataset.annotated_cases(split)
        return detect_cases(detector, cases, folder, settings, lambda words, share: None)


def columns(outcomes: list[Outcome]) -> Row:
    """Errors of the landmarks that were found, mm, and how many were missed."""
    errors, mean = errors_mm(outcomes), mean_error(outcomes)
    statistics = error_statistics(errors)
    return {
        "landmarks": len(errors),
        "missed": int(np.isnan(errors).sum()),
        "mean (mm)": mean.words(),
        "median": statistics["median"],
        "95th percentile": statistics["p95"],
        "over 10 mm": f"{np.mean(errors[~np.isnan(errors)] > 10):.0%}",
    }
