"""The net of each row of the table, without what trains it."""

from __future__ import annotations

from pathlib import Path

import torch
from CarotidLandmarkLib.bundle import Architecture, open_bundle
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from torch import nn

from ..training.runs import net_state, read_checkpoint
from .nets import FieldNet, HeatmapUNet, PatchNet, SingleScaleLocNet
from .protocol import Protocol

NOISE_MM = 5.0
# The rows that are chains, and the noise that the paper's nets are trained with.
CHAINS = {"steps": 0.0, "end_to_end": 0.0, "noise": NOISE_MM, "taught": NOISE_MM, "ours": 0.0}


def architecture_of(key: str, protocol: Protocol) -> Architecture:
    """Of a row that is a chain."""
    return our_architecture(protocol) if key == "ours" else paper_architecture(protocol, CHAINS[key])


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


def field_net(key: str, protocol: Protocol) -> FieldNet:
    """The net of a row that is none, untrained; a function of torch's seed."""
    net: FieldNet
    count = len(CAROTID_BIFURCATIONS)
    if key == "heatmap":
        net = HeatmapUNet(protocol.single_widths, count)
    elif key == "single":
        net = SingleScaleLocNet(protocol.single_widths, count, protocol.heatmap)
    else:
        net = PatchNet(protocol.patch_widths, count)
    return net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def net_of(key: str, protocol: Protocol, checkpoint: Path | None) -> nn.Module:
    """The trained net of a row, ready to answer. Raises ValueError (BundleError) where it can not be read; OSError."""
    if key == "shipped":
        return MultiScaleLocNet.of(open_bundle(protocol.bundle)).eval()
    assert checkpoint is not None
    with torch.random.fork_rng():
        net = MultiScaleLocNet(architecture_of(key, protocol)) if key in CHAINS else field_net(key, protocol)
    net.load_state_dict(net_state(read_checkpoint(checkpoint)))
    return net.eval()
