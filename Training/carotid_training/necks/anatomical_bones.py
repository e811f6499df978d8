"""Bones, teeth and cartilages of the anatomical style, drawn organ by organ on a `Sketch`.

Measures are those of adult anatomy (Gray's Anatomy, 41st edition), in millimetres of the template: x to the left, y to
the back, z up, the middle of C4 at the origin. ``side`` is +1 on the left and -1 on the right.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from .anatomical_body import PATIENT, TEMPLATE_LEVELS, Dice, Frame, Person, Point, Sketch

SIDES = (1, -1)
LEVELS = (*TEMPLATE_LEVELS, "T5", "T6", "T7", "T8")
# The body of the mandible from the angle to the symphysis: x, y, lower border, how much of the height is still there.
_JAW = (
    (46, -20, 20, 0.2), (43, -32, 16, 0.4), (38, -44, 11, 0.58), (31, -56, 7, 0.7),
    (22, -67, 3, 0.8), (11, -75, 0, 0.88), (0, -78, -1, 0.9),
)  # fmt: skip


def vertebrae(sketch: Sketch, dice: Dice, person: Person, frames: list[Frame], foramina: dict[str, np.ndarray]) -> None:
    """C1 to T8 in their local frames; ``foramina`` [2, 3] per cervical level are where the vertebral arteries pass."""
    disc = sketch.part("disc", dice.uniform(75, 120), blend_mm=1.0)
    bone = sketch.part("vertebra", person.bone_hu * 0.75, person.marrow_hu, dice.uniform(0.8, 1.7), 1.2)
    arch = sketch.part("arch", person.bone_hu, person.marrow_hu, dice.uniform(1.0, 2.0), 0.8)
    spur = sketch.part("osteophyte", person.bone_hu * 0.9, blend_mm=0.5)
    worn = max(0.0, (person.age - 45) / 50)
    for level, frame, below in zip(LEVELS, frames, [*frames[1:], None], strict=True):
        sketch.use(frame)
        if level == "C1":
            _atlas(sketch, dice, arch)
        else:
            _vertebra(sketch, dice, level, bone, arch)
        if level != "C1" and below is not None:
            drop = float(np.linalg.norm(below.origin - frame.origin)) / 2 * frame.scale
            thick = max(1.0, dice.normal(3.0, 0.5) * (1 - 0.5 * worn * dice.uniform()))
            wide, deep = (12.0, 8.5) if level.startswith("C") else (15.0, 12.0)
            sketch.ball(disc, (0, 0, -drop), (wide, deep, thick))
            for side in SIDES:
                if dice.chance(0.5 * worn):
                    x = side * dice.uniform(2, wide)
                    front = dice.chance(0.6)
                    y = (-1 if front else 1) * deep * math.sqrt(max(0.1, 1 - (x / wide) ** 2))
                    sketch.chain(
                        spur,
                        [(x, y, -drop + 4), (x, y * 1.25, -drop), (x, y, -drop - 4)],
                        [1.5, dice.uniform(1, 3), 1.5],
                    )
                if dice.chance(0.6 * worn):
                    sketch.ball(
                        spur, (side * dice.uniform(19, 24), dice.uniform(6, 12), -drop + 2), dice.uniform(2.5, 5)
                    )
    sketch.use(PATIENT)
    # A bony ring about each vertebral artery, so that the foramen is where the artery runs.
    fat = sketch.part("foramen", person.fat_hu * 0.6)
    for level, centres in foramina.items():
        frame = frames[TEMPLATE_LEVELS.index(level)]
        for side, centre in zip(SIDES, centres, strict=True):
            radius = dice.uniform(4.2, 5.2)
            around = [
                centre + radius * (math.cos(t) * frame.axes[0] + math.sin(t) * frame.axes[1])
                for t in np.linspace(0, 2 * math.pi, 7)
            ]
            sketch.chain(arch, [tuple(point) for point in around], dice.uniform(1.3, 2.0))
            reach = frame.origin + side * 9 * frame.axes[0]
            sketch.chain(arch, [tuple(reach), tuple(centre - radius * frame.axes[1] + side * 2 * frame.axes[0])], 2.0)
            up = 4.0 * frame.axes[2]
            sketch.chain(fat, [tuple(centre - up), tuple(centre + up)], max(1.5, radius - 1.6))
    if person.operated_spine:
        _fusion(sketch, dice, frames)


def _vertebra(sketch: Sketch, dice: Dice, level: str, bone: int, arch: int) -> None:
    """Body, pedicles, articular pillars, laminae, spinous and (thoracic) transverse processes of C2 to T8."""
    thoracic = level.startswith("T")
    number = LEVELS.index(level)
    half = (10.5 + 0.35 * number) * dice.normal(1, 0.04)
    deep = 7.3 + (3.5 if thoracic else 0.0)
    high = 6.0 + 0.28 * max(0, number - 3)
    corner = 3.6
    for y in (-1, 1):
        for z in (-1, 1):
            waist = half - corner - (2.0 if y > 0 else 0.0)
            sketch.chain(
                bone,
                [
                    (-waist, y * (deep - corner), z * (high - corner + 0.6)),
                    (waist, y * (deep - corner), z * (high - corner + 0.6)),
                ],
                corner,
            )
    sketch.ball(bone, (0, 0, 0), (half, deep, high))
    if level == "C2":
        lean = dice.normal(0, 1.5)
        sketch.chain(bone, [(0, -1, 4), (lean * 0.5, -2, 16), (lean, -2, 26)], [7.0, 5.5, 4.5])
    back = deep + (17.0 if not thoracic else 18.0)
    long = {"C2": 13, "C3": 11, "C4": 12, "C5": 14, "C6": 18, "C7": 28}.get(level, 27) * dice.normal(1, 0.1)
    slope = {"C2": -0.35, "C6": -0.35, "C7": -0.4}.get(level, -0.3 if not thoracic else -0.9)
    tip = (dice.normal(0, 1.2), back + long, slope * long - 3)
    sketch.chain(arch, [(0, back - 1, -2), tip], [3.4, 2.6])
    sketch.chain(arch, [(0, back + 2, -6), (tip[0], tip[1] - 3, tip[2] - 4)], [2.2, 2.2])
    for side in SIDES:
        sketch.chain(arch, [(side * 8, deep - 2, 1), (side * 18, deep + 3, 1)], 3.6)
        pillar = dice.normal(20.0 if not thoracic else 17.0, 0.8)
        behind = deep + (3.5 if not thoracic else 8.0)
        sketch.chain(
            arch,
            [(side * pillar, behind - 1.5, 6.5), (side * pillar, behind, 0), (side * pillar, behind + 2, -6.5)],
            [4.6, 5.6, 4.6],
        )
        for up in (1.5, -4.5):
            sketch.chain(
                arch,
                [(side * (pillar - 2), behind + 4, up), (side * 10, back - 5, up - 1), (0, back, up - 2)],
                [3.0, 2.3, 2.5],
            )
        if level in ("C2", "C3", "C4", "C5", "C6"):
            sketch.chain(
                arch, [(tip[0], tip[1] - 1, tip[2]), (side * dice.uniform(3, 6), tip[1] + 3, tip[2] - 2)], [2.4, 1.8]
            )
        if thoracic or level == "C7":
            reach = 36.0 if level != "C7" else 33.0
            sketch.chain(arch, [(side * 17, behind, 1), (side * reach, behind + (6 if thoracic else 0), 3)], [4.2, 3.4])
        else:
            sketch.chain(arch, [(side * 20, behind - 1, 0), (side * 26, 4, -3)], [2.6, 2.0])
        if level != "C2" and not thoracic:
            sketch.chain(bone, [(side * (half - 1.5), -2, high), (side * (half - 1), 4, high)], 2.2)


def _atlas(sketch: Sketch, dice: Dice, arch: int) -> None:
    """C1: anterior and posterior arch, lateral masses, transverse processes."""
    sketch.chain(arch, [(-16, -5, 0), (-8, -11, 0), (0, -12.5, 0), (8, -11, 0), (16, -5, 0)], [3.6, 3.2, 4.0, 3.2, 3.6])
    cleft = dice.chance(0.04)
    for side in SIDES:
        sketch.ball(arch, (side * 20, 2, 0), (7.5, 10, 8.5), yaw=-side * 0.4)
        sketch.chain(
            arch, [(side * 21, 9, 0), (side * 16, 22, 0), (side * (3 if cleft else 0), 31, 0)], [3.2, 2.6, 3.4]
        )
        sketch.chain(arch, [(side * 22, 4, -1), (side * 37, 6, -2)], [4.0, 3.6])


def _fusion(sketch: Sketch, dice: Dice, frames: list[Frame]) -> None:
    """An anterior plate with screws over two or three cervical levels."""
    metal = sketch.part("plate", 7000.0)
    first = int(dice.uniform(3, 5))
    last = first + int(dice.uniform(1, 3))
    for side in SIDES:
        line = [
            tuple(frames[level].origin + frames[level].axes.T @ np.array([side * 5.0, -10.0, 0.0]))
            for level in range(first, last + 1)
        ]
        sketch.chain(metal, line, 1.3)
        for level in range(first, last + 1):
            ends = [
                frames[level].origin + frames[level].axes.T @ np.array(end)
                for end in ([side * 5.0, -10.0, 0.0], [side * 4.0, 4.0, 0.0])
            ]
            sketch.chain(metal, [tuple(end) for end in ends], 1.6)


def canal(sketch: Sketch, dice: Dice, person: Person, frames: list[Frame]) -> None:
    """Spinal canal behind the vertebral bodies: epidural fat, cerebrospinal fluid, and the cord."""
    course = np.array([f.origin + f.axes[1] * (15.0 + 0.5 * max(0, n - 6)) for n, f in enumerate(frames)])
    top, end = course[0] + 0.8 * (course[0] - course[1]), course[-1] + 6 * (course[-1] - course[-2])
    middle = [tuple(point) for point in (top, *course, end)]
    sketch.use(PATIENT)
    fat = sketch.part("epidural fat", dice.uniform(-60, 30), blend_mm=1.0)
    sketch.chain(fat, middle, dice.uniform(7.6, 8.6))
    fluid = sketch.part("cerebrospinal fluid", dice.uniform(2, 18))
    sketch.chain(fluid, middle, dice.uniform(6.4, 7.2))
    cord = sketch.part("cord", dice.uniform(32, 48), blend_mm=1.0)
    for side in SIDES:
        sketch.chain(cord, [(x + side * 2.2, y + 0.3, z) for x, y, z in middle], dice.uniform(3.3, 4.0))


def skull(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Vault, skull base, face, brain, sinuses, orbits and ears."""
    sketch.use(sketch.warp)
    thick = dice.uniform(3.5, 7.0)
    vault = sketch.part("skull vault", person.bone_hu, dice.uniform(28, 38), thick, 4.0)
    sketch.ball(vault, (0, -2, 128), (66 + thick, 84 + thick, 54 + thick))
    sketch.ball(vault, (0, 40, 98), (54, 46, 38))
    for side in SIDES:
        sketch.ball(vault, (side * 36, -18, 100), (30, 36, 26))
    _brain(sketch, dice)
    base = sketch.part("skull base", person.bone_hu * 0.95, person.marrow_hu + 250, 1.8, 2.0)
    sketch.chain(base, [(0, -10, 66), (0, -20, 80), (0, -27, 93)], [5.0, 6.5, 8.0])
    for side in SIDES:
        sketch.chain(base, [(side * 16, -10, 77), (side * 38, 2, 77), (side * 60, 14, 78)], [6.0, 9.0, 9.0])
        sketch.ball(base, (side * 18, 6, 63), (6, 10, 6), yaw=-side * 0.5)
        sketch.ball(base, (side * 54, 18, 64), (10, 14, 19))
        sketch.chain(
            base, [(side * 14, 12, 64), (side * 30, 30, 66), (side * 30, 60, 70), (0, 78, 76)], [3.5, 3.5, 3.5, 5.0]
        )
        sketch.chain(base, [(side * 62, -14, 78), (side * 66, -40, 76), (side * 52, -68, 76)], [4.0, 3.0, 4.0])
        sketch.chain(
            base, [(side * 50, -68, 78), (side * 50, -72, 96), (side * 46, -76, 112), (side * 22, -86, 114)], 3.5
        )
        for inner in (20, 28):
            sketch.chain(base, [(side * 20, -42, 84), (side * inner, -38, 50)], [3.5, 1.2])
        sketch.chain(base, [(side * 24, -30, 84), (side * 46, -16, 80)], [6.0, 5.0])
        sketch.chain(base, [(side * 7, -92, 96), (side * 4, -100, 86)], [2.5, 1.5])
    # Maxillary sinuses: thin walls about air, or about fluid and swollen mucosa.
    for side in SIDES:
        filled = dice.chance(0.2)
        walls = sketch.part(
            "maxillary sinus",
            person.bone_hu * 0.8,
            dice.uniform(5, 45) if filled else -1000.0,
            dice.uniform(1.0, 2.0),
            2.0,
        )
        size = dice.uniform(0.8, 1.15)
        sketch.ball(walls, (side * 29, -64, 74), (15 * size, 18 * size, 18 * size))
        if not filled and dice.chance(0.4):
            sketch.ball(sketch.part("mucosa", dice.uniform(10, 40)), (side * 29, -62, 61), (10, 12, dice.uniform(2, 8)))
    orbits = sketch.part("orbital fat", person.fat_hu)
    globe = sketch.part("eye", dice.uniform(5, 20))
    rim = sketch.part("lens and muscles", dice.uniform(60, 110))
    for side in SIDES:
        sketch.chain(orbits, [(side * 34, -76, 102), (side * 16, -42, 98)], [17.0, 6.0])
        sketch.ball(globe, (side * 33, -80, 103), 12.0)
        sketch.ball(rim, (side * 33.5, -89, 103), (4.5, 2.0, 4.5))
        for dx, dz in ((9, 0), (-9, 0), (0, 9), (0, -9)):
            sketch.chain(
                rim, [(side * 33 + dx, -76, 103 + dz), (side * 19 + dx * 0.25, -48, 98 + dz * 0.25)], [2.0, 1.8]
            )
        sketch.chain(rim, [(side * 33, -69, 103), (side * 19, -48, 98)], 2.2)
    cells = sketch.part("ethmoid and sphenoid cells", person.bone_hu * 0.5, -1000.0, 0.7)
    for _ in range(14):
        sketch.ball(
            cells,
            dice.jitter((dice.uniform(-11, 11), dice.uniform(-78, -50), dice.uniform(88, 104)), 1),
            dice.uniform(3, 6),
        )
    for side in SIDES:
        sketch.ball(
            cells, (side * dice.uniform(5, 9), -38, 94), (dice.uniform(6, 10), dice.uniform(8, 13), dice.uniform(7, 11))
        )
        if dice.chance(0.8):
            sketch.ball(cells, (side * 12, -88, 116), (dice.uniform(6, 14), 5, dice.uniform(5, 12)))
    air = sketch.part("mastoid cells and ear canals", -1000.0)
    for side in SIDES:
        sketch.chain(air, [(side * 44, 0, 77), (side * 58, 1, 75), (side * 80, 3, 75)], [3.5, 3.0, 3.5])
        for _ in range(int(dice.uniform(4, 40))):
            sketch.ball(
                air, (side * dice.normal(55, 5), dice.normal(19, 6), dice.normal(66, 8)), dice.uniform(0.8, 2.6)
            )
    _styloids(sketch, dice, person)


