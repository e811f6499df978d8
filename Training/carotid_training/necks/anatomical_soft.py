"""Muscles, glands, nodes, viscera, airway and devices of the anatomical style, drawn organ by organ on a `Sketch`.

Same frame and source as `anatomical_bones`: millimetres of the template, x left, y back, z up, C4 at the origin.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .anatomical_body import PATIENT, Dice, Person, Sketch

SIDES = (1, -1)


def tongue_and_palate(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Tongue with its fatty septum, floor of the mouth, soft palate and tonsils."""
    sketch.use(sketch.warp)
    open_mouth = sketch.part("mouth", -1000.0 if dice.chance(0.7) else person.muscle_hu, blend_mm=2.0)
    gap = dice.uniform(1.5, 5)
    sketch.chain(open_mouth, [(0, -46, 46), (0, -76, 44)], [gap, gap])
    for side in SIDES:
        sketch.chain(open_mouth, [(side * 14, -50, 44), (side * 12, -72, 42)], gap * 0.7)
    tongue = sketch.part("tongue", person.muscle_hu + dice.uniform(-15, 15), blend_mm=2.0)
    sketch.chain(tongue, [(0, -38, 8), (0, -36, 24), (0, -48, 33), (0, -66, 36)], [12, 14, 13, 8])
    for side in SIDES:
        sketch.chain(tongue, [(side * 9, -38, 18), (side * 11, -48, 30), (side * 8, -66, 34)], [12, 12, 7])
        sketch.chain(tongue, [(side * 5, -73, 12), (side * 6, -52, 26)], [4, 9])
    fat = sketch.part("lingual fat", person.fat_hu * dice.uniform(0, 1))
    sketch.chain(fat, [(0, -70, 14), (0, -50, 22), (0, -44, 32)], [0.8, 1.2, 0.6])
    palate = sketch.part("soft palate", person.muscle_hu + dice.uniform(-15, 25), blend_mm=2.0)
    for x in (-12.0, -4.0, 4.0, 12.0):
        sketch.chain(palate, [(x, -46, 50), (x * 0.8, -34, 46), (x * 0.3, -24, 34)], [3.0, 4.0, 3.5])
    tonsil = sketch.part("tonsils", person.muscle_hu + dice.uniform(0, 45), blend_mm=1.0)
    for side in SIDES:
        sketch.ball(tonsil, (side * dice.uniform(13, 17), -26, 24), (dice.uniform(4, 8), 7, dice.uniform(8, 13)))
        sketch.ball(tonsil, (side * 6, -27, 8), (7, dice.uniform(3, 7), 6))
    sketch.ball(tonsil, (0, -13, 58), (14, dice.uniform(3, 8), 8))


