"""How far the answer fails to move when the scan moves, per scale and for the whole chain.

    python -m benchmarks.accuracy.equivariance --model RUN-WITH-BLUR --model RUN-WITH-MAX

The voxels of a scan stand for a continuous scene: their band-limited interpolation behind a scanner's blur. The scene
is moved by amounts that are no whole voxels (a phase ramp in the Fourier domain: no interpolation error) and sampled
on the lattice of the scan, which stays where it is. Moving the affine instead would show nothing: the chain's lattices
hang on the scan's.

A scale is measured alone, around the same place before and after: a fixed crop of a moving scene. The whole chain
follows the scene with its crops. In float32, without noise passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.fft
import torch
import typer
from CarotidLandmarkLib.bundle import resources_directory
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume, read_volume
from torch import Tensor

from ..tables import RESULTS, Output, Row, Table, run
from .detected import net_of_run

# Blur of the scene, in voxels: what a scanner's kernel leaves near the Nyquist frequency rings when it is moved.
BLUR_VOXELS = 0.6
# Mirrored voxels around the scan keep its ends from ringing into it.
PADDING = 16
CHAIN = "whole chain"
TABLE = Table(
    "equivariance", "Does the answer move with the scan?",
    "Noise and reconstruction, which change between two real scans of one patient.",
)  # fmt: skip


class Scene:
    """The continuous scene that a scan's voxels stand for."""

    def __init__(self, scan: Volume, reach_mm: float):
        """``reach_mm``: the farthest that it will be moved along any axis; so much is cut from every end."""
        self.scan = scan
        self.crop = np.ceil(reach_mm * np.abs(np.linalg.inv(scan.affine_lps[:3, :3])).sum(axis=1)).astype(int) + 2
        if (2 * self.crop + 16 > np.array(scan.size)).any():
            raise ValueError(f"{scan.name} is too small to be moved by {reach_mm:g} mm; give a larger scan.")
        self.shape = [scipy.fft.next_fast_len(n + 2 * PADDING, real=True) for n in scan.array.shape]
        ends = [(PADDING, wide - n - PADDING) for wide, n in zip(self.shape, scan.array.shape, strict=True)]
        padded = np.pad(scan.array.astype(np.float32), ends, mode="symmetric")
        self.spectrum = scipy.fft.rfftn(padded, overwrite_x=True)
        for blur in self._along(lambda frequency, axis: np.exp(-2 * (np.pi * BLUR_VOXELS * frequency) ** 2)):
            self.spectrum *= blur.astype(np.float32)

    def moved(self, shift_lps: np.ndarray) -> Volume:
        """The scene moved by ``shift_lps`` [3] mm, on the scan's own lattice, cropped."""
        voxels = np.linalg.inv(self.scan.affine_lps[:3, :3]) @ shift_lps
        spectrum = self.spectrum
        for ramp in self._along(lambda frequency, axis: np.exp(-2j * np.pi * frequency * voxels[axis])):
            spectrum = spectrum * ramp.astype(np.complex64)
        values = scipy.fft.irfftn(spectrum, self.shape, overwrite_x=True)
        window = tuple(
            slice(PADDING + c, PADDING + n - c) for c, n in zip(self.crop[::-1], self.scan.array.shape, strict=True)
        )
        affine = np.array(self.scan.affine_lps)
        affine[:3, 3] += affine[:3, :3] @ self.crop
        return Volume(np.ascontiguousarray(values[window]), affine, self.scan.name)

    def _along(self, function: Callable[[np.ndarray, int], np.ndarray]) -> Iterator[np.ndarray]:
        """``function(cycles per voxel, axis 0 to 2 for i, j, k)`` per axis, to broadcast over [k, j, i]."""
        i, j, k = scipy.fft.rfftfreq(self.shape[2]), *(scipy.fft.fftfreq(n) for n in self.shape[1::-1])
        yield function(i, 0)
        yield function(j, 1)[:, None]
        yield function(k, 2)[:, None, None]


