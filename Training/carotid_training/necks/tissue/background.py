"""An unenhanced CT, analysed once, so that necks can be built in it: its spine, airway, skin, bone and metal.

The landmarks are found by classical image analysis (thresholds, ring templates, dynamic programming); what can not
be found is an error with a sentence. An adult's mean stands in for two: an airway too small for the voxels, and a skull
base beyond the scan's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from CarotidLandmarkLib.errors import sentence
from CarotidLandmarkLib.files import atomic_path
from CarotidLandmarkLib.volume import Volume, VolumeError
from scipy import ndimage
from torch import Tensor

from . import spine

OUTSIDE, AIR, FAT, SOFT, BONE = range(5)  # air outside the body, and within
CERVICAL = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")
METAL_HU = 2300.0
_FORMAT = 1
_COARSE_MM = 1.5  # the lattice on which landmarks are sought
_MARGIN_MM = 16.0  # of air kept around the body
_FINEST_MM = 0.7  # finer scans are brought to this: a background needs no more
_AIRWAY_AHEAD_MM = 25.0  # before the middles of the vertebral bodies
_COARSE_SCAN_MM = 1.5  # in plane; what coarser scans show no longer: thin walls, tubes, noise
_REACH_MM = np.array([[-130.0, -130.0, -230.0], [130.0, 130.0, 170.0]])  # the corners of what is kept around C4


@dataclass(frozen=True, eq=False)
class Background:
    """A real neck in its own frame: LPS millimetres with the middle of the C4 body at the origin, z towards the head.

    ``hu`` int16 and ``classes`` uint8 (`OUTSIDE` .. `BONE`) are [k, j, i] on a lattice along the LPS axes with
    voxel (0, 0, 0) at ``origin`` [3] and ``spacing`` [3] mm; ``clearance`` float16 is the signed distance in mm (at
    most +-20) to what no vessel may enter: bone and what bone encloses, air, the outside. ``tube`` uint8 is 1 in the
    walls of breathing tubes. ``canal`` [n, 3] is the middle of the spinal canal from below upwards, ``levels`` [7, 3]
    the vertebrae C1..C7 (those below the scan extrapolated), ``foramina`` [2, m, 3] the left and right transverse
    foramina from below upwards, ``airway`` [n, 3] the middle of pharynx and larynx, ``metal`` [n, 4] centres and radii
    of dental metal. ``neck_below`` uint8 [1, j, i] is 1 in what goes on below the lower end: the neck, not the chin.
    """

    hu: np.ndarray
    classes: np.ndarray
    clearance: np.ndarray
    tube: np.ndarray
    neck_below: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    canal: np.ndarray
    levels: np.ndarray
    foramina: np.ndarray
    airway: np.ndarray
    metal: np.ndarray
    _cache: dict = field(default_factory=dict, repr=False)

    @classmethod
    def prepare(cls, volume: Volume) -> Background:
        """Analyse an unenhanced CT that shows the neck with the skull base or the chin, in any orientation.

        Raises VolumeError when no body, spine, skull base or chin can be found, or no whole neck around C4.
        """
        hu, spacing, origin = _upright(volume)
        body, hu, origin = _body(hu, spacing, origin)
        step = np.full(3, _COARSE_MM)
        small = ndimage.zoom(hu, (spacing / step)[::-1], order=1, grid_mode=True, mode="nearest")
        step = spacing * np.array(hu.shape[::-1]) / np.array(small.shape[::-1])
        corner = origin + (step - spacing) / 2
        smooth = ndimage.gaussian_filter(small, 0.7)
        canal_cells, enclosure = spine.canal(smooth, step)
        lower, _ = spine.whole_neck(smooth, canal_cells, step)
        foramen = spine.foramen_magnum(smooth, canal_cells, enclosure, lower, step)
        spine.check_spine(smooth, canal_cells, step, lower, foramen)
        last = int(np.clip(round(foramen - 8.0 / step[2]), 0, len(smooth) - 1))  # beyond, the path is lost in the skull
        canal_cells[last:, :2] = canal_cells[last, :2]
        lower, upper = spine.whole_neck(smooth, canal_cells, step)  # the lost path may have left the head, too
        canal = corner + canal_cells * step
        levels = spine.levels(smooth, canal_cells, foramen, step) * step + corner
        foramina = corner + spine.foramina(smooth, canal_cells, foramen, step) * step
        middle = levels[CERVICAL.index("C4")]
        start, stop = (round(edge * step[2] / spacing[2]) for edge in (lower, upper + 1))
        body, hu, origin = body[start:stop], hu[start:stop], origin + np.array([0, 0, start * spacing[2]])
        if not origin[2] < middle[2] < origin[2] + spacing[2] * len(hu):
            raise VolumeError("The background CT shows no whole neck at C4; give one that reaches further down.")
        classes, metal = _classes(hu, body, spacing, origin)
        tube = _tube(hu, classes, spacing, round((levels[1, 2] - origin[2]) / spacing[2]))
        clearance = _clearance(classes, tube, body, spacing)
        canal = canal[canal[:, 2] < corner[2] + foramen * step[2]]
        airway = _airway(classes, canal, levels, spacing, origin)
        arrays = {"hu": hu, "classes": classes, "clearance": clearance, "tube": tube}
        arrays, origin = _trimmed(arrays, origin, spacing, middle)
        arrays["neck_below"] = _neck_below(arrays["classes"][0], airway[0], spacing, origin)[None]
        points = {"canal": canal, "levels": levels, "foramina": foramina, "airway": airway}
        moved = {name: (value - middle).astype(np.float32) for name, value in points.items()}
        metal[:, :3] -= middle
        return cls(**arrays, **moved, origin=origin - middle, spacing=spacing, metal=metal.astype(np.float32))

    def save(self, path: Path | str, source: str = "") -> None:
        """Write everything to a compressed .npz, so that training machines need neither the scan nor SimpleITK.

        The file appears whole or not at all. ``source``: the sha256 of the scan. Raises OSError.
        """
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            arrays = {name: getattr(self, name) for name in _STORED}
            np.savez_compressed(stream, format=_FORMAT, source=source, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> Background:
        """Read what `save` wrote. Raises VolumeError when the file is something else or damaged."""
        with _stored(Path(path)) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in _STORED}
            return cls(**arrays)

    @classmethod
    def check(cls, path: Path | str) -> str:
        """The sha256 of the scan that a file was prepared of, "" where it does not say (version 0.1).

        Raises VolumeError where `load` would, but for damaged voxels; reads next to nothing.
        """
        with _stored(Path(path)) as stored:
            if not set(_STORED) <= set(stored.files):
                raise ValueError("an array is missing")
            return str(stored["source"]) if "source" in stored.files else ""

    @property
    def lower(self) -> float:
        """z of the lower end of the scan, mm."""
        return float(self.origin[2] - self.spacing[2] / 2)

    @property
    def upper(self) -> float:
        """z of the upper end of the scan, mm."""
        return float(self.lower + self.spacing[2] * self.hu.shape[0])

    @property
    def coarse(self) -> bool:
        """Whether the voxels are too large in plane to show noise and thin walls."""
        return bool(self.spacing[:2].max() > _COARSE_SCAN_MM)

    def normalised(self, points: Tensor) -> Tensor:
        """Points [..., 3] LPS mm in `grid_sample`'s cube: -1..1 from edge to edge of the lattice."""
        extent = torch.as_tensor(self.spacing * self.hu.shape[::-1], dtype=torch.float32, device=points.device)
        edge = torch.as_tensor(self.origin - self.spacing / 2, dtype=torch.float32, device=points.device)
        return (points - edge) * (2 / extent) - 1

    def on(self, device: torch.device | str, name: str) -> Tensor:
        """One of the voxel arrays as float32 [1, 1, k, j, i] on a device, and kept there.

        Beside the stored ones: ``quiet`` (HU without noise, edges kept), ``fatness`` (0 in muscle to 1 in fat)
        and ``bore`` (1 in the walls of breathing tubes, with soft edges).
        """
        key = (name, str(device))
        if key not in self._cache:
            if name == "quiet":
                array = self.hu if self.coarse else ndimage.median_filter(self.hu, (1, 3, 3))
            elif name == "fatness":
                soft = np.clip(self.hu, -110, 70).astype(np.float32)
                smooth = ndimage.gaussian_filter(soft, 1.5 / self.spacing[::-1])
                array = np.where(self.clearance > 0, (70 - smooth) / 180, 0)
            elif name == "bore":
                array = ndimage.gaussian_filter(self.tube.astype(np.float32), 0.8)
            else:
                array = getattr(self, name)
            self._cache[key] = torch.from_numpy(np.asarray(array, dtype=np.float32))[None, None].to(device)
        return self._cache[key]


