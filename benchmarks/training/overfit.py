"""Is a method of Table 1 built right? Then it learns five digital necks by heart, to under a millimetre.

    python -m benchmarks.training.overfit heatmap single patches

The methods train as in Table 1, but without augmentation and validation, with the widths and the field of
Training/configs/table1/overfit.yaml, and are asked about the necks they were trained on. A table that is in --output
keeps its rows of other methods. Exit code 1 where a mean error is not under 1 mm.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import lightning.pytorch as pl
import numpy as np
import torch
import typer
from carotid_training.cohorts.synthesize import synthesize
from carotid_training.necks.styles import Styles
from carotid_training.reproduction.module import data_of, module_of
from carotid_training.reproduction.nets import FieldNet
from carotid_training.reproduction.predict import NAMES, ask_chain, ask_field
from carotid_training.reproduction.protocol import METHODS, Protocol, read_protocol
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet

from ..tables import RESULTS, Output, Row, Table, run

PROTOCOL = "overfit"
GOAL_MM = 1.0
TABLE = Table(
    "overfit", "Is each method of Table 1 built right: does it learn five necks by heart?",
    "How a method does on necks that it has not seen.",
)  # fmt: skip


def measure(key: str, protocol: Protocol, dataset: Dataset, steps: int) -> Row:
    """One row: the errors of a method on its own training necks, beside those of their mean place."""
    module = module_of(key, protocol)
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, gradient_clip_val=1.0, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_model_summary=False, precision=protocol.precision,
    )  # fmt: skip
    trainer.fit(module, data_of(key, protocol, dataset.path))
    net = cast(torch.nn.Module, module.net).cpu().eval()
    errors, places = [], []
    for case in dataset.annotated_cases("train"):
        volume, truth = case.read_volume(), case.consensus(NAMES)
        with torch.inference_mode():
            if isinstance(net, MultiScaleLocNet):
                answers = ask_chain(net, METHODS[key].passes, protocol.seed, volume, "cpu")
            else:
                assert isinstance(net, FieldNet)
                answers = ask_field(net, protocol.field_voxels, volume, "cpu")
        for result in answers.landmarks:
            true, place = truth[result.name], result.position_lps_mm
            if true is not None and place is not None:
                errors.append(np.linalg.norm(np.subtract(place, true)))
                places.append((NAMES.index(result.name), np.subtract(true, case.geometry.centre_lps)))
    constant = [
        np.linalg.norm(place - np.mean([p for other, p in places if other == side], axis=0)) for side, place in places
    ]
    return {
        "method": METHODS[key].title,
        "steps": steps,
        "landmarks": len(errors),
        "mean mm": float(np.mean(errors)),
        "worst mm": float(np.max(errors)),
        "mean place mm": float(np.mean(constant)),
    }


def main(
    methods: Annotated[list[str], typer.Argument(help=f"Of {', '.join(k for k, m in METHODS.items() if m.trained)}.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps of each; default: the protocol's.")] = None,
    cohort: Annotated[Path, typer.Option(help="Folder of the necks: new, or made by this earlier.")] = Path(
        "runs/overfit"
    ),
    output: Output = RESULTS,
) -> None:
    """Table of errors on the training necks."""
    trained = [key for key, method in METHODS.items() if method.trained]
    if unknown := [key for key in methods if key not in trained]:
        raise typer.BadParameter(f"{', '.join(unknown)} can not be trained; choose of {', '.join(trained)}.")
    how = replace(read_protocol(PROTOCOL), augmentation=None)
    count = steps or how.steps
    assert count is not None  # the protocol gives steps, not minutes
    styles = Styles()
    weights = dict.fromkeys(styles.patient_like, 1.0)
    dataset = synthesize(
        how.cases, how.cohort_seed, cohort, styles, weights, splits=("train",), length_mm=how.length_mm
    )  # fmt: skip
    table = output / "overfit.csv"
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    rows: dict[str, Row] = {
        row["method"]: {name: float(value) if name.endswith("mm") else value for name, value in row.items()}
        for row in csv.DictReader(lines)
    }
    text = (
        f"Methods of Table 1 (configs/table1/{PROTOCOL}.yaml) trained on {len(dataset.annotated_cases('train'))} "
        "digital necks without augmentation and asked about the same necks. Mean place: what a constant answer would "
        "get there."
    )
    for key in methods:
        row = measure(key, how, dataset, count)
        rows[METHODS[key].title] = row
        print(row, flush=True)
        TABLE.write(output, text, list(rows.values()))
    raise typer.Exit(int(any(float(rows[METHODS[key].title]["mean mm"]) >= GOAL_MM for key in methods)))


if __name__ == "__main__":
    run(main)
