"""What each row of the table is made of: its net, its training data, and how it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.nets.chain import Architecture, MultiScaleLocNet
from torch import nn

from ..batches.datamodule import NecksData
from ..training.checkpoint import read_checkpoint
from ..training.losses import Objective
from ..training.module import ChainModule
from .field import FieldData
from .module import Crops, FieldModule, StagedChain
from .nets import FieldNet, HeatmapUNet, PatchNet, SingleScaleLocNet, initialised
from .protocol import Protocol

NOISE_MM = 5.0
# The paper's loss: squared distances with its schedule, nothing else.
PAPER = Objective(distance="squared", schedule="paper", heatmap_weight=0.0, presence_weight=0.0, teacher_until=0.0)
# As configs/small.yaml.
OURS = Objective(heatmap_weight=3.0, teacher_until=0.75, tied_until=0.35)
# The paper's, but for so long as in ours its finer nets see patches near the truth.
TAUGHT = replace(PAPER, teacher_until=OURS.teacher_until)
WARMUP_STEPS = 100
# The rows that are chains: how they train, their loss, and the noise that the paper's nets are trained with.
CHAINS: dict[str, tuple[type[ChainModule], Objective, float]] = {
    "steps": (StagedChain, replace(PAPER, schedule="constant"), 0.0),
    "end_to_end": (ChainModule, PAPER, 0.0),
    "noise": (ChainModule, PAPER, NOISE_MM),
    "taught": (ChainModule, TAUGHT, NOISE_MM),
    "ours": (ChainModule, OURS, 0.0),
}


def module_of(key: str, protocol: Protocol) -> pl.LightningModule:
    """The lightning module of a trained row, its nets untrained; a function of the protocol's seed."""
    with torch.random.fork_rng():
        torch.manual_seed(protocol.seed)  # ChainModule does so by itself
        return _module(key, protocol)


def _module(key: str, protocol: Protocol) -> pl.LightningModule:
    if key not in CHAINS:
        crops = Crops(protocol.patch_voxels, protocol.patch_count) if key == "patches" else None
        net = _field_net(key, protocol)
        return FieldModule(
            net, CAROTID_BIFURCATIONS, protocol.augmentation, protocol.learning_rate, crops, protocol.seed
        )
    kind, objective, _noise_mm = CHAINS[key]
    ours = objective is OURS
    chain = kind(
        _architecture(key, protocol),
        objective,
        protocol.augmentation,
        protocol.learning_rate,
        warmup_steps=WARMUP_STEPS if ours else 0,
        epoch_steps=1,  # schedules move with every step
        seed=protocol.seed,
    )
    if not ours:  # plain convolutions, as those of the single-scale rows
        initialised(chain.net)
    return chain


def _architecture(key: str, protocol: Protocol) -> Architecture:
    _kind, objective, noise_mm = CHAINS[key]
    return our_architecture(protocol) if objective is OURS else paper_architecture(protocol, noise_mm)


def our_architecture(protocol: Protocol) -> Architecture:
    """Ours, with the protocol's widths and patches."""
    coarse, fine = protocol.our_widths
    return Architecture(
        CAROTID_BIFURCATIONS, widths=(coarse, fine, fine, fine), patch_sizes=(protocol.our_patch_size,) * 3
    )


def paper_architecture(protocol: Protocol, noise_mm: float) -> Architecture:
    """The paper's chain, as configs/paper.yaml has it but for the protocol's widths and heatmap."""
    return Architecture(
        CAROTID_BIFURCATIONS,
        widths=(protocol.chain_widths,) * 4,
        patch_sizes=(protocol.patch_size,) * 3,
        noise_mm=noise_mm,
        mirrored=False,
        pooling="max",
        convolution="plain",
        convolutions=1,
        heatmap=protocol.heatmap,
        mode_window_mm=None,
    )


def _field_net(key: str, protocol: Protocol) -> FieldNet:
    count = len(CAROTID_BIFURCATIONS)
    if key == "heatmap":
        return HeatmapUNet(protocol.single_widths, count)
    if key == "single":
        return SingleScaleLocNet(protocol.single_widths, count, protocol.heatmap)
    return PatchNet(protocol.patch_widths, count)


def data_of(key: str, protocol: Protocol, dataset: Path) -> pl.LightningDataModule:
    """Training and validation cases of a trained row: the same cases in the same order for every row."""
    seed, workers, size = protocol.seed, protocol.workers, protocol.batch_size
    if key not in CHAINS:
        return FieldData(CAROTID_BIFURCATIONS, dataset, protocol.field_voxels, size, seed, workers)
    architecture = _architecture(key, protocol)
    return NecksData(architecture, necks_per_step=0, cases_per_step=size, dataset=dataset, seed=seed, workers=workers)


def net_of(key: str, protocol: Protocol, checkpoint: Path | None) -> nn.Module:
    """The trained net of a row, ready to answer. Raises ValueError (BundleError) where it can not be read; OSError."""
    if key == "shipped":
        return MultiScaleLocNet.of(open_bundle(protocol.bundle)).eval()
    assert checkpoint is not None
    module = module_of(key, protocol)
    module.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
    net = module.net
    assert isinstance(net, nn.Module)
    return net.eval()
