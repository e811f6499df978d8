"""Bones of the sculpted neck: the spine as a periodic field along its curve; skull and jaws as shells and arcs."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..dice import Dice
from .body import Outline
from .fields import Lattice, Waves, any_of, both, bowl, interp, melt
from .frame import NOMINAL, Frame

# Per level, C1 to T9 (mm): body half width and depth, spinous process beyond the canal, its droop, transverse reach.
BODY_WIDTH = (5.5, 8.5, 9.0, 9.5, 10, 10.5, 12, 14, 14, 14, 14, 14.5, 15, 15.5)
BODY_DEPTH = (5.5, 7.0, 7.5, 7.5, 8, 8, 8.5, 9, 9.5, 10, 10.5, 11, 11.5, 12)
SPINOUS = (5, 15, 12, 12, 14, 18, 27, 30, 30, 30, 30, 30, 30, 30)
DROOP = (0, 0.1, 0.3, 0.35, 0.35, 0.35, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8)
TRANSVERSE = (33, 22, 23, 24, 25, 26, 30, 33, 32, 31, 30, 30, 30, 30)
NO_BONE = -20.0


def carve_spine(dice: Dice, frame: Frame, disc_hu: float, canal_hu: float, wild: bool) -> Lattice:
    """The spine lattice over (across, behind, along the curve), mm from the middle of the bodies.

    Channels: bone, column (discs, canal and joints: positive where they replace soft tissue), column HU.
    """
    low, high = (-40.5, -21.0, float(frame.level_z[-1]) - 12), (40.5, 57.0, float(frame.level_z[0]) + 14)
    carve = partial(_spine, dice, frame, disc_hu, canal_hu, wild)
    return Lattice.carved(dice, low, high, (1.5, 1.5, 2.0), carve).closed(0, 1)


def _spine(
    dice: Dice, frame: Frame, disc_hu: float, canal_hu: float, wild: bool, u: Tensor, v: Tensor, z: Tensor
) -> tuple[Tensor, ...]:
    """The spine lattice's channels at these nodes."""
    rough = Waves.draw(dice, 8, 7, 30).at(u, v, z)
    bend = Waves.draw(dice, 5, 25, 90)
    size = frame.size * dice.normal(1.0, 0.05)
    u, v = (u + 1.2 * bend.at(u, v, z)) / size, v / size
    side = u.abs()

    level = torch.argmin((z.flatten()[:, None] - frame.level_z).abs(), dim=1)
    gaps = (frame.level_z[:-1] - frame.level_z[1:]).abs()
    pitch = torch.cat([gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]])
    jitter = 1 + (0.12 if wild else 0.05) * dice.normals(5, len(frame.level_z)).clamp(-2, 2)

    def by_level(values: tuple[float, ...], row: int) -> Tensor:
        return (torch.tensor(values) * jitter[row])[level][:, None, None]

    offset = z - frame.level_z[level][:, None, None]
    half_pitch = pitch[level][:, None, None] / 2
    atlas, axis, thoracic = (flag[:, None, None] for flag in (level == 0, level == 1, level > 6))
    width, depth = by_level(BODY_WIDTH, 0), by_level(BODY_DEPTH, 1)
    disc = dice.uniform(1.2, 2.8)
    worn = (dice.uniform(0, 1) * dice.uniforms(0, 1, len(NOMINAL)))[level][:, None, None] * 2.0

    waist = 1 - 0.1 * (1 - (offset / half_pitch) ** 2)
    body = bowl(u, v, width * waist + 0.6 * worn, depth * waist + 0.6 * worn, 0.4)
    plate = half_pitch - (disc - 0.5 * worn).clamp_min(0.4) + 0.8 * ((u / width) ** 2).clamp(max=1.5)
    bodies = both(body, torch.where(atlas | (axis & (offset > 0)), torch.full_like(plate, 9.0), plate - offset.abs()))

    canal_v = depth + 7.0
    canal = torch.where(atlas, bowl(u, v - 12, 13.5, 13.0), bowl(u, v - canal_v, 11.0, 7.5))
    tall = torch.where(thoracic, 8.0, 6.0) - 0.5 * (half_pitch < 7)
    tilt = offset + by_level(DROOP, 2) * (v - canal_v - 6).clamp_min(0) + dice.normal(0, 0.5)
    wall = dice.uniform(1.5, 2.2)
    arch = both(wall - (canal + wall).abs(), tall - tilt.abs(), v - depth + 3)
    reach = by_level(SPINOUS, 3)
    split = torch.where(thoracic, 0.0, (v - canal_v - 8 - 0.6 * reach).clamp_min(0) * 0.5)
    spinous = both(
        2.6 - (side - split).abs(),
        canal_v + 8 + reach - v,
        v - canal_v - 6.5,
        torch.where(thoracic, 5.0, 4.5) - tilt.abs(),
    )
    spinous = torch.where(atlas, NO_BONE, spinous)
    joint = (offset - 0.5 * (v - depth - 3)).abs()
    pillar = both(bowl(side - width - 7.5, v - depth - 2.5, 6.2, 6.2, 0.3), half_pitch - 0.6 - joint.clamp_max(99))
    pillar = torch.where(thoracic, pillar - 2.0, pillar)
    mass = both(bowl(side - 18.5, v - 2, 7.0, 9.0, 0.2), 9.5 + 0.2 * side - offset.abs() - 4)
    ahead = v + 9.5 - 0.012 * u * u
    front_arch = both(2.6 - ((u * 0.35) ** 2 + ahead**2).sqrt().clamp_min(ahead.abs()), 5 - offset.abs(), 17 - side)
    pillar = torch.where(atlas, any_of(mass, front_arch), pillar)

    hole_u, hole_v = (interp(z, frame.foramina[:, 0], frame.foramina[:, column]) for column in (1, 2))
    hole = ((side - hole_u / size) ** 2 + (v - hole_v / size) ** 2).sqrt()
    across = by_level(TRANSVERSE, 4)
    process_v = torch.where(thoracic, depth + 4 + 0.25 * (side - 12), hole_v / size + 0.2 * (side - hole_u / size))
    half_tall = torch.where(thoracic, 5.0, 4.4)
    process = both(
        (half_tall**2 - ((offset - 1 + 0.25 * (side - 14)) ** 2)).clamp_min(0).sqrt()
        - (v - process_v).abs() * torch.where(thoracic, 1.0, 0.8),
        across - side,
        side - width + 2,
        half_tall - (offset - 1).abs(),
    )
    ring = both(5.4 - hole, half_tall - offset.abs())
    transverse = torch.where(thoracic, process, any_of(process, ring))

    bone = melt(melt(bodies, any_of(arch, transverse), 1.5), any_of(spinous, pillar), 1.5)
    bone = both(bone, torch.where(thoracic, 9.0, hole - 3.1), -canal + 0.3)
    bone = bone * size + 0.45 * rough
    if wild and dice.chance(0.3):  # some levels fused or missing
        bone = bone + interp(z, frame.level_z.flip(0), dice.uniforms(-9, 3, len(frame.level_z)))
    column = any_of(body, canal, both(bowl(side - width - 7.5, v - depth - 2.5, 6, 6), 1.5 - joint)) * size
    cord = bowl(u, v - torch.where(atlas, 13.0, canal_v), 6.0, 4.2)
    inside = torch.where(cord > 0, canal_hu + 18.0, canal_hu)
    hu = torch.where(canal > -1, inside, disc_hu)
    return bone, column, hu


