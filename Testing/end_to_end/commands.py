"""What the commands are tried with: a tiny untrained model and a small scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from CarotidLandmarkLib.bundle import Bundle, BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from CarotidLandmarkLib.volume import Volume

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
LABELS = {LEFT: "L bifurcation", RIGHT: "R bifurcation"}


def tiny_bundle(folder: Path, presence_bias: float) -> Bundle:
    """An untrained chain with small nets, calibrated; the bias decides whether it calls the landmarks present."""
    metadata = BundleMetadata(
        name="tiny",
        version="0.0.1",
        landmarks=(LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT)),
        scales_mm=(4.0, 2.0, 1.0, 0.5),
        patch_sizes=(16, 16, 16),
        widths=((4, 8),) * 4,
        hu_window=(-200.0, 1000.0),
        noise_mm=5.0,
        architecture={"mirrored": True},
        torch_version=torch.__version__,
        lib_version="0.1.0",
        training={"necks": 0},
        accuracy={"mean_mm": "not measured"},
        calibration={level: {name: {"factor": 2.5, "n": 60} for name in LABELS} for level in ("0.9", "0.95")},
        intended_use="Tests.",
        licence="Apache-2.0",
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        net = MultiScaleLocNet(metadata.nets())
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(presence_bias / len(net.presence))
    return Bundle.save(folder, metadata, net.state_dict(), "# Tiny\n")


def scan_volume(name: str = "scan.nrrd") -> Volume:
    """A bright vertical tube in soft tissue in air: 40 x 48 x 56 voxels of 2 mm, LPS."""
    z, y, x = np.mgrid[0:56, 0:48, 0:40].astype(float)
    array = np.full(z.shape, -1000.0)
    array[(x - 20) ** 2 + (y - 24) ** 2 < 18**2] = 40
    array[(x - 28) ** 2 + (y - 24) ** 2 < 3**2] = 350
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -40, -48, 100
    return Volume(array.astype(np.int16), affine, name)


def without_timing(path: Path) -> dict:
    document = json.loads(path.read_text())
    del document["timing_s"]
    return document
