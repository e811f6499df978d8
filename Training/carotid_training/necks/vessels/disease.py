"""What disease and surgeons do to a carotid: plaque, stenosis, ulcers, occlusion, stents, clips, a bifurcation gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..dice import Dice, Points
from ..neck import Facts
from .arteries import SIDES, Carotid
from .layout import Layout
from .paths import Tube, arc_length, curve, frames
from .split import split_point

LEAST_LUMEN_MM = 0.35  # a string sign is still a lumen


@dataclass(frozen=True)
class Treatment:
    """A carotid after disease: the three lumens, ``layers`` painted under and over them, and what to report."""

    carotid: Carotid
    lumens: tuple[Tube, ...]  # what is still open
    layers: tuple[Tube, ...]
    present: bool
    metal: tuple[tuple[float, float, float, float], ...]
    facts: Facts


def treat(dice: Dice, layout: Layout, carotid: Carotid, split_mm: float, subclavian: Points, wild: float) -> Treatment:
    """Draw one side's disease. ``split_mm`` is the arc length of internal carotid below the flow divider."""
    hu = carotid.internal.hu
    walls = _walls(dice, carotid)
    kind = dice.pick(healthy=0.42, calcified=0.2, mixed=0.2, soft=0.1, occluded=0.05, absent=0.03)
    facts: Facts = {"disease": kind, "stenosis_percent": 0.0, "stent": False, "clips": False}
    if kind == "absent":
        return _absent(dice, layout, carotid, walls, subclavian, facts)
    layers, metal = list(walls), []
    whole = carotid
    if kind == "healthy":
        if dice.chance(0.06):
            s = carotid.internal.arc
            beads = 1 - 0.22 * (0.5 + 0.5 * np.sin(2 * np.pi * s / dice.uniform(3.5, 7))) * ((s > 32) & (s < 65))
            carotid = replace(carotid, internal=replace(carotid.internal, radii=carotid.internal.radii * beads))
    else:
        carotid, plaque, stenosis = _plaque(dice, carotid, kind, split_mm, wild)
        layers += plaque
        facts["stenosis_percent"] = stenosis
    if kind != "occluded" and dice.chance(0.05 + 0.05 * wild):
        stent, places = _stent(dice, carotid, split_mm)
        layers += stent
        metal += places
        facts["stent"] = True
    if dice.chance(0.03 + 0.05 * wild):
        clips, places = _clips(dice, whole.internal.points[0] + [0, 0, dice.uniform(-5, 15)])
        layers += clips
        metal += places
        facts["clips"] = True
    if dice.chance(0.45 if kind != "healthy" else 0.12):
        siphon = _cut(whole.internal, whole.internal.arc[-1] - 45)[1]
        layers += _calcium(dice, siphon.name + "_siphon", siphon.points, siphon.radii, "calcified", 0.2)
    lumens: tuple[Tube, ...] = carotid.lumens
    if dice.chance(0.02 + 0.03 * wild):
        lumens += (_aneurysm(dice, whole.internal, split_mm),)
    if kind == "occluded":
        # The stump reaches well past the flow divider: the wall between the lumens shows, so the landmark is there.
        split = split_point(*carotid.lumens, np.array([0.0, 0.0, 1.0]))
        beyond = np.argmin(np.linalg.norm(carotid.internal.points - split, axis=1))
        stump, rest = _cut(carotid.internal, carotid.internal.arc[beyond] + dice.uniform(7, 15))
        clot, top = _cut(rest, rest.arc[-1] * dice.uniform(0.6, 0.85))
        layers.append(replace(clot, role="thrombus", hu=dice.uniform(25, 70), name=clot.name + "_clot"))
        lumens = (carotid.common, stump, carotid.external, replace(top, hu=hu * dice.uniform(0.5, 1.0)))
        carotid = replace(carotid, internal=stump)
        facts["stenosis_percent"] = 100.0
    return Treatment(carotid, lumens, tuple(layers), True, tuple(metal), facts)


def _walls(dice: Dice, carotid: Carotid) -> list[Tube]:
    hu, thick = dice.uniform(30, 65), dice.uniform(0.5, 1.1)
    walls = []
    for tube in carotid.lumens:
        outer = replace(tube, name=tube.name + "_wall", role="wall", radii=tube.radii + thick, hu=hu)
        walls.append(_cut(outer, 75.0)[0] if tube is carotid.internal else outer)
    return walls


def _cut(tube: Tube, at: float) -> tuple[Tube, Tube]:
    n = int(np.clip(np.searchsorted(tube.arc, at), 2, len(tube.points) - 3))
    below = replace(tube, points=tube.points[: n + 1], radii=tube.radii[: n + 1])
    return below, replace(tube, points=tube.points[n:], radii=tube.radii[n:])