class Mouth:
    """Jaws and teeth: what one head has."""

    def __init__(self, dice: Dice, outline: Outline):
        """Some toothless, some open-mouthed; the face lies under the outline's skin."""
        self.frame = frame = outline.frame
        lips = interp(torch.tensor([50.0]), outline.nominal, outline.centre - outline.front)
        # front of the upper jaw, from the spine at C1 (unscaled mm), and its curve and height
        self.face_y = (float(lips) - frame.top_y) / frame.size + dice.uniform(9, 13)
        self.arch_mm = dice.uniform(330, 560)
        self.bite = 37 + dice.normal(0, 2.0)
        self.teeth = dice.chance(0.85)
        self.open_mm = dice.uniform(0, 14) if dice.chance(0.3) else dice.uniform(0, 3)
        self.sinuses = dice.uniform(0.6, 1.15) if dice.chance(0.9) else dice.uniform(0.0, 0.6)
        self.pneumatised = dice.uniform(-0.5, 1.5)

    def metal(self, dice: Dice) -> Tensor:
        """Crowns and fillings: centre and radius, [n, 4]; most mouths have none."""
        count = int(dice.uniform(1, 7)) if self.teeth and dice.chance(0.4) else 0
        frame, rows = self.frame, []
        for _ in range(count):
            u = dice.uniform(8, 26) * (1 if dice.chance(0.5) else -1)
            z = self.bite + (5 if dice.chance(0.5) else -7 - self.open_mm)
            v = self.face_y + 4 + abs(u) ** 3 / self.arch_mm
            above = float(frame.level_z[0]) + (z - 56) * frame.size
            centre = (frame.top_x + u * frame.size, frame.top_y + v * frame.size, above)
            rows.append((*centre, dice.uniform(1.2, 3.8)))
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def carve_head(dice: Dice, outline: Outline, mouth: Mouth) -> Lattice:
    """The head lattice over (x, y, z) from the middle of C1, mm.

    Channels: bone, air (sinuses, nose, mouth), cavity (brain; positive inside the skull), enamel.
    """
    size = outline.frame.size
    low, high = (-88.0 * size, -118.0 * size, -72.0 * size), (88.0 * size, 104.0 * size, 128.0 * size)
    carve = partial(_head, dice, outline, mouth)
    return Lattice.carved(dice, low, high, (2.7, 2.7, 2.7), carve).closed(0, 1, 2, 3)