def _brain(sketch: Sketch, dice: Dice) -> None:
    """Ventricles, sulci, falx and basal cisterns inside the vault."""
    fluid = sketch.part("ventricles and cisterns", dice.uniform(3, 14))
    wide = dice.uniform(0.7, 1.8)
    for side in SIDES:
        sketch.chain(
            fluid,
            [(side * 10, -28, 132), (side * 13, 5, 140), (side * 20, 35, 130), (side * 28, 15, 112)],
            [4.0 * wide, 5.0 * wide, 5.0 * wide, 3.0],
        )
        for _ in range(14):
            start = (side * dice.uniform(25, 60), dice.uniform(-60, 60), dice.uniform(110, 172))
            sketch.chain(fluid, [start, dice.jitter(start, 7)], wide * dice.uniform(0.6, 1.6))
    sketch.ball(fluid, (0, 26, 92), (7, 5, 9))
    sketch.chain(fluid, [(-14, -18, 98), (0, -22, 98), (14, -18, 98)], 4.0)
    stem = sketch.part("brain stem and cerebellum", dice.uniform(30, 42), blend_mm=3.0)
    sketch.chain(stem, [(0, 12, 62), (0, 2, 76), (0, -4, 92)], [6.0, 9.0, 13.0])
    falx = sketch.part("falx and tentorium", dice.uniform(50, 130))
    sketch.ball(falx, (0, 8, 150), (1.0, 74, 30))
    sinus = sketch.part("dural sinuses", dice.uniform(50, 350))
    sketch.chain(sinus, [(0, -50, 176), (0, 40, 176), (0, 84, 120), (0, 82, 92)], 3.5)
    for side in SIDES:
        sketch.chain(
            sinus, [(0, 82, 92), (side * 44, 52, 88), (side * 50, 22, 82), (side * 38, 14, 70)], dice.uniform(2.0, 5.0)
        )