def _plaque(dice: Dice, carotid: Carotid, kind: str, split_mm: float, wild: float):
    """Narrow the lumen, put plaque in the gap; returns the carotid, the layers and the stenosis (NASCET, per cent)."""
    common, internal, external = carotid.common, carotid.internal, carotid.external
    centre = split_mm + (dice.normal(2, 5) if dice.chance(0.85) else dice.uniform(-18, -6))
    reach = dice.uniform(4, 13)
    degree = dice.pick(mild=0.47, moderate=0.33, severe=0.2 * (1 + wild))
    severity = dice.uniform(*{"mild": (0.08, 0.35), "moderate": (0.35, 0.65), "severe": (0.65, 0.9)}[degree])
    near_occlusion = severity > 0.75 and dice.chance(0.4)
    outward = carotid.towards_internal + 0.7 * dice.direction()
    outward /= np.linalg.norm(outward)
    eccentric = dice.uniform(0.2, 1.0)
    layers: list[Tube] = []
    tissue = {"soft": dice.uniform(-5, 60), "occluded": dice.uniform(20, 60)}.get(kind, dice.uniform(25, 100))

    def narrow(tube: Tube, s: Points, share: float) -> Tube:
        depth = severity * share * np.exp(-(np.abs((s - centre) / reach) ** 3))
        radii = np.maximum(tube.radii * (1 - depth), np.minimum(LEAST_LUMEN_MM, tube.radii))
        if near_occlusion and tube is internal:
            radii = radii * np.clip(1 - 0.4 * (s - centre) / 20, 0.6, 1.0)
        tangent = frames(tube.points)[0]
        away = outward - tangent * (tangent @ outward)[:, None]
        moved = tube.points - away * ((tube.radii - radii) * eccentric * (depth > 0.02))[:, None]
        span = np.flatnonzero(depth > 0.02)
        if len(span) > 1:
            cut = slice(span[0], span[-1] + 1)
            fat = 1 + 0.25 * severity * share * np.exp(-(((s - centre) / reach) ** 2))  # outward remodelling
            outer = tube.points[cut] + away[cut] * (tube.radii * (fat - 1))[cut, None]
            layers.append(Tube(tube.name + "_plaque", "plaque", outer, (tube.radii * fat)[cut] + 0.4, tissue))
            if kind in ("calcified", "mixed"):
                layers.extend(_calcium(dice, tube.name, outer, (tube.radii * fat)[cut], kind, severity * share))
        return replace(tube, points=moved, radii=radii)

    s_below = common.arc - common.arc[-1]
    after = replace(carotid, common=narrow(common, s_below, 1.0), internal=narrow(internal, internal.arc, 1.0))
    after.common.points[-1] = after.internal.points[0]
    if dice.chance(0.3):
        s_out = external.arc - carotid.apex_mm + split_mm
        after = replace(after, external=narrow(external, s_out, dice.uniform(0.2, 0.8)))
    if kind != "calcified" and severity > 0.25 and dice.chance(0.25):
        n = int(np.clip(np.searchsorted(internal.arc, centre + dice.uniform(-3, 3)), 1, len(internal.points) - 2))
        mouth = after.internal.points[n]
        depth = internal.radii[n] * dice.uniform(0.8, 1.1)
        pouch = np.array([mouth, mouth + outward * depth, mouth + outward * depth + [0, 0, dice.uniform(-2.5, 2.5)]])
        size = dice.uniform(0.5, 1.3)
        layers.append(Tube(internal.name + "_ulcer", "lumen", pouch, np.array([size, size, 0.8 * size]), internal.hu))
    distal = internal.radii[min(int(np.searchsorted(internal.arc, split_mm + 35)), len(internal.radii) - 1)]
    narrowest = after.internal.radii[internal.arc < split_mm + 25].min()
    return after, layers, float(100 * max(0.0, 1 - narrowest / distal))


def _calcium(dice: Dice, name: str, path: Points, radii: Points, kind: str, burden: float) -> list[Tube]:
    """Shells and crumbs of calcium in the wall along ``path``."""
    _, first, second = (
        frames(path) if len(path) > 2 else (None, np.eye(3)[:1].repeat(2, 0), np.eye(3)[1:2].repeat(2, 0))
    )
    count = 2 + int(dice.uniform(0, 5 + 9 * burden) * (1.0 if kind == "calcified" else 0.6))
    hu = dice.uniform(420, 760) if dice.chance(0.8) else dice.uniform(760, 1500)
    deposits = []
    for n in range(count):
        middle = int(dice.uniform(0, len(path)))
        angle, sweep = dice.uniform(0, 2 * np.pi), dice.uniform(0.1, 1.6 if kind == "calcified" else 0.9)
        climb = dice.uniform(-3, 3)
        thick = dice.uniform(0.35, 0.7 + 0.9 * min(1.0, burden + 0.2))
        phi = np.linspace(angle - sweep, angle + sweep, max(2, int(sweep * 4) + 1))[:, None]
        ring = (radii[middle] + 0.25 - 0.5 * thick) * (np.cos(phi) * first[middle] + np.sin(phi) * second[middle])
        spot = path[middle] + ring + np.linspace(-0.5, 0.5, len(phi))[:, None] * np.array([0, 0, climb])
        width = thick * (1 - 0.5 * np.linspace(-1, 1, len(phi)) ** 2)
        deposits.append(Tube(f"{name}_calcium_{n}", "calcium", spot, width, hu * dice.uniform(0.6, 1.2)))
    return deposits


