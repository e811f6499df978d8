"""Random numbers of one generator on the CPU: the only source of chance in necks and their scans."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.floating[Any]]
T = TypeVar("T")


class Dice:
    """Draws from ``generator``, in its order."""

    def __init__(
        self,
        generator: torch.Generator,
        uniform: torch.dtype = torch.float64,
        normal: torch.dtype = torch.float64,
        most_sd: float = math.inf,
    ) -> None:
        """``uniform``, ``normal``: the precision of single numbers, which decides what a seed stands for. ``most_sd``:
        where normal numbers are cut."""
        self.generator, self._uniform, self._normal, self._most_sd = generator, uniform, normal, most_sd

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=self._uniform))

    def normal(self, mean: float, sd: float, low: float = -math.inf, high: float = math.inf) -> float:
        """One normal number, clipped to [low, high]."""
        off = float(torch.randn((), generator=self.generator, dtype=self._normal))
        return min(max(mean + sd * max(-self._most_sd, min(self._most_sd, off)), low), high)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform(0.0, 1.0) < probability

    def one_of(self, weights: Mapping[T, float]) -> T:
        """One of the keys, with probability proportional to its weight."""
        shares = torch.tensor(list(weights.values()), dtype=torch.float64)
        return list(weights)[int(torch.multinomial(shares, 1, generator=self.generator))]

    def pick(self, **weights: float) -> str:
        """One of the names, with probability proportional to its weight."""
        mark = self.uniform(0.0, sum(weights.values()))
        for name, weight in weights.items():
            mark -= weight
            if mark < 0:
                return name
        return name

    def uniforms(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers in [low, high): float32 of this shape."""
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def normals(self, *shape: int) -> Tensor:
        """Standard normal numbers: float32 of this shape."""
        return torch.randn(shape, generator=self.generator)

    def direction(self) -> Points:
        """A unit vector, uniform on the sphere: [3]."""
        vector = np.array([self.normal(0, 1) for _ in range(3)])
        return vector / max(np.linalg.norm(vector), 1e-9)

    def waves(self, amplitude: float, shortest: float, longest: float) -> Callable[[Points], Points]:
        """A smooth random function of one coordinate in mm, about ``amplitude`` (rms) high: three sine waves."""
        terms = [(self.normal(0, 1), self.uniform(shortest, longest), self.uniform(0, 2 * np.pi)) for _ in range(3)]

        def wave(t: Points) -> Points:
            total = sum((a * np.sin(2 * np.pi * t / length + p) for a, length, p in terms), np.zeros_like(t))
            return amplitude * total * 0.8

        return wave
