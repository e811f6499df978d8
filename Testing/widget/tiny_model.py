"""An untrained model, small and quick: right in form, wrong in every answer."""

from __future__ import annotations

from pathlib import Path

import torch
from CarotidLandmarkLib.bundle import Architecture, Bundle, BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from scene_cases import LEFT, RIGHT


def save_tiny_model(
    folder: Path, name: str = "tiny", presence: float = 9.0, mode_window_mm: float | None = 24.0
) -> Bundle:
    """A bundle that gives both landmarks ``presence`` (log-odds), calibrated up to a level of 0.95.

    Without a window around the strongest mode (None) it points near the middle of any scan.
    """
    landmarks = (LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT))
    widths = ((4, 8), (4, 8), (4, 8), (4, 8))
    architecture = Architecture(landmarks, widths=widths, mode_window_mm=mode_window_mm)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = MultiScaleLocNet(architecture)
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(presence / len(net.presence))
    factors = {
        level: {name: {"factor": factor, "n": 60} for name in (LEFT, RIGHT)} for level, factor in _FACTORS.items()
    }
    metadata = BundleMetadata(
        name=name,
        version="1.0",
        landmarks=landmarks,
        scales_mm=architecture.scales_mm,
        patch_sizes=architecture.patch_sizes,
        widths=widths,
        hu_window=architecture.hu_window,
        noise_mm=architecture.noise_mm,
        architecture={
            key: getattr(architecture, key)
            for key in ("mirrored", "pooling", "convolution", "heatmap", "mode_window_mm")
        },
        torch_version=torch.__version__,
        lib_version="0.1.0",
        training={},
        accuracy={},
        calibration=factors,
        intended_use="Tests.",
        licence="Apache-2.0",
    )
    return Bundle.save(folder, metadata, net.state_dict(), "# Tiny\n")


_FACTORS = {"0.5": 1.6, "0.9": 2.7, "0.95": 3.1}