def _styloids(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Styloid processes, 15 to 60 mm long, and stylohyoid ligaments, sometimes ossified in pieces."""
    bone = sketch.part("styloid", person.bone_hu * 0.9)
    for side in SIDES:
        top, end = np.array([side * 43.0, 4.0, 62.0]), np.array([side * 22.0, -34.0, 6.0])
        end = end + np.array([dice.normal(0, 2) for _ in range(3)])
        reach = dice.uniform(0.25, 0.6) if dice.chance(0.8) else dice.uniform(0.6, 0.95)
        sketch.chain(bone, [tuple(top), tuple(top + (end - top) * reach)], [dice.uniform(1.8, 2.8), 1.0])
        while reach < 0.9 and dice.chance(0.35):
            start = reach + dice.uniform(0.03, 0.15)
            reach = start + dice.uniform(0.08, 0.25)
            sketch.chain(
                bone, [tuple(top + (end - top) * min(1.0, at)) for at in (start, reach)], dice.uniform(0.8, 1.8)
            )


def jaws(sketch: Sketch, dice: Dice, person: Person) -> list[Point]:
    """Mandible, maxilla, palate and teeth. Returns the fillings' centres (template)."""
    sketch.use(sketch.warp)
    bone = sketch.part("jaws", person.bone_hu * 1.05, person.marrow_hu + 60, dice.uniform(1.5, 2.6), 1.5)
    flare = dice.normal(0, 2.0)
    gone = person.edentulous
    open_mm = dice.uniform(0, 8) if dice.chance(0.8) else dice.uniform(8, 22)
    for rise, thin in ((4.0, 5.0), (11.0, 5.2), (19.0, 5.0))[: 2 if gone else 3]:
        arch = []
        for x, y, floor, share in _JAW:
            arch.append((x + flare * min(1.0, x / 40), y, floor + share * rise - open_mm * min(1.0, -y / 70)))
        sketch.chain(bone, [*arch, *[(-x, y, h) for x, y, h in arch[-2::-1]]], thin)
    ramus = sketch.part(
        "ramus of the mandible", person.bone_hu * 1.05, person.marrow_hu + 60, dice.uniform(1.0, 1.6), 2.5
    )
    for side in SIDES:
        for y_low, y_high, top in ((-13, -8, 70), (-18, -14, 60), (-23, -20, 56), (-28, -27, 58), (-33, -34, 66)):
            line = [(side * (46 + flare), y_low, 22), (side * (49 + flare), y_high, 50), (side * 50, y_high, top)]
            sketch.chain(ramus, line, [4.2, 3.8, 3.4])
        sketch.ball(ramus, (side * 51, -9, 72), (9, 5, 5), yaw=side * 0.3)
    bone = sketch.part("maxilla and palate", person.bone_hu, person.marrow_hu + 60, dice.uniform(1.2, 2.2), 1.5)
    for x in range(-20, 21, 4):
        rise = 56 - 0.011 * x * x
        sketch.chain(bone, [(float(x), -44, rise), (float(x), -80 + 0.05 * x * x, rise - 3)], 2.4)
    upper = [(27, -42, 49), (25, -58, 48), (17, -75, 48), (6, -84, 48)]
    sketch.chain(bone, [*upper, *[(-x, y, z) for x, y, z in upper[::-1]]], 5.5)
    return [] if gone else _teeth(sketch, dice, open_mm)


def _teeth(sketch: Sketch, dice: Dice, open_mm: float) -> list[Point]:
    """Up to 32 teeth of dentine and enamel, some lost; some with fillings or crowns of metal."""
    dentine = sketch.part("dentine", dice.uniform(1200, 1900))
    enamel = sketch.part("enamel", dice.uniform(2000, 2900))
    metal = sketch.part("dental metal", dice.uniform(4000, 12000))
    lost, filled = dice.uniform(0, 0.3), dice.uniform(0, 0.5) if dice.chance(0.6) else 0.0
    fillings = []
    for jaw in (1, -1):
        for side in SIDES:
            for place in range(8):
                t = 0.12 + place / 8 * 1.28
                x, y = side * (26 if jaw > 0 else 27) * math.sin(t), -47 - 36 * math.cos(t)
                drop = open_mm * min(1.0, -y / 70) if jaw < 0 else 0.0
                neck, crown = (44.0, 36.5) if jaw > 0 else (25.0 - drop, 32.5 - drop)
                wide = 2.6 + 0.3 * place
                if dice.chance(lost):
                    continue
                root = neck + jaw * dice.uniform(8, 12)
                sketch.chain(dentine, [(x, y, root), (x, y, neck), (x, y, crown)], [1.2, wide * 0.8, wide * 0.75])
                sketch.chain(enamel, [(x, y, (neck + crown) / 2), (x, y, crown)], [wide, wide * 0.95])
                if dice.chance(filled):
                    sketch.ball(metal, (x, y, crown), (wide * 0.8, wide * 0.8, dice.uniform(1.0, 3.5)))
                    fillings.append((x, y, crown))
    return fillings


def hyoid_and_larynx(sketch: Sketch, dice: Dice, person: Person) -> None:
    """Hyoid with greater horns, thyroid, cricoid and arytenoid cartilages (ossified in patches), tracheal rings."""
    sketch.use(sketch.warp)
    bone = sketch.part("hyoid", person.bone_hu * 0.8, person.marrow_hu + 100, 1.0, 1.0)
    high = dice.normal(2, 3)
    horn = dice.uniform(14, 34)
    sketch.chain(bone, [(-12, -47, high), (-5, -52, high), (5, -52, high), (12, -47, high)], [3.0, 4.2, 4.2, 3.0])
    for side in SIDES:
        tip = (side * dice.normal(23, 2), -46 + horn + dice.normal(0, 2), high + dice.uniform(1, 8))
        middle = (side * 20, -44 + horn * 0.5, high + 1)
        joint = 0.0 if dice.chance(0.5) else 2.0
        sketch.chain(bone, [(side * (12 + joint), -46 + joint, high), middle, tip], [2.6, 1.9, dice.uniform(1.2, 2.6)])
    if person.laryngectomy:
        return
    cartilage = sketch.part("cartilage", dice.uniform(70, 160), blend_mm=0.5)
    ossified = sketch.part("ossified cartilage", dice.uniform(350, 900), dice.uniform(60, 250), 0.9, 0.5)
    share = min(0.95, max(0.02, (person.age - 20) / 75 + dice.normal(0, 0.2)))
    male = 0.0 if person.female else 4.0

    def piece(points: list[Point], radius: float) -> None:
        for first, last in pairwise(points):
            sketch.chain(ossified if dice.chance(share) else cartilage, [first, last], radius)

    for side in SIDES:
        for z in (-12.0, -16.5, -21.0, -25.5, -30.0):
            notch = 4.0 if z > -14 else 0.0
            piece([(side * (1 + notch), -47 - male + notch, z), (side * 11, -41, z), (side * 20, -27, z + 1)], 1.9)
        piece([(side * 20, -26, -12), (side * 20, -22, 0)], 1.9)
        piece([(side * 20, -26, -30), (side * 17, -24, -37)], 1.9)
        piece([(side * 4, -20, -30), (side * 4, -24, -22)], 2.4)
        for z in (-36.0, -40.0):
            piece([(0, -43, z), (side * 10, -38, z), (side * 13, -28, z), (side * 8, -20, z), (0, -18, z)], 2.0)
        piece([(side * 7, -19, -42), (side * 6, -19, -29)], 2.4)


def chest(sketch: Sketch, dice: Dice, person: Person) -> None:
    """First to fourth ribs, clavicles, manubrium, and scapulae; all in the template frame."""
    sketch.use(sketch.warp)
    bone = sketch.part("ribs and girdle", person.bone_hu * 0.95, person.marrow_hu, dice.uniform(1.2, 2.2), 1.5)
    lift = person.shoulders
    for side in SIDES:
        for index, (z, wide, front) in enumerate(
            ((-71, 55, -35), (-91, 82, -55), (-112, 98, -68), (-134, 108, -78), (-158, 116, -84))
        ):
            back = 30 + 7 * index
            ring = [
                (14, back - 3, z + 2), (36, back + 14, z), (wide * 0.82, back + 8, z - 10), (wide, back - 32, z - 24),
                (wide * 0.82, front + 22, z - 38), (wide * 0.5, front, z - 46), (24, front - 4, z - 46),
            ]  # fmt: skip
            sketch.chain(bone, [(side * x, y, h) for x, y, h in ring], [3.6, 4.0, 4.5, 4.5, 4.5, 4.0, 3.5])
        clavicle = [
            (14, -50, -103),
            (45, -60, -97 + lift * 0.4),
            (95, -40, -88 + lift),
            (140, -10, -84 + lift),
            (158, -2, -82 + lift),
        ]
        sketch.chain(bone, [(side * x, y, z) for x, y, z in clavicle], [9.0, 6.0, 5.5, 6.0, 6.0])
        sketch.chain(
            bone,
            [
                (side * 158, -2, -82 + lift),
                (side * 168, 22, -80 + lift),
                (side * 110, 62, -92 + lift),
                (side * 78, 72, -110),
            ],
            [6.5, 6.0, 5.0, 3.0],
        )
        sketch.ball(bone, (side * 146, 16, -108 + lift), (6, 12, 18))
        for x, y, z in ((84, 74, -200), (95, 72, -220), (108, 68, -215), (122, 60, -205)):
            sketch.chain(bone, [(side * 144, 24, -112 + lift), (side * x, y, z)], [5.0, 2.4])
        sketch.chain(
            bone,
            [(side * 146, 12, -98 + lift), (side * 134, -18, -94 + lift), (side * 142, -30, -102 + lift)],
            [5.0, 5.0, 5.0],
        )
    for aside in (-9.0, -3.0, 3.0, 9.0):
        sketch.chain(bone, [(aside * 1.8, -54, -108), (aside * 0.9, -64, -160), (aside * 0.8, -74, -240)], 5.0)


def arms(sketch: Sketch, dice: Dice, person: Person) -> tuple[list[Point], list[tuple[Point, Point, float, float]]]:
    """Humeri and the muscles of both arms, down or raised.

    Returns the humeral heads and, for the outline, each arm as a cone (ends and radii); all in the template.
    """
    sketch.use(sketch.warp)
    first = dice.chance(0.5)
    raised = {"down": (False, False), "up": (True, True), "one up": (first, not first)}[person.arms]
    flesh = sketch.part("arm muscle", person.fat_hu, person.muscle_hu, 0.8, 3.0)
    bone = sketch.part("humerus", person.bone_hu, person.marrow_hu * 0.8, 2.5, 2.0)
    heads, cones = [], []
    for side, up in zip(SIDES, raised, strict=True):
        head = (side * 160.0, 8.0, -98.0 + person.shoulders) if up else (side * 166.0, 8.0, -108.0 + person.shoulders)
        aside, back, rise = (
            (dice.uniform(-30, 60), dice.uniform(-90, 20), 290.0) if up else (20.0, dice.uniform(-10, 25), -290.0)
        )
        elbow = (head[0] + side * aside, head[1] + back, head[2] + rise)
        for dy in (14, -16):
            top = (head[0] + side * 8, head[1] + dy, head[2] + rise * 0.05)
            sketch.chain(
                flesh, [top, (elbow[0], elbow[1] + dy * 0.8, elbow[2])], [21.0 * person.muscle, 19.0 * person.muscle]
            )
        sketch.ball(bone, head, (23, 23, 22))
        sketch.chain(bone, [(head[0] + side * 6, head[1], head[2] + rise * 0.05), elbow], [16.0, 11.0])
        heads.append(head)
        cones.append((head, elbow, 38.0, 32.0))
    return heads, cones


def ears(sketch: Sketch, dice: Dice) -> None:
    """Auricles: thin folds that stand off the head."""
    sketch.use(sketch.warp)
    part = sketch.part("auricle", dice.uniform(-60, 60), blend_mm=1.0)
    for side in SIDES:
        off = dice.uniform(0, 8)
        rim = [(77, 8, 55), (79 + off, 18, 62), (81 + off, 28, 78), (79 + off, 22, 92), (76, 8, 94), (75, 2, 84)]
        sketch.chain(part, [(side * x, y, z) for x, y, z in rim], [3.0, 2.5, 2.0, 2.2, 2.2, 1.8])
        sketch.ball(part, (side * (78 + off * 0.6), 16, 76), (1.6, 10, 15), yaw=-side * 0.35)
