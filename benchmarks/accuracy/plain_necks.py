"""Necks by a generator that shares nothing with training's: neither anatomy nor vessels, scanner or truth.

A round body, stacked vertebrae, a jaw, a skull, an airway, a larynx, and tubes for vessels, under Gaussian noise. Crude
on purpose: a net that has learnt training's generators by heart fails here. Frame: LPS mm, carotids divide near z = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from carotid_training.cohorts.synthesize import ANNOTATOR, LANDMARKS
from carotid_training.scans.acquisition import reorient
from CarotidLandmarkLib.dataset import Dataset, DatasetError
from CarotidLandmarkLib.volume import Volume
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

Array = NDArray[np.floating]
SPLIT = "test"
# Vessels begin and end so far below and above the place where the common carotid divides.
BELOW_MM, ABOVE_MM = 160.0, 100.0


@dataclass(frozen=True)
class Tube:
    """A chain of cones: points [n, 3] in mm, a radius in mm at each."""

    points: Array
    radii: Array

    def moved(self, rotation: Array) -> Tube:
        return Tube(self.points @ rotation.T, self.radii)

    def distance(self, where: Array, cone: int) -> Array:
        """Distance in mm of where [..., 3] to the surface of one of the cones, negative inside."""
        begin, along = self.points[cone], self.points[cone + 1] - self.points[cone]
        share = np.clip((where - begin) @ along / (along @ along), 0, 1)
        radius = self.radii[cone] + share * (self.radii[cone + 1] - self.radii[cone])
        return np.linalg.norm(where - begin - share[..., None] * along, axis=-1) - radius

    def near(self, low: Array, high: Array) -> list[int]:
        """The cones that may reach into a box, corners [3] in mm."""
        reach = self.radii.max()
        lowest, highest = (f(self.points[:-1], self.points[1:]) for f in (np.minimum, np.maximum))
        return np.flatnonzero(((lowest - reach < high) & (highest + reach > low)).all(axis=1)).tolist()

    def at_height(self, z: float) -> Array:
        """Where the tube, which climbs, passes a level: [2], x and y."""
        order = np.argsort(self.points[:, 2])
        return np.array([np.interp(z, self.points[order, 2], self.points[order, axis]) for axis in range(2)])


class Picture:
    """A scan while it is painted: HU on a lattice along the LPS axes, [k, j, i]."""

    def __init__(self, shape: tuple[int, int, int], spacing: Array, origin: Array):
        """shape: (k, j, i); spacing and origin: along x, y, z, mm."""
        self.hu = np.full(shape, -1000.0, dtype=np.float32)
        self.spacing, self.origin = spacing, origin

    def places(self, box: tuple[slice, slice, slice] = (slice(None),) * 3) -> Array:
        """LPS mm of the voxels of a box: [k, j, i, 3]."""
        axes = [
            (self.origin[n] + np.arange(size) * self.spacing[n]).astype(np.float32)[part]
            for n, (size, part) in enumerate(zip(self.hu.shape[::-1], box[::-1], strict=True))
        ]
        return np.stack(np.broadcast_arrays(axes[0], axes[1][:, None], axes[2][:, None, None]), axis=-1)

    def paint(self, distance: Array, hu: float) -> None:
        """Fill where the signed distance [k, j, i] in mm is negative, with the partial volume of the voxels."""
        share = np.clip(0.5 - distance / self.spacing.mean(), 0, 1)
        self.hu += share * (hu - self.hu)

    def paint_tube(self, tube: Tube, hu: float, beyond_mm: float = 0.0, most: float = 1.0) -> None:
        """Fill a tube, and fade out over ``beyond_mm`` outside of it. ``most``: how much of what was there goes."""
        fade = max(beyond_mm, float(self.spacing.mean()))
        reach = tube.radii.max() + beyond_mm + fade
        box = self._box(tube.points.min(0) - reach, tube.points.max(0) + reach)
        away = np.full(self.hu[box].shape, np.inf, dtype=np.float32)
        for cone in range(len(tube.radii) - 1):
            ends = tube.points[cone : cone + 2]
            part = self._box(ends.min(0) - reach, ends.max(0) + reach)
            inner = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
            away[inner] = np.minimum(away[inner], tube.distance(self.places(part), cone))
        share = most * np.clip(0.5 - (away - beyond_mm / 2) / fade, 0, 1)
        self.hu[box] += share * (hu - self.hu[box])

    def _box(self, low: Array, high: Array) -> tuple[slice, slice, slice]:
        """The voxels between two corners, [3] in mm."""
        first = np.floor((low - self.origin) / self.spacing).astype(int)[::-1]
        last = np.ceil((high - self.origin) / self.spacing).astype(int)[::-1] + 1
        k, j, i = (
            slice(min(max(a, 0), size), min(max(b, 0), size))
            for a, b, size in zip(first, last, self.hu.shape, strict=True)
        )
        return k, j, i


def plain_neck(seed: int) -> tuple[Volume, dict[str, tuple[float, float, float]]]:
    """A scan of 140 to 300 mm, in any order of the axes, and its two landmarks (LPS mm); a function of the seed."""
    random = np.random.default_rng(seed)
    uniform = random.uniform
    spacing = np.array([*[uniform(0.45, 0.75)] * 2, uniform(0.5, 2.5)])
    length, width = uniform(140, 300), uniform(170, 230)
    origin = np.array([-width / 2 + uniform(-15, 15), -width / 2 + uniform(-15, 15), -length * uniform(0.35, 0.65)])
    shape = int(length / spacing[2]), int(width / spacing[1]), int(width / spacing[0])
    picture = Picture(shape, spacing, origin)
    turn = Rotation.from_euler("xyz", uniform(-8, 8, 3), degrees=True).as_matrix()
    _paint_body(picture, picture.places() @ turn.astype(np.float32), random)
    arterial = uniform(180, 450)
    truth = {}
    for name, side in zip(LANDMARKS, (1, -1), strict=True):
        truth[name] = _paint_vessels(picture, side, arterial, turn, random)
    if uniform(0, 1) < 0.5:
        picture.hu = gaussian_filter(picture.hu, (0, 0.8, 0.8))
    picture.hu += gaussian_filter(random.standard_normal(shape).astype(np.float32), (0.3, 0.6, 0.6)) * uniform(15, 60)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    order = random.permutation(3)  # of i, j, k
    flips = [2 - n for n in range(3) if random.random() < 0.5]
    hu = picture.hu.clip(-1024, 3071).round().astype(np.int16)
    hu, affine = reorient(hu, affine, [2 - order[2 - n] for n in range(3)], flips)
    return Volume(hu, affine, name=f"plain-{seed}"), truth


def _paint_body(picture: Picture, neck: Array, random: np.random.Generator) -> None:
    """All but the vessels. neck: the voxels' places in the neck's own frame, [k, j, i, 3]."""
    uniform = random.uniform
    x, y, z = np.moveaxis(neck, -1, 0)
    shoulders, head = 1 / (1 + np.exp((z + uniform(70, 90)) / 10)), 1 / (1 + np.exp((uniform(45, 60) - z) / 8))
    wide = uniform(55, 68) * (1 + 1.3 * shoulders) + 12 * head
    deep = uniform(58, 75) * (1 + 0.3 * shoulders) + 25 * head
    body = (np.hypot(x / wide, (y - 5) / deep) - 1) * np.minimum(wide, deep)
    picture.paint(body, -90)
    picture.paint(body + uniform(4, 10), uniform(45, 65))
    patches = gaussian_filter(random.standard_normal(body.shape).astype(np.float32), (3, 4, 4))
    picture.hu += np.where(body < -10, patches / patches.std() * uniform(5, 30), 0)
    level = (z / uniform(17, 21)) % 1 - 0.5  # a vertebra and a disc, again and again
    column = np.hypot(x / 1.25, y - 25) - uniform(11, 14)
    picture.paint(column, uniform(400, 800))
    picture.paint(column + 2, uniform(180, 300))
    picture.paint(np.maximum(column, (np.abs(level) - 0.12) * 19), 90)
    arch = np.maximum(np.abs(np.hypot(x / 1.1, y - 46) - 12) - 3, 5 - np.abs(level) * 19)
    picture.paint(arch, 600)
    picture.paint(np.hypot(x, y - 45) - 8, 35)
    picture.paint(np.hypot(x / 1.2, y + 12) - uniform(7, 10), -990)
    jaw = np.abs(np.hypot(x, (y + 10) / 1.2) - uniform(42, 48)) - 5
    picture.paint(np.maximum(np.maximum(jaw, np.abs(z - uniform(28, 40)) - 12), y - 5), 900)
    skull = np.sqrt(x**2 + (y / 1.2) ** 2 + (z - 130) ** 2)
    picture.paint(skull - 76, 1000)
    picture.paint(skull - 68, 38)
    for radius, middle, half, front, hu in ((20, 5, 3, 15, uniform(200, 500)), (19, -20, 12, 10, uniform(100, 300))):
        shell = np.maximum(np.abs(np.hypot(x, y + front + 8) - radius) - 2, np.abs(z - middle) - half)
        picture.paint(np.maximum(shell, y + front), hu)  # hyoid and larynx


def _paint_vessels(
    picture: Picture, side: int, arterial: float, turn: Array, random: np.random.Generator
) -> tuple[float, float, float]:
    """The vessels of one side (1: left, -1: right) in some fat, and where its carotid divides (LPS mm)."""
    uniform = random.uniform
    start = np.array([side * uniform(23, 32), uniform(-4, 8), uniform(-18, 18)])
    away = np.linspace(0, BELOW_MM, 33)
    up = np.linspace(0, ABOVE_MM, 26)

    def course(along: Array, rise: float, x: Array, y: Array) -> Array:
        """Points [n, 3] from the start, with a gentle wave in x and y."""
        waves = [uniform(0, 2.5) * (np.sin(0.055 * along + p) - np.sin(p)) for p in uniform(0, 6, 2)]
        return start + np.stack([side * x + waves[0], y + waves[1], rise * along], axis=-1)

    radius = uniform(2.7, 3.6)
    inner, outer = radius * uniform(0.7, 0.85), radius * uniform(0.55, 0.75)
    bulb = inner * (1 + uniform(0.1, 0.5) * np.exp(-(((up - 7) / 6) ** 2)))
    common = Tube(course(away, -1, -away * uniform(0.02, 0.12), away * uniform(-0.12, 0.05)), np.full(33, radius))
    swing = np.minimum(up * uniform(0.15, 0.45), 7), np.minimum(up * uniform(0.1, 0.5), 9)
    internal = Tube(course(up, 1, radius / 2 + swing[0], swing[1]), bulb)
    swing = np.minimum(up * uniform(0.1, 0.4), 5), np.minimum(up * uniform(0.2, 0.6), 13)
    external = Tube(course(up, 1, -radius / 2 - swing[0], -swing[1]), np.full(26, outer))
    vein = Tube(course(up * 2.4 - 140, 1, 14 + 0 * up, 6 + 0 * up), np.full(26, uniform(3.5, 6.5)))
    vein.points[:, 2] -= start[2]
    vertebral = Tube(np.array([[side * 17.0, 22, z] for z in (-150, 90)]), np.full(2, 1.7))
    common, internal, external, vein, vertebral = (
        tube.moved(turn) for tube in (common, internal, external, vein, vertebral)
    )
    for tube in (common, internal):
        picture.paint_tube(tube, -60, beyond_mm=8, most=0.6)
    picture.paint_tube(vein, uniform(60, arterial))
    for tube in (vertebral, common, internal, external):
        picture.paint_tube(tube, arterial)
    for _ in range(random.integers(0, 4)):  # calcified plaques in the bulb's wall
        place = int(random.integers(0, 4))
        where = internal.points[place] + internal.radii[place] * _direction(random)
        picture.paint_tube(Tube(where + np.array([[0, 0, 0], [0, 0, 1.5]]), np.full(2, uniform(0.6, 1.6))), 900)
    return _apex(common, internal, external)


def _apex(common: Tube, internal: Tube, external: Tube) -> tuple[float, float, float]:
    """The middle of the wall on the first level, going up, on which the lumen is in two parts: looked for every
    millimetre, then every tenth of one, on 0.2 mm in the plane. Raises ValueError where it stays one."""
    begin = internal.points[0, 2]
    for above in np.arange(1.0, 45.0):
        if _wall((common, internal, external), begin + above) is not None:
            for z in begin + above - np.arange(0.9, -0.05, -0.1):
                wall = _wall((common, internal, external), z)
                if wall is not None:
                    return wall
    raise ValueError("The carotid never divides.")


def _wall(tubes: tuple[Tube, Tube, Tube], z: float) -> tuple[float, float, float] | None:
    """The middle of the wall between the lumens of the last two tubes on a level, None where they are one."""
    axis = np.arange(-12, 12, 0.2)
    ends = [tube.at_height(z) for tube in tubes[1:]]
    middle = np.mean(ends, axis=0)
    plane = np.stack(np.broadcast_arrays(middle[0] + axis, middle[1] + axis[:, None], np.float64(z)), axis=-1)
    cones = [(tube, cone) for tube in tubes for cone in tube.near(plane[0, 0], plane[-1, -1])]
    parts, _ = label(np.min([tube.distance(plane, cone) for tube, cone in cones], axis=0) < 0)
    first, second = (parts[tuple(np.searchsorted(axis, (end - middle)[::-1]))] for end in ends)
    if not first or not second or first == second:
        return None
    a, b = (plane[parts == part] for part in (first, second))
    apart, nearest = cKDTree(a).query(b)
    closest = apart < apart.min() + 0.1  # flat walls have many
    x, y, _ = (b[closest] + a[nearest[closest]]).mean(axis=0) / 2
    return float(x), float(y), float(z)


def _direction(random: np.random.Generator) -> Array:
    vector = random.standard_normal(3)
    return vector / np.linalg.norm(vector)


def plain_cohort(
    cases: int, folder: Path, seed: int = 0, on_case: Callable[[int, int], None] = lambda done, total: None
) -> Dataset:
    """``cases`` (up to 1000) scans with their truth as a dataset, all of split `SPLIT`; goes on with one begun.

    Raises DatasetError where the folder holds other necks.
    """
    numbers = {f"plain-{number:05d}": number for number in range(seed * 1000, seed * 1000 + cases)}
    dataset = Dataset.open(folder) if (folder / "dataset.json").is_file() else Dataset.create(folder, LANDMARKS)
    if not set(dataset.case_ids()) <= numbers.keys():
        raise DatasetError(f"{folder.name} holds other necks than these {cases} of seed {seed}; choose a new folder.")
    for done, (case_id, number) in enumerate(numbers.items(), 1):
        if case_id not in dataset.case_ids() or not dataset.case(case_id).annotators():
            volume, truth = plain_neck(number)
            if case_id not in dataset.case_ids():
                dataset.add_case(volume, case_id=case_id, group=case_id, split=SPLIT)
            dataset.save_annotation(case_id, ANNOTATOR, points=truth, status=dict.fromkeys(truth, "accepted"))
        on_case(done, cases)
    return dataset
