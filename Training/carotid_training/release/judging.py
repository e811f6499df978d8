"""A model's judgement of its own answers, fitted on digital necks half of which lack a bifurcation; the nets stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from CarotidLandmarkLib.detector import bfloat16_is_fast
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.nets import MultiScaleLocNet, evidence_of
from CarotidLandmarkLib.quality import share_elsewhere
from CarotidLandmarkLib.uncertainty import RELIABLE_MM, Judgement, draw_noise, expit
from scipy.optimize import minimize
from scipy.special import log_expit
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .. import seeds
from ..batches.datamodule import in_the_background
from ..batches.unseen import NeckView
from ..evaluation.metrics import roc_area
from ..necks.styles import Styles
from ..scans.sample import Sample

# Of the seeds of training; fit takes 0 unless it is told otherwise.
BASE_SEED = 1
# Every second neck is the first of so many seeds that lacks a bifurcation: one seed in eight does.
CANDIDATES = 64
# Noise passes: their spread and mean peak hardly depend on how many there are.
PASSES = 8
# Penalty of the squared weights of standardised evidence, and parts of the cross-validation that measures the fit.
RIDGE, FOLDS = 3.0, 5
# Fewer landmarks that are absent, or wrongly placed, teach nothing.
FEWEST = 5


@dataclass(frozen=True)
class Answers:
    """What the chain did on N landmarks, those of a neck beside each other.

    evidence: [N, F] (`nets.evidence_of`); present, right: [N] bool; as_they_come: [N] bool, landmarks of necks that
    were not chosen for what they lack.
    """

    evidence: np.ndarray
    present: np.ndarray
    right: np.ndarray
    as_they_come: np.ndarray

    def weights(self, label: np.ndarray) -> np.ndarray:
        """[N]: so that ``label`` is as frequent as in necks as they come (King and Zeng, 2001)."""
        usual = (label[self.as_they_come].sum() + 1) / (self.as_they_come.sum() + 2)
        return np.where(label, usual / label.mean(), (1 - usual) / (1 - label.mean()))


class JudgedNecks(Dataset):
    """Digital necks, the styles in turn, as the nets see them at test: evidence [L, F], present, right [L] each."""

    def __init__(self, net: MultiScaleLocNet, styles: Styles, count: int):
        self.net, self.styles, self.count = net, styles, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        sample = self.drawn(index)
        device = torch.device("cpu")
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_fast(device)):
            view = NeckView(sample)
            outputs, looks = self.net.search(view)
            noise = draw_noise(len(sample.truth.present), PASSES, self.net.architecture.noise_mm, sample.seed)
            centres = outputs[-1].position_lps + torch.from_numpy(noise)[None]
            outputs.append(self.net.finer(view, len(self.net.nets) - 1, centres))
            logit = self.net.presence_logit(outputs).float()
        seen = zip(looks.position_lps[0].numpy(), looks.peak[0].float().numpy(), strict=True)
        evidence = evidence_of(outputs, logit, [share_elsewhere(*look) for look in seen])
        off = (outputs[-1].position_lps[0].mean(dim=1) - sample.truth.points_lps).norm(dim=-1)
        present = sample.truth.present
        return torch.from_numpy(evidence), present, present & (off <= RELIABLE_MM)

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


@dataclass(frozen=True)
class JudgementNecks:
    """How many necks, of which styles, are looked at by how many processes."""

    count: int
    styles: Styles
    processes: int = 1


def look(net: MultiScaleLocNet, necks: JudgementNecks, on_neck: Callable[[int], None]) -> Answers:
    """The chain's answers on the necks; ``on_neck`` is told how many are done. Raises VolumeError."""
    necks.styles.open()
    judged_necks = JudgedNecks(net.eval(), necks.styles, necks.count)
    loader = DataLoader(judged_necks, batch_size=None, num_workers=necks.processes, worker_init_fn=in_the_background)
    rows = []
    for done, (evidence, present, right) in enumerate(loader, 1):
        rows.append((evidence.numpy(), present.numpy(), right.numpy(), np.full(len(present), done % 2 == 0)))
        on_neck(done)
    return Answers(*(np.concatenate(part) for part in zip(*rows, strict=True)))


def fit(answers: Answers) -> Judgement:
    """Both logistic models, with a ridge. Raises UserError where too few answers are absent, or wrong."""
    weights = []
    for label, words in ((answers.present, "absent"), (answers.right, "wrong or absent")):
        if min(label.sum(), (~label).sum()) < FEWEST:
            raise UserError(f"A judgement needs {FEWEST} landmarks that are {words} and {FEWEST} others; add necks.")
        weights.append(tuple(_logistic(answers.evidence, label, answers.weights(label)).tolist()))
    return Judgement(*weights)


def _logistic(evidence: np.ndarray, label: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weights [F + 1], the constant last, of the log-odds of ``label`` [N] where each row counts ``counts`` [N]."""
    middle, spread = evidence.mean(axis=0), evidence.std(axis=0).clip(min=1e-6)
    x = np.column_stack([(evidence - middle) / spread, np.ones(len(label))])
    penalty = np.append(np.full(x.shape[1] - 1, RIDGE), 0.0)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = x @ w
        likelihood = (counts * np.where(label, log_expit(odds), log_expit(-odds))).sum()
        return float(penalty @ w**2 / 2 - likelihood), x.T @ (counts * (expit(odds) - label)) + penalty * w

    w = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    weights = w[:-1] / spread
    return np.append(weights, w[-1] - weights @ middle)


def cross_validated(answers: Answers, per_neck: int) -> str:
    """How well the two tell in necks that were left out, in words for the model's record."""
    necks = np.arange(len(answers.present)) // per_neck
    presence, reliability = (np.empty(len(necks)) for _ in range(2))
    for fold in range(FOLDS):
        out = necks % FOLDS == fold
        parts = (part[~out] for part in (answers.evidence, answers.present, answers.right, answers.as_they_come))
        presence[out], reliability[out] = fit(Answers(*parts)).probabilities(answers.evidence[out])
    areas = [roc_area(scores, labels) for scores, labels in ((presence, answers.present), (reliability, answers.right))]
    return f"areas under the ROC in necks left out: {areas[0]:.3f} (presence), {areas[1]:.3f} (right within 5 mm)"


def judged(net: MultiScaleLocNet, necks: JudgementNecks, on_neck: Callable[[int], None]) -> tuple[Judgement, str]:
    """The judgement of a net, and words on it for the model's record. Raises UserError, VolumeError."""
    answers = look(net, necks, on_neck)
    absent, wrong = int((~answers.present).sum()), int((answers.present & ~answers.right).sum())
    words = (
        f"fitted on {necks.count} digital necks (training seeds of base seed {BASE_SEED}): of {len(answers.present)} "
        f"landmarks {absent} absent and {wrong} more than {RELIABLE_MM:g} mm off; "
    )
    return fit(answers), words + cross_validated(answers, len(net.architecture.landmarks))
