"""What is to be known of landmarks beside their places: names, labels, sides, pairs, usual distances, colours.

Landmarks are data: a model bundle lists them (`LandmarkSpec`), and a set that this file has never heard of is detected,
shown and reviewed like any other. Only what nobody can derive from a name, the usual distance, is tabulated here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Point = tuple[float, float, float]  # LPS millimetres
Points = Mapping[str, Point | None]  # by landmark; None: not in the scan
# Scanners put their origin within metres of the patient: what is farther away is damage, not a place.
FARTHEST_MM = 1e5
SIDES = ("left", "right")
SIDE_OF = {"l": "left", "left": "left", "lt": "left", "r": "right", "right": "right", "rt": "right"}  # in any program
_OTHER = {"l": "r", "left": "right", "lt": "rt", "r": "l", "right": "left", "rt": "lt"}
_WORD = re.compile("[^_-]+")  # of a landmark's name
# Legible on white paper, on black and on a grey scan, and no red of rendered vessels; one for each landmark, in their
# order, round and round.
PALETTE = ("#f59f00", "#339af0", "#ae3ec9", "#37b24d", "#f783ac", "#1098ad")
# A landmark with one of these words in its name is in an artery, where a CT angiography shows contrast agent,
ARTERIAL = {
    "aorta", "aortic", "arterial", "artery", "basilar", "brachiocephalic", "carotid", "cca", "eca", "ica", "innominate",
    "subclavian", "vertebral",
}  # fmt: skip
# but for one with one of these: the body of a vertebra, the carotid canal and their like.
NO_LUMEN = {"body", "canal", "disc", "disk", "endplate", "foramen", "process", "tubercle", "vertebra"}
# Between the two of a pair, by what is left of their names without the side. In 52 published scans (Ma et al., ISBI
# 2020) the bifurcations are 59 +- 10 mm apart, 38 to 89; 30 and 100 leave room for who is not among 52.
USUAL_DISTANCE_MM = {"carotid_bifurcation": (30.0, 100.0)}
# From the right one to the left one, in the axial plane and up: middle and standard deviation. Of 32 patients' CTAs
# (Eulzer et al., Zenodo 10695923): 51.9 +- 10.6 mm sideways, on average 8.3 mm above or below each other.
USUAL_OFFSET_MM = {"carotid_bifurcation": ((51.9, 0.0), (10.6, 10.4))}


@dataclass(frozen=True)
class LandmarkSpec:
    """A landmark that a model finds. ``mirror`` names its counterpart on the other side (itself, on the midline)."""

    name: str
    label: str
    mirror: str


CAROTID_BIFURCATIONS = (
    LandmarkSpec("left_carotid_bifurcation", "L bifurcation", "right_carotid_bifurcation"),
    LandmarkSpec("right_carotid_bifurcation", "R bifurcation", "left_carotid_bifurcation"),
)
LABELS = {spec.name: spec.label for spec in CAROTID_BIFURCATIONS}


class Pair(NamedTuple):
    """Names of a landmark of the patient's left and of its counterpart on the right."""

    left: str
    right: str

    @property
    def kind(self) -> str:
        """What both are."""
        return kind(self.left)

    @property
    def usual_distance_mm(self) -> tuple[float, float]:
        """Between which distances the two usually are; (0, inf) where nobody knows."""
        return USUAL_DISTANCE_MM.get(self.kind, (0.0, float("inf")))

    @property
    def usual_offset_mm(self) -> tuple[tuple[float, float], tuple[float, float]] | None:
        """Middle and standard deviation of the way from the right one to the left one, where they are known: its length
        in the axial plane, and how far it goes up."""
        return USUAL_OFFSET_MM.get(self.kind)


def side(name: str) -> str:
    """``left`` or ``right``, where a word of the name says so (`SIDE_OF`); "" for a landmark of the midline."""
    return next((SIDE_OF[word] for word in _words(name) if word in SIDE_OF), "")


def kind(name: str) -> str:
    """What a landmark is, on whichever side: the name without the side."""
    return "_".join(word for word in _WORD.findall(name) if word.lower() not in SIDE_OF)


def is_arterial(name: str) -> bool:
    """Whether the landmark is in an artery, as far as its name tells."""
    words = set(_words(name))
    return not ARTERIAL.isdisjoint(words) and NO_LUMEN.isdisjoint(words)


def title(name: str) -> str:
    """The name as words: ``Left carotid bifurcation``."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def heading(names: Iterable[str]) -> str:
    """What a page or a folder about these landmarks is called."""
    return "Carotid bifurcations" if {kind(name) for name in names} == {"carotid_bifurcation"} else "Landmarks"


def label(name: str) -> str:
    """What is shown for a landmark of which only the name is known: ``L vertebral origin``, ``Nasion``."""
    if name in LABELS:
        return LABELS[name]
    return f"{side(name)[0].upper()} {kind(name).replace('_', ' ')}" if side(name) and kind(name) else title(name)


def mirror(name: str) -> str:
    """The counterpart on the other side, by the name; itself on the midline."""

    def other(word: re.Match[str]) -> str:
        swapped = _OTHER.get(word[0].lower(), word[0])
        return swapped.upper() if word[0].isupper() else swapped.capitalize() if word[0].istitle() else swapped

    return _WORD.sub(other, name)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def pairs(names: Iterable[str]) -> list[Pair]:
    """The pairs of counterparts that are both among ``names``."""
    known = list(names)
    return [Pair(name, mirror(name)) for name in known if side(name) == "left" and mirror(name) in known]


def mirror_pairs(specs: Iterable[LandmarkSpec]) -> list[Pair]:
    """The pairs of a model's landmarks, left first. One whose names do not say the side is no pair to judge."""
    every = [Pair(spec.name, spec.mirror) for spec in specs if side(spec.name) == "left"]
    return [pair for pair in every if side(pair.right) == "right"]


def is_place(point: Sequence[float]) -> bool:
    """Whether these are three finite coordinates (LPS mm) of somewhere near a scanner."""
    return len(point) == 3 and all(math.isfinite(value) and abs(value) <= FARTHEST_MM for value in point)


def apart_mm(here: Point | None, there: Point | None) -> float:
    """The distance of two points; none where both are missing, infinite where one is."""
    if here is None or there is None:
        return 0.0 if here is there else math.inf
    return math.dist(here, there)


def colour(number: int) -> str:
    """Of the landmark of that number in its set: ``#rrggbb``."""
    return PALETTE[number % len(PALETTE)]


def rgb(number: int) -> tuple[float, float, float]:
    """The same colour as red, green, blue, 0 to 1."""
    red, green, blue = bytes.fromhex(colour(number)[1:])
    return red / 255, green / 255, blue / 255
