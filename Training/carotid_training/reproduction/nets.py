"""The three baselines that look at the whole field at 1 mm, each a net with a loss and an answer.

Inputs are values above air [B, 1, k, j, i] on an LPS-aligned lattice of `FIELD_MM`; places are mm along LPS from the
middle of that lattice, [B, L, 3].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from CarotidLandmarkLib.nets.chain import LOGIT_BOUND, strongest_mode
from CarotidLandmarkLib.nets.locnet import LocNet, centre_of_mass, heatmap_weights, lattice_offsets
from CarotidLandmarkLib.nets.pyramid import AIR_HU, Pyramid
from CarotidLandmarkLib.volume import Volume
from torch import Tensor, nn

FIELD_MM = 1.0
HU_WINDOW = (-200.0, 1000.0)
GAUSSIAN_SD_MM = 6.0
# The heatmap's peak is refined to the centre of mass of what lies within so far of it.
PEAK_MM = 2 * GAUSSIAN_SD_MM


@dataclass(frozen=True)
class Answer:
    """Places [B, L, 3] in mm from the lattice's middle, and the map that they were read from [B, L, k, j, i]."""

    offset_mm: Tensor
    heatmap: Tensor
    spacing_mm: float


class FieldNet(nn.Module):
    """What `FieldModule` trains."""

    def loss(self, values: Tensor, truth_mm: Tensor, present: Tensor) -> Tensor:
        """Of places truth_mm [B, L, 3] (anything where not present [B, L]); a scalar."""
        raise NotImplementedError

    def locate(self, values: Tensor) -> Answer:
        """Every landmark's place: the method has no word for a landmark that is not there."""
        raise NotImplementedError


