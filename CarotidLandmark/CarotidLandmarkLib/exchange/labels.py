"""Which landmark a label of another program means: by its name, by its side, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .. import landmarks as names
from ..errors import UserError
from .places import Triple
from .points import PointList

# beside the words of a landmark's own name, what a label may have that says nothing of another one
NEUTRAL = {
    "f", "p", "pt", "point", "points", "fiducial", "markup", "markups", "landmark", "marker", "side", "apex", "fork",
}  # fmt: skip
SHORTEST_PREFIX = 3  # of a word: "bif" for bifurcation


def landmark_points(
    points: PointList, landmarks: Sequence[str], given: Mapping[str, str]
) -> tuple[dict[str, Triple | None], tuple[str, ...]]:
    """The points by landmark, and notes. Raises UserError: a label is unknown, a landmark is there twice."""
    result: dict[str, Triple | None] = {}
    meant: dict[str, str] = {}
    nameless = {}
    for label, triple in points.points.items():
        landmark = given[label] if label in given else _landmark(label, landmarks)
        if landmark is None:
            if not _telling(_words(label)):
                nameless[label] = triple
                continue
            raise UserError(
                f"{points.source} has a point '{label}', which is none of {', '.join(landmarks)}; say which it is with "
                f'--label "{label}=LANDMARK", or leave it out with --label "{label}=".'
            )
        if landmark == "":
            continue
        if landmark in result:
            raise UserError(
                f"{points.source} has two points for {landmark} ('{meant[landmark]}', '{label}'); keep one."
            )
        result[landmark], meant[landmark] = triple, label
    if not nameless:
        return result, ()
    if result:
        raise UserError(
            f"{points.source} has a point '{next(iter(nameless))}' that names no landmark; say it with --label."
        )
    return _by_place(points, nameless, landmarks)


def _by_place(
    points: PointList, nameless: Mapping[str, Triple | None], landmarks: Sequence[str]
) -> tuple[dict[str, Triple | None], tuple[str, ...]]:
    """Two points without names are left and right, if there is one pair: whoever knows the frame knows the sides."""
    pairs = names.pairs(landmarks)
    placed = {label: triple for label, triple in nameless.items() if triple is not None}
    if len(placed) != 2 or len(nameless) != 2 or len(pairs) != 1 or points.frame not in ("LPS", "RAS"):
        raise UserError(
            f"{points.source} has points whose labels name no landmark ({', '.join(nameless)}); "
            "say what they are with --label."
        )
    towards_left = 1 if points.frame == "LPS" else -1
    right, left = sorted(placed, key=lambda label: towards_left * placed[label][0])
    if placed[right][0] == placed[left][0]:
        raise UserError(
            f"{points.source} has two points on one side ({', '.join(placed)}); say what they are with --label."
        )
    note = f"'{left}' was taken as {pairs[0].left} and '{right}' as {pairs[0].right}, by their places"
    return {pairs[0].left: placed[left], pairs[0].right: placed[right]}, (note,)


def _landmark(label: str, landmarks: Sequence[str]) -> str | None:
    """The one landmark that a label can mean."""
    words = _words(label)
    for landmark in landmarks:
        if words in (_words(landmark), _words(names.label(landmark))):
            return landmark
    initials = [landmark for landmark in landmarks if words == ["".join(word[0] for word in landmark.split("_"))]]
    if len(initials) == 1:
        return initials[0]
    matches = [landmark for landmark in landmarks if _fits(words, landmark)]
    return matches[0] if len(matches) == 1 else None


def _fits(words: list[str], landmark: str) -> bool:
    """Whether the label has the landmark's side, and no word that is of another one."""
    sides = {names.SIDE_OF[word] for word in words if word in names.SIDE_OF}
    if sides != ({names.side(landmark)} - {""}):
        return False
    own = names.kind(landmark).lower().split("_")
    others = [word for word in _telling(words) if word not in names.SIDE_OF]
    if not sides and not others:
        return False
    return all(
        any(word == each or (len(word) >= SHORTEST_PREFIX and each.startswith(word)) for each in own) for word in others
    )


def _telling(words: list[str]) -> list[str]:
    """Those that may be of a landmark."""
    return [word for word in words if word not in NEUTRAL and not word.isdigit()]


def _words(label: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", label)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", apart) if word]
