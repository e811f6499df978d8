"""How far annotators agree: distances, limits of agreement, consensus points, and which cases to discuss.

Points are LPS millimetres; None is a landmark that an annotator says is not in the scan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ..errors import UserError
from ..landmarks import Point, Points

AXES = ("L", "P", "S")  # a positive difference leads to the patient's left, back, head
SPREAD = 1.96  # 95 % of a normal distribution lie within so many standard deviations of its mean
# The largest of n values is at most (n - 1) / sqrt(n) sample standard deviations above their mean: below 6 values, less
# than SPREAD, so that no distance could ever be above the limit.
FEWEST_FOR_A_LIMIT = 6


class AgreementError(UserError):
    """There is nothing to compare. The message is one sentence for the user."""


@dataclass(frozen=True)
class Reading:
    """One case as its annotators read it. ``centre_lps`` is the middle of the scan."""

    case_id: str
    centre_lps: Point
    points: Mapping[str, Points]  # annotator -> landmark -> point
    asking: tuple[str, ...] = ()  # who asks a colleague about it


@dataclass(frozen=True)
class Limits:
    """Bland-Altman along one axis: mean difference and 95 % limits of agreement with their standard errors (mm).

    Bland and Altman, Lancet 1986: limits are mean +- 1.96 sd; variance of a limit (1/n + 1.96^2 / (2 (n - 1))) sd^2.
    """

    bias_mm: float
    lower_mm: float
    upper_mm: float
    bias_se_mm: float
    limit_se_mm: float


@dataclass(frozen=True)
class PairAgreement:
    """Two annotators on one landmark. Differences are second minus first; None where too few cases define a number."""

    first: str
    second: str
    landmark: str
    cases: int  # annotated by both
    both_present: int  # of these: with a point by both
    mean_mm: float | None
    sd_mm: float | None
    median_mm: float | None
    max_mm: float | None
    limits: Mapping[str, Limits | None]  # by axis: L, P, S
    presence_agreed: float  # share of the cases
    kappa: float | None  # Cohen's, on presence; None where both always say the same one thing


@dataclass(frozen=True)
class CaseAgreement:
    """One landmark of one case that two or more have annotated."""

    case_id: str
    landmark: str
    present: tuple[str, ...]  # who has placed a point
    missing: tuple[str, ...]  # who says that it is not in the scan
    consensus_lps: Point | None
    farthest: str | None  # of three or more, whose point is farthest from the consensus
    farthest_mm: float | None  # and how far from it
    largest_distance_mm: float | None  # between two annotators


@dataclass(frozen=True)
class Discussion:
    """A case to discuss, and the sentences that say why."""

    case_id: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """All of it. ``limit_mm``: the distance above which a case is to be discussed, None where too few define one."""

    annotators: tuple[str, ...]
    left_out: tuple[str, ...]  # who has annotated, too, and is not compared: the consensus is without them
    landmarks: tuple[str, ...]
    compared: int  # cases with two or more of the annotators
    single: int  # cases with one of them
    limit_mm: float | None
    limit_given: bool
    pairs: tuple[PairAgreement, ...]
    cases: tuple[CaseAgreement, ...]
    discuss: tuple[Discussion, ...]


def consensus(readings: Sequence[Points], landmarks: Sequence[str]) -> dict[str, Point | None]:
    """The mean of the annotators' points per landmark (LPS mm); None unless more than half have placed one.

    Of those who speak of it: an annotation from before a landmark joined the dataset says nothing.
    """
    agreed: dict[str, Point | None] = {}
    for name in landmarks:
        spoken = [points[name] for points in readings if name in points]
        placed = [point for point in spoken if point is not None]
        x, y, z = np.mean(placed, axis=0).tolist() if placed else (math.nan,) * 3
        agreed[name] = (x, y, z) if len(placed) * 2 > len(spoken) else None
    return agreed


def agreement(
    readings: Sequence[Reading],
    landmarks: Sequence[str],
    annotators: Sequence[str] | None = None,
    limit_mm: float | None = None,
) -> Agreement:
    """Compare ``annotators`` (None: all) on every case that two or more of them have annotated.

    ``limit_mm``: discuss what two annotators put farther apart; None: mean + 1.96 sd of all distances between two
    annotators, over all pairs and landmarks. Raises AgreementError.
    """
    everybody = sorted({who for reading in readings for who in reading.points})
    chosen = tuple(dict.fromkeys(everybody if annotators is None else annotators))
    _check(chosen, everybody, limit_mm)
    mine = [
        replace(
            reading,
            points={who: reading.points[who] for who in chosen if who in reading.points},
            asking=tuple(who for who in reading.asking if who in chosen),
        )
        for reading in sorted(readings, key=lambda reading: reading.case_id)
    ]
    several = [reading for reading in mine if len(reading.points) > 1]
    if not several:
        raise AgreementError(
            f"No case is annotated by two of {', '.join(chosen)}; let a second annotator read some of the same cases."
        )
    pairs = tuple(
        pair_agreement(several, first, second, name)
        for first, second in combinations(chosen, 2)
        for name in landmarks
        if _of_both(several, first, second, name)
    )
    cases = tuple(case_agreement(reading, name) for reading in several for name in landmarks)
    limit = usual_limit(several, landmarks) if limit_mm is None else limit_mm
    return Agreement(
        annotators=chosen,
        left_out=tuple(who for who in everybody if who not in chosen),
        landmarks=tuple(landmarks),
        compared=len(several),
        single=sum(len(reading.points) == 1 for reading in mine),
        limit_mm=limit,
        limit_given=limit_mm is not None,
        pairs=pairs,
        cases=cases,
        discuss=to_discuss(cases, limit, {reading.case_id: reading.asking for reading in mine}),
    )


def pair_agreement(readings: Sequence[Reading], first: str, second: str, landmark: str) -> PairAgreement:
    """Two annotators on one landmark, over the cases that both have annotated (one at least)."""
    pairs = _of_both(readings, first, second, landmark)
    placed = [(a, b) for a, b in pairs if a is not None and b is not None]
    offsets = np.array([np.subtract(b, a) for a, b in placed], dtype=float).reshape(-1, 3)  # mm along L, P, S
    distances = np.linalg.norm(offsets, axis=1)
    n = len(distances)
    present = np.array([[a is not None, b is not None] for a, b in pairs])
    return PairAgreement(
        first=first,
        second=second,
        landmark=landmark,
        cases=len(pairs),
        both_present=n,
        mean_mm=float(distances.mean()) if n else None,
        sd_mm=float(distances.std(ddof=1)) if n > 1 else None,
        median_mm=float(np.median(distances)) if n else None,
        max_mm=float(distances.max()) if n else None,
        limits={axis: limits_of_agreement(offsets[:, number]) for number, axis in enumerate(AXES)},
        presence_agreed=float((present[:, 0] == present[:, 1]).mean()),
        kappa=cohens_kappa(present[:, 0], present[:, 1]),
    )


def _of_both(
    readings: Sequence[Reading], first: str, second: str, landmark: str
) -> list[tuple[Point | None, Point | None]]:
    """What two annotators say of a landmark, in every case in which both speak of it."""
    both = [(reading.points.get(first, {}), reading.points.get(second, {})) for reading in readings]
    return [(one[landmark], other[landmark]) for one, other in both if landmark in one and landmark in other]


def limits_of_agreement(difference: np.ndarray) -> Limits | None:
    """Bland-Altman limits of differences [n] in mm; None below two."""
    n = len(difference)
    if n < 2:
        return None
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return Limits(
        bias_mm=bias,
        lower_mm=bias - SPREAD * sd,
        upper_mm=bias + SPREAD * sd,
        bias_se_mm=sd / math.sqrt(n),
        limit_se_mm=sd * math.sqrt(1 / n + SPREAD**2 / (2 * (n - 1))),
    )


def cohens_kappa(first: np.ndarray, second: np.ndarray) -> float | None:
    """Agreement of two raters' booleans [n] beyond chance (Cohen 1960); None where chance alone makes them agree."""
    p, q = first.mean(), second.mean()
    by_chance = p * q + (1 - p) * (1 - q)
    if by_chance == 1:
        return None
    return float(((first == second).mean() - by_chance) / (1 - by_chance))