def cut_field(volume: Volume, voxels: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """``voxels`` along each side around the scan's middle: values above air [1, 1, k, j, i], and that middle [1, 3]."""
    middle = torch.as_tensor(np.asarray(volume.centre_lps), dtype=torch.float32, device=device)[None]
    return Pyramid(volume, (FIELD_MM,), device).patches(FIELD_MM, middle[:, None, None], voxels)[:, 0, 0], middle


def initialised(net: nn.Module) -> nn.Module:
    """The net with plain convolutions that keep their inputs' variance through rectifiers (He 2015, arXiv 1502.01852).

    torch's own shrink it six times per layer: a deep net then says the same of every scan, and learns late.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return net


def signed_log(mm: Tensor) -> Tensor:
    """sign(x) log(1 + |x|), x in mm."""
    return mm.sign() * mm.abs().log1p()


def windowed(values: Tensor) -> Tensor:
    """Values above air -> 0 to 1 over `HU_WINDOW`, channels last in memory."""
    low, high = HU_WINDOW
    scaled = ((values + (AIR_HU - low)) / (high - low)).clamp(0, 1)
    return scaled.contiguous(memory_format=torch.channels_last_3d)


def gaussians(places_mm: Tensor, shape: Sequence[int], sd_mm: float) -> Tensor:
    """A Gaussian of height 1 at each place [B, L, 3]: [B, L, k, j, i]."""
    axes = lattice_offsets(shape, FIELD_MM, places_mm.device)  # x, y, z
    x, y, z = (torch.exp(-0.5 * ((axis - places_mm[..., n, None]) / sd_mm) ** 2) for n, axis in enumerate(axes))
    return z[..., :, None, None] * (y[..., :, None] * x[..., None, :])[..., None, :, :]


class HeatmapUNet(FieldNet):
    """A 3-D U-Net that regresses a Gaussian heatmap (sd 6 mm) per landmark in the least-squares sense.

    The loss is relative to the target's own sum of squares: a net that says nothing anywhere has a loss of 1.
    """

    def __init__(self, widths: Sequence[int], landmarks: int):
        super().__init__()
        self.net = initialised(LocNet(widths, landmarks, pooling="max", convolution="plain", convolutions=1))

    def loss(self, values: Tensor, truth_mm: Tensor, present: Tensor) -> Tensor:
        maps, _ = self.net(windowed(values))
        target = gaussians(truth_mm.nan_to_num(), maps.shape[2:], GAUSSIAN_SD_MM)
        squared = (maps - target * present[..., None, None, None]).square().sum((-3, -2, -1))
        return squared.mean() / (GAUSSIAN_SD_MM / FIELD_MM * torch.pi**0.5) ** 3

    def locate(self, values: Tensor) -> Answer:
        maps, _ = self.net(windowed(values))
        weights = heatmap_weights(maps, "relu")
        peak = weights * strongest_mode(weights, FIELD_MM, PEAK_MM)
        return Answer(
            centre_of_mass(peak / peak.sum((-3, -2, -1), keepdim=True).clamp(min=1e-12), FIELD_MM), maps, FIELD_MM
        )


class SingleScaleLocNet(FieldNet):
    """One Loc-Net over the whole field, with one level more than those of the chain, and a centre of mass.

    heatmap: "softmax" or "relu", as in `Architecture`. Its loss is the squared distance, mm^2.
    """

    def __init__(self, widths: Sequence[int], landmarks: int, heatmap: str = "softmax"):
        super().__init__()
        self.net = initialised(LocNet(widths, landmarks, pooling="max", convolution="plain", convolutions=1))
        self.heatmap = heatmap

    def loss(self, values: Tensor, truth_mm: Tensor, present: Tensor) -> Tensor:
        squared = (self.locate(values).offset_mm - truth_mm.nan_to_num()).square().sum(-1)
        return (squared * present).sum() / present.sum().clamp(min=1)

    def locate(self, values: Tensor) -> Answer:
        logits, _ = self.net(windowed(values))
        if self.heatmap == "softmax":
            logits = LOGIT_BOUND * torch.tanh(logits / LOGIT_BOUND)
        weights = heatmap_weights(logits, self.heatmap)
        return Answer(centre_of_mass(weights, FIELD_MM), weights, FIELD_MM)


class PatchNet(FieldNet):
    """Regression and classification of patches after Noothout et al. (MIDL 2018, arXiv 1804.04963).

    A fully convolutional net divides what it sees into patches of 8 x 8 x 8 voxels. For each patch and landmark it
    regresses the displacement from the patch's middle to the landmark, and the probability that the patch holds the
    landmark. The answer is the mean of where the patches that hold it point. The net speaks of displacements in
    `signed_log`: to be a millimetre wrong counts most where the landmark is near.
    """

    POOLINGS = 3
    PATCH_MM = 2**POOLINGS * FIELD_MM
    FARTHEST = 6.0  # of the net's outputs: 402 mm

    def __init__(self, widths: Sequence[int], landmarks: int):
        """``widths``: of the convolutions before each of the three poolings, and of those after. ValueError."""
        super().__init__()
        if len(widths) != self.POOLINGS + 1:
            raise ValueError(f"The patch net needs {self.POOLINGS + 1} widths, not {len(widths)}.")
        layers: list[nn.Module] = []
        for level, (before, width) in enumerate(pairwise([1, *widths])):
            layers += [nn.MaxPool3d(2)] if level else []
            layers += [nn.Conv3d(before, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, width, 3, padding=1)]
            layers += [nn.ReLU()]
        self.trunk = initialised(nn.Sequential(*layers))
        self.displacement = nn.Conv3d(widths[-1], 3 * landmarks, 1)
        self.inside = nn.Conv3d(widths[-1], landmarks, 1)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """`signed_log` of displacements in mm [B, L, k, j, i, 3], logits of holding the landmark [B, L, k, j, i]."""
        features = self.trunk(windowed(values))
        displacement = self.displacement(features).unflatten(1, (-1, 3)).movedim(2, -1)
        return displacement.float().clamp(-self.FARTHEST, self.FARTHEST), self.inside(features).float()

    @classmethod
    def middles_mm(cls, shape: Sequence[int], device: torch.device) -> Tensor:
        """The patches' middles [k, j, i, 3], mm from the middle of all of them."""
        x, y, z = lattice_offsets(shape, cls.PATCH_MM, device)
        k, j, i = torch.meshgrid(z, y, x, indexing="ij")
        return torch.stack([i, j, k], dim=-1)

    @classmethod
    def targets(cls, truth_mm: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Displacements [B, L, k, j, i, 3] from the patches' middles, and which patch holds the landmark."""
        displacement = truth_mm[..., None, None, None, :] - cls.middles_mm(shape, truth_mm.device)
        half = cls.PATCH_MM / 2
        return displacement, ((displacement >= -half) & (displacement < half)).all(dim=-1)

    def loss(self, values: Tensor, truth_mm: Tensor, present: Tensor) -> Tensor:
        displacement, logits = self(values)
        wanted, holds = self.targets(truth_mm.nan_to_num(), logits.shape[2:])
        here = present[..., None, None, None]
        # The patch that will answer counts as much as all of them together: else it is one of hundreds.
        errors = (displacement - signed_log(wanted)).abs().sum(-1)
        regression = errors.mean((-3, -2, -1)) + (errors * holds).sum((-3, -2, -1))
        regression = (regression * present).sum() / present.sum().clamp(min=1)
        # A sum over patches: the one that holds the landmark counts as much in a large crop as in a small one.
        entropy = F.binary_cross_entropy_with_logits(logits, (holds & here).float(), reduction="none")
        return regression + entropy.sum((-3, -2, -1)).mean()

    def locate(self, values: Tensor) -> Answer:
        displacement, logits = self(values)
        holds = logits >= 0
        # Where no patch says that it holds the landmark, the one that comes nearest to saying so is asked.
        likeliest = logits >= logits.amax((-3, -2, -1), keepdim=True)
        weights = torch.where(holds.any(-1).any(-1).any(-1)[..., None, None, None], holds, likeliest).float()
        weights = weights / weights.sum((-3, -2, -1), keepdim=True)
        points = displacement.sign() * displacement.abs().expm1() + self.middles_mm(logits.shape[2:], logits.device)
        return Answer((weights[..., None] * points).sum((-4, -3, -2)), logits.sigmoid(), self.PATCH_MM)
