"""The anatomical style's person and drawing board: who is scanned; organs as chains of round cones and ellipsoids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator

from .render import Part
from .shapes import Cones, Ellipsoids

Point = tuple[float, float, float]
TEMPLATE_LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3", "T4")
# Height of the vertebral bodies' middles and their place along y in the template, the mean adult: C4 is the origin.
TEMPLATE_Z = (54.0, 36.0, 18.0, 0.0, -17.0, -34.0, -52.0, -71.0, -91.0, -112.0, -134.0)
TEMPLATE_Y = (-2.0, -2.0, -1.0, 0.0, 1.0, 4.0, 9.0, 15.0, 22.0, 29.0, 35.0)
# The airway's middle in the template, z and y: carina to nasopharynx.
TEMPLATE_AIRWAY = (
    (-230.0, -2.0), (-140.0, -2.0), (-92.0, -14.0), (-60.0, -28.0), (-38.0, -31.0), (-18.0, -32.0), (2.0, -26.0),
    (18.0, -24.0), (38.0, -22.0), (62.0, -28.0), (170.0, -28.0),
)  # fmt: skip


class Dice:
    """Random numbers of one neck, all from one torch generator on the CPU."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._block: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        if not self._block:
            self._block = torch.rand(4096, generator=self._generator, dtype=torch.float64).tolist()
        return low + (high - low) * self._block.pop()

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        """A Gaussian number (Box and Muller 1958), cut at three standard deviations: no organ leaves the body."""
        radius = math.sqrt(-2 * math.log(1 - self.uniform()))
        return mean + sd * max(-3.0, min(3.0, radius * math.cos(2 * math.pi * self.uniform())))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence[str]) -> str:
        """One of the options, all equally likely."""
        return options[int(self.uniform(0, len(options)))]

    def jitter(self, point: Point, sd: float) -> Point:
        """The point moved by a Gaussian of ``sd`` mm along each axis."""
        return (point[0] + self.normal(0, sd), point[1] + self.normal(0, sd), point[2] + self.normal(0, sd))


@dataclass(frozen=True)
class Person:
    """Who is scanned. ``width``, ``depth``: scales of x, y; ``fat_mm``: at the nape; ``bone_hu``: cortical bone."""

    age: float
    female: bool
    width: float
    depth: float
    fat_mm: float
    muscle: float
    muscle_hu: float
    fat_hu: float
    bone_hu: float
    marrow_hu: float
    enhancement: float
    edentulous: bool
    laryngectomy: bool
    thyroid: str
    arms: str
    operated_spine: bool
    shoulders: float

    @classmethod
    def draw(cls, dice: Dice, wild: float) -> Person:
        """Age 18 to 95; from cachectic to obese; bone loses mineral with age. ``wild`` from 0 (a patient) to 1."""
        age = dice.uniform(18, 95)
        female = dice.chance(0.45)
        arms = dice.pick(("down", "down", "down", "up", "one up"))
        size = dice.normal(0.95 if female else 1.03, 0.05)
        return cls(
            age=age,
            female=female,
            width=size * dice.normal(1, 0.035 + 0.06 * wild),
            depth=size * dice.normal(1, 0.035 + 0.06 * wild),
            fat_mm=2.0 + 16.0 * dice.uniform() ** 2 + (dice.uniform(5, 18) if dice.chance(0.15) else 0.0),
            muscle=dice.normal(0.95 if female else 1.05, 0.1) - 0.0025 * max(0.0, age - 60),
            muscle_hu=dice.uniform(42, 78) + dice.normal(0, 25) * wild,
            fat_hu=dice.uniform(-118, -80) + dice.uniform(-40, 70) * wild,
            bone_hu=dice.uniform(750, 1500) - 4 * (age - 40) + dice.uniform(-250, 600) * wild,
            marrow_hu=dice.uniform(230, 480) - 1.8 * (age - 20) + dice.uniform(-80, 300) * wild,
            enhancement=dice.uniform(20, 110),
            edentulous=dice.chance(0.04 + 0.3 * max(0.0, (age - 60) / 35)),
            laryngectomy=dice.chance(0.05),
            thyroid=dice.pick(("normal",) * 8 + ("goitre", "goitre", "nodules", "nodules", "absent", "one lobe")),
            arms=arms,
            operated_spine=dice.chance(0.05),
            shoulders=dice.normal(0, 5) + (7.0 if arms == "up" else 0.0),
        )