def vessel_sheaths(sketch: Sketch, dice: Dice, person: Person, vessels: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Loose fatty tissue about the vessels, given as points [n, 3] and radii [n] in the patient."""
    sketch.use(PATIENT)
    sheath = sketch.part("vessel sheath", person.fat_hu * dice.uniform(-0.3, 1.0))
    room = dice.uniform(0.4, 2.2)
    for points, radii in vessels:
        if radii.mean() < 1.9:
            continue
        length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
        few = np.unique(np.linspace(0, len(points) - 1, max(2, int(length / 10))).round().astype(int))
        sketch.chain(sheath, points[few].tolist(), (radii[few] * 1.05 + room).tolist())


def glands(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Parotid, submandibular, sublingual and thyroid glands, with nodules, goitre or loss."""
    sketch.use(sketch.warp)
    fatty = dice.uniform(0, 1)
    hu = (1 - fatty) * (45 + 0.6 * person.enhancement) + fatty * (person.fat_hu + 60)
    parotid = sketch.part("parotid", hu, blend_mm=2.0)
    under = sketch.part("submandibular", dice.uniform(25, 55) + 0.6 * person.enhancement, blend_mm=2.0)
    for side in SIDES:
        size = dice.normal(1, 0.1)
        sketch.ball(parotid, (side * 56, -8, 44), (8 * size, 18 * size, 20 * size), nod=0.2, yaw=-side * 0.35)
        sketch.ball(parotid, (side * 53, 4, 34), (9 * size, 11 * size, 22 * size))
        sketch.ball(parotid, (side * 45, -3, 45), (9 * size, 7 * size, 14 * size))
        if dice.chance(0.93):
            sketch.ball(under, (side * 31, -36, 5), (9 * size, 16 * size, 12 * size), yaw=side * 0.5)
            sketch.ball(under, (side * 35, -24, 10), (8 * size, 8 * size, 10 * size))
        sketch.ball(under, (side * 14, -64, 13), (4, 11, 5), yaw=side * 0.4)
    if person.thyroid == "absent" or person.laryngectomy:
        return
    thyroid = sketch.part("thyroid", dice.uniform(80, 125) + dice.uniform(0.3, 1.2) * person.enhancement, blend_mm=2.0)
    nodule = sketch.part("nodule", dice.uniform(10, 200))
    rim = sketch.part("calcified nodule", dice.uniform(400, 1200), dice.uniform(30, 120), 1.0)
    for side in SIDES:
        if person.thyroid == "one lobe" and side == 1:
            continue
        big = dice.uniform(1.4, 2.3) if person.thyroid == "goitre" else dice.normal(1, 0.13)
        low = -50 - 5 * big + dice.normal(0, 4)
        for z, wide in ((22, 0.55), (8, 0.9), (-8, 1.0), (-20, 0.7)):
            sketch.ball(
                thyroid,
                (side * (14 + 4 * wide * big), -31 + 0.12 * z, low + z * big**0.7),
                (8 * wide * big, 9.5 * wide * big, 12 * big),
            )
        sketch.chain(thyroid, [(side * 14, -38, low - 6), (0, -44, low - 7)], [4.5 * big, 3.0 * big])
        if person.thyroid in ("goitre", "nodules"):
            for _ in range(int(dice.uniform(1, 6))):
                place = (side * dice.uniform(11, 24), dice.uniform(-42, -26), low + dice.uniform(-22, 20))
                sketch.ball(rim if dice.chance(0.2) else nodule, place, dice.uniform(2, 6) * big)


def nodes(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Lymph nodes along the jugular, spinal and submandibular chains; some large, bright, necrotic or calcified."""
    sketch.use(sketch.warp)
    small = sketch.part("lymph node", dice.uniform(30, 90) + 0.3 * person.enhancement)
    bright = sketch.part("enhancing node", dice.uniform(90, 260))
    necrotic = sketch.part("necrotic node", dice.uniform(80, 150), dice.uniform(5, 35), 2.0)
    fatty = sketch.part("node with fatty hilum", dice.uniform(50, 110), person.fat_hu * dice.uniform(-0.2, 0.8), 2.5)
    hard = sketch.part("calcified node", dice.uniform(300, 1500))
    ill = dice.chance(0.2)
    for _ in range(int(dice.uniform(8, 46))):
        side = 1 if dice.chance(0.5) else -1
        z = dice.uniform(-85, 45)
        place = dice.pick(("jugular", "jugular", "spinal", "submandibular", "supraclavicular"))
        if place == "jugular":
            centre = (side * dice.normal(36, 6), dice.normal(-10, 7), z)
        elif place == "spinal":
            centre = (side * dice.normal(48, 5), dice.normal(26, 7), z)
        elif place == "submandibular":
            centre = (side * dice.normal(26, 10), dice.normal(-52, 8), dice.normal(3, 5))
        else:
            centre = (side * dice.normal(50, 12), dice.normal(-15, 8), dice.normal(-78, 6))
        size = dice.uniform(1.5, 5.0) if not ill or dice.chance(0.7) else dice.uniform(5, 14)
        kind = small if dice.chance(0.7) else (bright, necrotic, fatty, hard)[int(dice.uniform(0, 3.3))]
        semi = (size * dice.uniform(0.7, 1.1), size * dice.uniform(0.7, 1.1), size * dice.uniform(1, 1.8))
        sketch.ball(kind, centre, semi, dice.uniform(-0.6, 0.6), dice.uniform(-1, 1))


def bore(dice: Dice, person: Person, course: np.ndarray) -> np.ndarray:
    """Radius of the airway along ``course`` [n, 3]: narrow at the vocal folds and behind the palate; [n] mm."""
    wide = dice.normal(8.0 if person.female else 9.5, 0.8)
    share = np.interp(course[:, 2], [-38, -28, -22, -12, 5, 30, 60], [1.0, 0.7, 0.45, 0.8, 1.0, 0.8, 1.1])
    return wide * share * np.array([dice.normal(1, 0.04) for _ in share])


def airway(sketch: Sketch, dice: Dice, person: Person, course: np.ndarray, radii: np.ndarray) -> None:
    """Walls and air from the nasopharynx to the trachea along ``course`` [n, 3] (patient); nose, epiglottis, folds."""
    # The pharynx is wide and flat, the trachea round: three strands side by side make the width, none of them even.
    spread = np.interp(course[:, 2], [-60, -38, -30, -5, 20, 60], [0.0, 0.0, 2.0, 6.0, 7.0, 6.0]) * dice.uniform(
        0.6, 1.3
    )
    squeeze = np.interp(course[:, 2], [-40, -30, 0, 60], [1.0, 0.8, 0.75, 0.8]) * radii
    depth = np.interp(course[:, 2], [-60, 0], [1.8, 3.2])
    uneven = 0.25 * spread[:, None]
    strands = []
    for place in (-1, 0, 1):
        sway = np.array([[dice.normal(), dice.normal(), 0.0] for _ in course]) * uneven
        sway[:, 0] += place * spread
        thick = squeeze * np.array([dice.normal(1, 0.16 if wide > 1 else 0.03) for wide in spread])
        strands.append(((course + sway).tolist(), thick))
    sketch.use(PATIENT)
    wall = sketch.part("airway wall", person.muscle_hu + dice.uniform(-5, 30), blend_mm=1.0)
    for line, thick in strands:
        sketch.chain(wall, line, (thick + depth).tolist())
    air = sketch.part("airway", -1000.0, blend_mm=1.0)
    # Without a larynx the pharynx ends blind and the trachea opens at the stoma.
    gap = (-62.0, -8.0) if person.laryngectomy else (0.0, 0.0)
    for line, thick in strands:
        for one, two, start, end in zip(line[:-1], line[1:], thick[:-1], thick[1:], strict=True):
            if not (one[2] < gap[1] and two[2] > gap[0]):
                sketch.chain(air, [one, two], [float(start), float(end)])
    low = course[np.argmin(course[:, 2])]
    carina = float(np.clip(low[2] - 5, -175, -150))
    trunk = [(float(low[0]), float(low[1]), float(low[2])), (float(low[0]), float(low[1]) + 4, carina)]
    tracheal = sketch.part("tracheal wall", person.muscle_hu)
    ends = [(side * 42.0 + low[0], trunk[1][1] + 12, carina - (45.0 if side > 0 else 60.0)) for side in SIDES]
    for grow, part in ((1.8, tracheal), (0.0, air)):
        sketch.chain(part, trunk, 8.0 + grow)
        for end in ends:
            sketch.chain(part, [trunk[1], end], [7.5 + grow, 5.5 + grow])
    if dice.chance(max(0.1, (person.age - 45) / 60)):
        rings = sketch.part("calcified tracheal ring", dice.uniform(200, 700))
        for z in np.arange(max(low[2], -140), -48, dice.uniform(5, 8)):
            middle = [
                float(np.interp(z, course[::-1, 2] if course[0, 2] > course[-1, 2] else course[:, 2], column))
                for column in (course[::-1] if course[0, 2] > course[-1, 2] else course)[:, :2].T
            ]
            radius = float(radii.min()) + 2.5
            turn = dice.uniform(0.5, 1.9)
            ring = [
                (middle[0] + radius * math.sin(t), middle[1] - radius * math.cos(t), float(z))
                for t in np.linspace(-turn, turn, 6)
            ]
            sketch.chain(rings, ring, 0.8)
    sketch.use(sketch.warp)
    nose = sketch.part("nasal cavity", -1000.0, blend_mm=1.0)
    sketch.chain(nose, [(0, -26, 62), (0, -42, 64)], [9.0, 9.0])
    for side in SIDES:
        for z, y in ((58, -84), (66, -88), (76, -84), (86, -74)):
            sketch.chain(nose, [(side * 7, -44, 62 + (z - 62) * 0.7), (side * 6.5, y, z)], 5.2)
        sketch.chain(nose, [(side * 6, -86, 60), (side * 7, -101, 56)], [4.5, 3.5])
    mucosa = sketch.part("turbinates", person.muscle_hu + dice.uniform(0, 60))
    septum = sketch.part("septum", person.bone_hu * 0.35)
    bow = dice.normal(0, 2)
    sketch.ball(septum, (bow * 0.5, -67, 72), (1.2, 23, 17), yaw=bow * 0.03)
    for side in SIDES:
        for z, thick in ((61.0, dice.uniform(2.5, 5)), (73.0, dice.uniform(2, 4)), (82.0, 2.0)):
            sketch.chain(
                mucosa,
                [(side * 9, -48, z), (side * 9.5, -66, z + 1), (side * 9, -80, z)],
                [thick * 0.8, thick, thick * 0.7],
            )
    pocket = sketch.part("piriform sinuses and valleculae", -1000.0)
    for side in SIDES:
        if dice.chance(0.8):
            high, low_end = (side * 12, -30, -6), (side * dice.uniform(10, 14), -25, dice.uniform(-30, -18))
            sketch.chain(pocket, [high, low_end], [dice.uniform(1.5, 4.5), dice.uniform(0.5, 2)])
        if dice.chance(0.7):
            sketch.ball(pocket, (side * dice.uniform(4, 8), -40, 3), (dice.uniform(2, 5), 2.5, dice.uniform(2, 6)))
    if not person.laryngectomy:
        epiglottis = sketch.part("epiglottis", person.muscle_hu + dice.uniform(0, 40), blend_mm=0.8)
        for x in (-6.0, 0.0, 6.0):
            sketch.chain(epiglottis, [(x * 0.4, -41, -12), (x * 0.8, -37, 0), (x, -31 - 0.05 * x * x, 9)], 1.6)
        folds = sketch.part("vocal folds", person.muscle_hu + dice.uniform(0, 20), blend_mm=1.5)
        for side in SIDES:
            opening = dice.uniform(3.5, 8.0)
            for level in (-24.0, -18.0):
                sketch.chain(folds, [(side * 2.0, -44, level), (side * opening, -24, level)], 2.4)
            sketch.chain(folds, [(side * 9, -34, 4), (side * 8, -24, -14)], 2.2)


def chest_viscera(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Pleura and lungs with vessels, oesophagus, thymic fat and the top of the heart."""
    sketch.use(sketch.warp)
    mediastinum = sketch.part("mediastinal fat", person.fat_hu + dice.uniform(0, 25), blend_mm=6.0)
    sketch.chain(mediastinum, [(0, -20, -100), (0, -20, -130), (0, -10, -240)], [26, 38, 52])
    aerated = dice.uniform(-900, -780)
    lung = sketch.part("lung", aerated, blend_mm=6.0)
    top = dice.normal(-68, 5)
    for side in SIDES:
        lobes = [
            ((38, 8, top - 14), 12.0),
            ((44, 8, top - 32), 22.0),
            ((56, 6, top - 62), 34.0),
            ((66, 4, top - 95), 42.0),
            ((74, 0, -195), 47.0),
            ((78, -6, -280), 50.0),
        ]
        for (upper, start), (lower, end) in pairwise(lobes):
            for y in (-16.0, 18.0):
                sketch.chain(
                    lung,
                    [
                        (side * upper[0], upper[1] + y * start / 50, upper[2]),
                        (side * lower[0], lower[1] + y * end / 50, lower[2]),
                    ],
                    [start * 0.95, end * 0.95],
                )
    vessels = sketch.part("lung vessels", 30.0 + person.enhancement)
    dust = sketch.part("lung scars", dice.uniform(-500, 30))
    for side in SIDES:
        hilum = (side * 34.0, 8.0, -200.0)
        for _ in range(26):
            tip = (side * dice.uniform(40, 112), dice.uniform(-40, 45), dice.uniform(-240, top - 30))
            x, y, z = ((h + 1.2 * e) / 2.2 + dice.normal(0, 4) for h, e in zip(hilum, tip, strict=True))
            sketch.chain(vessels, [hilum, (x, y, z), tip], [3.2, dice.uniform(1.0, 2.2), 0.5])
        for _ in range(int(dice.uniform(0, 5))):
            sketch.ball(
                dust,
                (side * dice.uniform(36, 62), dice.uniform(-14, 24), top - dice.uniform(5, 25)),
                dice.uniform(1, 5),
            )
    heart = sketch.part("heart", dice.uniform(40, 320), dice.uniform(60, 350), 6.0)
    sketch.ball(heart, (16, -34, -262), (50, 40, 36))
    gullet = sketch.part("oesophagus", person.muscle_hu + dice.uniform(-8, 25), blend_mm=1.0)
    lean = dice.uniform(0, 6)
    line = [(0, -14, -38), (lean * 0.5, -10, -62), (lean, 0, -95), (lean, 8, -140), (lean - 2, 18, -240)]
    line = [(x, y - 3, z) for x, y, z in line]
    for shift in (-3.0, 3.0):
        sketch.chain(gullet, [(x + shift, y, z) for x, y, z in line], dice.uniform(4.0, 5.5))
    if dice.chance(0.45):
        lumen = sketch.part("oesophageal air", -1000.0 if dice.chance(0.7) else 10.0)
        first = int(dice.uniform(0, 3))
        sketch.chain(lumen, line[first : first + 3], dice.uniform(0.8, 3.5))


def devices(sketch: Sketch, dice: Dice, person: Person, course: np.ndarray) -> list[str]:
    """Endotracheal and gastric tubes, port, wires; returns which there are. ``course`` is the airway's middle."""
    found = []
    sketch.use(PATIENT)
    if person.laryngectomy:
        trachea = np.array([np.interp(-72.0, course[::-1, 2], course[::-1, axis]) for axis in (0, 1)])
        stoma = sketch.part("stoma", -1000.0)
        sketch.chain(stoma, [(*trachea, -74.0), (trachea[0], trachea[1] - 70, -70.0)], [7.0, 6.0])
    order = np.argsort(-course[:, 2])
    pharynx = [tuple(point) for point in course[order] if point[2] < 25]
    if dice.chance(0.15) and not person.laryngectomy:
        tube = sketch.part("endotracheal tube", dice.uniform(150, 600), -1000.0, 1.3)
        mouth = sketch.warp(np.array([(6.0, -120.0, 40.0), (4.0, -78.0, 40.0), (2.0, -44.0, 40.0)]))
        sketch.chain(tube, [*[tuple(point) for point in mouth], *pharynx[1:]], dice.uniform(4.2, 5.6))
        found.append("endotracheal tube")
    if dice.chance(0.12):
        tube = sketch.part("gastric tube", dice.uniform(200, 1200), -900.0 if dice.chance(0.5) else 20.0, 1.0)
        nose = sketch.warp(
            np.array(
                [
                    (6.0, -112.0, 50.0),
                    (6.0, -80.0, 60.0),
                    (4.0, -30.0, 58.0),
                    (8.0, -16.0, 20.0),
                    (6.0, -16.0, -20.0),
                    (2.0, -13.0, -62.0),
                    (4.0, -2.0, -95.0),
                    (4.0, 6.0, -140.0),
                    (2.0, 16.0, -240.0),
                ]
            )
        )
        sketch.chain(tube, [tuple(point) for point in nose], dice.uniform(1.8, 3.0))
        found.append("gastric tube")
    sketch.use(sketch.warp)
    if dice.chance(0.1):
        side = 1 if dice.chance(0.3) else -1
        line = sketch.part("central line", dice.uniform(600, 3000), 30.0, 0.6)
        neck = dice.chance(0.5)
        start = (
            [(side * 50.0, -28.0, -20.0), (side * 40.0, -22.0, -50.0)]
            if neck
            else [(side * 80.0, -88.0, -170.0), (side * 62.0, -56.0, -92.0)]
        )
        sketch.chain(line, [*start, (side * 28.0, -36.0, -100.0), (-14.0, -34.0, -125.0), (-22.0, -28.0, -200.0)], 1.3)
        if not neck:
            port = sketch.part("port", 2500.0, 300.0, 1.0)
            sketch.ball(port, (side * 80, -96, -172), (13, 6, 13))
        found.append("central line")
    if dice.chance(0.25):
        wire = sketch.part("wire", dice.uniform(800, 5000))
        for _ in range(int(dice.uniform(1, 5))):
            end = (dice.uniform(-120, 120), -dice.uniform(108, 118), dice.uniform(-220, -120))
            sketch.chain(wire, [end, dice.jitter(end, 40), dice.jitter(end, 80)], dice.uniform(0.5, 1.2))
        found.append("wires")
    return found
