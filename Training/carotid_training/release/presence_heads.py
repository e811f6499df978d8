"""Presence heads fitted for themselves, on necks half of which lack a bifurcation; the nets stay as they are.

A training sees few of those: one side in sixteen is outside the scan, operated on or not enhanced. What the nets say of
the place that they chose tells more than heads learn from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from CarotidLandmarkLib.detector import bfloat16_is_fast
from CarotidLandmarkLib.nets.chain import Architecture, MultiScaleLocNet
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .. import seeds
from ..batches.datamodule import in_the_background
from ..batches.unseen import NeckView
from ..necks.styles import Styles
from ..scans.sample import Sample
from .presence import FEWEST

# Of the seeds of training; fit takes 0 unless it is told otherwise.
BASE_SEED = 1
# Every second neck is the first of so many seeds that lacks a bifurcation: one seed in eight does.
CANDIDATES = 64
# Penalty of the squared weights of standardised evidence. Cross-validated once, with carotid-small 0.5.1 on 338 necks
# with more surgery still, the area under the ROC was 0.969 with it, 0.966 with 0.1 or 10, 0.959 with 100.
RIDGE = 3.0


@dataclass(frozen=True)
class HeadNecks:
    """How many necks, of which styles, are looked at by how many processes."""

    count: int
    styles: Styles
    processes: int = 1


@dataclass(frozen=True)
class Evidence:
    """What the nets say of the places that they chose: [N, F] float64, all scales beside each other; present: [N].

    usually_present: share of the landmarks that are present in necks as they come.
    """

    descriptors: np.ndarray
    present: np.ndarray
    usually_present: float


class LookedAt(Dataset):
    """Digital necks, the styles in turn, as the nets see them at test: (descriptors [L, F], present [L]) each."""

    def __init__(self, net: MultiScaleLocNet, styles: Styles, count: int):
        self.net, self.styles, self.count = net, styles, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.drawn(index)
        device = torch.device("cpu")
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_fast(device)):
            outputs = self.net.unperturbed(NeckView(sample))
        return torch.cat([seen.descriptor[0, :, 0] for seen in outputs], dim=-1).double(), sample.truth.present

    def drawn(self, index: int) -> Sample:
        """The neck of an index: every even one lacks a bifurcation, the others are as they come."""
        names = self.styles.patient_like
        style = names[index // 2 % len(names)]
        for candidate in range(CANDIDATES):
            seed = seeds.neck_seed("train", BASE_SEED, index * CANDIDATES + candidate)
            sample = Sample.draw(seed, self.styles, {style: 1.0}, randomised=True)
            if index % 2 or not sample.truth.present.all():
                break
        return sample


def look(net: MultiScaleLocNet, necks: HeadNecks, on_neck: Callable[[int], None]) -> Evidence:
    """The evidence of the necks; ``on_neck`` is told how many are done. Raises VolumeError like `Styles.open`."""
    necks.styles.open()
    loader = DataLoader(
        LookedAt(net.eval(), necks.styles, necks.count),
        batch_size=None,
        num_workers=necks.processes,
        worker_init_fn=in_the_background,
    )
    descriptors, present = [], []
    for done, (said, there) in enumerate(loader, 1):
        descriptors.append(said)
        present.append(there)
        on_neck(done)
    # Every second neck is as they come (`LookedAt.drawn`). One more present and one more absent: never 0 or 1.
    as_they_come = torch.cat([torch.ones(1), *(there.float() for there in present[1::2]), torch.zeros(1)])
    return Evidence(torch.cat(descriptors).numpy(), torch.cat(present).numpy(), float(as_they_come.mean()))


def fit(evidence: Evidence) -> tuple[np.ndarray, float]:
    """Weights [F] and bias of the log-odds of presence in necks as they come: logistic regression with a ridge.

    Raises ValueError where fewer than `FEWEST` landmarks are present or absent.
    """
    there = evidence.present.astype(bool)
    if min(there.sum(), (~there).sum()) < FEWEST:
        raise ValueError(f"The presence heads need {FEWEST} absent landmarks and {FEWEST} present ones; add necks.")
    middle, spread = evidence.descriptors.mean(axis=0), evidence.descriptors.std(axis=0).clip(min=1e-6)
    x = np.column_stack([(evidence.descriptors - middle) / spread, np.ones(len(there))])
    penalty = np.append(np.full(x.shape[1] - 1, RIDGE), 0.0)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = x @ w
        likelihood = np.where(there, log_expit(odds), log_expit(-odds)).sum()
        return float(penalty @ w**2 / 2 - likelihood), x.T @ (expit(odds) - there) + penalty * w

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    weights = found[:-1] / spread
    # Absent ones are more frequent here than elsewhere, by the choice of necks (King and Zeng, 2001, prior correction).
    usual = logit(evidence.usually_present) - logit(there.mean())
    return weights, float(found[-1] - weights @ middle + usual)


def with_heads(state: Mapping[str, Tensor], weights: np.ndarray, bias: float) -> dict[str, Tensor]:
    """The weights of a `MultiScaleLocNet` whose presence has these log-odds: one head per scale, summed."""
    heads = sorted(name for name in state if name.startswith("presence."))
    scales = [name.removesuffix(".weight") for name in heads if name.endswith(".weight")]
    sizes = [state[f"{scale}.weight"].numel() for scale in scales]
    changed = dict(state)
    for scale, share in zip(scales, np.split(weights, np.cumsum(sizes)[:-1]), strict=True):
        changed[f"{scale}.weight"] = torch.from_numpy(share)[None].to(state[f"{scale}.weight"])
        changed[f"{scale}.bias"] = torch.zeros_like(state[f"{scale}.bias"])
    changed[f"{scales[-1]}.bias"] += bias
    return changed


def refitted(
    architecture: Architecture, state: Mapping[str, Tensor], necks: HeadNecks, on_neck: Callable[[int], None]
) -> tuple[dict[str, Tensor], str]:
    """The weights with presence heads fitted on ``necks``, and words on it for the model's record.

    Raises ValueError like `fit`, VolumeError like `look`.
    """
    net = MultiScaleLocNet(architecture)
    net.load_state_dict(dict(state))
    evidence = look(net, necks, on_neck)
    absent = int((~evidence.present).sum())
    words = (
        f"heads fitted on {necks.count} digital necks (training seeds of base seed {BASE_SEED}), {absent} of "
        f"{len(evidence.present)} landmarks absent; "
    )
    return with_heads(state, *fit(evidence)), words