class Warp:
    """Template to patient: vertebral levels, the spine's and the airway's curves, body size, and smooth asymmetry.

    ``levels`` [11, 3] are the patient's vertebral bodies C1 to T4 and ``airway`` [n, 3] the middle of the airway, LPS.
    """

    def __init__(self, dice: Dice, person: Person, levels: np.ndarray, airway: np.ndarray, wild: float) -> None:
        self._width, self._depth = person.width, person.depth
        self._template_z = np.array(TEMPLATE_Z[::-1])
        self._levels = levels[::-1]
        order = np.argsort(airway[:, 2])
        self._airway = airway[order]
        waves = [[dice.normal(0, 1 / 60) for _ in range(3)] for _ in range(6)]
        self._waves = np.array(waves)
        self._phases = np.array([dice.uniform(0, 2 * math.pi) for _ in range(6)])
        size = dice.uniform(0.5, 1.7) * (1 + wild)
        self._pushes = np.array([[dice.normal(0, size) for _ in range(3)] for _ in range(6)])

    def height(self, z: np.ndarray) -> np.ndarray:
        """Patient height of a template height; beyond the ends the spacing of the end levels continues."""
        knots, heights = self._template_z, self._levels[:, 2]
        below = heights[0] + (z - knots[0]) * min(1.15, max(0.85, (heights[-1] - heights[0]) / (knots[-1] - knots[0])))
        above = heights[-1] + (z - knots[-1])
        inside = np.interp(z, knots, heights)
        return np.where(z < knots[0], below, np.where(z > knots[-1], above, inside))

    def shift(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """How far (x, y) a template point goes with the spine (behind) or the airway (in front): [n, 2]."""
        high = self.height(z)
        spine = np.stack([np.interp(high, self._levels[:, 2], self._levels[:, axis]) for axis in (0, 1)], -1)
        spine[:, 1] -= self._depth * np.interp(z, TEMPLATE_Z[::-1], TEMPLATE_Y[::-1])
        airway = np.stack([np.interp(high, self._airway[:, 2], self._airway[:, axis]) for axis in (0, 1)], -1)
        template = np.array(TEMPLATE_AIRWAY)
        airway[:, 1] -= self._depth * np.interp(z, template[:, 0], template[:, 1])
        # The skull, jaw and chest wall go with the spine: only the neck's visceral column follows the airway.
        front = np.clip((-y - 5) / 20, 0, 1) * np.clip((z + 150) / 40, 0, 1) * np.clip((30 - z) / 25, 0, 1)
        return spine + front[:, None] * (airway - spine)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Template points [n, 3] in the patient: [n, 3] LPS mm."""
        x, y, z = points.T
        shift = self.shift(y, z)
        moved = np.stack([x * self._width + shift[:, 0], y * self._depth + shift[:, 1], self.height(z)], -1)
        return moved + np.sin(points @ self._waves.T + self._phases) @ self._pushes

    @property
    def scale(self) -> float:
        """Mean of the in-plane scales, for radii."""
        return (self._width + self._depth) / 2


@dataclass(frozen=True)
class Frame:
    """A local frame: ``origin`` [3] and ``axes`` [3, 3], whose rows are its x, y, z axes in the patient."""

    origin: np.ndarray
    axes: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Local points [n, 3] in the patient: [n, 3] LPS mm."""
        return self.origin + points @ self.axes

    scale: float = 1.0


def local_frames(levels: np.ndarray, person: Person) -> list[Frame]:
    """Frames of the vertebrae: x to the left, y to the back, z along the spine. ``levels`` [n, 3] from the top down."""
    way = np.gradient(levels, axis=0)
    frames = []
    for origin, step in zip(levels, -way, strict=True):
        up = step / np.linalg.norm(step)
        left = np.array([1.0, 0.0, 0.0]) - up[0] * up
        left /= np.linalg.norm(left)
        frames.append(
            Frame(
                origin,
                np.stack([left, np.cross(up, left), up]),
                min(1.15, max(0.85, (person.width + person.depth) / 2)),
            )
        )
    return frames


PATIENT = Frame(np.zeros(3), np.eye(3))


class Sketch:
    """Collects parts, cones and ellipsoids in template, local or patient coordinates; later parts cover earlier."""

    def __init__(self, warp: Warp) -> None:
        self.warp = warp
        self._parts: list[Part] = []
        self._omitted: set[int] = set()
        self._frames: list[Warp | Frame] = []
        self._cones: list[list[tuple[float, ...]]] = []
        self._ellipsoids: list[list[tuple[float, ...]]] = []
        self.use(warp)

    def use(self, frame: Warp | Frame) -> None:
        """What is drawn from now on is in this frame."""
        self._frames.append(frame)
        self._cones.append([])
        self._ellipsoids.append([])

    def part(
        self, name: str, hu: float, core_hu: float | None = None, shell_mm: float = 0.0, blend_mm: float = 0.0
    ) -> int:
        """A new part, painted over all before it; returns its number."""
        self._parts.append(Part(name, hu, core_hu, shell_mm, blend_mm))
        return len(self._parts) - 1

    def chain(self, part: int, points: Sequence[Point], radii: Sequence[float] | float) -> None:
        """Round cones through the points; ``radii`` one for each point, or one for all."""
        radius = [radii] * len(points) if isinstance(radii, int | float) else radii
        for first, last, start, end in zip(points[:-1], points[1:], radius[:-1], radius[1:], strict=True):
            self._cones[-1].append((*first, *last, start, end, part))

    def ball(self, part: int, centre: Point, semi: Point | float, nod: float = 0.0, yaw: float = 0.0) -> None:
        """An ellipsoid with semi-axes along x, y, z, nodded about x and turned about z (radians)."""
        a, b, c = (semi, semi, semi) if isinstance(semi, int | float) else semi
        cos_n, sin_n, cos_y, sin_y = math.cos(nod), math.sin(nod), math.cos(yaw), math.sin(yaw)
        x = (a * cos_y, a * sin_y, 0.0)
        y = (-b * sin_y * cos_n, b * cos_y * cos_n, b * sin_n)
        z = (c * sin_y * sin_n, -c * cos_y * sin_n, c * cos_n)
        self._ellipsoids[-1].append((*centre, *x, *y, *z, part))

    @property
    def names(self) -> list[str]:
        """What there is, each name once, in painting order."""
        return list(dict.fromkeys(part.name for part in self._parts))

    def omit(self, names: Sequence[str]) -> None:
        """Leave out all parts of these names."""
        self._omitted = {index for index, part in enumerate(self._parts) if part.name in names}

    def recolour(self, dice: Dice, sd_hu: float) -> None:
        """Shift every part's HU by its own Gaussian amount; air stays air."""
        for index, part in enumerate(self._parts):
            shift = dice.normal(0, sd_hu)
            core = part.core_hu if part.core_hu is None or part.core_hu < -600 else part.core_hu + shift
            self._parts[index] = replace(part, hu=part.hu if part.hu < -600 else part.hu + shift, core_hu=core)

    @property
    def parts(self) -> list[Part]:
        """The parts in painting order."""
        return self._parts

    @property
    def cones(self) -> Cones:
        """All cones in the patient."""
        table = self._collect(self._cones, 8, self._place_cones)
        values = torch.from_numpy(table).float()
        return Cones(values[:, 0:3], values[:, 3:6], values[:, 6], values[:, 7], values[:, 8].long())

    @property
    def ellipsoids(self) -> Ellipsoids:
        """All ellipsoids in the patient."""
        table = self._collect(self._ellipsoids, 12, self._place_ellipsoids)
        values = torch.from_numpy(table).float()
        return Ellipsoids(values[:, 0:3], values[:, 3:12].reshape(-1, 3, 3), values[:, 12].long())

    def _collect(self, groups: list[list[tuple[float, ...]]], last: int, place: Callable) -> np.ndarray:
        pieces = [place(np.array(rows), frame) for frame, rows in zip(self._frames, groups, strict=True) if rows]
        table = np.concatenate(pieces) if pieces else np.zeros((0, last + 1))
        table = table[~np.isin(table[:, last], list(self._omitted))]
        return table[np.argsort(table[:, last], kind="stable")]

    @staticmethod
    def _place_cones(rows: np.ndarray, frame: Warp | Frame) -> np.ndarray:
        radii = rows[:, 6:8] * frame.scale
        return np.concatenate([frame(rows[:, 0:3]), frame(rows[:, 3:6]), radii, rows[:, 8:]], 1)

    @staticmethod
    def _place_ellipsoids(rows: np.ndarray, frame: Warp | Frame) -> np.ndarray:
        axes = rows[:, 3:12].reshape(-1, 3, 3) * frame.scale
        axes = axes @ frame.axes if isinstance(frame, Frame) else axes
        return np.concatenate([frame(rows[:, 0:3]), axes.reshape(-1, 9), rows[:, 12:]], 1)
