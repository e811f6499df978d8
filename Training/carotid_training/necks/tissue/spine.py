"""The spine in an unenhanced CT: canal, vertebral levels and transverse foramina, where the whole neck is in view.

Arrays are [k, j, i] HU, lightly smoothed, on cells of about 1.5 mm along the LPS axes; places are cells (i, j, k).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from CarotidLandmarkLib.volume import VolumeError
from scipy import ndimage

_BELOW_FORAMEN_MM = (6.0, 26.0, 40.5, 55.0, 69.5, 84.0, 99.0)  # C1..C7 centres below the foramen magnum, adult neck
_NECK_MM = (42.0, 48.0)  # half widths across and along the sagittal plane of the least that is a neck
_SHORTEST_MM = 60.0
_CHIN_BELOW_FORAMEN_MM = 48.0  # its lower edge
_CHIN_MM2 = 150.0  # of its bone in a slice: no tooth


def _ring_scores(inside: np.ndarray, wall: np.ndarray, spacing: np.ndarray, radii: tuple[float, float, float]):
    """Per slice: the share of ``inside`` in a disc of radii[0] mm and of ``wall`` in the ring radii[1]..radii[2] mm."""
    reach = np.ceil(radii[2] / spacing[:2]).astype(int)
    x = np.arange(-reach[0], reach[0] + 1) * spacing[0]
    y = np.arange(-reach[1], reach[1] + 1)[:, None] * spacing[1]
    distance = np.hypot(x, y)
    disc, ring = distance <= radii[0], (distance >= radii[1]) & (distance <= radii[2])
    scores = []
    for mask, kernel in ((inside, disc), (wall, ring)):
        volume = torch.from_numpy(mask.astype(np.float32))[:, None]
        weight = torch.from_numpy((kernel / kernel.sum()).astype(np.float32))[None, None]
        scores.append(F.conv2d(volume, weight, padding=(int(reach[1]), int(reach[0])))[:, 0].numpy())
    return scores


def _track(score: np.ndarray, bend: float = 0.15) -> np.ndarray:
    """The path of one (j, i) per slice with the largest total score, moving at most one cell per slice: [k, 2] ints."""
    shifts = [(0, 0)] + [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    total, came = score[0], []
    for level in score[1:]:
        padded = np.pad(total, 1, constant_values=-np.inf)
        rows, columns = total.shape
        options = np.stack(
            [padded[1 + a : 1 + a + rows, 1 + b : 1 + b + columns] - bend * np.hypot(a, b) for a, b in shifts]
        )
        came.append(np.argmax(options, axis=0))
        total = level + options.max(axis=0)
    path = [np.unravel_index(int(np.argmax(total)), total.shape)]
    for back in came[::-1]:
        a, b = shifts[back[path[-1]]]
        path.append((path[-1][0] + a, path[-1][1] + b))
    return np.array(path[::-1])


def canal(smooth: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the spinal canal per slice, [k, 3] cells (i, j, k), and how much bone surrounds it, [k] 0..1."""
    soft, bone = _ring_scores((smooth > -30) & (smooth < 130), smooth > 180, step, (5.5, 8.0, 14.0))
    score = np.clip(soft - 0.5, 0, None) * 2 * bone
    path = _track(score)
    k = np.arange(len(path))
    enclosure = ndimage.gaussian_filter1d(score[k, path[:, 0], path[:, 1]], 2.0 / step[2])
    if np.percentile(enclosure, 75) < 0.2:
        raise VolumeError("No spinal canal was found in the background CT; give an unenhanced CT of the neck in HU.")
    centre = ndimage.gaussian_filter1d(path[:, ::-1].astype(float), 6.0 / step[2], axis=0)
    return np.column_stack([centre, k]), enclosure


