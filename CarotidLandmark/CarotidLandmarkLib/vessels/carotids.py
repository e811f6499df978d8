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
    points: dict[str, Point | None] = {}
    notes = []
    for side, every in _forks_by_side(masks, segmentation, scan).items():
        if not every:
            notes.append(
                f"{side}: no lumen becomes two that go on; it may end below the fork, have a gap, or not be segmented"
            )
            continue
        lowest, highest = every[0], every[-1]
        fork = next(fork for fork in every if highest.point[2] - fork.point[2] < CHEST_MM)
        points[wanted[side]] = fork.point
        notes += [f"{side}: {note}" for note in fork.notes]
        if fork is not lowest:
            away = fork.point[2] - lowest.point[2]
            notes.append(f"{side}: another fork, {away:.0f} mm below it, was taken for that of an artery of the chest")
    if not points:
        raise SegmentationError(
            f"{segmentation.source} has no fork: no lumen becomes two that both go on; "
            "it may end below the fork, or have gaps."
        )
    return points, tuple(notes)


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
    for side in labelled or [""]:
        union = np.logical_or.reduce([mask for role, mask in masks.items() if role.side in (side, "")])
        every = forks(Lumens.of(union, segmentation.geometry)) if union.any() else []
        if side:
            sides[side] = every
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
    middles = {side: float(np.mean([fork.point[0] for fork in every])) for side, every in sides.items() if every}
    wrong = "left" if len(middles) == 2 and middles["left"] <= middles["right"] else ""
    if len(middles) == 1:
        ((stated, x),) = middles.items()
        off = x - body_middle(scan, sides[stated][0].point)
        wrong = stated if abs(off) > MIDDLE_MM and stated != ("left" if off > 0 else "right") else ""
    if wrong:
        (other,) = set(names.SIDES) - {wrong}
        raise SegmentationError(
            f"{segmentation.source}: what is labelled {wrong} lies on the patient's {other}; correct the labels, "
            "or say what they are with --label."
        )


def carotid_masks(segmentation: Segmentation, given: Mapping[str, str]) -> dict[Role, np.ndarray]:
    """The masks of the carotids by their role. Raises SegmentationError where they are not enough to find a fork."""
    known = {text for segment in segmentation.segments for text in (str(segment.number), segment.name)}
    for label in given:
        if label not in known:
            raise SegmentationError(f"{segmentation.source} has no label '{label}'; it has {segmentation.labels}.")
    masks: dict[Role, np.ndarray] = {}
    for segment in segmentation.segments:
        text = given.get(segment.name, given.get(str(segment.number)))
        if text is None:
            role = _role(segment.name) or (Role("", "lumen") if len(segmentation.segments) == 1 else None)
        else:
            side, _, vessel = text.rpartition("_")
            role = Role(side, vessel) if text else None
        if role is not None:
            masks[role] = masks[role] | segment.mask if role in masks else segment.mask
    if not masks:
        raise SegmentationError(
            f"{segmentation.source} has labels ({segmentation.labels}) of which none names a carotid; say with --label."
        )
    for side in {role.side for role in masks} - {""} or {""}:
        vessels = {role.vessel for role in masks if role.side in (side, "")}
        if not vessels & {"lumen"} and not {"internal", "external"} <= vessels:
            lacking = "external" if "external" not in vessels else "internal"
            raise SegmentationError(
                f"{segmentation.source} has no {lacking} carotid ({segmentation.labels}), and without it nothing says "
                "where the common carotid becomes two; segment it too (TotalSegmentator does not)."
            )
    return masks


def _role(name: str) -> Role | None:
    """What a label's name means: ``common_carotid_artery_left``, ``R ICA``, ``carotid lumen``, ..."""
    words = [word.lower() for word in re.split(r"[^A-Za-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)) if word]
    sides = {names.SIDE_OF[word] for word in words if word in names.SIDE_OF}
    vessels = {ABBREVIATIONS[word] for word in words if word in ABBREVIATIONS}
    if "carotid" in words:
        vessels |= {word for word in words if word in ("common", "internal", "external")}
    rest = set(words) - set(names.SIDE_OF)
    if not vessels and rest and rest <= LUMENS | {"common", "left", "right", "segment", "and"}:
        vessels = {"lumen"} if rest & LUMENS else set()
    if len(vessels) != 1 or len(sides) > 1:
        return None
    return Role(sides.pop() if sides else "", vessels.pop())
