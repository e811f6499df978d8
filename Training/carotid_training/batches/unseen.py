"""Unseen scans on which a training measures itself. The chain looks wherever it wants to, as at test.

Training batches hold boxes around the landmarks, and crops are kept inside them: errors measured there flatter (12 mm
at 4 mm became 3 mm at 0.5 mm, because a box of 44 mm lets no crop go further astray).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from CarotidLandmarkLib.nets.chain import View
from CarotidLandmarkLib.nets.pyramid import AIR_HU
from torch import Tensor
from torch.utils.data import Dataset

from .. import seeds
from ..necks.neck import Grid
from ..necks.styles import Styles
from ..scans.sample import Sample
from .cache import cached_pyramid
from .cases import CaseBatches
from .stream import COARSE_MM, coarse_grid


@dataclass(frozen=True)
class UnseenScan:
    """One scan with its truth; itself a `chain.View` that shows ``view`` on ``device``.

    landmarks_lps: [1, L, 3] mm, NaN where absent; present: [1, L] bool.
    """

    view: View
    landmarks_lps: Tensor
    present: Tensor
    style: str
    device: torch.device | str = "cpu"

    def to(self, device: torch.device) -> UnseenScan:
        return replace(
            self, landmarks_lps=self.landmarks_lps.to(device), present=self.present.to(device), device=device
        )

    def whole(self, scale_mm: float) -> tuple[Tensor, Tensor]:
        values, middle = self.view.whole(scale_mm)
        return values.to(self.device), middle.to(self.device)

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        return self.view.patches(scale_mm, centres_lps.cpu(), size).to(self.device)


class NeckView:
    """`chain.View` of one digital neck in its scanner: what the chain asks for is rendered when it asks."""

    def __init__(self, sample: Sample, device: torch.device | str = "cpu"):
        self.sample, self.device = sample, device

    @cached_property
    def _coarse(self) -> tuple[Tensor, Tensor]:
        low, high = self.sample.scanner.extent_lps()
        grid = coarse_grid(low, high, high - low)
        return self._rendered([grid])[0][None, None], ((low + high) / 2).float()[None]

    def whole(self, scale_mm: float) -> tuple[Tensor, Tensor]:
        """The scan at 4 mm, [1, 1, k, j, i], and its middle [1, 3]. Raises ValueError on another scale."""
        values, middle = self._coarse
        if scale_mm != COARSE_MM:
            raise ValueError(f"Necks show the whole scan at {COARSE_MM:g} mm.")
        return values, middle

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        """Cubes around centres [1, L, P, 3]: [1, L, P, 1, size, size, size]; without gradient."""
        centres = centres_lps.detach().cpu().double().flatten(0, 2)
        cubes = self._rendered([Grid.aligned(centre, scale_mm, (size,) * 3) for centre in centres])
        return torch.stack(cubes)[:, None].unflatten(0, tuple(centres_lps.shape[:3]))

    def _rendered(self, grids: list[Grid]) -> list[Tensor]:
        images = self.sample.scanner.view(self.sample.neck, grids, self.device)
        return [(image - AIR_HU).clamp(min=0) for image in images]


class UnseenNecks(Dataset):
    """The first necks of the validation seeds, the styles in turn; drawn once and kept, coarse views too.

    As those of a cohort they are of patients, unless no style of ``names`` looks like one.
    """

    def __init__(self, count: int, base_seed: int, styles: Styles, names: list[str], device: str = "cpu"):
        patient_like = [name for name in names if name in styles.patient_like]
        self.names, self.randomised = patient_like or names, not patient_like
        self.count, self.base_seed, self.styles, self.device = count, base_seed, styles, device
        self._drawn: dict[int, UnseenScan] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> UnseenScan:
        if index not in self._drawn:
            seed = seeds.neck_seed("validation", self.base_seed, index)
            # Placing vessels in real tissue descends a gradient, which validation switches off.
            with torch.inference_mode(False), torch.enable_grad():
                style = self.names[index % len(self.names)]
                sample = Sample.draw(seed, self.styles, {style: 1.0}, randomised=self.randomised)
            truth = sample.truth
            self._drawn[index] = UnseenScan(
                NeckView(sample, self.device), truth.landmarks_lps.float()[None], truth.present[None], sample.neck.style
            )
        return self._drawn[index]


class UnseenCases(Dataset):
    """Every annotated case of a split, in order."""

    def __init__(self, batches: CaseBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches.cases)

    def __getitem__(self, index: int) -> UnseenScan:
        case = self.batches.cases[index]
        truth = self.batches.truth(case)[None].float()
        return UnseenScan(cached_pyramid(case), truth, ~truth.isnan().any(dim=2), "case")