def _stent(dice: Dice, carotid: Carotid, split_mm: float):
    """A mesh of zigzag rings inside the lumen, from the common into the internal carotid."""
    points = np.concatenate([carotid.common.points[:-1], carotid.internal.points])
    radii = np.concatenate([carotid.common.radii[:-1], carotid.internal.radii])
    arc = arc_length(points) - carotid.common.arc[-1]
    start, end = split_mm - dice.uniform(4, 18), split_mm + dice.uniform(12, 26)
    tangent, first, second = frames(points)
    struts, thick, hu = int(dice.uniform(8, 12)), dice.uniform(0.09, 0.16), dice.uniform(4000, 8000)
    rings, metal = [], []
    for n, at in enumerate(np.arange(start, end, dice.uniform(2.0, 3.2))):
        i = int(np.clip(np.searchsorted(arc, at), 0, len(arc) - 1))
        phi = np.linspace(0, 2 * np.pi, 2 * struts + 1)[:, None]
        zigzag = np.where(np.arange(2 * struts + 1) % 2, 1.2, -1.2)[:, None]
        circle = (radii[i] + 0.1) * (np.cos(phi) * first[i] + np.sin(phi) * second[i])
        ring = points[i] + circle + zigzag * tangent[i]
        rings.append(Tube(f"{carotid.side}_stent_{n}", "metal", ring, np.full(len(ring), thick), hu))
        metal.append((*points[i], _ball_of(float(arc_length(ring)[-1]), thick)))
    return rings, metal


def _clips(dice: Dice, centre: Points):
    clips, metal = [], []
    hu = dice.uniform(4000, 12000)
    for n in range(int(dice.uniform(2, 7))):
        spot = centre + dice.direction() * dice.uniform(6, 16)
        half = dice.direction() * dice.uniform(1.2, 2.5)
        thick = dice.uniform(0.4, 0.8)
        clips.append(Tube(f"clip_{n}", "metal", np.array([spot - half, spot + half]), np.full(2, thick), hu))
        metal.append((*spot, _ball_of(2 * float(np.linalg.norm(half)), thick)))
    return clips, metal


def _ball_of(length: float, radius: float) -> float:
    """The radius of a ball of as much metal as a wire has: what a streak's strength goes by. mm."""
    return (0.75 * length * radius**2) ** (1 / 3)


def _aneurysm(dice: Dice, internal: Tube, split_mm: float) -> Tube:
    n = int(np.clip(np.searchsorted(internal.arc, split_mm + dice.uniform(22, 50)), 2, len(internal.points) - 3))
    radius = dice.uniform(3, 8)
    spot = internal.points[n]
    sac = spot + (dice.direction() * [1, 1, 0.3]) * (internal.radii[n] + 0.5 * radius)
    return Tube(internal.name + "_aneurysm", "lumen", np.array([spot, sac]), np.array([1.5, radius]), internal.hu)


def _absent(dice: Dice, layout: Layout, carotid: Carotid, walls: list[Tube], subclavian: Points, facts) -> Treatment:
    """Surgery or occlusion left no bifurcation: the common carotid ends low down, or a graft replaces it."""
    way = dice.pick(ligated=0.35, graft=0.35, thrombosed=0.3)
    facts |= {"absence": way, "clips": way != "thrombosed"}
    common, internal, external = carotid.common, carotid.internal, carotid.external
    clot = dice.uniform(25, 65)
    low, high = _cut(common, common.arc[-1] * dice.uniform(0.1, 0.5))
    lumens: list[Tube] = [low]
    layers: list[Tube] = []
    metal: list[tuple[float, float, float, float]] = []
    near, far = _cut(internal, dice.uniform(38, 52))
    if way == "thrombosed":
        layers += walls
        layers += [replace(t, name=t.name + "_clot", role="thrombus", hu=clot) for t in (high, near, external)]
        lumens.append(replace(far, hu=far.hu * dice.uniform(0.4, 1.0)))
    elif way == "ligated":
        lumens.append(replace(_cut(internal, internal.arc[-1] * dice.uniform(0.55, 0.8))[1], hu=internal.hu))
        layers, metal = _clips(dice, high.points[len(high.points) // 2])
    else:
        sign = SIDES[carotid.side]
        start = subclavian[len(subclavian) // 3]
        half = (start + near.points[-1]) / 2 + np.array([sign * dice.uniform(8, 18), -4, -8])
        path = curve([start, half, near.points[-1], far.points[min(6, len(far.points) - 1)]], 2.5)
        lumens += [
            far,
            Tube(f"{carotid.side}_graft", "lumen", path, np.full(len(path), dice.uniform(2.4, 3.6)), internal.hu),
        ]
        layers, metal = _clips(dice, near.points[-1])
    return Treatment(carotid, tuple(lumens), tuple(layers), False, tuple(metal), facts)