def whole_neck(smooth: np.ndarray, canal: np.ndarray, step: np.ndarray) -> tuple[int, int]:
    """First and last slice of the longest run that shows the whole neck: tissue all around canal and airway.

    Planning CTs may be cut to what was planned: a block of neck, and the canal's surroundings below it.
    """
    j, i = np.indices(smooth.shape[1:])
    whole = np.zeros(len(smooth), dtype=bool)
    full = np.pi * _NECK_MM[0] * _NECK_MM[1] / (step[0] * step[1])
    for k, (x, y, _) in enumerate(canal):
        neck = np.hypot((i - x) * step[0] / _NECK_MM[0], ((j - y) * step[1] + 22.0) / _NECK_MM[1]) < 1
        tissue = ndimage.binary_fill_holes(ndimage.binary_closing(smooth[k] > -300, iterations=2))
        whole[k] = tissue[neck].sum() > 0.7 * full
    runs, count = ndimage.label(ndimage.binary_closing(whole, iterations=2) | whole)
    longest = np.bincount(runs[runs > 0])[1:] if count else np.zeros(1)
    if longest.max() * step[2] < _SHORTEST_MM:
        raise VolumeError(
            f"The background CT shows less than {_SHORTEST_MM:.0f} mm of a whole neck, skin to skin; give one with a "
            "wider field of view."
        )
    run = np.flatnonzero(runs == 1 + int(np.argmax(longest)))
    return int(run[0]), int(run[-1])


def check_spine(smooth: np.ndarray, canal: np.ndarray, step: np.ndarray, lower: int, foramen: float) -> None:
    """Raises VolumeError where the spine was cut out of slices ``lower`` to the skull base, as in some planning CTs."""
    j, i = np.indices(smooth.shape[1:])
    air = []
    for k in range(lower, max(lower + 1, min(round(foramen - 18.0 / step[2]), len(smooth)))):  # up to C2
        spine = (np.abs(i - canal[k, 0]) * step[0] < 8.0) & (np.abs((j - canal[k, 1]) * step[1] + 10.0) < 12.0)
        air.append((smooth[k] < -300)[spine].mean())
    if np.mean(air) > 0.1:
        raise VolumeError("The background CT has holes where the spine should be; give one that is not cropped.")


def foramen_magnum(smooth: np.ndarray, canal: np.ndarray, enclosure: np.ndarray, lower: int, step: np.ndarray) -> float:
    """The slice of the foramen magnum; where the scan ends below it, the one that the chin's height makes likely.

    By three signs, the surest first: going up, vertebral arches and muscle behind the canal give way to brain; the bone
    around the canal gives way to the posterior fossa for good; the chin's lower edge stands at C3/C4.
    """
    window = round(15.0 / step[2])
    sums = np.concatenate([[0.0], np.cumsum(_brain_behind(smooth, canal, step))])
    cells = np.arange(len(smooth))
    above = (sums[np.minimum(cells + window, len(cells))] - sums[cells]) / window
    below = (sums[cells] - sums[np.maximum(cells - window, 0)]) / window
    rise = np.where((above >= 0.75) & (cells >= lower + round(20.0 / step[2])), above - below, 0.0)
    peaks = (rise >= 0.2) & (rise == ndimage.maximum_filter1d(rise, 11))
    if peaks.any():
        return float(np.argmax(peaks))
    window, typical = round(20.0 / step[2]), np.percentile(enclosure, 75)
    for k in range(window, len(enclosure) - window):
        if enclosure[k] < 0.35 * typical and enclosure[k : k + window].max() < 0.65 * typical:
            return float(k)
    j, i = np.indices(smooth.shape[1:])
    for k, (x, y, _) in enumerate(canal[lower:], lower):
        ahead, central = (y - j) * step[1], np.abs(i - x) * step[0] < 22.0
        jaw, tongue = central & (ahead > 62.0) & (ahead < 120.0), central & (ahead > 40.0) & (ahead < 62.0)
        bone = smooth[k] > 250
        # The skull's floor would be bone behind the jaw, too.
        beside_vertebra = enclosure[k] > 0.5 * typical
        if (
            k > lower
            and beside_vertebra
            and bone[jaw].sum() * step[0] * step[1] > _CHIN_MM2
            and bone[tongue].mean() < 0.25
        ):
            return k + _CHIN_BELOW_FORAMEN_MM / step[2]
    raise VolumeError("The background CT shows neither skull base nor chin; give one that shows more of the neck.")


