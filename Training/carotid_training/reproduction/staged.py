"""The chain trained in steps: one scale after another, and no gradient from one to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from ..batches.batch import SampleBatch
from ..training.losses import distance_loss
from ..training.module import ChainModule


class StagedChain(ChainModule):
    """`ChainModule` whose training has as many equal parts as there are scales; each trains the net of one scale.

    The scales before it have been trained and stay as they are: they only say where to crop. Those after it wait.
    """

    @property
    def stage(self) -> int:
        """The scale that learns now, 0 the coarsest."""
        scales = len(self.net.nets)
        return min(scales - 1, int(self.progress * scales))

    def share_of_decay(self, share: float) -> float:
        """The learning rate falls within each part: the last net would else begin with a rate that has fallen."""
        return share * len(self.net.nets) % 1.0

    def losses(self, batch: SampleBatch, random: torch.Generator) -> dict[str, Tensor]:
        view, stage = self.augmented(batch, random), self.stage
        guide = self.guide(view, random, teach=False)
        if stage == 0:
            output = self.net.coarsest(view)
        else:
            with torch.no_grad():
                centre = self.net.coarsest(view).position_lps
                for scale in range(1, stage):
                    centre = self.net.finer(view, scale, guide(scale, centre)).position_lps
            output = self.net.finer(view, stage, guide(stage, centre))
        truth, present = view.batch.landmarks_lps, view.batch.present
        return {f"distance_{output.scale_mm:g}mm": distance_loss(output, truth, present, self.objective.distance)}
