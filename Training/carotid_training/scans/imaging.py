"""Image formation on a lattice: blur, correlated noise, streaks. Pure functions, in torch, on any device.

Noise is a hash of the scan's seed and the voxel's index: a part of a scan has the voxels that the whole scan has there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_MIX_1, _MIX_2, _GOLDEN = 0x7FEB352D, 0x846CA68B - (1 << 32), 0x9E3779B9 - (1 << 32)


def _mix(x: Tensor) -> Tensor:
    """Scrambles int32 in place: two rounds of xor-shift and multiply (constants: C. Wellons, "lowbias32", 2018)."""
    # The masks make torch's arithmetic shifts logical ones.
    x ^= (x >> 16) & 0xFFFF
    x *= _MIX_1
    x ^= (x >> 15) & 0x1FFFF
    x *= _MIX_2
    x ^= (x >> 16) & 0xFFFF
    return x


def white_noise(seed: int, start: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Independent, nearly normal numbers (mean 0, sd 1, within 3.5) at the voxel indices start ... start + shape.

    A function of seed and index (k, j, i) alone. Returns float32 [k, j, i].
    """
    seed = (seed + (1 << 31)) % (1 << 32) - (1 << 31)
    k, j, i = (
        torch.arange(first, first + n, dtype=torch.int32, device=device) for first, n in zip(start, shape, strict=True)
    )
    rows = _mix(_mix(k * _GOLDEN ^ seed)[:, None] + j * _GOLDEN)
    bits = _mix(rows[:, :, None] + i * _GOLDEN)
    # The sum of four bytes: two at a time in the halves of one word.
    pairs = (bits & 0x00FF00FF) + ((bits >> 8) & 0x00FF00FF)
    total = (pairs & 0xFFFF) + (pairs >> 16)
    return (total.float() - 510.0).div_(math.sqrt(4 * (256**2 - 1) / 12))