def pooling(spacing: np.ndarray, target_mm: float) -> np.ndarray:
    """Voxels along x, y, z that are averaged, so that nothing aliases at ``target_mm``: 1, 2 or 4 each, [3] int."""
    return 2 ** np.clip(np.round(np.log2(target_mm / spacing)), 0, 2).astype(int)


_STORED = [f.name for f in fields(Background) if not f.name.startswith("_")]


@contextmanager
def _stored(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An open prepared background. What is wrong with it is a VolumeError in the block. Raises OSError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if int(stored["format"]) != _FORMAT:
                raise VolumeError(f"{path.name} is a background of another version; prepare it again.")
            yield stored
    except Exception as error:
        if sentence(error):  # not of what is in the file, but of the disk or the memory; or ours
            raise
        raise VolumeError(f"{path.name} is not a prepared background; prepare it again.") from error


def _upright(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scan on a lattice along the LPS axes (float32 [k, j, i]), without blank end slices; spacing and origin."""
    array, affine = np.asarray(volume.array, dtype=np.float32), np.asarray(volume.affine_lps, dtype=np.float64)
    if array.ndim != 3 or min(array.shape) < 16:
        raise VolumeError("The background must be a 3D CT of at least 16 slices.")
    filled = np.flatnonzero((array > -500).mean(axis=(1, 2)) > 0.005)
    if len(filled) < 16:
        raise VolumeError("The background CT shows no body; give an unenhanced CT of the neck in HU.")
    array = array[filled[0] : filled[-1] + 1]
    affine = affine.copy()
    affine[:3, 3] += affine[:3, 2] * filled[0]
    size = np.array(array.shape[::-1])
    axes = np.argmax(np.abs(affine[:3, :3]), axis=1)  # which voxel axis runs along x, y, z
    spacing = np.maximum(volume.spacing_mm[axes], _FINEST_MM)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij"), -1).reshape(-1, 3)
    ends = corners @ affine[:3, :3].T + affine[:3, 3]
    origin = ends.min(axis=0)
    count = np.floor((ends.max(axis=0) - origin) / spacing + 1.001).astype(int)
    back = np.linalg.inv(affine[:3, :3])
    matrix = (back @ np.diag(spacing))[::-1, ::-1]
    offset = (back @ (origin - affine[:3, 3]))[::-1]
    array = ndimage.affine_transform(array, matrix, offset, tuple(count[::-1]), order=1, cval=-1000.0)
    return np.clip(array, -1024, 3071), spacing, origin


def _body(hu: np.ndarray, spacing: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Filled mask of the patient without table; the scan cut to the body's slices, and its origin."""
    disc = _disc(3.0, spacing)
    tissue = ndimage.binary_opening(hu > -300, disc[None])
    if not tissue.any():
        raise VolumeError("The background CT shows no body; give an unenhanced CT of the neck in HU.")
    largest = _largest(tissue)
    body = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(s, disc)) for s in largest])
    margins = (0, *np.ceil(_MARGIN_MM / spacing).astype(int)[1::-1])
    (filled,) = ndimage.find_objects(body.astype(np.uint8))
    box = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(filled, margins, strict=True))
    return body[box], hu[box], origin + spacing * [b.start for b in box[::-1]]


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest component of a mask that is not empty."""
    labels, count = ndimage.label(mask)
    return labels == 1 + int(np.argmax(ndimage.sum_labels(mask, labels, range(1, count + 1))))


def _disc(radius: float, spacing: np.ndarray) -> np.ndarray:
    """A disc of ``radius`` mm in a slice, bool [j, i]."""
    j, i = (np.arange(-n, n + 1) for n in np.maximum(1, np.round(radius / spacing[1::-1])).astype(int))
    return np.hypot(j[:, None] / j[-1], i / i[-1]) <= 1


def _classes(
    hu: np.ndarray, body: np.ndarray, spacing: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Tissue classes [k, j, i] uint8 and dental metal [n, 4] (centre and radius, mm)."""
    smooth = ndimage.gaussian_filter(hu, np.minimum(0.6, 0.9 / spacing[::-1]))
    classes = 1 + np.digitize(smooth, (-350.0, -25.0, 180.0)).astype(np.uint8)
    classes[(classes <= FAT) & ~body] = OUTSIDE
    labels, _ = ndimage.label(hu > METAL_HU)
    spheres = []
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        mine = labels[box] == index
        volume = mine.sum() * np.prod(spacing)
        if volume > 20.0:
            start = np.array([s.start for s in box][::-1])
            centre = np.array(ndimage.center_of_mass(mine))[::-1] + start
            spheres.append([*(origin + centre * spacing), (volume * 0.75 / np.pi) ** (1 / 3)])
    return classes, np.array(spheres, dtype=np.float64).reshape(-1, 4)


