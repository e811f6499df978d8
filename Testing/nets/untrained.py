"""An untrained chain and a scan of random structure, for tests of what nets of any weights must do."""

import numpy as np
import torch
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from CarotidLandmarkLib.volume import Volume

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
SIDES = (LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT))


def small_net(seed=0, **options):
    torch.manual_seed(seed)
    options = {"widths": ((4, 8, 8),) * 4, "patch_sizes": (24,) * 3, **options}
    return MultiScaleLocNet(Architecture(SIDES, **options)).eval()


def textured_scan(seed=0, size=(60, 64, 72), spacing=2.0, centre_lps=(0.0, 0.0, 0.0)):
    """Smooth random structure, in HU, in the middle of air."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((1, 1, 12, 13, 14), generator=generator)
    values = torch.nn.functional.interpolate(noise, size=size, mode="trilinear", align_corners=True)[0, 0] * 300
    array = np.full(size, -1024, np.float32)
    array[4:-4, 4:-4, 4:-4] = values.numpy()[4:-4, 4:-4, 4:-4]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = centre_lps - (np.array(size[::-1]) - 1) * spacing / 2
    return Volume(array, affine)