@torch.inference_mode()
def deviations(net: MultiScaleLocNet, scene: Scene, shifts: dict[float, np.ndarray]) -> dict[str, list[float]]:
    """Millimetres by which positions fail to follow the scene, by scale; landmarks that the chain finds present.

    ``shifts``: scale in mm -> [n, 3] mm. The whole chain is moved by those of the coarsest scale.
    """
    scales = net.architecture.scales_mm
    start = net(Pyramid(scene.moved(np.zeros(3)), scales))
    present = net.presence_logit(start)[0] > 0
    distances_mm: dict[str, list[float]] = {name: [] for name in [*(f"{scale:g} mm" for scale in scales), CHAIN]}

    def record(name: str, after: Tensor, before: Tensor, shift: np.ndarray) -> None:
        moved = (after - before)[0, :, 0].double() - torch.from_numpy(shift)
        distances_mm[name] += moved.norm(dim=-1)[present].tolist()

    for n, scale in enumerate(scales):
        for shift in shifts[scale]:
            pyramid = Pyramid(scene.moved(shift), scales)
            if n == 0:
                chain = net(pyramid)
                record(CHAIN, chain[-1].position_lps, start[-1].position_lps, shift)
                position = chain[0].position_lps
            else:
                position = net.finer(pyramid, n, start[n - 1].position_lps).position_lps
            record(f"{scale:g} mm", position, start[n].position_lps, shift)
    return distances_mm


def draw_shifts(scales_mm: tuple[float, ...], count: int, reach_voxels: float, seed: int) -> dict[float, np.ndarray]:
    """Uniform in a cube of plus and minus ``reach_voxels`` voxels of each scale: scale -> [count, 3] mm."""
    draw = np.random.default_rng(seed)
    return {scale: draw.uniform(-reach_voxels * scale, reach_voxels * scale, (count, 3)) for scale in scales_mm}


def main(
    model: Annotated[list[Path] | None, typer.Option(help="Bundle or training run; may be repeated.")] = None,
    scan: Annotated[list[Path] | None, typer.Option(help="Scan; may be repeated. Default: the sample.")] = None,
    shifts: Annotated[int, typer.Option(min=1, help="Shifts per scan and scale.")] = 8,
    reach: Annotated[float, typer.Option(min=0.0, help="Largest shift along an axis, voxels of the scale.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the shifts.")] = 0,
    output: Output = RESULTS,
) -> None:
    """Table of the deviation in mm, per model and scale."""
    chains = [(path.name, net_of_run(path)[0]) for path in model or [Path("carotid-small")]]
    paths = scan or [resources_directory() / "SampleData" / "digital-neck.nrrd"]
    distances_mm: dict[tuple[int, str], list[float]] = {}
    for path in paths:
        coarsest = max(net.architecture.scales_mm[0] for _, net in chains)
        scene = Scene(read_volume(path), reach * coarsest)
        for n, (name, net) in enumerate(chains):
            drawn = draw_shifts(net.architecture.scales_mm, shifts, reach, seed)
            for scale, distances in deviations(net, scene, drawn).items():
                distances_mm.setdefault((n, scale), []).extend(distances)
            print(f"{path.name}: {name}", flush=True)
    rows: list[Row] = []
    for (n, scale), distances in distances_mm.items():
        name, net = chains[n]
        if not distances:
            print(f"{name} finds no landmark present in these scans; give scans or a model where it does.")
            raise typer.Exit(2)
        rows.append(
            {
                "model": name,
                "pooling": {"blur": "anti-aliased", "max": "max"}[net.architecture.pooling],
                "scale": scale,
                "measurements": len(distances),
                "mean mm": float(np.mean(distances)),
                "median mm": float(np.median(distances)),
                "95 % below mm": float(np.percentile(distances, 95)),
                "worst mm": float(np.max(distances)),
            }
        )
    text = (
        f"{len(paths)} scan(s), each moved {shifts} times per scale by up to {reach:g} voxels of that scale along "
        "every axis (the whole chain: of the coarsest scale), as a band-limited scene on a lattice that stays. "
        "Deviation: distance between where the answer went and where the scene went. See "
        "[equivariance.py](../../benchmarks/accuracy/equivariance.py)."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