def case_agreement(reading: Reading, landmark: str) -> CaseAgreement:
    """One landmark of one case; distances in mm, None where there is no consensus point or no second point."""
    placed = {who: point for who, points in reading.points.items() if (point := points.get(landmark)) is not None}
    agreed = consensus(list(reading.points.values()), [landmark])[landmark]
    away = {} if agreed is None else {who: math.dist(point, agreed) for who, point in placed.items()}
    # Of two neither is: both are as far from their mean.
    farthest = max(away, key=away.__getitem__, default=None) if len(away) > 2 else None
    return CaseAgreement(
        case_id=reading.case_id,
        landmark=landmark,
        present=tuple(placed),
        missing=tuple(who for who, points in reading.points.items() if points.get(landmark, "unsaid") is None),
        consensus_lps=agreed,
        farthest=farthest,
        farthest_mm=max(away.values(), default=None),
        largest_distance_mm=max((math.dist(a, b) for a, b in combinations(placed.values(), 2)), default=None),
    )


def usual_limit(readings: Sequence[Reading], landmarks: Sequence[str]) -> float | None:
    """Mean + 1.96 sd (mm) of all distances between two annotators; None below `FEWEST_FOR_A_LIMIT` of them."""
    distances = [
        math.dist(a, b)
        for reading in readings
        for name in landmarks
        for a, b in combinations([points.get(name) for points in reading.points.values()], 2)
        if a is not None and b is not None
    ]
    if len(distances) < FEWEST_FOR_A_LIMIT:
        return None
    return float(np.mean(distances) + SPREAD * np.std(distances, ddof=1))


