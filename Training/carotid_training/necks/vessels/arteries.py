"""The arteries of the neck: aortic arch to circle of Willis. Lumens only; walls and disease are put on later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from ..dice import Dice, Points
from .layout import Layout
from .paths import Place, Tube, arc_length, curve, with_loop

SIDES = {"left": 1, "right": -1}
_ROUND_MM = 5.0  # how far below and above the flow divider the angle of a fork is taken


@dataclass(frozen=True)
class Carotid:
    """One side's bifurcation as drawn: the three lumens, and what disease and veins need to know about them.

    ``towards_internal`` is the unit vector from the external to the internal carotid at their junction; ``apex_mm`` the
    approximate length of internal carotid, from the junction, below the flow divider.
    """

    side: str
    common: Tube
    internal: Tube
    external: Tube
    towards_internal: Points
    apex_mm: float

    @property
    def lumens(self) -> tuple[Tube, Tube, Tube]:
        """Common, internal and external."""
        return self.common, self.internal, self.external


def draw_carotid(
    dice: Dice, layout: Layout, side: str, height: float, lateral: float, hu: float, wild: float, randomised: bool
) -> Carotid:
    """``height`` (z of the flow divider) and ``lateral`` (its distance from the spine's midline) in mm.

    ``wild`` and ``randomised``: see `VesselTree.draw`.
    """
    sign = SIDES[side]
    size = layout.size * dice.normal(1.0, 0.05, 0.75, 1.3)
    r_common = dice.normal(3.2, 0.2 * (1 + 2 * wild), 2.2, 5.0) * size
    r_internal = dice.normal(2.68, 0.5 * (1 + 0.5 * wild), 1.5, 4.0) * size
    r_bulb = max(r_common * 1.02, r_internal * 1.1, dice.normal(4.1, 0.55 * (1 + wild), 2.6, 6.5) * size)
    r_external = dice.normal(2.25, 0.42 * (1 + 0.5 * wild), 1.2, 3.6) * size
    azimuth = np.deg2rad(dice.normal(48, 32)) if dice.chance(0.9) else np.deg2rad(dice.uniform(90, 250))
    towards = np.array([sign * np.cos(azimuth), np.sin(azimuth), 0.0])  # 0: internal lateral; 90 degrees: behind
    angle = dice.normal(29, 15, 11, 56) if not wild else dice.uniform(8, 75)
    # The axes part as apart * (1 - exp(-(s / length)^2)); beyond the flow divider most run on wall to wall.
    ratio = dice.uniform(1.11, 1.2) if dice.chance(0.85) and angle < 40 else dice.uniform(1.2, 2.0)
    apart, where = (r_bulb + r_external) * ratio, np.sqrt(-np.log(1 - 1 / ratio))
    apex = _apex(np.deg2rad(angle), apart, where)
    length = apex / where
    share = dice.uniform(0.25, 0.7)

    z = (height - 0.95 * apex) / layout.size  # of the junction, in the mean adult
    medial = _medial_course(dice, z, wild, randomised)
    wave = [dice.waves(abs(dice.normal(0, 1.5 * (1 + wild))), 45, 130) for _ in range(2)]
    above = [dice.waves(abs(dice.normal(0, 1.8 * (1 + wild))), 30, 80) for _ in range(2)]

    def shift(points: Points) -> Points:
        h = points[:, 2] / layout.size
        window = np.clip((h + 118) / 40, 0, 1) * np.clip((64 - h) / 18, 0, 1)
        inward = np.minimum(medial(h) * window, np.abs(points[:, 0]) - 7)
        moved = points.copy()
        moved[:, 0] += wave[0](h) * window - sign * np.maximum(inward, 0)
        moved[:, 1] += wave[1](h) * window
        # The landmark's own side-to-side place was drawn: the waves must not move it once more.
        moved[:, 0] -= wave[0](np.array([z])) * np.exp(-(((h - z) / 30) ** 2)) * window
        return moved

    junction = layout.at(lateral / layout.width, dice.normal(-18, 5.0 * (1 + 0.8 * wild)), z, sign)
    junction[:2] += (0.5 - share) * (r_bulb + r_external) * towards[:2]
    low: list[Place] = [(7, -38, -128), (13, -32, -106), (18, -28, -82), (21, -25, -58), (23, -22, -38)]
    if side == "right":
        low = [(17, -33, -94), (19.5, -29, -76), (21.5, -25, -55), (23, -22, -38)]
    below = [layout.at(*place, sign) for place in low if place[2] < z - 22]
    rise = np.array([sign * dice.normal(0.04, 0.08), dice.normal(0.08, 0.12), 1.0])
    rise /= np.linalg.norm(rise)
    steps = length * np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.1, 2.1 + dice.uniform(2, 18) / length])
    steps = steps[z + steps / layout.size < 57]
    end = z + steps[-1] / layout.size
    spread = apart * (1 - np.exp(-((steps / length) ** 2)))
    trunk = junction + steps[:, None] * rise
    inner = trunk + share * spread[:, None] * towards
    outer = trunk - (1 - share) * spread[:, None] * towards
    base: list[Place] = [(27, -5, 64), (26.5, -5, 75), (21, -11, 82), (13, -17, 83), (11.5, -20, 90)]
    base += [(11, -31, 93), (10.5, -33, 98), (12, -27, 101), (14, -26, 107)]
    rest: list[Place] = [p for p in ((28, -10, 36), (28, -7, 50)) if p[2] > end + 10]
    whole = np.array([*below, junction - 9 * rise, *inner, *(layout.at(*p, sign) for p in rest + base)])
    whole = shift(curve(whole, 1.5))
    cut = int(np.argmin(np.linalg.norm(whole - shift(junction[None]), axis=1)))
    internal = whole[cut:].copy()
    h = internal[:, 2] / layout.size
    ramp = np.clip((h - z - 24) / 15, 0, 1) * np.clip((62 - h) / 12, 0, 1) * (arc_length(internal) < 120)
    internal[:, :2] += np.stack([wave(h) for wave in above], axis=1) * ramp[:, None]
    common = whole[: cut + 1]
    room = 62 * layout.size - junction[2]
    if room > 48 and dice.chance(0.10 + 0.2 * wild):
        turn = dice.uniform(2.0, 2 * np.pi + 0.5)
        internal = with_loop(
            internal, dice.uniform(30, room - 16), dice.uniform(4.5, 8), turn, dice.uniform(0, 2 * np.pi)
        )
    if len(common) > 50 and dice.chance(0.05 + 0.1 * wild):
        spot = dice.uniform(0.25, 0.6) * arc_length(common)[-1]
        common = with_loop(common, spot, dice.uniform(6, 10), dice.uniform(1.5, 3.5), dice.uniform(0, 2 * np.pi))
        common[-1] = internal[0]

    back = [p for p in ((36, -21, 30), (42, -16, 46), (46, -14, 58)) if p[2] > end + 6]
    external = np.array([junction - 2 * rise, *outer, *(layout.at(*p, sign) for p in back)])
    external = shift(curve(external, 1.5))

    arc = arc_length(internal)
    bulge, fade = apex + dice.uniform(-2, 4), dice.uniform(8, 14)
    r_inside = PchipInterpolator(
        [0, bulge, bulge + fade, bulge + 2 * fade, 90, 130, 260],
        [1.06 * r_common, r_bulb, (r_bulb + 2 * r_internal) / 3, r_internal, 0.95 * r_internal, 0.8 * r_internal, 0.5],
    )(arc)
    noise = dice.waves(0.035 * (1 + wild), 15, 60)
    from_below = arc_length(common)[-1] - arc_length(common)
    r_below = r_common * (1 + 0.06 * np.exp(-from_below / 8) + 0.15 * np.exp(-((arc_length(common)) / 15)))
    r_outside = r_external * PchipInterpolator([0, apex, 40, 90, 200], [1.15, 1.1, 0.95, 0.75, 0.5])(
        arc_length(external)
    )
    return Carotid(
        side,
        Tube(f"{side}_common_carotid", "lumen", common, r_below * (1 + noise(from_below)), hu),
        Tube(f"{side}_internal_carotid", "lumen", internal, np.maximum(r_inside * (1 + noise(-arc)), 0.9), hu),
        Tube(f"{side}_external_carotid", "lumen", external, r_outside, hu),
        towards,
        apex,
    )


def _apex(angle: float, apart: float, where: float) -> float:
    """The mm from junction to flow divider with which the axes make about ``angle`` (radians) around the divider."""
    apex = np.linspace(4.5, 16.0, 47)
    below, above = (apart * (1 - np.exp(-((where * (apex + mm) / apex) ** 2))) for mm in (-_ROUND_MM, _ROUND_MM))
    off = 2 * np.arctan((above - below) / (4 * _ROUND_MM)) - angle
    return float(apex[np.argmin(np.abs(off))])


def _medial_course(dice: Dice, z: float, wild: float, randomised: bool) -> Callable[[Points], Points]:
    """How many mm the carotid swings behind the pharynx at heights h: the retropharyngeal course, seldom."""
    if not dice.chance(0.09 + 0.2 * wild):
        return np.zeros_like
    # Mostly above the bifurcation, sometimes with it: then two bifurcations are 20 to 35 mm apart, as in no published
    # case (least 38 mm).
    centre = z + (dice.uniform(22, 34) if dice.chance(0.6) else dice.uniform(-15, 15))
    depth, reach = dice.uniform(7, 18), dice.uniform(14, 24)
    if not randomised:
        centre = z + 1.5 * reach
    return lambda h: depth * np.exp(-(((h - centre) / reach) ** 2))


def carotid_branches(dice: Dice, layout: Layout, carotid: Carotid, hu: float) -> list[Tube]:
    """Branches of the external carotid, and the middle and anterior cerebral arteries."""
    sign = SIDES[carotid.side]
    external, internal = carotid.external, carotid.internal
    arc = external.arc
    thickness = dice.normal(1.0, 0.15, 0.6, 1.5)
    # Where it leaves (mm beyond the flow divider), its radius, the places it passes (side, back, z).
    root = carotid.apex_mm
    z = external.points[np.searchsorted(arc, root)][2] / layout.size
    low, high, top = min(z - 38, -38), max(z + 28, 45), max(z + 42, 58)
    plan = {
        "superior_thyroid": (dice.uniform(-1, 5), 0.95, [(25, -35, z - 6), (20, -40, z - 22), (19, -34, low)]),
        "ascending_pharyngeal": (dice.uniform(0, 5), 0.55, [(23, -15, z + 12), (20, -12, high), (20, -12, top)]),
        "lingual": (
            dice.uniform(6, 12),
            1.05,
            [(24, -38, z + 12), (16, -50, max(z + 10, 14)), (8, -62, max(z + 16, 22))],
        ),
        "facial": (
            dice.uniform(9, 17),
            1.15,
            [(32, -40, z + 20), (40, -50, max(z + 14, 20)), (40, -58, max(z + 22, 28)), (30, -75, top - 8)],
        ),
        "occipital": (dice.uniform(9, 18), 0.95, [(40, 2, z + 32), (48, 22, top), (38, 52, 70), (30, 62, 92)]),
        "internal_maxillary": (arc[-1] - root - 1, 1.15, [(44, -24, 64), (34, -38, 62), (22, -46, 60)]),
        "superficial_temporal": (arc[-1] - root - 1.5, 1.0, [(54, -14, 72), (62, -16, 90), (66, -22, 125)]),
    }
    tubes = []
    for name, (leaves, radius, places) in plan.items():
        if not dice.chance(0.95):
            continue
        start = int(np.clip(np.searchsorted(arc, root + leaves), 1, len(arc) - 2))
        ends = [layout.at(*place, sign) + np.array([dice.normal(0, 2.0) for _ in range(3)]) for place in places]
        if ends[0][2] < ends[-1][2] - 5 and ends[0][2] < external.points[start][2] - 30:
            continue
        path = curve([external.points[start], *ends], 2.5)
        wiggle = [dice.waves(abs(dice.normal(0, 0.9)), 12, 40) for _ in range(3)]
        along = arc_length(path)
        path += np.stack([w(along) for w in wiggle], axis=1) * np.clip(along / 12, 0, 1)[:, None]
        r = radius * thickness * dice.normal(1, 0.15, 0.6, 1.5)
        tubes.append(Tube(f"{carotid.side}_{name}", "lumen", path, np.linspace(r, 0.55 * r, len(path)), hu, 0.92 * hu))
    end = internal.points[-1]
    cerebral = {"middle": [(25, -29, 108), (40, -24, 109)], "anterior": [(6, -35, 110), (3, -45, 128), (3, -30, 150)]}
    for name, places in cerebral.items():
        path = curve([end, *(layout.at(*place, sign) for place in places)], 3.0)
        tubes.append(Tube(f"{carotid.side}_{name}_cerebral", "lumen", path, np.linspace(1.4, 0.9, len(path)), hu))
    return tubes


def great_vessels(dice: Dice, layout: Layout, carotids: dict[str, Carotid], hu: float) -> list[Tube]:
    """Aortic arch, brachiocephalic trunk, subclavian arteries; they meet the common carotids' lower ends."""
    wide = dice.normal(1.0, 0.12, 0.7, 1.5)
    arch = [(-18, -50, -238), (-18, -52, -200), (-14, -50, -165), (-4, -46, -144), (6, -37, -137), (14, -21, -139)]
    arch += [(20, -5, -153), (21, 3, -190), (19, 3, -238)]
    path = curve([layout.at(*place) for place in arch], 5.0)
    tubes = [Tube("aorta", "lumen", path, wide * np.linspace(15.5, 11.5, len(path)), hu)]
    left, right = carotids["left"].common.points[0], carotids["right"].common.points[0]
    if dice.chance(0.15):  # bovine arch: the left common carotid leaves the brachiocephalic trunk
        stem = curve([layout.at(1, -42, -132), layout.at(5, -39, -128), left], 3.0)
    else:
        stem = curve([layout.at(6, -38, -138), layout.at(6.5, -38, -133), left], 3.0)
    tubes.append(
        Tube("left_common_carotid_origin", "lumen", stem, np.full(len(stem), carotids["left"].common.radii[0]), hu)
    )
    trunk = curve([layout.at(-2, -45, -143), layout.at(-6, -42, -126), layout.at(-12, -37, -108), right], 3.0)
    tubes.append(Tube("brachiocephalic_trunk", "lumen", trunk, np.linspace(6.8, 5.6, len(trunk)) * wide, hu))
    start = {"left": [layout.at(14, -22, -138), layout.at(19, -14, -118)], "right": [right - np.array([0, 0, 2.0])]}
    over = {
        "left": [(29, -8, -96), (42, -6, -88), (60, -8, -90)],
        "right": [(29, -22, -91), (42, -14, -86), (60, -12, -90)],
    }
    for side, sign in SIDES.items():
        rest = [layout.at(*place, sign) for place in (*over[side], (85, -14, -102), (125, -12, -125), (170, -8, -150))]
        path = curve([*start[side], *rest], 3.0)
        radius = dice.normal(4.2, 0.5, 3, 6)
        tubes.append(Tube(f"{side}_subclavian", "lumen", path, np.linspace(1.1, 0.7, len(path)) * radius, hu))
    return tubes


def vertebral_arteries(dice: Dice, layout: Layout, subclavian: dict[str, Tube], hu: dict[str, float]) -> list[Tube]:
    """Both vertebral arteries through the transverse foramina, round the atlas, and the basilar artery."""
    tubes = []
    meeting = layout.at(dice.normal(0, 1.5), -8, 84)
    dominance = dice.normal(0, 0.25)
    for column, (side, sign) in enumerate(SIDES.items()):
        radius = dice.normal(1.75, 0.3, 0.6, 2.8) * (1 + sign * dominance * 0.7)
        if dice.chance(0.05):
            radius *= 0.45
        feeder = subclavian[side].points
        origin = feeder[np.argmin(np.abs(feeder[:, 0] - layout.at(30, 0, -88, sign)[0]))]
        entry = {"C6": 0, "C5": 1, "C4": 2}[dice.pick(C6=0.9, C5=0.07, C4=0.03)]
        holes = layout.foramina[entry:, column]
        below = holes[0] + np.array([sign * 1.5, -2.0, -14.0])
        atlas = [(25, 12, 60), (15, 15, 63), (8, 4, 72)]
        through = [origin, below, *holes, *(layout.at(*place, sign) for place in atlas), meeting]
        path = curve(through, 2.5)
        along = arc_length(path)
        low = np.clip(along / 10, 0, 1) * (path[:, 2] < below[2])
        sway = dice.waves(abs(dice.normal(0, 2.0)), 15, 40)
        path[:, 1] += sway(along) * low * np.clip((below[2] - path[:, 2]) / 8, 0, 1)
        radius = float(np.clip(radius, 0.5, 3.0))
        tubes.append(Tube(f"{side}_vertebral", "lumen", path, np.full(len(path), radius), hu[side]))
    path = curve([meeting, layout.at(dice.normal(0, 2), -13, 98), layout.at(0, -16, 114)], 3.0)
    tubes.append(Tube("basilar", "lumen", path, np.full(len(path), 1.7), max(hu.values())))
    return tubes
