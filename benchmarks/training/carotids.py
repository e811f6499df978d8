"""Drawn carotids beside measured ones: diameters, the fork's angle, the sides against each other, levels, HU.

    python -m benchmarks.training.carotids --background SOME-UNENHANCED-CT

Geometry and contrast of patient-like necks as they are drawn; nothing is rendered. Measured carotids: 32 of 138 from a
public database (Eulzer et al., doi 10.5281/zenodo.10695923), the ground-truth table of Ma et al. (52 scans), levels
in 147 CTAs (Manta et al.), HU read in a few CTAs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from carotid_training.necks.dice import Points
from carotid_training.necks.sculpted.body import MUSCLE, THYROID
from carotid_training.necks.sculpted.neck import SculptedNeck
from carotid_training.necks.styles import Styles
from carotid_training.necks.vessels.arteries import Carotid
from carotid_training.necks.vessels.layout import VERTEBRAE
from carotid_training.necks.vessels.paths import Tube, interpolated
from carotid_training.necks.vessels.tree import VesselTree
from carotid_training.seeds import GENERATOR, neck_seed

from ..tables import RESULTS, Output, Row, Table, run

# Where diameters are read, in mm above the fork along the vessel: the common carotid below its widening, the internal
# beyond the bulb.
COMMON_MM, INTERNAL_MM, EXTERNAL_MM = (-20.0, -10.0), (20.0, 25.0), (5.0, 15.0)
ANGLE_MM = (-5.0, 5.0)  # the chords between these, along both daughters
TOUCH_MM = 2.0  # lumens as near as this are one blob in a picture of 2 mm voxels
LEAST_HU = 75.0  # below it no contrast was given

Measures = dict[str, list[float]]
TABLE = Table(
    "carotids", "Do drawn carotids look like measured ones?",
    "Whether a net takes them for real ones. The measured numbers are means of published series.",
)  # fmt: skip


@dataclass(frozen=True)
class Number:
    """One measured number: ``key`` among the measures, the published value, and what is made of the drawn ones.

    Agreement: within 10 % of it, or, where ``most`` is given, from ``published`` to ``most``.
    """

    name: str
    key: str
    published: float
    statistic: Callable[[np.ndarray], float]
    most: float | None = None
    note: str = ""

    def row(self, style: str, measures: Measures) -> Row:
        """The table's row for a style."""
        values = np.array(measures[self.key])
        drawn = float(self.statistic(values)) if len(values) else float("nan")
        if self.most is None:
            agrees = "yes" if abs(drawn / self.published - 1) <= 0.1 else "no"
        else:
            agrees = "yes" if self.published <= drawn <= self.most else "no"
        published = f"{self.published:g}" if self.most is None else f"{self.published:g} to {self.most:g}"
        return {
            "style": style, "": self.name, "measured": published, "drawn": drawn, "of": len(values),
            "within 10 %": agrees, "note": self.note,
        }  # fmt: skip


def _mean_and_sd(name: str, key: str, mean: float, sd: float, note: str = "") -> tuple[Number, Number]:
    return Number(f"{name}, mean", key, mean, np.mean, note=note), Number(f"{name}, sd", key, sd, np.std)


def _level(name: str, share: float) -> Number:
    return Number(f"fork at {name} (share)", "level", share, lambda v: (v == _HALVES.index(name)).mean())


def _range(name: str, key: str, low: float, high: float, note: str = "") -> Number:
    return Number(f"{name}, median", key, low, np.median, high, note=note)


def _half_levels() -> list[str]:
    """Vertebral bodies and the discs between them, from below upwards: C5, C4/5, C4, C3/4 ..."""
    names = [VERTEBRAE[0]]
    for lower, upper in pairwise(VERTEBRAE):
        names += [f"{upper}/{lower[1:]}", upper]
    return names


_HALVES = _half_levels()
NUMBERS = (
    *_mean_and_sd("common carotid, diameter (mm)", "common", 6.48, 0.68),
    *_mean_and_sd("internal carotid, diameter (mm)", "internal", 5.45, 1.09),
    *_mean_and_sd("external carotid, diameter (mm)", "external", 4.70, 0.93),
    *_mean_and_sd("angle of the fork (degrees)", "angle", 29.0, 14.0),
    *_mean_and_sd("left to right, sideways (mm)", "sideways", 51.9, 10.6),
    *_mean_and_sd("left to right, distance (mm)", "distance", 59.0, 10.0, "Ma et al."),
    Number("left to right, height, mean of absolute (mm)", "height", 8.3, lambda v: np.abs(v).mean()),
    Number("left to right, height, sd (mm)", "height", 8.0, np.std, note="Ma et al."),
    Number("left to right, front to back, mean of absolute (mm)", "back", 5.9, lambda v: np.abs(v).mean()),
    _level("C3", 0.27),
    _level("C3/4", 0.26),
    _level("C4", 0.26),
    Number("both forks at one level (share)", "same level", 0.52, np.mean),
    Number("internal and external touch above the fork, median (mm)", "touch", 5.0, np.median, 15.0),
    _range("carotid (HU)", "artery hu", 220, 330),
    _range("jugular vein beside it (HU)", "vein hu", 150, 200),
    _range("calcium at the fork (HU)", "calcium hu", 450, 600),
    _range("muscle (HU)", "muscle hu", 44, 70),
    Number("thyroid (HU), mean", "thyroid hu", 140.0, np.mean),
)  # fmt: skip


