"""Batches that a net can learn in seconds: a bright ball at each landmark, in fine-grained random places."""

from __future__ import annotations

import torch
from carotid_training.batches.batch import SampleBatch
from torch import Tensor
from torch.utils.data import IterableDataset

LEFT, RIGHT = torch.tensor([30.0, -10.0, 5.0]), torch.tensor([-28.0, -6.0, -9.0])
SIZES = {2.0: 60, 1.0: 60, 0.5: 72}


def ball(origin: Tensor, spacing: float, shape: tuple[int, int, int], centre: Tensor, hu: float, sd: float) -> Tensor:
    """A Gaussian ball on a lattice along the LPS axes: [k, j, i]."""
    k, j, i = (torch.arange(n) * spacing for n in shape)
    z, y, x = k + origin[2] - centre[2], j + origin[1] - centre[1], i + origin[0] - centre[0]
    return hu * torch.exp(-0.5 * (z[:, None, None] ** 2 + y[:, None] ** 2 + x**2) / sd**2)


def batch_of_balls(
    left: Tensor = LEFT, right: Tensor = RIGHT, sd: float = 8.0, coarse: tuple[int, int, int] = (56, 56, 56)
) -> SampleBatch:
    """One scan: 900 HU at the left landmark, 450 HU at the right one, 0 HU elsewhere."""
    origin = -2.0 * torch.tensor([coarse[2], coarse[1], coarse[0]]) + 2.0

    def picture(start: Tensor, spacing: float, shape: tuple[int, int, int]) -> Tensor:
        return ball(start, spacing, shape, left, 900, sd) + ball(start, spacing, shape, right, 450, sd)

    boxes, origins = {}, {}
    for scale, n in SIZES.items():
        own = [point + 1.7 - (n - 1) / 2 * scale for point in (left, right)]
        boxes[scale] = torch.stack([picture(o, scale, (n, n, n)) for o in own])[None, :, None].half()
        origins[scale] = torch.stack(own)[None]
    return SampleBatch(
        index=0,
        coarse=picture(origin, 4.0, coarse)[None, None].half(),
        coarse_origin_lps=origin[None],
        boxes=boxes,
        box_origins_lps=origins,
        landmarks_lps=torch.stack([left, right])[None],
        present=torch.tensor([[True, True]]),
    )


class BallStream(IterableDataset):
    """Batch n is a function of n; from number ``start`` on."""

    def __init__(self, start: int = 0):
        super().__init__()
        self.start = start

    def __iter__(self):
        number = self.start
        while True:
            shift = torch.rand(2, 3, generator=torch.Generator().manual_seed(number)) * 16 - 8
            yield {"necks": batch_of_balls(LEFT + shift[0], RIGHT + shift[1], sd=5.0, coarse=(24, 24, 32))}
            number += 1
