"""The sculpted neck's outline and soft tissue: stacked polar cross-sections filled with cells that fat septa part."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dice import Dice
from .fields import Z_HIGH, Z_LOW, Z_STEP, Lattice, Waves, any_of, both, bowl, interp, smooth
from .frame import Frame

# Half-width, depth in front of and behind the axis, and squareness of the outline, by nominal height (C4 = 0, C1 = 56).
OUTLINE_Z = (-230, -150, -115, -92, -76, -60, -40, -20, -6, 4, 14, 28, 42, 60, 78, 98, 120, 140, 158, 172, 184)
HALF_WIDTH = (185, 200, 188, 150, 104, 80, 67, 63, 63, 64, 66, 68, 69, 71, 75, 78, 77, 72, 60, 40, 12)
FRONT = (98, 82, 64, 56, 50, 47, 46, 49, 54, 64, 76, 84, 86, 88, 90, 90, 95, 93, 80, 54, 12)
BACK = (112, 106, 98, 88, 80, 73, 66, 62, 61, 61, 61, 62, 65, 74, 84, 91, 92, 86, 72, 48, 12)
SQUARE = (3.2, 3.0, 2.7, 2.5, 2.3, 2.2, 2.2, 2.1, 2.0, 1.9, 1.8, 1.9, 2.0, 2.1, 2.2, 2.2, 2.2, 2.2, 2.1, 2.1, 2.0)

STEP = (1 / 34.5, 1 / 34.5, 6.0)  # of the body lattice: shares of the width, mm

MUSCLE, FAT, PAROTID, SUBMANDIBULAR, THYROID, NODE, MUCOSA = range(7)

# One side's cells: kind, pull in mm, then (nominal z, degrees from the front, share of the outline's radius) ...
CELLS: tuple[tuple[int, float, tuple[tuple[float, float, float], ...]], ...] = (
    (MUSCLE, 7, ((-100, 12, 0.84), (-60, 36, 0.82), (-20, 62, 0.82), (20, 85, 0.82), (64, 104, 0.82))),  # sternomastoid
    (MUSCLE, 7, ((-120, 120, 0.8), (-75, 128, 0.76), (-40, 142, 0.86), (0, 160, 0.88), (64, 174, 0.86))),  # trapezius
    (MUSCLE, 6, ((-80, 158, 0.68), (0, 146, 0.74), (66, 146, 0.74))),  # splenius
    (MUSCLE, 6, ((-110, 166, 0.6), (0, 165, 0.62), (66, 164, 0.62))),  # semispinalis
    (MUSCLE, 5, ((-120, 158, 0.42), (0, 155, 0.42), (50, 160, 0.42))),  # multifidus
    (MUSCLE, 5, ((-100, 138, 0.6), (-40, 122, 0.64), (0, 114, 0.65), (45, 112, 0.6))),  # levator scapulae
    (MUSCLE, 5, ((-95, 80, 0.5), (-60, 86, 0.55), (-20, 96, 0.54), (25, 102, 0.5))),  # middle and posterior scalene
    (MUSCLE, 3, ((-90, 55, 0.5), (-50, 66, 0.46), (-10, 74, 0.4))),  # anterior scalene
    (MUSCLE, 3, ((-100, 60, 0.16), (-40, 50, 0.18), (20, 50, 0.18), (60, 45, 0.16))),  # longus colli and capitis
    (MUSCLE, 2, ((-100, 10, 0.84), (-50, 16, 0.86), (-8, 16, 0.88))),  # strap muscles
    (MUSCLE, 5, ((4, 22, 0.74), (14, 24, 0.72), (26, 26, 0.7))),  # mylohyoid and digastric
    (MUSCLE, 14, ((14, 0, 0.5), (30, 0, 0.52), (50, 0, 0.5))),  # tongue
    (MUSCLE, 7, ((16, 64, 0.84), (40, 60, 0.86), (66, 56, 0.84))),  # masseter
    (MUSCLE, 5, ((18, 52, 0.56), (40, 48, 0.56), (66, 50, 0.54))),  # medial pterygoid
    (MUSCLE, 5, ((-230, 30, 0.85), (-160, 40, 0.85), (-115, 40, 0.85))),  # pectoral
    (MUSCLE, 9, ((-230, 140, 0.8), (-160, 130, 0.8), (-110, 115, 0.8))),  # around the scapula
    (MUSCLE, 9, ((-230, 90, 0.9), (-160, 88, 0.9), (-100, 86, 0.85))),  # deltoid
    (PAROTID, 6, ((24, 84, 0.82), (50, 82, 0.84), (74, 80, 0.84))),
    (SUBMANDIBULAR, 5, ((-6, 46, 0.72), (8, 48, 0.74), (22, 50, 0.66))),
    (THYROID, 6, ((-86, 30, 0.46), (-60, 38, 0.5), (-34, 44, 0.5))),
    (MUCOSA, 9, ((-100, 0, 0.3), (-40, 0, 0.36), (0, 0, 0.32), (40, 0, 0.24), (70, 0, 0.3))),  # visceral column
    (FAT, 4, ((-80, 48, 0.5), (-30, 58, 0.52), (20, 62, 0.5), (60, 62, 0.42))),  # carotid sheath
    (FAT, 5, ((-90, 82, 0.76), (-50, 92, 0.78), (-10, 100, 0.78), (20, 108, 0.76))),  # posterior triangle
    (FAT, 3, ((24, 42, 0.42), (66, 40, 0.42))),  # parapharyngeal
    (FAT, 4, ((30, 40, 0.76), (62, 42, 0.76))),  # buccal
    (FAT, 3, ((-16, 4, 0.62), (10, 6, 0.6))),  # pre-epiglottic
    (FAT, 6, ((-130, 70, 0.7), (-66, 72, 0.76))),  # supraclavicular
    (FAT, 6, ((-230, 20, 0.4), (-120, 20, 0.5))),  # mediastinum
)


class Habitus:
    """How large, fat, muscular and odd one body is."""

    def __init__(self, dice: Dice, wild: bool):
        """Thin to very fat; ``wild`` widens everything."""
        spread = 1.7 if wild else 1.0
        fatness = max(0.0, dice.normal(0.32, 0.24 * spread))
        bulk = dice.normal(1.0, 0.06 * spread)
        gone = (PAROTID, SUBMANDIBULAR, THYROID) if wild else (SUBMANDIBULAR, THYROID)
        self.width = bulk * dice.normal(1.0, 0.04 * spread) + 0.22 * fatness - 0.06
        self.depth = bulk * dice.normal(1.0, 0.04 * spread) + 0.22 * fatness - 0.06
        self.head = dice.normal(1.0, 0.035 * spread)  # the head's outline against the table above
        self.chest = dice.normal(1.0, 0.08 * spread)
        self.shoulder_mm = dice.normal(0.0, 13.0 * spread)  # shrugged (+) or dropped shoulders
        self.fat_mm = 1.5 + 14 * fatness  # subcutaneous thickness at the side of the neck
        # how far the fat between muscles pushes them apart, and half its thickness
        self.fatty_mm = dice.normal(0.0, 1.5 * spread) + 8 * (fatness - 0.3)
        self.septum_mm = dice.uniform(0.1, 0.6) + 0.8 * fatness + (dice.uniform(-0.6, 1.5) if wild else 0.0)
        self.warp_mm = dice.uniform(2.0, 6.0) * spread
        self.missing = [kind for kind in gone if dice.chance(0.3 if wild else 0.07)]  # kinds of cells
        self.extra_cells = int(dice.uniform(3, 30 if wild else 12))
        self.nodes = int(dice.uniform(2, 26 if wild else 14))


class Outline:
    """The skin as a radius around the axis, a function of angle and height.

    ``half_width``, ``front``, ``back``, ``square``, ``centre``, ``nominal``: [n] each, over `heights()`.
    """

    def __init__(self, dice: Dice, frame: Frame, habitus: Habitus, vessels: Tensor, wild: bool):
        """From the tables above, stretched by the habitus, but never so tight that the spine, the larynx or one of the
        ``vessels`` [n, 5] (LPS, radius, least depth under the skin) leaves the body."""
        self.frame, self.habitus, self.nominal = frame, habitus, frame.nominal
        nominal = frame.nominal
        lowered = nominal - habitus.shoulder_mm * interp(nominal, (-140, -100, -60, -20), (0.4, 1, 1, 0))
        rows = [interp(lowered, OUTLINE_Z, row) for row in (HALF_WIDTH, FRONT, BACK, SQUARE)]
        neck = interp(nominal, (-110, -85, 20, 70), (0, 1, 1, 0))
        head = interp(nominal, (10, 50), (0, 1))
        scale = frame.size
        beyond = (1 - neck) * (head * habitus.head + (1 - head) * habitus.chest)
        for row, stretch in zip(rows[:3], (habitus.width, habitus.depth, habitus.depth), strict=True):
            row *= scale * frame.girth * (neck * stretch + beyond)
        rows[1] += interp(nominal, (-10, 12, 50, 60), (0, 1, 1, 0)) * dice.normal(0, 4.0)
        rows = [smooth(row, 5) for row in rows]
        before_spine = interp(nominal, (-200, -100, -40, 40, 60, 100), (30, 20, 12, 12, 14, 16))
        axis = smooth(frame.spine_y - scale * before_spine, 8)
        clearance = 24 * scale + habitus.fat_mm
        rows[2] = torch.maximum(rows[2], frame.spine_y - axis + 34 * scale + habitus.fat_mm)
        throat = axis - frame.airway_y + clearance * interp(nominal, (-110, -90, 50, 60), (0, 1, 1, 0))
        rows[1] = torch.maximum(rows[1], throat)
        rows[0] = rows[0].clamp_min(40 * scale + habitus.fat_mm)
        self.half_width, self.front, self.back, self.square = (smooth(row, 4) for row in rows)
        self.centre = axis
        self.nose_mm = dice.uniform(10, 28)
        self.chin_mm = dice.normal(0, 4.0)
        self.apple_mm = dice.uniform(0, 6)
        self.ear_mm = dice.uniform(3, 20)
        self.waves = Waves.draw(dice, 12, 60, 260)
        self.wave_mm = dice.uniform(1.0, 3.5) * (2 if wild else 1)
        self.skew = dice.normal(0, 0.05 if wild else 0.025)
        self.chart = self._tabulated(vessels)  # [3, z, angle]: what `at` returns

    def _tabulated(self, vessels: Tensor) -> Tensor:
        """Skin radius, its slope's secant, and the radius of the head without nose, ears and orbits."""
        step = math.radians(2)
        angle = torch.arange(-92, 93)[None, :] * step
        plain, radius = self._radius(angle)
        row = ((vessels[:, 2] - Z_LOW) / Z_STEP).round().long().clamp(0, len(self.centre) - 1)
        x, y = vessels[:, 0], vessels[:, 1] - self.centre[row]
        column = (torch.atan2(x, -y) / step).round().long() + 92
        least = (x * x + y * y).sqrt() + vessels[:, 3] + vessels[:, 4]
        needed = torch.zeros(radius.numel()).scatter_reduce(0, row * 185 + column, least, "amax").reshape(1, 1, -1, 185)
        # A vessel too near the skin lifts it over a broad area, as fat would.
        lift = (needed - torch.minimum(plain, radius)).clamp_min(0)
        lift = F.max_pool2d(lift, (21, 25), 1, (10, 12))
        lift = F.avg_pool2d(lift, (17, 21), 1, (8, 10), count_include_pad=False)[0, 0]
        plain, radius = plain + lift, radius + lift
        steep = torch.gradient(radius, spacing=step, dim=1)[0] / radius
        return torch.stack([radius, (1 + steep * steep).sqrt(), plain])

    def at(self, angle: Tensor, z: Tensor) -> Tensor:
        """At ``angle`` (0 in front, positive to the left) and height: skin radius, the secant of its slope against the
        circle, and the radius without nose, ears and orbits. [3, ...] for broadcastable inputs."""
        angle, z = torch.broadcast_tensors(angle, z)
        across = angle * (1 / math.radians(184))
        along = (z - Z_LOW) * (2 / (Z_HIGH - Z_LOW)) - 1
        place = torch.stack([across, along], -1).reshape(1, 1, -1, 2)
        values = F.grid_sample(self.chart[None], place, padding_mode="border", align_corners=True)
        return values.reshape(3, *angle.shape)

    def box(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rectangle around each cross-section: half its width and depth, and the y of its middle, [n] mm each."""
        angle = torch.arange(-92, 93)[None, :] * math.radians(2)
        side, front, back = ((self.chart[0] * f).amax(1) for f in (angle.sin().abs(), angle.cos(), -angle.cos()))
        middle = self.centre + (back - front) / 2
        return smooth(side + 8, 6), smooth((front + back) / 2 + 8, 6), smooth(middle, 6)

    def _radius(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Radius without and with the face's relief at ``angle`` [1, m]: [n, m] each."""
        profiles = (self.half_width, self.front, self.back, self.square, self.nominal)
        half_width, front, back, square, nominal = (profile[:, None] for profile in profiles)
        depth = torch.where(angle.cos() > 0, front, back)
        sine, cosine = angle.sin(), angle.cos()
        radius = ((sine.abs() / half_width) ** square + (cosine.abs() / depth) ** square) ** (-1 / square)
        radius = radius * (1 + self.skew * sine)
        radius = radius + self.wave_mm * self.waves.at(80 * sine, -80 * cosine, nominal)

        def bump(at: float, spread: float, z: float, above: float, below: float) -> Tensor:
            height = torch.where(nominal > z, (nominal - z) / above, (nominal - z) / below)
            return torch.exp(-(((angle.abs() - at) / spread) ** 2) - height**2)

        relief = self.nose_mm * bump(0, 0.12, 70, 26, 9) + self.apple_mm * bump(0, 0.2, -20, 9, 9)
        relief = relief + self.chin_mm * bump(0, 0.35, 14, 10, 10) + 5 * bump(0, 0.3, 40, 8, 8)
        relief = relief + self.ear_mm * bump(1.72, 0.1, 74, 22, 20) - 9 * bump(0.42, 0.16, 96, 9, 12)
        return radius, radius + relief


def carve_body(dice: Dice, outline: Outline, hu: Tensor, arteries: Tensor) -> Lattice:
    """The body lattice over (x / half width, (y - middle) / half depth, z), see `Outline.box`.

    Channels: skin (depth below the skin), lean (positive in muscle, gland, mucosa; negative in fat), two parities
    (their zeros are the septa between cells; see `_cells`), lean HU, air (lungs), bone (ribs, clavicles, shoulder
    blades). ``hu`` [7] gives the mean HU of each kind of cell.
    """
    low, high = (-1.0, -1.0, float(outline.frame.z[0])), (1.0, 1.0, float(outline.frame.z[-1]))
    return Lattice.carved(dice, low, high, STEP, partial(_body, dice, outline, hu, arteries))


def _body(
    dice: Dice, outline: Outline, hu: Tensor, arteries: Tensor, u: Tensor, v: Tensor, z: Tensor
) -> tuple[Tensor, ...]:
    """The body lattice's channels at these nodes."""
    frame, habitus = outline.frame, outline.habitus
    half_x, half_y, middle, axis = (interp(z, frame.z, row) for row in (*outline.box(), outline.centre))
    x, y = torch.broadcast_tensors(u * half_x, v * half_y + middle - axis)
    radial = (x * x + y * y).sqrt().clamp_min(0.1)
    angle = torch.atan2(x, -y)
    radius, secant, _ = outline.at(angle, z)
    skin = (radius - radial) / secant * 0.93
    nominal = interp(z, frame.z, frame.nominal)

    bend = [Waves.draw(dice, 8, 40, 130, (1, 1, 2)) for _ in range(2)]
    curl = [Waves.draw(dice, 8, 14, 40, (1, 1, 2)) for _ in range(2)]
    wx = x + habitus.warp_mm * (bend[0].at(x, y, z) + 0.4 * curl[0].at(x, y, z))
    wy = y + habitus.warp_mm * (bend[1].at(x, y, z) + 0.4 * curl[1].at(x, y, z))
    fold = (wx * wx + 4).sqrt() - 2  # one side's cells serve both, differently warped
    steps = (STEP[1] * half_y, STEP[0] * half_x)
    lean, apart, first, second, value = _cells(dice, fold, wy, z, outline, hu, steps)
    behind = y > interp(z, frame.z, frame.spine_y) - axis
    apart = torch.where(behind, torch.minimum(apart, wx.abs()), apart)  # the nuchal ligament parts the sides
    first = torch.where(behind & (wx < 0), -first, first) * apart
    second = second * apart

    chin = 0.6 * interp(nominal, (-60, -30, 10, 30), (0, 0.7, 1, 0)) * torch.exp(-((angle / 0.8) ** 2))
    from_nape = ((angle.abs() - math.pi) / 0.8) ** 2
    nape = 0.7 * interp(nominal, (-90, -50, 40, 60), (1, 1, 1, 0)) * torch.exp(-from_nape)
    thick = habitus.fat_mm * frame.size * (1 + chin + nape + 0.3 * Waves.draw(dice, 6, 60, 200).at(x, y, z))
    thick = thick.clamp_min(1.0) * interp(nominal, (60, 90), (1.0, 0.45)) + 1.0
    platysma = 1.2 - (skin - 0.6 * thick).abs() - 3 * (nominal < -100) - 3 * (nominal > 40) - 6 * (angle.abs() > 2.0)
    lean = any_of(both(lean, skin - thick), platysma)
    air, bone = _thorax(dice, outline, x, y, z, nominal, skin)
    air = _spared(air, x, y + axis, z, arteries)
    lean = any_of(lean, both(air + 14, skin - thick, 3 - air.abs()))
    return skin, lean, first, second, value, air, bone


def _cells(
    dice: Dice, x: Tensor, y: Tensor, height: Tensor, outline: Outline, hu: Tensor, steps: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Power diagram of the cells: depth in a lean kind of cell, distance to the border with the next, two signs, HU.

    Every cell has two random signs. A distance with a sign that changes across a border is smooth there, so that a
    septum keeps its edge when it is interpolated; three borders of four have at least one such sign.
    """
    frame, habitus = outline.frame, outline.habitus
    nominal = interp(height, frame.z, frame.nominal)
    nearest_lean, nearest_fat, second = (torch.full(x.shape, 1e6) for _ in range(3))
    value = torch.full(x.shape, float(hu[MUSCLE]))
    signs = (torch.ones(x.shape), torch.ones(x.shape))
    cells = [cell for cell in CELLS if cell[0] not in habitus.missing]
    for _ in range(habitus.extra_cells):
        level, tall = dice.uniform(-110, 70), dice.uniform(15, 60)
        turn, share = dice.uniform(20, 170), dice.uniform(0.35, 0.85)
        kind = MUSCLE if dice.chance(0.7) else FAT
        drift = dice.normal(0, 12)
        ends = ((level - tall, turn - drift, share), (level + tall, turn + drift, share))
        cells.append((kind, dice.uniform(2, 6), ends))
    for _ in range(habitus.nodes):
        level, tall = dice.uniform(-80, 40), dice.uniform(2, 7)
        turn, share = dice.uniform(45, 110), dice.uniform(0.45, 0.8)
        cells.append((NODE, dice.uniform(3, 6), ((level - tall, turn, share), (level + tall, turn + 4, share))))
    for kind, pull, path in cells:
        knots = [p[0] for p in path]
        margin = 14 if kind != NODE else 5
        rows = torch.nonzero((nominal[:, 0, 0] > knots[0] - margin) & (nominal[:, 0, 0] < knots[-1] + margin)).flatten()
        turn, deep, grow = dice.normal(0, 5.0), dice.normal(1.0, 0.06), dice.normal(1.0, 0.15)
        tone = float(hu[kind]) + dice.normal(0, 5.0)
        coins = [1.0 if dice.chance(0.5) else -1.0 for _ in signs]
        if len(rows) == 0:
            continue
        slab = slice(int(rows[0]), int(rows[-1]) + 1)
        z = nominal[slab]
        angle = torch.deg2rad(interp(z, knots, [p[1] + turn * min(1.0, p[1] / 30) for p in path]))
        reach = outline.at(angle, height[slab])[0] - 0.5 * habitus.fat_mm * frame.size
        reach = reach * interp(z, knots, [p[2] * deep for p in path])
        over = (knots[0] - z).clamp_min(0) + (z - knots[-1]).clamp_min(0)
        distance = (x[slab] - reach * angle.sin()) ** 2 + (y[slab] + reach * angle.cos()) ** 2
        distance = (distance + (1.5 * over) ** 2).sqrt_() - pull * grow * frame.size
        if kind == FAT:
            distance = distance - habitus.fatty_mm
            nearest_fat[slab] = torch.minimum(nearest_fat[slab], distance)
            continue
        closer = distance < nearest_lean[slab]
        second[slab] = torch.where(closer, nearest_lean[slab], torch.minimum(second[slab], distance))
        value[slab] = torch.where(closer, tone, value[slab])
        for sign, coin in zip(signs, coins, strict=True):
            sign[slab] = torch.where(closer, coin, sign[slab])
        nearest_lean[slab] = torch.minimum(nearest_lean[slab], distance)
    # Distances to two cells grow apart slowly where both lie in the same direction: divide by the gradient to get mm.
    apart = second.clamp(max=200) - nearest_lean.clamp(max=200)
    down, right = (torch.gradient(apart, dim=d)[0] / step for d, step in zip((1, 2), steps, strict=True))
    apart = (apart / (down * down + right * right).sqrt().clamp(0.45, 2.0)).clamp(max=12)
    return both((nearest_fat - nearest_lean) / 2, 30 - nearest_lean), apart, *signs, value


def _spared(air: Tensor, x: Tensor, y: Tensor, z: Tensor, arteries: Tensor) -> Tensor:
    """Lungs that keep out of the great vessels [n, 4]."""
    rows = torch.nonzero(z.flatten() < -70).flatten()
    low = arteries[arteries[:, 2] < -60]
    if not len(low) or not len(rows):
        return air
    low = low[:: max(1, len(low) // 60)]
    slab = slice(0, int(rows[-1]) + 1)
    at = torch.stack([x[slab], y[slab], z[slab].expand_as(x[slab])], -1).reshape(-1, 3)
    free = torch.full((len(at),), 99.0)
    for part in range(0, len(low), 30):
        some = low[part : part + 30]
        free = torch.minimum(free, (torch.cdist(at, some[:, :3]) - some[:, 3]).amin(1))
    return torch.cat([torch.minimum(air[slab], free.reshape(air[slab].shape) - 4), air[slab.stop :]])


def _thorax(
    dice: Dice, outline: Outline, x: Tensor, y: Tensor, z: Tensor, nominal: Tensor, skin: Tensor
) -> tuple[Tensor, Tensor]:
    """Lungs (air field) and the bones of the shoulders (bone field); y is measured from the axis."""
    profiles = (outline.frame.spine_y - outline.centre, outline.half_width, outline.front)
    spine, half_width, front = (interp(z, outline.frame.z, profile) for profile in profiles)
    side = x.abs()
    apex = -82 + dice.normal(0, 7.0)
    grown = ((apex - nominal) / 75).clamp(0, 1) ** 0.75
    lungs = bowl(side - 30 - 32 * grown, y - spine + 8 + 12 * grown, 6 + 46 * grown, 8 + 60 * grown, 0.2)
    air = torch.where(nominal < apex, lungs, -9.0 - (nominal - apex).clamp_min(0))
    pitch = dice.uniform(26, 34)
    phase = torch.remainder(nominal + 0.55 * y - 0.12 * side + 10, pitch) - pitch / 2
    ribs = both(4.5 - (air + 7).abs(), 5.0 - phase.abs(), -70 - nominal)
    lift, reach = dice.normal(0, 6.0), half_width * 0.82
    out = (side / reach).clamp(0, 1.3)
    clavicle_y = -front * 0.72 * (1 - 0.75 * out**2)
    clavicle = 6.0 - ((y - clavicle_y) ** 2 + (nominal + 98 - lift - 16 * out) ** 2).sqrt()
    clavicle = both(clavicle, side - 12, reach - side)
    blade = 3.5 - (y - spine - 38 + 0.3 * (side - 60)).abs()
    blade = both(blade, side - 55, reach * 0.85 - side, -98 + lift + 0.3 * (side - 60) - nominal)
    head = 24 - ((side - reach) ** 2 + y**2 + (nominal + 118 - lift).clamp_min(0) ** 2).sqrt()
    shaft = both(13 - ((side - reach - 4) ** 2 + y**2).sqrt(), -118 + lift - nominal)
    sternum = both(bowl(x, y + front * 0.8, 26, 8), -104 - nominal)
    return air, both(any_of(ribs, clavicle, blade, head, shaft, sternum), skin - 4)
