"""A schematic CT of a neck, for backgrounds that need no patient; and which sides of a neck are healthy."""

import numpy as np
import torch
from carotid_training.necks.tissue.deformation import SmoothField
from CarotidLandmarkLib.volume import Volume
from scipy import ndimage

UP = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
LEVEL_MM = 15.5  # of the synthetic spine
SPACING = np.array([1.25, 1.25, 2.0])
ORIGIN = np.array([-80.0, -95.0, -58.0])  # of voxel 0; C4's middle is at (0, 0, 0)
NO_FIELD = SmoothField(torch.zeros(1, 1, 2, 2, 2))


def synthetic_ct(top_mm: float = 105.0) -> Volume:
    """A schematic neck: fat, muscle, spine with canal, discs and foramina, airway, skull with brain, a metal tooth."""
    size = ((np.array([80.0, 90.0, top_mm]) - ORIGIN) / SPACING).astype(int)
    x, y, z = (ORIGIN[a] + SPACING[a] * np.arange(size[a]) for a in range(3))
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    hu = np.full(z.shape, -1000.0)
    wide = 62 + 12 * np.clip(z / 50, 0, 1)
    depth = np.hypot(x / wide, (y + 3) / (wide + 10))
    hu[depth < 1] = -100
    hu[depth < 0.93] = 55
    planes = np.sin(x / 7) * np.sin(y / 8) > 0.8
    hu[(depth < 0.93) & planes & (np.abs(x) > 20)] = -90
    neck = z < 52
    rung = (z + LEVEL_MM / 2) % LEVEL_MM - LEVEL_MM / 2  # 0 in the middle of every body
    body = (np.hypot(x, y) < 9.5) & (np.abs(rung) < 5.5)
    hu[(np.hypot(x, y) < 9.5) & neck] = 80
    hu[body & neck] = 450
    ring = np.hypot(x, y - 16)
    hu[(ring < 13) & (ring > 8) & (y > 10) & neck & (np.abs(rung) < 6.5)] = 700
    for side in (1, -1):
        hole = np.hypot(x - side * 15.5, y - 9)
        hu[(hole < 5.5) & neck & (z < 40) & (np.abs(rung) < 6)] = 600
        hu[(hole < 2.5) & neck] = 30
    hu[(ring < 7.5) & (z < 60)] = 30
    hu[(np.hypot(x, y + 28) < 8) & (z < 45)] = -1000
    skull = np.hypot(x / 66, (y + 3) / 76)
    hu[(z > 52) & (skull < 1)] = 900
    hu[(z > 57) & (skull < 0.92)] = 35
    hu[(z >= 52) & (z < 58) & (np.hypot(x, y - 16) < 19)] = 30
    hu[(np.hypot(np.hypot(x - 30, y + 55), z - 20) < 4)] = 3000
    noise = np.random.default_rng(0).normal(0, 8, hu.shape)
    hu = ndimage.gaussian_filter(hu, 0.5) + noise
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN + np.array([300.0, -70.0, 900.0])  # patient coordinates start anywhere
    return Volume(np.clip(hu, -1024, 3071).astype(np.int16), affine)


def is_plain(neck, side: int) -> bool:
    """Whether this bifurcation is there, healthy and filled with contrast."""
    name = ("left", "right")[side]
    tubes = [t for t in neck.tree.tubes if t.name == f"{name}_common_carotid"]
    return bool(neck.present[side]) and neck.facts[f"{name}_disease"] == "healthy" and tubes[0].hu > 150


def hu_at(background, points):
    """HU at points [n, 3], trilinear; air outside the scan."""
    flat = background.normalised(points)[None, None, None]
    above_air = torch.nn.functional.grid_sample(background.on("cpu", "hu") + 1000, flat, align_corners=False)
    return above_air.flatten() - 1000


def class_at(background, points):
    """Tissue class (int64) of the nearest voxel at points [..., 3]; OUTSIDE beside the scan."""
    flat = background.normalised(points).reshape(1, -1, 1, 1, 3)
    classes = torch.nn.functional.grid_sample(
        background.on("cpu", "classes"), flat, mode="nearest", align_corners=False
    )
    return classes.reshape(points.shape[:-1]).long()