def _head(dice: Dice, outline: Outline, mouth: Mouth, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """The head lattice's channels at these nodes."""
    frame = outline.frame
    size = frame.size
    rough = Waves.draw(dice, 8, 9, 40).at(u, v, w)
    bend = [Waves.draw(dice, 5, 60, 160).at(u, v, w) * 1.6 for _ in range(3)]
    z_patient = float(frame.level_z[0]) + w
    axis = interp(z_patient, frame.z, outline.centre) - frame.top_y
    angle, radial = torch.atan2(u, -(v - axis)), (u * u + (v - axis) ** 2).sqrt()
    scalp_at = outline.at(angle, z_patient)[2]
    u, v, w = ((a + b) / size for a, b in zip((u, v, w), bend, strict=True))
    side = u.abs()
    z = w + 56

    floor = 62 + interp(v, (-90, -50, -30, -12, 10, 60), (38, 34, 22, 10, -4, -2)) + 3 * rough
    thick = dice.uniform(4.5, 8.0)
    scalp = dice.uniform(4, 8) + 3
    vault = (scalp_at - radial) / size - scalp - thick
    top = 56 + dice.normal(116, 4)
    cavity = both(vault, z - floor, (top - z) * 0.9)
    half = thick / 2 + 0.6 * rough
    skull = half - (cavity + half).abs()
    magnum = (u**2 + (v - 10) ** 2).sqrt() - 14
    skull = both(skull, magnum)
    petrous = both(bowl(side - 44, v - 8, 26, 11), 12 - (z - 70).abs(), any_of(side - 14, -magnum))
    mastoid = bowl(side - 52, v - 16, 10, 14) - 0.6 * ((z - 56).abs() - 8).clamp_min(0)
    condyle = bowl(side - 17, v - 2, 7, 10) - 0.8 * ((z - 63).abs() - 4).clamp_min(0)
    clivus = both(bowl(u, v + 12, 15, 12), 12 - (z - 72 + 0.4 * (v + 12)).abs())

    face_y, arch_k, bite = mouth.face_y, mouth.arch_mm, mouth.bite
    arch = (face_y + 4 + side**3 / arch_k - v) / (1 + (3 * u * u / arch_k) ** 2).sqrt()
    alveolus = both(5.5 - arch.abs(), 12 - (z - bite - 17).abs(), face_y + 50 - v)
    palate = both(2.0 - (z - bite - 23 + 0.01 * u * u).abs(), -arch + 4, -22 - v)
    sinus = (
        mouth.sinuses * 15
        - (((side - 29) * 1.05) ** 2 + (v - face_y - 30) ** 2 * 0.7 + (z - bite - 36) ** 2 * 0.7).sqrt()
        + 2 * rough
    )
    taper = (z - bite - 22) / 40
    nose = (
        both(
            bowl(u, v - face_y - 34, 14 - 8 * taper.clamp(0, 1), 34 - 14 * taper.clamp(0, 1), 0.3),
            20 - (z - bite - 42).abs(),
        )
        - rough
    )
    ethmoid = both(bowl(u, v - face_y - 40, 13, 26), 9 - (z - bite - 58).abs()) - rough
    sphenoid = bowl(u, v + 26, 12, 12) - ((z - 80).abs() - 6).clamp_min(0)
    maze = Waves.draw(dice, 8, 9, 18, (0.6, 2, 1)).at(u, v, z)
    turbinate = both(nose, 2.4 * maze - 1.0)
    septum = both(1.2 - (u - dice.normal(0, 1.5) - rough).abs(), nose + 1)
    cells = both(ethmoid, 2.0 * maze + 1)
    hollow = any_of(sinus, ethmoid, sphenoid)
    walls = any_of(1.3 - (hollow + 1.0).abs(), both(1.3 - (nose + 1.2).abs(), z - bite - 22))
    orbit = 20 - ((side - 33) ** 2 + (v - face_y - 24) ** 2 * 0.5 + (z - 100) ** 2).sqrt()
    rim = both(2.2 - (orbit + 1.5).abs(), v + face_y * -1 - 8)
    sheet = 2.6 - (side - 62 + ((face_y + 30 + 20 - v).clamp_min(0) ** 2) / 16).abs() * 0.8
    cheek = both(sheet, 4.5 - (z - 78 + 0.1 * v).abs(), -10 - v, side - 30)
    malar = 12 - ((side - 46) ** 2 * 0.6 + (v - face_y - 24) ** 2 + (z - 76) ** 2 * 0.5).sqrt()
    face = any_of(alveolus, palate, walls, rim, cheek, malar, turbinate - 1.0, septum)

    jaw = _jaw(dice, u, v, z, mouth)
    styloid_at = ((60 - z) * 0.05, -(60 - z) * 0.5)
    styloid = both(
        dice.uniform(1.3, 2.4) - ((side - 33 + styloid_at[0]) ** 2 + (v + 2 - styloid_at[1]) ** 2).sqrt(),
        62 - z,
        z - dice.uniform(28, 45),
    )
    pterygoid = both(1.8 - (side - 18 - 0.25 * (v + 40)).abs(), -28 - v, v + 44, z - bite - 12, bite + 42 - z)

    enamel = torch.full_like(u + v + w, NO_BONE)
    if mouth.teeth:
        along = torch.atan2(u, v - face_y - 50)
        gaps = torch.cos(along * dice.uniform(20, 26))
        missing = (dice.uniforms(0, 1, 24) < dice.uniform(0.0, 0.4)).float() * NO_BONE
        missing = interp(along, torch.linspace(-math.pi, math.pi, 24), missing)
        crown = both(3.6 - arch.abs(), 8.5 - (z - bite - 7).abs(), -22 - v)
        lower = both(3.2 - (arch - 1.5).abs(), 8.0 - (z - bite + 9 + mouth.open_mm).abs(), -24 - v)
        enamel = any_of(crown, lower) + 0.8 * (gaps - 0.4) + missing
    bone = any_of(skull, petrous, mastoid, condyle, clivus, face, jaw, styloid, pterygoid, enamel)
    bone = both(bone, any_of(vault + 99 * (z < 66), vault + thick + 0.5)) + 0.35 * rough
    air = any_of(
        both(hollow, 2.4 * maze + 3.2 if mouth.sinuses > 0.7 else hollow),
        both(nose, 0.6 - 2.4 * maze, 0.1 - septum),
        cells,
    )
    air = any_of(
        air,
        both(mastoid, 2.5 * maze + mouth.pneumatised - 1.6),
        both(petrous - 2, 2.5 * maze + mouth.pneumatised - 2.6),
    )
    gap = both(
        mouth.open_mm / 2 - 0.6 - (z - bite + mouth.open_mm / 2).abs() * 0.8, -arch - 2, 34 + face_y - v + 6 * rough
    )
    air = any_of(air, gap)
    return bone * size, both(air, vault + thick + 8) * size, cavity * size, enamel * size


def _jaw(dice: Dice, u: Tensor, v: Tensor, z: Tensor, mouth: Mouth) -> Tensor:
    """Mandible: a parabolic arc with a lower edge that climbs to the angle, rami, condyles and coronoids."""
    side, bite, drop = u.abs(), mouth.bite, mouth.open_mm * 0.8
    chin = mouth.face_y + dice.normal(3, 2.0)
    width = dice.uniform(33, 42)
    back = -16 + dice.normal(0, 3.0)
    slope = 2 * u / width  # of the parabola that opens to the back
    arc = (chin + u * u / width - v) / (1 + slope * slope).sqrt() - 1.0 + 0.12 * (bite - 14 - z)
    lower = dice.normal(4, 2.5) + 0.24 * (v - chin) - drop
    upper = bite - 9 - drop
    body = both(5.6 - arc.abs(), z - lower, upper - z, back - v)
    wide = math.sqrt(width * (back - 8 - chin)) + 2
    ramus_x = wide + 0.03 * (z - 30)
    ramus_y = back - 16 + 0.12 * (z - 30)
    ramus = both(
        4.0 - (side - ramus_x).abs(),
        17 - (v - ramus_y).abs(),
        z - lower - 2,
        60 - drop - z - 6 * torch.cos((v - ramus_y) / 4.5),
    )
    condyle = 7 - ((side - ramus_x + 1) ** 2 * 0.5 + (v - ramus_y - 11) ** 2 + (z - 65 + drop * 0.3) ** 2).sqrt()
    return melt(body, any_of(ramus, condyle), 3.0)