def cell_noise(
    seed: int, start: Sequence[int], shape: Sequence[int], cell: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Smooth noise: white noise on cells of ``cell`` (k, j, i) voxels, linearly interpolated; sd below 1. [k, j, i]."""
    first = [s // c - 1 for s, c in zip(start, cell, strict=True)]
    counts = [(s + n - 1) // c + 2 - f for s, n, c, f in zip(start, shape, cell, first, strict=True)]
    x = white_noise(seed, first, counts, device)[None, None]
    x = F.interpolate(x, scale_factor=[float(c) for c in cell], mode="trilinear", align_corners=False)[0, 0]
    crop = [slice(s - f * c, s - f * c + n) for s, n, c, f in zip(start, shape, cell, first, strict=True)]
    return x[crop[0], crop[1], crop[2]]


def blur_weights(sigma: float) -> list[float]:
    """Half of a symmetric kernel of sd ``sigma`` voxels, centre first; its variance is right also when it is narrow."""
    if sigma < 0.05:
        return [1.0]
    if sigma < 0.6:
        return [1.0 - sigma**2, sigma**2 / 2]
    reach = math.ceil(2.5 * sigma)
    half = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(reach + 1)]
    total = half[0] + 2 * sum(half[1:])
    return [w / total for w in half]


def convolve(x: Tensor, half: Sequence[float], dim: int) -> Tensor:
    """A symmetric kernel (centre first) along one dimension of [k, j, i]; the edge voxels are repeated outwards."""
    reach = len(half) - 1
    if reach == 0:
        return x
    n = x.shape[dim]
    edges = [x.narrow(dim, 0, 1)] * reach, [x.narrow(dim, n - 1, 1)] * reach
    padded = torch.cat([*edges[0], x, *edges[1]], dim=dim)
    out = padded.narrow(dim, reach, n) * half[0]
    for d in range(1, reach + 1):
        out.add_(padded.narrow(dim, reach - d, n), alpha=half[d])
        out.add_(padded.narrow(dim, reach + d, n), alpha=half[d])
    return out


def blur(x: Tensor, sigma: Sequence[float]) -> Tensor:
    """Gaussian blur of [k, j, i], sd in voxels for k, j, i."""
    for dim, s in enumerate(sigma):
        x = convolve(x, blur_weights(s), dim)
    return x


def slice_profile(thickness_mm: float, spacing_mm: float) -> list[float]:
    """How much each neighbour at ``spacing_mm`` adds to a slice: half a symmetric kernel, centre first."""
    half: list[float] = []
    while not half or (len(half) - 0.5) * spacing_mm < thickness_mm / 2:
        o = len(half)
        top, bottom = min((o + 0.5) * spacing_mm, thickness_mm / 2), max((o - 0.5) * spacing_mm, -thickness_mm / 2)
        half.append(top - bottom)
    total = half[0] + 2 * sum(half[1:])
    return [h / total for h in half]


def reach(sigma: float) -> int:
    """How many voxels away `blur` looks."""
    return len(blur_weights(sigma)) - 1


def kernel(x: Tensor, sigma: Sequence[float], gain: float, loss: float) -> Tensor:
    """A reconstruction kernel: ``gain`` * blur(sigma) - ``loss`` * blur(2 sigma), in the planes of [k, j, i].

    gain - loss is the response to a constant: 1 for an image; less for noise, which has been through a ramp filter.
    """
    fine = blur(x, (0.0, *sigma))
    if loss < 1e-3:
        return fine.mul_(gain) if gain != 1.0 else fine
    wide = blur(fine, (0.0, *(s * math.sqrt(3.0) for s in sigma)))
    return (fine * gain).sub_(wide, alpha=loss)


def kernel_noise_sd(sigma: Sequence[float], gain: float, loss: float) -> float:
    """The sd that `kernel` leaves of white noise of sd 1 (from its impulse response)."""
    n = 2 * sum(reach(s) + reach(s * math.sqrt(3.0)) for s in sigma) + 1
    impulse = torch.zeros(1, n, n)
    impulse[0, n // 2, n // 2] = 1.0
    return float(kernel(impulse, sigma, gain, loss).norm())


def shift_slices(x: Tensor, shift_ij: Tensor) -> Tensor:
    """Each slice of [k, j, i] moved in its plane by shift_ij [k, 2] voxels along i and j (bilinear)."""
    k, j, i = x.shape
    theta = torch.zeros(k, 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0
    theta[:, :, 2] = -2.0 * shift_ij.to(x.device, torch.float32) / torch.tensor([i, j], device=x.device)
    grid = F.affine_grid(theta, [k, 1, j, i], align_corners=False)
    return F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=False)[:, 0]


def angular_profile(generator: torch.Generator, count: int = 1024) -> Tensor:
    """Streaks leaving a dense object, as a function of the angle: [count], sd 1, narrow dark and bright rays."""
    white = torch.randn(count, generator=generator)
    spectrum = torch.fft.rfft(white)
    frequency = torch.arange(len(spectrum), dtype=torch.float32)
    # Rays of 2 to 20 degrees.
    spectrum *= torch.exp(-0.5 * (frequency / 45) ** 2) * (1 - torch.exp(-0.5 * (frequency / 6) ** 2))
    rays = torch.fft.irfft(spectrum, n=count)
    return rays / rays.std()


def rays(x: Tensor, y: Tensor, middle: tuple[float, float], profile: Tensor, radius_mm: float) -> Tensor:
    """Streaks around an object at ``middle``: the profile at the angle, falling off with distance; no unit."""
    x, y = x - middle[0], y - middle[1]
    index = (torch.atan2(y, x) + math.pi).mul_(len(profile) / (2 * math.pi)).long().remainder_(len(profile))
    distance = torch.sqrt(x * x + y * y)
    return profile.to(x.device)[index] / (1 + distance / (6 * radius_mm)) * (distance / radius_mm).clamp_(max=1)


def dark_band(x: Tensor, y: Tensor, ends: Sequence[Sequence[float]], width_mm: float) -> Tensor:
    """Beam hardening between two dense objects, at ``ends``: 0 ... 1, largest on the line between them."""
    dx, dy = ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]
    length = max(math.hypot(dx, dy), 1e-3)
    x, y = x - ends[0][0], y - ends[0][1]
    along = (x * dx + y * dy) / length**2
    across = (x * dy - y * dx) / length
    beyond = (along - 0.5).abs_().sub_(0.5).clamp_(min=0).mul_(length / (2 * width_mm))
    return torch.exp(-0.5 * (across / width_mm) ** 2 - beyond)