def measure(tree: VesselTree, measures: Measures) -> None:
    """Add what one neck's carotids measure."""
    forks = tree.bifurcations(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).numpy()
    levels = []
    for side, (carotid, fork) in enumerate(zip(tree.carotids, forks, strict=True)):
        levels.append(half_level(tree.layout.spine, float(fork[2])))
        if not bool(tree.present[side]) or tree.facts[f"{carotid.side}_disease"] == "occluded":
            continue
        measures["level"].append(levels[-1])
        _measure_side(tree, carotid, fork, measures)
    if tree.present.all():
        apart = forks[0] - forks[1]
        measures["sideways"].append(float(apart[0]))
        measures["back"].append(float(apart[1]))
        measures["height"].append(float(apart[2]))
        measures["distance"].append(float(np.linalg.norm(apart)))
        measures["same level"].append(float(levels[0] == levels[1]))


def _measure_side(tree: VesselTree, carotid: Carotid, fork: Points, measures: Measures) -> None:
    common, internal, external = carotid.common, carotid.internal, carotid.external
    above = {id(tube): tube.arc - tube.arc[_nearest(tube, fork)] for tube in (internal, external)}
    # The common carotid ends where the internal begins, below the fork.
    below = common.arc - common.arc[-1] + above[id(internal)][0]
    if tree.facts[f"{carotid.side}_disease"] == "healthy":  # plaque narrows
        measures["common"].append(diameter(common, below, COMMON_MM))
        measures["internal"].append(diameter(internal, above[id(internal)], INTERNAL_MM))
        measures["external"].append(diameter(external, above[id(external)], EXTERNAL_MM))
    measures["angle"].append(angle(internal, above[id(internal)], external, above[id(external)]))
    measures["touch"].append(touching(internal, external, float(fork[2])))
    if carotid.common.hu >= LEAST_HU:
        measures["artery hu"].append(carotid.common.hu)
    for tube in tree.tubes:
        if tube.name == f"{carotid.side}_internal_jugular" and carotid.common.hu >= LEAST_HU:
            measures["vein hu"].append(_hu_at(tube, fork))
        if "calcium" in tube.name and "siphon" not in tube.name and carotid.side in tube.name:
            measures["calcium hu"].append(tube.hu)


def _nearest(tube: Tube, point: Points) -> int:
    return int(np.argmin(np.linalg.norm(tube.points - point, axis=1)))


def _hu_at(tube: Tube, point: Points) -> float:
    share = _nearest(tube, point) / (len(tube.points) - 1)
    return tube.hu if tube.hu_end is None else tube.hu + share * (tube.hu_end - tube.hu)


def diameter(tube: Tube, above: Points, between: tuple[float, float]) -> float:
    """Mean diameter (mm) of the part of a tube whose heights ``above`` the fork [n] are in a range."""
    at = np.linspace(*between, 21)
    return float(2 * np.interp(at, above, tube.radii).mean())


def angle(internal: Tube, above_i: Points, external: Tube, above_e: Points) -> float:
    """Degrees between the chords of both daughters round the fork."""
    chords = []
    for tube, above in ((internal, above_i), (external, above_e)):
        start, end = interpolated(np.array(ANGLE_MM), above, tube.points)
        chords.append((end - start) / np.linalg.norm(end - start))
    return float(np.degrees(np.arccos(np.clip(chords[0] @ chords[1], -1, 1))))


def touching(internal: Tube, external: Tube, fork_z: float) -> float:
    """How many mm above the fork the lumens stay within `TOUCH_MM` of each other."""
    for height in np.arange(0.5, 40.0, 0.5):
        level = fork_z + height
        one, other = (_on_level(tube, level) for tube in (internal, external))
        if np.linalg.norm(one[:2] - other[:2]) - one[3] - other[3] > TOUCH_MM:
            return float(height - 0.5)
    return 40.0


def _on_level(tube: Tube, z: float) -> Points:
    """Centre and radius [4] where the tube first reaches a height."""
    height = np.maximum.accumulate(tube.points[:, 2]) + 1e-9 * np.arange(len(tube.points))
    return interpolated(np.array([z]), height, np.column_stack([tube.points, tube.radii]))[0]


def half_level(spine: Points, z: float) -> int:
    """Index in the list of vertebral bodies and discs of the one nearest to height ``z``."""
    heights = np.empty(2 * len(spine) - 1)
    heights[::2] = spine[:, 2]
    heights[1::2] = (spine[:-1, 2] + spine[1:, 2]) / 2
    return int(np.argmin(np.abs(heights - z)))


def measured(styles: Styles, style: str, count: int, seed: int) -> Measures:
    """What so many patient-like necks of a style measure."""
    measures: Measures = {number.key: [] for number in NUMBERS}
    for n in range(count):
        neck = styles.draw(style, neck_seed("train", seed, n), randomised=False)
        measure(neck.tree, measures)  # type: ignore[attr-defined]
        if isinstance(neck, SculptedNeck):
            measures["muscle hu"].append(float(neck.palette.cells[MUSCLE]))
            measures["thyroid hu"].append(float(neck.palette.cells[THYROID]))
    return measures


def main(
    background: Annotated[list[Path] | None, typer.Option(help="Unenhanced CT for painted necks.")] = None,
    necks: Annotated[int, typer.Option(min=1, help="Sculpted necks.")] = 400,
    painted: Annotated[int, typer.Option(min=1, help="Painted necks, where there is a background.")] = 40,
    seed: int = 91,
    output: Output = RESULTS,
) -> None:
    """Draw, measure, compare."""
    torch.set_num_threads(1)  # drawing is many small operations: threads only wait for each other
    styles, rows = Styles(background or ()), []
    for style, count in (("sculpted", necks), ("painted", painted)):
        if style not in styles.available:
            continue
        measures = measured(styles, style, count, seed)
        rows += [number.row(style, measures) for number in NUMBERS if measures[number.key]]
    text = (
        f"Generator {GENERATOR}, patient-like necks, seed {seed}. Painted ones lie in real patients' tissue, which is "
        "deformed at random: that spreads places and angles."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(main)
