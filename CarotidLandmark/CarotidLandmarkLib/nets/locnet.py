"""Loc-Net: a 3-D U-Net whose heatmaps become coordinates through a centre-of-mass layer (Ma et al., ISBI 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the leaky rectifier: where nothing leaked, 45 of 64 channels of a deepest level were dead after a training.
LEAK = 0.1
# Keeps the mean square of activations through it (He 2015, arXiv 1502.01852).
RECTIFIER_GAIN = math.sqrt(2 / (1 + LEAK**2))
# Spread of first weights. Standardised, their size is free; equal, every layer turns as fast at one learning rate.
FIRST_WEIGHTS = 0.05
# What [0, 1] of the intensity window becomes: soft tissue 0, arteries in contrast about 1.
TISSUE, CONTRAST = 0.2, 0.2


class StandardisedConv3d(nn.Conv3d):
    """A convolution whose weights are standardised per output channel (after Brock 2021, arXiv 2101.08692).

    It trains as steadily as one with batch normalisation, but depends neither on the other scans of the batch nor on
    how much of the body is in the field of view, and costs nothing at inference.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, gain: float = RECTIFIER_GAIN):
        super().__init__(inputs, outputs, size, padding=size // 2)
        nn.init.normal_(self.weight, std=FIRST_WEIGHTS)
        self.gain = nn.Parameter(torch.full((outputs, 1, 1, 1, 1), gain))

    def standardised_weight(self) -> Tensor:
        """[outputs, inputs, n, n, n]: mean zero and variance 1 / fan-in per output, times the learnt gain."""
        dims, fan_in = (1, 2, 3, 4), self.weight[0].numel()
        centred = self.weight - self.weight.mean(dims, keepdim=True)
        variance = centred.square().mean(dims, keepdim=True)  # var_mean took five times as long on a CPU
        return centred * (torch.rsqrt(variance * fan_in + 1e-4) * self.gain)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        return F.conv3d(x, self.standardised_weight().to(x.dtype), self.bias.to(x.dtype), padding=self.padding)


class PlainConv3d(nn.Conv3d):
    """The paper's convolution: as torch makes it, whatever ``gain`` a standardised one would begin with."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, gain: float = 1.0):
        super().__init__(inputs, outputs, size, padding=size // 2)


class AntiAliasedPool(nn.Module):
    """Down-sampling by two behind a [1, 3, 3, 1] binomial low-pass (Zhang 2019, arXiv 1904.11486)."""

    def forward(self, x: Tensor) -> Tensor:
        return _BinomialPool.apply(x)


class _BinomialPool(torch.autograd.Function):
    """Its gradient is an up-sampling: as a depthwise convolution, it took a quarter of a CPU's training step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if x.is_cuda:
            return _halved(x, zeros_around=True)
        tap = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype) / 8
        kernel = tap[:, None, None] * tap[:, None] * tap
        # One depthwise convolution: avg_pool3d took 10 times as long on a CPU in bfloat16.
        return F.conv3d(x, kernel.expand(x.shape[1], 1, 4, 4, 4), stride=2, padding=1, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # The taps' transpose is linear interpolation, an eighth of it; the zeros around stand for the padding.
        around = F.pad(grad / 8, (1,) * 6).contiguous(memory_format=torch.channels_last_3d)
        return doubled(around)[..., 2:-2, 2:-2, 2:-2]


class _Doubling(torch.autograd.Function):
    """Trilinear up-sampling by two on a GPU, as sums of shifted halves along one axis after the other.

    On an H100 torch's depthwise convolutions and trilinear kernels took half of a training step's 94 ms on the GPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)  # channels are last in memory, and stay there
        for dim in (3, 2, 1):
            size = x.shape[dim]
            before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, size - 1)], dim)
            after = torch.cat([x.narrow(dim, 1, size - 1), x.narrow(dim, size - 1, 1)], dim)
            x = torch.stack([torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)], dim + 1).flatten(dim, dim + 1)
        return x.movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 8 * _halved(grad, zeros_around=False)


def doubled(x: Tensor) -> Tensor:
    """Trilinear up-sampling of [N, C, k, j, i] by two along every axis."""
    if x.is_cuda:
        return _Doubling.apply(x)
    return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


def _halved(x: Tensor, zeros_around: bool) -> Tensor:
    """Every axis (of even size) through [1, 3, 3, 1] / 8 and down by two; around are zeros or the outermost values."""
    x = x.movedim(1, -1)
    for dim in (1, 2, 3):
        even, odd = x.unflatten(dim, (-1, 2)).unbind(dim + 1)
        size = even.shape[dim]
        first, last = even.narrow(dim, 0, 1), odd.narrow(dim, size - 1, 1)
        if zeros_around:
            first, last = torch.zeros_like(first), torch.zeros_like(last)
        before = torch.cat([first, odd.narrow(dim, 0, size - 1)], dim)
        after = torch.cat([even.narrow(dim, 1, size - 1), last], dim)
        x = torch.add(before.add_(after), even + odd, alpha=3).mul_(1 / 8)
    return x.movedim(-1, 1)


class LocNet(nn.Module):
    """A fully convolutional 3-D U-Net: patch -> heatmap logits and features of the same size.

    In: [N, 1, k, j, i] of any size. Out: [N, channels, k, j, i] float32, [N, widths[0], k, j, i].
    pooling: "blur" or "max"; convolution: "standardised" (with a leaky rectifier) or "plain" (the paper's, with a plain
    one), KeyError on another; convolutions: how many per level going down.
    Skips are added, not concatenated: half the multiplications at the finest level for the same accuracy.
    """

    def __init__(
        self,
        widths: Sequence[int],
        channels: int,
        pooling: str = "blur",
        convolution: str = "standardised",
        convolutions: int = 2,
    ):
        super().__init__()
        kinds = {"standardised": StandardisedConv3d, "plain": PlainConv3d}
        conv = kinds[convolution]
        self.standardised = conv is StandardisedConv3d
        self.pool = {"blur": AntiAliasedPool(), "max": nn.MaxPool3d(2)}[pooling]
        self.encoder = nn.ModuleList(
            nn.ModuleList(conv(before if n == 0 else width, width) for n in range(convolutions))
            for before, width in pairwise([1, *widths])
        )
        # What comes from below is as large as the skip that it is added to, and their sum is not larger than either.
        self.lateral = nn.ModuleList(conv(deep, width, 1, gain=1.0) for width, deep in pairwise(widths))
        self.decoder = nn.ModuleList(conv(width, width, gain=RECTIFIER_GAIN / math.sqrt(2)) for width in widths[:-1])
        self.head = nn.Linear(widths[0], channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.standardised:
            x = (x - TISSUE) / CONTRAST
        skips = []
        for level, pair in enumerate(self.encoder):
            x = self.pool(_even(x)) if level else x
            for convolution in pair.children():
                x = self._rectified(convolution(x))
            skips.append(x)
        for skip, lateral, decoder in zip(
            skips[-2::-1], list(self.lateral)[::-1], list(self.decoder)[::-1], strict=True
        ):
            x = doubled(lateral(x))
            k, j, i = skip.shape[2:]
            x = self._rectified(decoder(x[..., :k, :j, :i] + skip))
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 logits would quantise the centre of mass
            # A 1 x 1 x 1 convolution, as a product over channels: conv3d took 5 times as long in float32 on a CPU.
            logits = torch.einsum("nckji,oc->nokji", x.float(), self.head.weight) + self.head.bias.view(-1, 1, 1, 1)
        return logits, x

    def _rectified(self, x: Tensor) -> Tensor:
        """In place: no gradient needs what a convolution put out, and training keeps half as much."""
        return F.leaky_relu(x, LEAK, inplace=True) if self.standardised else F.relu(x, inplace=True)


def _even(x: Tensor) -> Tensor:
    """An odd size made even by zeros at its end, as the convolutions pad."""
    k, j, i = x.shape[2:]
    return F.pad(x, (0, i % 2, 0, j % 2, 0, k % 2)) if k % 2 or j % 2 or i % 2 else x


def heatmap_weights(logits: Tensor, heatmap: str) -> Tensor:
    """Heatmap logits [..., k, j, i] -> non-negative weights that sum to one over the last three dimensions.

    "softmax": never empty. "relu" (the paper): rectified and normalised; where a heatmap is empty the weights are
    uniform and their gradient is that of a softmax, so the net can recover instead of answering a corner.
    """
    soft = logits.flatten(-3).softmax(dim=-1).unflatten(-1, logits.shape[-3:])
    if heatmap == "softmax":
        return soft
    positive = logits.relu()
    total = positive.sum(dim=(-3, -2, -1), keepdim=True)
    return torch.where(total > 1e-6, positive / total.clamp(min=1e-6), soft)


def lattice_offsets(shape: Sequence[int], spacing_mm: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates in mm of a lattice's voxels along x (i), y (j), z (k), zero in its middle."""
    k, j, i = ((torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2) * spacing_mm for n in shape)
    return i, j, k


def centre_of_mass(weights: Tensor, spacing_mm: float) -> Tensor:
    """Weighted mean of the voxel coordinates: [..., k, j, i] -> [..., 3] (x, y, z) in mm from the lattice's middle."""
    x, y, z = lattice_offsets(weights.shape[-3:], spacing_mm, weights.device)
    return torch.stack(
        [(weights.sum((-3, -2)) * x).sum(-1), (weights.sum((-3, -1)) * y).sum(-1), (weights.sum((-2, -1)) * z).sum(-1)],
        -1,
    )


def heatmap_covariance(weights: Tensor, spacing_mm: float) -> Tensor:
    """Covariance of the heatmap taken as a density: [..., k, j, i] -> [..., 3, 3] in mm^2, axes x, y, z."""
    x, y, z = lattice_offsets(weights.shape[-3:], spacing_mm, weights.device)
    yx, zx, zy = weights.sum(-3), weights.sum(-2), weights.sum(-1)
    first = torch.stack([(zx.sum(-2) * x).sum(-1), (yx.sum(-1) * y).sum(-1), (zy.sum(-1) * z).sum(-1)], -1)
    xx, yy, zz = (zx.sum(-2) * x * x).sum(-1), (yx.sum(-1) * y * y).sum(-1), (zy.sum(-1) * z * z).sum(-1)
    xy = (yx * (y[:, None] * x)).sum((-2, -1))
    xz = (zx * (z[:, None] * x)).sum((-2, -1))
    yz = (zy * (z[:, None] * y)).sum((-2, -1))
    second = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    return second - first[..., :, None] * first[..., None, :]
