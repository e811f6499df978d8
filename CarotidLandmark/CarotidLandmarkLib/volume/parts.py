"""DICOM slices sorted into what they are slices of: series, and within a series orientations, sizes and phases."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dicom import PHASES, File, Slice
from .scan import SMALLEST_SIZE
from .stack import Irregular, Stack, heights, is_regular, places, same_plane, stack, without_copies

FEWEST_SLICES = 3  # of a phase
MOST_PHASES = 40
LARGEST_OVERLAP = 0.2  # of two acquisitions that follow one another, of the shorter one
DERIVED = (  # how words begin that name what is computed from scans
    "MIP", "MINIP", "MPR", "VRT", "IODINE", "VNC", "VUE", "MONO", "KEV", "VIRTUAL", "MAP", "SPECTRAL", "RHO", "ZEFF",
    "CBF", "CBV", "MTT", "TMAX", "PROJECTION", "SUBTRACT", "OVERLAY", "FUSION",
)  # fmt: skip
HU_UNITS = ("", "HU", "US")  # Rescale Type; US: unspecified
SINGLE, LOCALIZER = "holds a single slice", "is a localizer"
ANGIOGRAPHY = ("CTA", "ANGIO", "CAROT", "SUPRAAORT")
AGENT = r"(CONTR|KONTR|DYE\b|[CK]M\b|CON\b|PRODUIT|MEZZO|MDC|INJ|CIV\b|IV\b)"
# what else than an agent's name follows a w/o that speaks of the agent: how such a series is made, or of what
SERIES = (
    r"(ENH|C\b|AX|TRA|COR|SAG|OBL|HEL|SPIR|SEQ|THI|SOFT|STD?\b|STANDARD|BONE|BRAIN|LUNG|HEAD|NECK|REC|[A-Z]{1,2}\d)"
)
UNENHANCED = re.compile(
    r"UN-?ENHANCED|(NON|PRE)[ -]*(CONTR|KONTR|ENH|KM\b|CON\b)|\bNATIV|\bNCCT|\bPLAIN\b|\b[TV]NC\b|"
    rf"\bC-(?!\w)|\bW/?O\b(?! *[&+])(?![ -]*(?!{AGENT}|{SERIES})[A-Z])|"
    rf"\b(WITHOUT|NO|OHNE|SANS|SENZA|SIN|SEM)( IV)? *{AGENT}"
)
WITH, WITHOUT = r"(WITH|W/?|MIT|AVEC|C\+)", r"(WITHOUT|W/?O|OHNE|SANS|SENZA|SIN|SEM|C-)"
THEN = rf"( *{AGENT}\w*)?[ /&+,-]*(AND|UND|ET|Y|E|OR|THEN)?[ /&+,-]*"
TWICE = re.compile(  # with and without, in either order
    rf"(?<!\w)(({WITH}|CO[NM]){THEN}{WITHOUT}|{WITHOUT}{THEN}({WITH}|(?<=[/+&])CO[NM]|(?<=[YE/+&] )CO[NM]))(?!\w)"
)
NO_AGENT = re.compile(r"(N|N/?A|NO|NOT|NONE|NIL|KEINE?|OHNE|WITHOUT|SANS)\b|0(\.0*)?( *ML)?$|$")


@dataclass(frozen=True, eq=False)
class Part:
    """Slices that belong together: a series, or one of its phases, sizes or orientations.

    ``number`` is what the user names it by; ``label`` says which part of its series it is, empty for the whole.
    ``stack`` is None where they are no CT volume; ``finding`` then says why, as words that follow its name.
    """

    number: str
    slices: tuple[Slice, ...]
    label: str
    stack: Stack | None
    finding: str
    advice: str

    @property
    def file(self) -> File:
        return self.slices[0].file

    @property
    def is_ct(self) -> bool:
        """Whether it is a CT of the body in several slices, read or not: no localizer."""
        return self.is_scan and len(self.slices) > 1

    @property
    def is_scan(self) -> bool:
        """The same, or a slice of such a CT."""
        return self.file.modality == "CT" and not _is_localizer(self.file)

    @property
    def is_axial(self) -> bool:
        """Within 45 degrees of axial: a tilted head is still cut across."""
        if self.stack is None:
            return False
        up = self.stack.affine[:3, 2]
        return bool(abs(up[2]) > np.sqrt(0.5) * np.linalg.norm(up))

    @property
    def is_original(self) -> bool:
        """Whether a scanner measured it, as its headers say: ORIGINAL and PRIMARY, nothing computed, in HU."""
        is_scanned = self.file.kind[:2] == ("ORIGINAL", "PRIMARY") and self.unit in HU_UNITS
        return is_scanned and not _computed(*self.file.kind)

    @property
    def doubt(self) -> str:
        """What computed scans are called, where its description says it: it may name what the scan is for."""
        return _computed(self.file.description)

    @property
    def unit(self) -> str:
        """Of its values, as it says, or one slice of them; "" where none does."""
        return next((one.unit for one in self.slices if one.unit not in HU_UNITS), self.slices[0].unit)

    @property
    def kind(self) -> str:
        """What it says of how it was made, for people."""
        unit = f"values in {self.unit}" if self.unit not in HU_UNITS else ""
        return _words("/".join(self.file.kind) or "no Image Type", unit)

    @property
    def enhancement(self) -> int:
        """2: its description speaks of vessels; 1: it, or the header, of a contrast agent; 0: neither, or of none."""
        # The description counts more: a scanner may name the agent of the examination in each of its series.
        description = " ".join(self.file.description.upper().replace("_", " ").split())
        if _is_plain(description):
            return 0
        if any(word in description for word in ANGIOGRAPHY):
            return 2
        agent = self.file.agent.upper().strip()
        return int("ONTRAST" in description or not (NO_AGENT.match(agent) or _is_plain(agent)))

    @property
    def studies(self) -> set[tuple[str, str]]:
        """Patient and study, of each slice."""
        return {(one.file.patient, one.file.study) for one in self.slices}

    @property
    def rank(self) -> tuple:
        """The part with the highest rank is read."""
        size = int(np.prod(self.stack.shape)) if self.stack else 0
        return self.stack is not None, self.is_axial, self.is_original, self.enhancement, not self.doubt, size

    @property
    def name(self) -> str:
        count = "1 slice" if len(self.slices) == 1 else f"{len(self.slices)} slices"
        return f"series {self.number} ({_words(self.label, count)})"


def _computed(*texts: str) -> str:
    """Of the words for what is computed from scans the one that begins a word of these texts, "" where none does."""
    words = re.split(r"[\W_]+", " ".join(texts).upper())
    return next((each for word in words for each in DERIVED if word.startswith(each)), "")


def _is_plain(text: str) -> bool:
    """Whether a text, in upper case, says that there was no contrast agent."""
    return bool(UNENHANCED.search(text)) and not TWICE.search(text)


def _words(*words: str) -> str:
    """Those that are not empty, with commas."""
    return ", ".join(filter(None, words))


def parts(slices: list[Slice]) -> list[Part]:
    """All parts of all series among ``slices``, in the order of their numbers."""
    entries = []
    for series in _series(without_copies(slices, by_uid=True)):
        for group, label in _alike(series):
            for phase, label_of_phase in _phases(group):
                entries.append((phase, _words(label, label_of_phase)))
    entries.sort(key=lambda entry: _order(entry[0][0].file, entry[1]))
    numbers = Counter(phase[0].file.number for phase, _ in entries)
    seen: Counter[str] = Counter()
    whole = []
    for phase, label in entries:
        number = phase[0].file.number
        seen[number] += 1
        which = f".{seen[number]}" if numbers[number] > 1 else ""
        whole.append(Part((number or "0") + which, tuple(phase), label, *_stacked(phase)))
    return whole


def _order(file: File, label: str) -> tuple:
    """Nothing of it depends on the names of files."""
    number = int(file.number) if re.fullmatch(r"-?\d+", file.number) else 1 << 31
    words = [*map(_natural, label.replace(",", "").split())]
    return number, file.number, file.uid, file.kind, file.kernel, file.size, words, file.study


def _series(slices: list[Slice]) -> list[list[Slice]]:
    """Slices by series UID and by what else never changes within a series."""
    counts = Counter(uid for one in slices for uid in (one.file.uid, one.file.study))

    def key(file: File) -> tuple:
        # some exports give each slice a series or even a study of its own
        uid = "" if counts[file.uid] == 1 else file.uid
        study = "" if uid or counts[file.study] == 1 else file.study
        kind = _is_localizer(file), *file.kind[:2]
        return file.patient, study, uid, file.number, file.modality, file.kernel, kind, file.size, file.colour

    return list(_by(slices, (key(one.file) for one in slices)).values())


def _is_localizer(file: File) -> bool:
    return any(word in part for part in file.kind for word in ("LOCALIZER", "SCOUT"))


def _alike(slices: list[Slice]) -> list[tuple[list[Slice], str]]:
    """Slices by orientation and pixel spacing, within what rounding changes, the larger group first."""
    groups: list[list[Slice]] = []
    for one in slices:
        group = next((group for group in groups if same_plane(group[0], one)), [])
        if not group:
            groups.append(group)
        group.append(one)
    groups.sort(key=len, reverse=True)
    several = len(groups) > 1
    return [(group, f"orientation or pixel size {n}" if several else "") for n, group in enumerate(groups, start=1)]


def _phases(slices: list[Slice]) -> list[tuple[list[Slice], str]]:
    """Slices that visit the same places several times are told apart by what their headers say, or by their order."""
    if (
        len(slices) < 2
        or slices[0].file.modality != "CT"
        or any(one.position is None or one.axes is None for one in slices)
    ):
        return [(slices, "")]
    try:
        place = dict(zip(slices, places(slices), strict=True))
    except Irregular:
        return [(slices, "")]
    by_tags = [(name, _by(slices, [one.phase.get(name, "") for one in slices])) for name in slices[0].phase]
    for name, values in by_tags:
        is_phase = name in PHASES and _overlap(values.values()) and _large(values.values())
        if is_phase or _divide_places(values.values(), place):
            return _named(name, values)
    slices = without_copies(slices, by_uid=False)
    folders = _by(slices, [str(one.file.path.parent) for one in slices])
    visits = _visits(slices, place)
    for groups in (_runs(slices), _turns(slices, place), folders, visits):
        are_scans = _overlap(groups.values()) and all(is_regular(group, FEWEST_SLICES) for group in groups.values())
        if are_scans or _divide_places(groups.values(), place):
            return _counted(groups)
    if len(visits) > 1 and is_regular(visits["1"], FEWEST_SLICES):
        return _counted(visits)
    if not is_regular(slices, FEWEST_SLICES):
        for name, values in by_tags:  # for example two acquisitions with a gap between them
            if name in PHASES and _large(values.values()):
                return _named(name, values)
    return [(slices, "")]


def _named(name: str, groups: dict[str, list[Slice]]) -> list[tuple[list[Slice], str]]:
    return [
        (phase, _words(f"{name} {value or 'not said'}".replace("\\", "/"), label))
        for value in sorted(groups, key=_natural)
        for phase, label in _phases(groups[value])
    ]


def _large(groups: Collection[list[Slice]]) -> bool:
    """Whether one of several groups is a regular stack that is large enough to be read."""
    return len(groups) > 1 and any(is_regular(group, SMALLEST_SIZE) for group in groups)


def _counted(groups: dict[str, list[Slice]]) -> list[tuple[list[Slice], str]]:
    return [(group, f"phase {n} of {len(groups)}") for n, group in enumerate(groups.values(), start=1)]


def _by(slices: list[Slice], keys: Iterable) -> dict[Any, list[Slice]]:
    groups: dict[Any, list[Slice]] = defaultdict(list)
    for one, key in zip(slices, keys, strict=True):
        groups[key].append(one)
    return groups


def _natural(text: str) -> tuple:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _overlap(groups: Iterable[list[Slice]]) -> bool:
    """Whether two of a few groups lie in the same place: phases, and not acquisitions one after the other."""
    levels = [heights(group) for group in groups if len(group) >= FEWEST_SLICES]
    spans = sorted((each.min(), each.max()) for each in levels)
    return 2 <= len(spans) <= MOST_PHASES and any(
        min(high, next_high) - next_low > LARGEST_OVERLAP * min(high - low, next_high - next_low)
        for (low, high), (next_low, next_high) in itertools.pairwise(spans)
    )


def _divide_places(groups: Collection[list[Slice]], place: Mapping[Slice, int]) -> bool:
    """Whether a few groups lie at the same places, and share the images of a place out: as a rule one to each."""
    if not 2 <= len(groups) <= MOST_PHASES:
        return False
    most = max(Counter(place[one] for group in groups for one in group).values())
    counts = [Counter(place[one] for one in group) for group in groups]
    return sum(max(count.values()) for count in counts) == most and any(
        len(one & other) >= max(FEWEST_SLICES, LARGEST_OVERLAP * min(len(one), len(other)))
        for one, other in itertools.combinations(counts, 2)
    )


def _runs(slices: list[Slice]) -> dict[str, list[Slice]]:
    """Slices in the order of their instance numbers, begun anew wherever that order turns back."""
    numbers = {one.instance for one in slices}
    if None in numbers or len(numbers) < len(slices):
        return {}
    ordered = sorted(slices, key=lambda one: one.instance or 0)
    steps = np.diff(heights(ordered))
    back = np.sign(steps) == -np.sign(np.median(steps))
    run = np.concatenate([[0], np.cumsum(back)])
    if run[-1] >= min(MOST_PHASES, len(slices) / FEWEST_SLICES):
        return {}
    return _by(ordered, map(str, run))


def _turns(slices: list[Slice], place: Mapping[Slice, int]) -> dict[str, list[Slice]]:
    """The lowest slice of each instance number, the next of each, and so on, where every number comes as often."""
    ordered = [slices[n] for n in np.argsort(heights(slices), kind="stable")]
    groups = _nth(ordered, [one.instance for one in ordered])
    is_sure = len({(one.instance, place[one]) for one in slices}) == len(slices)
    return groups if is_sure and len({len(group) for group in groups.values()}) == 1 else {}


def _visits(slices: list[Slice], place: Mapping[Slice, int]) -> dict[str, list[Slice]]:
    """The first image of each place, the second of each, and so on, in an order that is sure; none where none is.

    An order is sure in which all of a group come before all of the next. That of numbers is, too, if they run one way
    along the places in each group; of times and of files' names this may be chance.
    """
    running: dict[str, list[Slice]] = {}
    for key, are_numbers in ORDERS:
        if len({(place[one], key(one)) for one in slices}) < len(slices):
            continue
        ordered = sorted(slices, key=key)
        groups = _nth(ordered, [place[one] for one in ordered])
        upwards = [[key(one) for one in sorted(group, key=place.__getitem__)] for group in groups.values()]
        if all(max(one) < min(other) for one, other in itertools.pairwise(upwards)):
            return groups
        if are_numbers and all(keys in (sorted(keys), sorted(keys, reverse=True)) for keys in upwards):
            running = running or groups
    return running


def _path(one: Slice) -> tuple:
    """Numbers in a file's name count by their size."""
    return *(int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", str(one.file.path))), one.frame


# by what images at one place may have an order, and whether that is a number
ORDERS: tuple[tuple[Callable[[Slice], Any], bool], ...] = (
    (lambda one: one.instance or 0, True),
    (lambda one: _natural(one.phase.get("acquisition", "")), True),
    (lambda one: _natural(one.phase.get("acquisition time", "")), False),
    (lambda one: _natural(one.phase.get("content time", "")), False),
    (_path, False),
)


def _nth(slices: list[Slice], keys: Iterable) -> dict[str, list[Slice]]:
    """The first slices of each key, the second of each key, and so on."""
    count: Counter = Counter()

    def visit(key: Any) -> str:
        count[key] += 1
        return str(count[key])

    return _by(slices, map(visit, keys))


def _stacked(slices: list[Slice]) -> tuple[Stack | None, str, str]:
    """The stack of a part; or None, why not, and what to do."""
    file = slices[0].file
    if file.modality != "CT":
        return None, f"is {file.modality or 'of no modality'}, not CT", "choose a CT series"
    if _is_localizer(file):
        return None, LOCALIZER, "choose a CT series"
    if file.colour:
        return None, "holds colour pictures", "choose a CT series"
    for tag, field in (("position", "position"), ("orientation", "axes"), ("pixel spacing", "spacing_mm")):
        if any(getattr(one, field) is None for one in slices):
            return None, f"has slices without {tag}", "export the series again"
    if any((one.spacing_mm <= 0).any() for one in slices if one.spacing_mm is not None):
        return None, "has no voxel size (Pixel Spacing of 0 or less)", "export the series again"
    if any(one.file.has_table for one in slices):
        return None, "has values that become HU by a table (Modality LUT)", "export it with Rescale Slope and Intercept"
    if len({one.has_rescale for one in slices}) > 1:
        return None, "has slices with and without Rescale Slope and Intercept", "export the series again"
    if any(one.slope == 0 for one in slices):
        return None, "has slices with a Rescale Slope of 0", "export the series again"
    if len(slices) == 1:
        return None, SINGLE, "give the folder with all DICOM files of the CT"
    try:
        whole = stack(slices)
    except Irregular as error:
        return None, error.finding, error.advice
    if min(whole.shape) < SMALLEST_SIZE:
        size = " x ".join(map(str, whole.shape[::-1]))
        return None, f"has only {size} voxels", f"give a CT with at least {SMALLEST_SIZE} along every axis"
    return whole, "", ""
