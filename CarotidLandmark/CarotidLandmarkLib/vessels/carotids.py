"""From segmented vessels to landmarks: which labels are carotids, where they fork, on which side of the body."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import landmarks as names
from ..landmarks import Point
from ..volume import Volume
from .fork import Fork, forks
from .lumens import Lumens
from .segments import Segmentation, SegmentationError

KIND = "carotid_bifurcation"  # what this finds, on either side
VESSELS = ("common", "internal", "external", "lumen")
SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
ABBREVIATIONS = {"cca": "common", "ica": "internal", "eca": "external"}
LUMENS = {"lumen", "carotid", "carotids", "artery", "arteries", "vessel", "vessels"}
ROLES = (*VESSELS, *(f"{side}_{vessel}" for side in names.SIDES for vessel in VESSELS))

BODY_HU = -300.0  # skin and more
SAMPLE_MM = 3.0
BODY_MM = 15.0  # above and below a fork: where the body's middle is looked for
# The brachiocephalic trunk divides farther below the carotid, and the external carotid ends nearer above it.
CHEST_MM = 85.0
MIDDLE_MM = 4.0  # a fork nearer to the middle has no side
APART_MM = 25.0  # forks farther apart across the body are of both sides: carotids are 30 mm apart at least


@dataclass(frozen=True)
class Role:
    """What a label stands for. ``side``: "" where it does not say; ``vessel``: one of `VESSELS`."""

    side: str
    vessel: str


def carotid_forks(
    masks: Mapping[Role, np.ndarray], segmentation: Segmentation, landmarks: Sequence[str], scan: Volume
) -> tuple[dict[str, Point | None], tuple[str, ...]]:
    """The forks by landmark, LPS mm, and notes on doubts and on a side without one. Raises SegmentationError."""
    wanted = {names.side(name): name for name in landmarks if names.kind(name) == KIND}
    if set(wanted) != set(names.SIDES):
        raise SegmentationError(
            f"A segmentation gives left and right {KIND}; this dataset is about {', '.join(landmarks)}."
        )
    sides = _forks_by_side(masks, segmentation, scan)
    points: dict[str, Point | None] = {}
    notes = []
    for side, name in wanted.items():
        if not sides[side]:
            notes.append(
                f"{side}: no lumen becomes two that go on; it may end below the fork, have a gap, or not be segmented"
            )
            continue
        fork, below = _lowest_carotid(sides[side])
        points[name] = fork.point
        notes += [f"{side}: {note}" for note in (*fork.notes, *below)]
    if not points:
        raise SegmentationError(
            f"{segmentation.source} has no fork: no lumen becomes two that both go on; "
            "it may end below the fork, or have gaps."
        )
    return points, tuple(notes)


def _lowest_carotid(forks_upwards: Sequence[Fork]) -> tuple[Fork, tuple[str, ...]]:
    """The lowest fork that is none of the chest, and a note where there is such a one below it."""
    highest = forks_upwards[-1].point[2]
    chosen = next(fork for fork in forks_upwards if highest - fork.point[2] < CHEST_MM)
    lower = forks_upwards[0]
    if lower is chosen:
        return chosen, ()
    away = chosen.point[2] - lower.point[2]
    return chosen, (f"another fork, {away:.0f} mm below it, was taken for that of an artery of the chest",)


def body_middle(scan: Volume, point: Point) -> float:
    """Left to right, where the middle of the body is at the height of a point: x, LPS mm."""
    steps = [max(1, int(SAMPLE_MM / spacing)) for spacing in scan.spacing_mm]
    voxels = scan.array[:: steps[2], :: steps[1], :: steps[0]]
    k, j, i = np.nonzero(voxels > BODY_HU)
    places = scan.to_lps(np.stack([i * steps[0], j * steps[1], k * steps[2]], axis=1))
    near = np.abs(places[:, 2] - point[2]) <= BODY_MM
    x = places[near, 0] if near.any() else np.array([scan.centre_lps[0]])
    return float((np.percentile(x, 2) + np.percentile(x, 98)) / 2)


def _forks_by_side(masks: Mapping[Role, np.ndarray], segmentation: Segmentation, scan: Volume) -> dict[str, list[Fork]]:
    """The forks of each side, upwards."""
    sides: dict[str, list[Fork]] = {side: [] for side in names.SIDES}
    labelled = sorted({role.side for role in masks} - {""})
    for said in labelled or [""]:
        union = np.logical_or.reduce([mask for role, mask in masks.items() if role.side in (said, "")])
        every = forks(Lumens.of(union, segmentation.geometry)) if union.any() else []
        if said:
            sides[said] = every
            continue
        for fork, off in zip(every, _off_middle(every, scan), strict=True):
            if abs(off) > MIDDLE_MM:
                sides["left" if off > 0 else "right"].append(fork)
    if labelled:
        _check_sides(sides, segmentation, scan)
    return sides


def _off_middle(every: Sequence[Fork], scan: Volume) -> list[float]:
    """How far to the left of the middle each fork is, mm: of the middle between those of both sides, or of the body's.

    A scan may show more of one half of the body than of the other.
    """
    x = np.sort([fork.point[0] for fork in every])
    gaps = np.diff(x)
    if len(gaps) and gaps.max() > APART_MM:
        widest = int(np.argmax(gaps))
        return [fork.point[0] - float(x[widest] + x[widest + 1]) / 2 for fork in every]
    return [fork.point[0] - body_middle(scan, fork.point) for fork in every]


def _check_sides(sides: Mapping[str, Sequence[Fork]], segmentation: Segmentation, scan: Volume) -> None:
    """Raises SegmentationError where labels say other sides than the body, or than their places to each other."""
    left, right = (float(np.mean([fork.point[0] for fork in sides[s]])) if sides[s] else None for s in names.SIDES)
    if left is not None and right is not None:
        wrong = "left" if left <= right else ""
    else:
        (said,) = [side for side in names.SIDES if sides[side]] or [""]
        off = (left or right or 0.0) - body_middle(scan, sides[said][0].point) if said else 0.0
        wrong = said if abs(off) > MIDDLE_MM and said != ("left" if off > 0 else "right") else ""
    if wrong:
        (other,) = set(names.SIDES) - {wrong}
        raise SegmentationError(
            f"{segmentation.source}: what is labelled {wrong} lies on the patient's {other}; correct the labels, "
            "or say what they are with --label."
        )


def carotid_masks(segmentation: Segmentation, given: Mapping[str, str]) -> dict[Role, np.ndarray]:
    """The masks of the carotids by their role. Raises SegmentationError where they are not enough to find a fork."""
    known = {str(segment.number) for segment in segmentation.segments} | {s.name for s in segmentation.segments}
    for label in given:
        if label not in known:
            listed = ", ".join(f"{s.number} {s.name}".strip() for s in segmentation.segments[:12])
            raise SegmentationError(f"{segmentation.source} has no label '{label}'; it has {listed}.")
    single = len(segmentation.segments) == 1 and not segmentation.segments[0].name
    masks: dict[Role, np.ndarray] = {}
    for segment in segmentation.segments:
        text = given.get(segment.name, given.get(str(segment.number)))
        role = _role(segment.name) if text is None else _given_role(text)
        if text is None and (single or len(segmentation.segments) == 1):
            role = role or Role("", "lumen")
        if role is not None:
            masks[role] = masks[role] | segment.mask if role in masks else segment.mask
    listed = ", ".join(f"{s.number} {s.name}".strip() for s in segmentation.segments[:12])
    if not masks:
        raise SegmentationError(
            f"{segmentation.source} has labels ({listed}) of which none names a carotid; say with --label."
        )
    for side in {role.side for role in masks} - {""} or {""}:
        vessels = {role.vessel for role in masks if role.side in (side, "")}
        if not vessels & {"lumen"} and not {"internal", "external"} <= vessels:
            lacking = "external" if "external" not in vessels else "internal"
            raise SegmentationError(
                f"{segmentation.source} has no {lacking} carotid ({listed}), and without it nothing says where the "
                "common carotid becomes two; segment it too (TotalSegmentator does not)."
            )
    return masks


def _given_role(text: str) -> Role | None:
    side, _, vessel = text.rpartition("_")
    return Role(side, vessel) if text else None


def _role(name: str) -> Role | None:
    """What a label's name means: ``common_carotid_artery_left``, ``R ICA``, ``carotid lumen``, ..."""
    words = [word.lower() for word in re.split(r"[^A-Za-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)) if word]
    said = {SIDES[word] for word in words if word in SIDES}
    vessels = {ABBREVIATIONS[word] for word in words if word in ABBREVIATIONS}
    if "carotid" in words:
        vessels |= {word for word in words if word in ("common", "internal", "external")}
    rest = set(words) - set(SIDES)
    if not vessels and rest and rest <= LUMENS | {"common", "left", "right", "segment", "and"}:
        vessels = {"lumen"} if rest & LUMENS else set()
    if len(vessels) != 1 or len(said) > 1:
        return None
    return Role(said.pop() if said else "", vessels.pop())