def _tube(hu: np.ndarray, classes: np.ndarray, spacing: np.ndarray, top: int) -> np.ndarray:
    """Walls of breathing tubes below slice ``top``, uint8: dense rings of at most 16 mm around air."""
    walls = np.zeros(classes.shape, dtype=np.uint8)
    if spacing[:2].max() > _COARSE_SCAN_MM:
        return walls
    thick = _disc(2.5, spacing)
    for k in range(min(top, len(classes))):
        dense = ndimage.binary_closing(hu[k] > 120, np.ones((3, 3)))
        holes, count = ndimage.label(ndimage.binary_fill_holes(dense) & ~dense)
        area = ndimage.sum_labels(classes[k] <= AIR, holes, range(1, count + 1)) * spacing[0] * spacing[1]
        bores = np.isin(holes, 1 + np.flatnonzero((area > 12) & (area < 120)))
        walls[k] = ndimage.binary_dilation(bores, thick)
    return ndimage.binary_closing(walls, np.ones((5, 1, 1))).astype(np.uint8) | walls


def _clearance(classes: np.ndarray, tube: np.ndarray, body: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Signed distance (mm, float16, +-20) to bone, what bone encloses in a slice, air and the outside of the body."""
    disc = _disc(4.0, spacing)
    speck = np.ones((1, 1, 1) if spacing[:2].max() > _COARSE_SCAN_MM else (1, 2, 2))
    bone = ndimage.binary_opening((classes == BONE) & (tube == 0), speck)
    ringed = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(s, disc)) & ~s for s in bone])
    ringed = ndimage.binary_opening(ringed, disc[None])
    air = ndimage.binary_opening((classes <= AIR) | (tube > 0), speck)
    barred = bone | ringed | air | ~body
    free = ndimage.distance_transform_edt(~barred, sampling=spacing[::-1])
    deep = ndimage.distance_transform_edt(barred, sampling=spacing[::-1])
    return np.clip(np.where(barred, -deep, free), -20, 20).astype(np.float16)


def _airway(classes, canal, levels, spacing, origin) -> np.ndarray:
    """Middle of the air before the spine per slice below C1, [n, 3] mm; straight between slices without any.

    Where next to none is seen (swallowing, coarse voxels): an adult's mean distance before the vertebral bodies.
    """
    points = []
    y, x = (origin[a] + spacing[a] * np.arange(classes.shape[2 - a]) for a in (1, 0))
    for middle in canal[canal[:, 2] < levels[0, 2]]:
        k = int(np.clip(round((middle[2] - origin[2]) / spacing[2]), 0, len(classes) - 1))
        near = (np.abs(x - middle[0]) < 20)[None, :] & ((middle[1] - y > 18) & (middle[1] - y < 62))[:, None]
        air = (classes[k] == AIR) & near
        if air.sum() * spacing[0] * spacing[1] > 30:
            j, i = np.nonzero(air)
            points.append([x[i].mean(), y[j].mean(), middle[2]])
    if len(points) < 4:
        return levels[:0:-1] - [0.0, _AIRWAY_AHEAD_MM, 0.0]
    middles = np.array(points)
    return np.column_stack([ndimage.gaussian_filter1d(middles[:, a], 3.0) for a in (0, 1)] + [middles[:, 2]])


def _neck_below(classes: np.ndarray, airway: np.ndarray, spacing: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The neck in a slice of classes [j, i], uint8, without a chin that hangs before it: what goes on below."""
    tissue = ndimage.binary_fill_holes(classes != OUTSIDE)
    tissue[: max(0, int((airway[1] - 26.0 - origin[1]) / spacing[1]))] = False
    opened = ndimage.binary_opening(tissue, _disc(3.0, spacing))
    whole = ndimage.binary_dilation(_largest(opened), iterations=2) if opened.any() else tissue
    return whole.astype(np.uint8)


def _trimmed(arrays: dict[str, np.ndarray], origin: np.ndarray, spacing: np.ndarray, middle: np.ndarray):
    """Cut to the surroundings of C4 and to whole blocks of the voxels that 4 mm pools; the new origin."""
    size = np.array(arrays["hu"].shape[::-1])
    low, high = ((middle + corner - origin) / spacing for corner in _REACH_MM)
    start, stop = (np.clip(edge, 0, size).astype(int) for edge in (np.floor(low), np.ceil(high)))
    stop -= (stop - start) % pooling(spacing, 4.0)  # loses at most three slices of the head
    box = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
    cut = {name: np.ascontiguousarray(value[box]) for name, value in arrays.items()}
    cut["hu"] = np.round(cut["hu"]).astype(np.int16)
    return cut, origin + start * spacing
