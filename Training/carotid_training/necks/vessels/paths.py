"""Centrelines and tubes: what vessels, plaques, stents and clips are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from ..dice import Points

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Tube:
    """A polyline with a radius: [n, 3] LPS mm and [n] mm, float64. ``role`` says which layer it is painted in.

    HU go linearly from ``hu`` at the first point to ``hu_end`` at the last (contrast that mixes along the way).
    """

    name: str
    role: str
    points: Points
    radii: Points
    hu: float
    hu_end: float | None = None

    def moved(self, fn: Callable[[Points], Points]) -> Tube:
        """The tube with every point moved by ``fn``; radii stay."""
        return replace(self, points=fn(self.points))

    @property
    def arc(self) -> Points:
        """Length along the tube at each point: [n] mm."""
        return arc_length(self.points)


def arc_length(points: Points) -> Points:
    """Length of a polyline [n, 3] up to each point: [n] mm, 0 first."""
    return np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])


def interpolated(at: Points, knots: Points, values: Points) -> Points:
    """The columns of ``values`` [n, m], given at ascending ``knots`` [n], linearly interpolated: [k, m]."""
    return np.stack([np.interp(at, knots, column) for column in values.T], axis=1)


def curve(points: Sequence[Sequence[float] | Points] | Points, step: float) -> Points:
    """A smooth curve through the points (cubic spline on chord length), resampled about every ``step`` mm."""
    through = np.asarray(points, dtype=np.float64)
    gaps = np.linalg.norm(np.diff(through, axis=0), axis=1)
    through = through[np.concatenate([[True], gaps > 0.3])]  # coinciding points would make the spline swing
    chord = np.sqrt(np.linalg.norm(np.diff(through, axis=0), axis=1))  # centripetal: no overshoot at uneven spacing
    knots = np.concatenate([[0.0], chord.cumsum()])
    spline = CubicSpline(knots, through, bc_type="natural")
    fine = spline(np.linspace(0, knots[-1], 40 * len(through)))
    arc = arc_length(fine)
    even = np.linspace(0, arc[-1], max(3, round(arc[-1] / step) + 1))
    return interpolated(even, arc, fine)


def resampled(points: Points, radii: Points, step: float) -> tuple[Points, Points]:
    """The same tube with a point about every ``step`` mm."""
    arc = arc_length(points)
    even = np.linspace(0, arc[-1], max(2, round(arc[-1] / step) + 1))
    return interpolated(even, arc, points), np.interp(even, arc, radii)


def frames(points: Points) -> tuple[Points, Points, Points]:
    """Tangent and two normals at each point, the normals turning as little as possible: three [n, 3]."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    start = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    first = np.empty_like(tangent)
    for n, along in enumerate(tangent):
        start = start - along * (start @ along)
        start = first[n] = start / np.linalg.norm(start)
    return tangent, first, np.cross(tangent, first)


def with_loop(points: Points, at: float, radius: float, turn: float, spin: float) -> Points:
    """Insert a coil into a curve at arc length ``at``: ``turn`` radians of a circle in a plane set by ``spin``.

    Below a full turn the rest of the curve is reached by a smooth return: a kink. The far ends stay where they are.
    """
    arc = arc_length(points)
    n = int(np.clip(np.searchsorted(arc, at), 2, len(points) - 3))
    tangent, first, second = frames(points)
    side = np.cos(spin) * first[n] + np.sin(spin) * second[n]
    drift = np.cross(tangent[n], side)
    phi = np.linspace(0, turn, max(6, int(turn * radius / 2.0)))[:, None]
    share = phi / turn
    circle = radius * (np.sin(phi) * tangent[n] + (1 - np.cos(phi)) * side) + drift * radius * 0.75 * share
    lift = circle[-1]
    after = points[n + 1 :] + lift * np.exp(-(((arc[n + 1 :] - arc[n]) / (2.5 * radius)) ** 2))[:, None]
    rows = np.unique([*range(min(3, len(after) - 1), len(after), 4), len(after) - 1])
    return curve(np.concatenate([points[: n - 1 : 3], points[n - 1 : n], points[n] + circle[::2], after[rows]]), 1.5)