def _brain_behind(smooth: np.ndarray, canal: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Share of brain-like HU in a disc of 16 mm behind the canal per slice, [k] 0..1: nearly 1 in the posterior fossa.

    The path through the canal is continued from below, since it is lost in the skull.
    """
    near, far = round(15.0 / step[2]), round(35.0 / step[2])
    path = canal[:, :2].copy()
    path[far:] = canal[far - near : len(canal) - near, :2]
    path[far:] += (path[far:] - canal[: len(canal) - far, :2]) * (near / (far - near))
    j, i = np.indices(smooth.shape[1:])
    share = np.zeros(len(smooth))
    for k, (x, y) in enumerate(path):
        disc = np.hypot((i - x) * step[0], (j - y) * step[1] - 12.0) < 16.0
        if disc.sum() * step[0] * step[1] > 200.0:
            share[k] = ((smooth[k] > -25) & (smooth[k] < 110))[disc].mean()
    return share


def levels(smooth: np.ndarray, canal: np.ndarray, foramen: float, step: np.ndarray) -> np.ndarray:
    """Middles of the bodies C1..C7, [7, 3] cells: an adult's ladder, fitted so that its rungs miss the discs."""
    ahead = 16.0 / step[1]
    profile = np.array(
        [
            smooth[k, max(0, int(j - ahead) - 3) : int(j - ahead) + 4, int(i) - 3 : int(i) + 4].mean()
            for i, j, k in canal.astype(int)
        ]
    )
    profile = profile - ndimage.gaussian_filter1d(profile, 12.0 / step[2])
    ladder, best = np.array(_BELOW_FORAMEN_MM), (-np.inf, 1.0, 0.0)
    for scale in np.linspace(0.85, 1.25, 41):
        for shift in np.linspace(-7, 7, 29):
            rungs = foramen - (ladder * scale + shift) / step[2]
            discs = (rungs[1:-1] + rungs[2:]) / 2
            values = np.array([profile[round(k)] for k in discs if 0 <= k < len(profile) - 0.5])
            bodies = np.array([profile[round(k)] for k in rungs[2:] if 0 <= k < len(profile) - 0.5])
            if len(values) >= 2 and len(bodies) >= 2:
                value = bodies.mean() - values.mean() - 300 * (scale - 1) ** 2 - 0.3 * abs(shift)
                best = max(best, (value, scale, shift))
    rungs = foramen - (ladder * best[1] + best[2]) / step[2]
    slope = np.polyfit(canal[: max(4, round(30 / step[2])), 2], canal[: max(4, round(30 / step[2])), :2], 1)
    inside = np.column_stack([np.interp(rungs, canal[:, 2], canal[:, axis]) for axis in (0, 1)])
    below = slope[0] * rungs[:, None] + slope[1]
    centre = np.where((rungs < 0)[:, None], below, inside) - np.array([0, 15.0 / step[1]])
    return np.column_stack([centre, rungs])


def foramina(smooth: np.ndarray, canal: np.ndarray, foramen: float, step: np.ndarray) -> np.ndarray:
    """Left and right vertebral artery's way through the transverse foramina, [2, m, 3] cells from below upwards."""
    count = int(
        np.clip(foramen - 22.0 / step[2], 8, len(smooth))
    )  # up to C2; above it the artery leaves the column sideways
    hole, ring = _ring_scores(smooth[:count] < 160, smooth[:count] > 180, step, (2.0, 3.0, 5.5))
    score = hole * ring
    j, i = np.indices(smooth.shape[1:])
    paths = []
    for side in (1, -1):
        dx = side * (i - canal[:count, 0, None, None]) * step[0]
        dy = (j - canal[:count, 1, None, None]) * step[1]
        likely = np.exp(-0.5 * (((dx - 15.5) / 3.0) ** 2 + ((dy + 7.0) / 4.0) ** 2))
        path = _track(score * likely * (dx > 0), bend=0.02)
        middle = ndimage.gaussian_filter1d(path[:, ::-1].astype(float), 4.0 / step[2], axis=0)
        paths.append(np.column_stack([middle, np.arange(count)]))
    return np.stack(paths)