def to_discuss(
    cases: Sequence[CaseAgreement], limit_mm: float | None, asking: Mapping[str, Sequence[str]]
) -> tuple[Discussion, ...]:
    """The cases on whose presence the annotators differ, then those with a distance above the limit, widest first.

    And those about which somebody asks a colleague: ``asking``, by case; also where one annotator alone has read it.
    """
    by_case: dict[str, list[CaseAgreement]] = {case_id: [] for case_id, who in asking.items() if who}
    for case in cases:
        by_case.setdefault(case.case_id, []).append(case)
    ranked = []
    for case_id, landmarks in by_case.items():
        disputed = [case for case in landmarks if case.present and case.missing]
        apart = [case for case in landmarks if limit_mm is not None and (case.largest_distance_mm or 0.0) > limit_mm]
        reasons = [
            f"{_words(case)}: present for {', '.join(case.present)}, missing for {', '.join(case.missing)}"
            for case in disputed
        ] + [f"{_words(case)}: two points {case.largest_distance_mm:.1f} mm apart" for case in apart]
        reasons += [f"{who} asks a colleague" for who in asking.get(case_id, ())]
        if reasons:
            widest = max((case.largest_distance_mm or 0.0 for case in landmarks), default=0.0)
            ranked.append(((-len(disputed), -widest, case_id), Discussion(case_id, tuple(reasons))))
    return tuple(discussion for _, discussion in sorted(ranked, key=lambda entry: entry[0]))


def _words(case: CaseAgreement) -> str:
    return case.landmark.replace("_", " ")


def _check(chosen: Sequence[str], everybody: Sequence[str], limit_mm: float | None) -> None:
    if limit_mm is not None and not (math.isfinite(limit_mm) and limit_mm > 0):
        raise AgreementError(f"{limit_mm:g} mm is not a limit; give a distance above zero.")
    unknown = [who for who in chosen if who not in everybody]
    if unknown:
        known = f"annotators here: {', '.join(everybody)}" if everybody else "nobody has annotated a case yet"
        raise AgreementError(f"{', '.join(unknown)} has annotated no case; {known}.")
    if len(chosen) < 2:
        who = f"only {chosen[0]} is compared" if chosen else "nobody has annotated a case yet"
        raise AgreementError(f"Agreement needs two annotators, and {who}; let a second one read the cases.")
