"""The apex of a fork between the levels of a mask: where the wall between two lumens has just no thickness.

Voxels join lumens whose walls are thinner than they are, so a mask divides too high. What grows evenly on both sides of
the true level is the distance between the two round lumens: above, the gap that is seen; below, the overlap, which
follows from the width of the waist. A line through both says where it is zero.
"""

from __future__ import annotations

import numpy as np

from .lumens import Lumens, islands

ABOVE_MM, BELOW_MM = 2.5, 5.0  # of the first level of two lumens: what the line goes through
LARGEST_GAP_MM = 1.6
NEAR_MM = 1.5  # of the apex: whose walls say where it is on its level
THRESHOLDS = 24  # of a waist's width
# what a mask adds to a gap and to a waist, in voxels: measured on digital necks (validation split, seed 12)
GAP_PIXELS, WAIST_PIXELS = 0.7, -0.3


def apex(lumens: Lumens, parent: int, one: int, other: int) -> np.ndarray:
    """LPS millimetres [3], for a lumen ``parent`` whose next level has the lumens ``one`` and ``other``."""
    pixel = lumens.geometry.spacing_mm[:2]
    levels, gaps, walls = [], [], []
    pair: tuple[int, int] | None = (one, other)
    while pair is not None and (lumens.level[pair[0]] - lumens.level[one]) * lumens.step_mm <= ABOVE_MM:
        gap, wall = _gap(lumens.voxels(pair[0]), lumens.voxels(pair[1]), pixel)
        levels.append(int(lumens.level[pair[0]]))
        gaps.append(gap)
        walls.append(wall)
        pair = _next(lumens, pair)
    reduced = _reduced_radius(lumens, one, other)
    seeds = [lumens.voxels(lumen).mean(axis=0) for lumen in (one, other)]
    lumen: int | None = parent
    while lumen is not None and (lumens.level[one] - lumens.level[lumen]) * lumens.step_mm <= BELOW_MM:
        waist = _waist(lumens, lumen, seeds)
        if waist is None:
            break
        half, wall, seeds = waist
        levels.append(int(lumens.level[lumen]))
        gaps.append(-(half**2) / (2 * reduced))
        walls.append(wall)
        below = lumens.below[lumen]
        lumen = max(below, key=lambda each: lumens.area_mm2[each]) if below else None
    z, middles = np.array(levels, float), np.array(walls)
    level = _zero(z, np.array(gaps), float(lumens.level[one]), lumens.step_mm)
    near = np.abs(z - level) * lumens.step_mm <= NEAR_MM
    ij = middles[near].mean(axis=0) if near.any() else middles[0]
    return lumens.geometry.to_lps([*ij, level])


def _zero(z: np.ndarray, gap: np.ndarray, first: float, step: float) -> float:
    use = np.abs(gap) <= LARGEST_GAP_MM
    if use.sum() >= 3:
        slope, offset = np.polyfit(z[use], gap[use], 1)
        if slope > 0:
            low, high = first - BELOW_MM / step, first + 1.0
            return float(np.clip(-offset / slope, low, high))
    return first - 0.5


def _gap(a: np.ndarray, b: np.ndarray, pixel: np.ndarray) -> tuple[float, np.ndarray]:
    """The thickness of the wall between two lumens (voxels (i, j)), mm, and its middle (i, j)."""
    distance = np.linalg.norm((a[:, None] - b[None]) * pixel, axis=2)
    nearest = distance.min()
    near = np.argwhere(distance <= nearest + 0.25 * pixel.mean())
    return float(nearest - GAP_PIXELS * pixel.mean()), np.mean([(a[m] + b[n]) / 2 for m, n in near], axis=0)


def _next(lumens: Lumens, pair: tuple[int, int]) -> tuple[int, int] | None:
    """The two lumens one level up, if they are still two."""
    ups = [max(lumens.above[lumen], key=lambda each: lumens.area_mm2[each], default=0) for lumen in pair]
    return None if 0 in ups or ups[0] == ups[1] else (ups[0], ups[1])


def _reduced_radius(lumens: Lumens, one: int, other: int) -> float:
    """Of two round lumens as they are just above the fork, mm: a waist of half-width h is an overlap of h² / 2r."""
    radii = []
    for lumen in (one, other):
        areas = [max(lumens.area_mm2[list(level)]) for level in lumens.upwards([lumen], 4.0)]
        radii.append(float(np.sqrt(np.median(areas) / np.pi)))
    return radii[0] * radii[1] / sum(radii)


def _waist(lumens: Lumens, lumen: int, seeds: list[np.ndarray]) -> tuple[float, np.ndarray, list[np.ndarray]] | None:
    """Half the width of a lumen's waist, mm, its place (i, j), and the middles of both halves; None without a waist."""
    depth = lumens.within_mm(lumen)
    rows, columns = np.nonzero(depth > 0)
    place = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    depth = depth[place]
    start = np.array([columns.min(), rows.min()])
    pixel = lumens.geometry.spacing_mm[:2]
    j, i = np.nonzero(depth > 0)
    voxels = np.stack([i, j], axis=1) + start
    owner = np.argmin([np.linalg.norm((voxels - seed) * pixel, axis=1) for seed in seeds], axis=0)
    if len(set(owner.tolist())) < 2:
        return None
    tops = [np.argmax(np.where(owner == n, depth[j, i], -1)) for n in (0, 1)]
    low = 0.0
    for threshold in np.linspace(0, min(depth[j[top], i[top]] for top in tops), THRESHOLDS, endpoint=False)[1:]:
        cores = islands((depth > threshold)[None])[0][0]
        numbers = [cores[j[top], i[top]] for top in tops]
        if numbers[0] != numbers[1] and all(numbers):
            break
        low = threshold
    else:
        return None
    halves = [np.argwhere(cores == number)[:, ::-1] + start for number in numbers]
    _, wall = _gap(halves[0], halves[1], pixel)
    return low + WAIST_PIXELS * float(pixel.mean()), wall, [half.mean(axis=0) for half in halves]
