"""What a training run leaves behind, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from CarotidLandmarkLib.bundle import METADATA_FILE, Architecture, Bundle, LandmarkSpec, open_bundle
from CarotidLandmarkLib.errors import UserError, some_of

from ..records import read_record


def read_checkpoint(file: Path, map_location: Any = "cpu", weights_only: bool = True) -> dict[str, Any]:
    """A checkpoint of carotid-train. Raises UserError where it is damaged or another program's, FileNotFoundError."""
    with file.open("rb") as stream:
        try:
            checkpoint = torch.load(stream, map_location=map_location, weights_only=weights_only)
        except Exception as error:  # whatever torch, zipfile or pickle stumble over in bytes that are no checkpoint
            raise UserError(f"The checkpoint {file} is damaged, or none; restore it, or begin without it.") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{file} is no checkpoint of carotid-train; give one, or the directory of a run.")
    return checkpoint


def net_state(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint's net, averaged where the run averages."""
    return {key.removeprefix("net."): each for key, each in checkpoint["state_dict"].items() if key.startswith("net.")}


def last_checkpoint(run: Path) -> Path | None:
    """The newest last.ckpt of a run directory. Raises UserError where several runs lie in it."""
    files = list(run.glob("**/last*.ckpt"))
    if len(runs := sorted({file.parent.parent for file in files})) > 1:
        names = some_of([folder.name for folder in runs], 3)
        raise UserError(f"{run} holds several runs ({names}); give one of them.")
    return max(files, key=lambda file: file.stat().st_mtime, default=None)


def named_bundle(reference: Path) -> Bundle | None:
    """The model bundle of a folder or name; None where there is a run or checkpoint instead. Raises BundleError."""
    run = reference.is_file() or last_checkpoint(reference) is not None
    called = reference.name == str(reference) and not run  # by its name, not by its folder
    return open_bundle(reference) if called or (reference / METADATA_FILE).is_file() else None


def read_run(run: Path) -> tuple[Architecture, dict[str, torch.Tensor], dict[str, Any]]:
    """Architecture, weights (averaged where the run averages) and the record of a run or checkpoint.

    Raises UserError where there is none, or it can not be read.
    """
    file = run if run.is_file() else last_checkpoint(run)
    if file is None:
        raise UserError(f"{run} holds no checkpoint last.ckpt; give the run directory of carotid-train fit.")
    checkpoint = read_checkpoint(file)
    if "architecture" not in checkpoint:
        raise UserError(f"{file} is no checkpoint of carotid-train fit; give one, or the directory of its run.")
    state = {name: tensor.float() for name, tensor in net_state(checkpoint).items()}
    record = file.parent.parent / "run.json"
    training = read_record(record) if record.exists() else {}
    training |= {"steps": int(checkpoint["global_step"]), "epochs": int(checkpoint["epoch"]) + 1}
    return architecture_from(checkpoint["architecture"]), state, training


def architecture_from(document: dict[str, Any]) -> Architecture:
    """The architecture that `dataclasses.asdict` made plain."""
    landmarks = tuple(LandmarkSpec(**landmark) for landmark in document["landmarks"])
    return Architecture(**{**document, "landmarks": landmarks})


def difference(one: Architecture, other: Architecture) -> str:
    """The names of what two architectures differ in, separated by commas; empty where they are the same."""
    return ", ".join(name for name, value in vars(one).items() if value != vars(other)[name])
