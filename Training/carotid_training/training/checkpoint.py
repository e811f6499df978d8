"""Reading what a training run left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.nets.chain import Architecture

from ..records import read_record


def last_checkpoint(run: Path) -> Path | None:
    """The newest last.ckpt of a run directory."""
    return max(run.glob("**/last*.ckpt"), key=lambda file: file.stat().st_mtime, default=None)


def read_run(run: Path) -> tuple[Architecture, dict[str, torch.Tensor], dict[str, Any]]:
    """Architecture, weights (averaged where the run averages) and the record of a run or checkpoint."""
    file = run if run.is_file() else last_checkpoint(run)
    if file is None:
        raise UserError(f"{run} holds no checkpoint last.ckpt; give the run directory of carotid-train fit.")
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    state = {
        key.removeprefix("net."): value.float()
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("net.")
    }
    record = file.parent.parent / "run.json"
    training = read_record(record) if record.exists() else {}
    training |= {"steps": int(checkpoint["global_step"]), "epochs": int(checkpoint["epoch"]) + 1}
    return architecture_from(checkpoint["architecture"]), state, training


def architecture_from(document: dict[str, Any]) -> Architecture:
    """The architecture that `dataclasses.asdict` made plain."""
    landmarks = tuple(LandmarkSpec(**landmark) for landmark in document["landmarks"])
    return Architecture(**{**document, "landmarks": landmarks})
