"""The training step of the chain, as a lightning module."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import side
from CarotidLandmarkLib.nets.chain import Guide, MultiScaleLocNet, ScaleOutput, View
from CarotidLandmarkLib.nets.locnet import StandardisedConv3d
from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from ..batches.batch import SampleBatch
from ..batches.unseen import UnseenScan
from .augment import Augmentation, draw_affines, draw_window, move_truth, recolour
from .losses import Objective, distance_loss, heatmap_loss, presence_loss, schedule_weights
from .runs import architecture_from, difference, named_bundle, read_run
from .view import BatchView

# Gains and biases of standardised convolutions, and the heads of presence, learn so many times faster than weights.
GAIN_RATE = 5.0
FEWEST_EPOCHS = 10  # in fewer the paper's schedule would stand still
# Looks at a landmark of validation from near it, off by up to this share of a patch along every axis.
NEAR_LOOKS, NEAR_SHARE = 2, 0.2


def falling(share: float) -> float:
    """The learning rate's factor when this share of a training is done: a cosine from 1 to 0.01."""
    return max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class ChainModule(pl.LightningModule):
    """Trains a `MultiScaleLocNet` on batches of one or several sources.

    A source trains the scales that its batches hold boxes of. Without any (the coarse stream) that is the coarsest net
    alone: it is a seventh of the cost and decides the gross errors. The streams are endless, so the trainer counts
    steps (``max_steps``).

    Several processes (``trainer.devices``, ``trainer.num_nodes``) take the step that one process takes when it
    accumulates their batches. Each batch is averaged over its own present landmarks first, so a landmark of a batch
    with few of them counts more than in one large batch.

    Args:
        architecture: What the nets are made of. With start_from it is left out, or the same.
        objective: The loss; null: our own.
        augmentation: How far samples are moved and recoloured; {}: as by default; null: not at all.
        learning_rate: Of Adam, at its highest.
        warmup_steps: Steps in which the learning rate rises to its highest.
        decay: Whether it then falls to a hundredth along a cosine, until the training ends.
        epoch_steps: Steps that the paper's schedule calls an epoch.
        hours: The training ends after so many hours of its own, however often it is interrupted, and its schedules
            follow them; null: trainer.max_steps is its end.
        seed: Of first weights and augmentation; 0: seed_everything.
        start_from: The model bundle, run or checkpoint that gives nets and first weights; null: none.
    """

    def __init__(
        self,
        architecture: Architecture | None = None,
        objective: Objective | None = None,
        augmentation: Augmentation | None = None,
        learning_rate: PositiveFloat = 4e-4,
        warmup_steps: NonNegativeInt = 200,
        decay: bool = True,
        epoch_steps: PositiveInt = 10,
        hours: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
        start_from: Path | None = None,
    ):
        """Raises BundleError where ``start_from`` can not be used, ValueError where options contradict each other."""
        super().__init__()
        torch.manual_seed(seed)
        self.objective = objective or Objective()
        # Plain numbers: the optimiser keeps the rate in checkpoints, which hold no types of other libraries.
        self.learning_rate, self.hours = float(learning_rate), hours and float(hours)
        self.warmup_steps, self.epoch_steps, self.seed = int(warmup_steps), int(epoch_steps), int(seed)
        self.decay = decay
        self.trained_s = 0.0
        self._clock: float | None = None
        self._alike = False  # whether the finer nets are one by now
        net, self.origin = _first_net(architecture, start_from)
        self.net, self.architecture = net, net.architecture
        landmarks = self.architecture.landmarks
        self.one_sided = [each.name for each in landmarks if side(each.name) and each.mirror == each.name]
        if augmentation is not None and self.one_sided:  # mirrored, they would be taught on the other side
            augmentation = replace(augmentation, mirror_share=0.0)
        self.augmentation = augmentation
        if start_from is not None and self.objective.tied_until:
            raise UserError("tied_until would undo what the model of start_from has learnt; set it to 0.")
        if self.objective.tied_until:
            if len(set(map(tuple, self.architecture.widths[1:]))) > 1:
                raise UserError("tied_until makes one net of the finer ones; give them equal widths, or set it to 0.")
            first, *others = self.net.nets[1:]
            for other in others:  # equal weights that get equal gradients stay equal: see `on_before_optimizer_step`
                other.load_state_dict(first.state_dict())

    def setup(self, stage: str) -> None:
        """Raises UserError where nothing says when a training is over, or gradients are clipped as no net's are."""
        if stage == "fit" and self.hours is None and self.trainer.max_steps < 1:
            raise UserError("A training has no end of its own; give trainer.max_steps above zero, or model.hours.")
        if (self.trainer.gradient_clip_val or 0) < 0 or self.trainer.gradient_clip_algorithm not in (None, "norm"):
            raise UserError(
                "Gradients are clipped by each net's norm: give trainer.gradient_clip_val from zero on, and leave "
                "trainer.gradient_clip_algorithm out."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError where the training has diverged: the checkpoint before is not lost to it."""
        if not all(parameter.isfinite().all() for parameter in self.net.parameters()):
            raise UserError(
                f"At step {self.global_step} the nets' weights are no numbers any more, and are not saved; lower "
                "model.learning_rate, and go on from the last checkpoint, if there is one, or begin again."
            )
        checkpoint["architecture"] = asdict(self.architecture)
        checkpoint["trained_s"] = self.trained_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises UserError where the checkpoint is another net's."""
        if "architecture" not in checkpoint:
            raise UserError("The checkpoint is of another program; give one of carotid-train fit.")
        if differing := difference(architecture_from(checkpoint["architecture"]), self.architecture):
            raise UserError(
                f"The checkpoint's nets differ from model.architecture in {differing}; go on with the configuration "
                "that the run was begun with, or begin another run, in another trainer.default_root_dir."
            )
        self.trained_s = checkpoint["trained_s"]
        for state, schedule in zip(checkpoint["optimizer_states"], checkpoint["lr_schedulers"], strict=True):
            change = self.learning_rate / schedule["base_lrs"][0]  # the checkpoint's rates would count, not the new one
            for group in state["param_groups"] if change != 1.0 else ():
                group["lr"], group["initial_lr"] = group["lr"] * change, group["initial_lr"] * change
            if change != 1.0:
                for name in ("base_lrs", "_last_lr"):
                    schedule[name] = [rate * change for rate in schedule[name]]

    def on_train_batch_start(self, *_: Any) -> None:
        if self._clock is None:  # the first batch of necks is rendered before any training
            self._clock = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        assert self._clock is not None
        now = time.perf_counter()
        self.trained_s, self._clock = self.trained_s + now - self._clock, now
        if self.trainer.world_size > 1:  # or each process would end at another step
            self.trained_s = self.trainer.strategy.broadcast(self.trained_s)
        if self.hours is not None and self.share >= 1:
            self.trainer.should_stop = True

    @property
    def share(self) -> float:
        """How much of the training's ``hours`` is over, 0 to 1."""
        assert self.hours is not None
        return min(1.0, self.trained_s / (3600 * self.hours))

    @property
    def progress(self) -> float:
        """How much of the training is done, 0 to 1; constant within an epoch, as the paper's schedule is.

        An epoch is shorter than ``epoch_steps`` where there would be fewer than `FEWEST_EPOCHS`.
        """
        if self.hours is not None:
            return self.share
        length = max(1, min(self.epoch_steps, self.trainer.max_steps // FEWEST_EPOCHS))
        epochs = max(2, self.trainer.max_steps // length)
        return min(1.0, self.global_step // length / (epochs - 1))

    def training_step(self, batches: dict[str, SampleBatch], step: int) -> Tensor:
        total = torch.zeros((), device=self.device)
        # Processes, and the batches that one step accumulates, draw differently: they add up to the same gradient.
        accumulated = self.trainer.accumulate_grad_batches
        turn = self.global_step * accumulated + step % accumulated
        turn = turn * self.trainer.world_size + self.trainer.global_rank
        for number, (source, batch) in enumerate(sorted(batches.items())):
            random = torch.Generator().manual_seed((self.seed * 1_000_003 + turn) * 16 + number)
            losses = self.losses(batch, random)
            total = total + torch.stack(list(losses.values())).sum()
            self.log_dict({f"{source}/{k}": v.detach() for k, v in losses.items()}, batch_size=len(batch.present))
        self.log("loss", total.detach(), prog_bar=True, batch_size=1)
        return total

    def on_train_start(self) -> None:
        # A run that is prolonged is earlier in its schedule than it was: nets that have parted stay apart.
        same = zip(*(net.parameters() for net in self.net.nets[1:]), strict=False)
        self._alike = all(torch.equal(first, other) for first, *others in same for other in others)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._alike and self.progress < self.objective.tied_until:
            for same in zip(*(net.parameters() for net in self.net.nets[1:]), strict=True):
                grads = [parameter.grad for parameter in same if parameter.grad is not None]
                if grads:
                    mean = torch.stack(grads).mean(dim=0)
                    for parameter in same:
                        parameter.grad = mean.clone()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Each net is clipped by its own norm, lest the coarsest net's spikes shrink the finer nets' steps."""
        for part in (*self.net.nets, self.net.presence):
            torch.nn.utils.clip_grad_norm_(part.parameters(), gradient_clip_val or torch.inf)

    def losses(self, batch: SampleBatch, random: torch.Generator) -> dict[str, Tensor]:
        """Weighted terms of one batch; ``random`` draws the crop noise."""
        view = self.augmented(batch, random)
        batch, objective = view.batch, self.objective
        present, truth = batch.present, batch.landmarks_lps
        flipped = self.net.flipped
        weights = schedule_weights(objective.schedule, len(self.net.nets), self.progress)
        teach = self.progress < objective.teacher_until
        if not batch.boxes:
            # Half the cost: mirroring augmentation shows the net the other side.
            straight = [n for n, flip in enumerate(self.net.flipped) if not flip]
            outputs, weights = [self.net.coarsest(view, straight)], [max(weights[0], 1e-3)]
            present, truth, flipped = present[:, straight], truth[:, straight], [False] * len(straight)
        else:
            noise = 2 * torch.rand((*present.shape, 1, 3), generator=random) - 1
            noise_lps = (self.architecture.noise_mm * noise).to(batch.coarse.device)
            outputs = self.net(view, noise_lps, self.guide(view, random, teach), 1 + len(batch.boxes))
        terms: dict[str, Tensor] = {}
        for output, weight in zip(outputs, weights, strict=False):
            name = f"{output.scale_mm:g}mm"
            terms[f"distance_{name}"] = weight * distance_loss(output, truth, present, objective.distance)
            if objective.heatmap_weight:
                loss = heatmap_loss(output, truth, present, flipped, objective.heatmap_sd_voxels)
                terms[f"heatmap_{name}"] = objective.heatmap_weight * loss
        # Also where it weighs nothing: several processes wait for a gradient of every parameter.
        terms["presence"] = objective.presence_weight * presence_loss(self.net.presence_logit(outputs), present)
        return terms

    def augmented(self, batch: SampleBatch, random: torch.Generator) -> BatchView:
        """The batch moved and recoloured; geometry waits in the view until a patch is cut."""
        if self.augmentation is None:
            return BatchView(batch)
        middles = BatchView(batch).coarse_middles()
        affines, mirrored = draw_affines(self.augmentation, middles, random)
        names = [landmark.name for landmark in self.architecture.landmarks]
        counterpart = [names.index(landmark.mirror) for landmark in self.architecture.landmarks]
        moved = move_truth(batch, affines, mirrored, counterpart)
        view = BatchView(recolour(self.augmentation, moved, random), affines)
        k, j, i = batch.coarse.shape[2:]
        view.window = draw_window(self.augmentation, view.whole_middles(), moved.landmarks_lps, (k, j, i), random)
        return view

    def guide(self, view: BatchView, random: torch.Generator, teach: bool) -> Guide:
        """Where a finer scale crops: near the truth (``teach``), else where the chain points, kept inside the boxes.

        An absent landmark has no truth, and the chain may point anywhere: its crops lie around the middle of its box.
        """
        batch, architecture = view.batch, self.architecture

        def centre(scale: int, proposed: Tensor) -> Tensor:
            spacing = architecture.scales_mm[scale]
            slack = view.slack_mm(spacing, architecture.patch_sizes[scale - 1])
            if scale == len(architecture.scales_mm) - 1:
                slack -= architecture.noise_mm
            middle = view.box_middles(spacing)
            truth = batch.landmarks_lps[:, :, None]
            # Mostly as good as the previous scale usually is, sometimes as bad as it may be.
            near = torch.randn(proposed.shape, generator=random) * 0.2 * slack
            far = (2 * torch.rand(proposed.shape, generator=random) - 1) * slack
            wide = torch.rand((*proposed.shape[:2], 1, 1), generator=random) < 0.3
            shift = torch.where(wide, far, near).to(proposed.device)
            taught = torch.where(batch.present[:, :, None, None], truth.nan_to_num(), middle) + shift
            wanted = taught if teach else torch.where(batch.present[:, :, None, None], proposed, taught)
            return torch.minimum(torch.maximum(wanted, middle - slack), middle + slack)

        return centre

    def validation_step(self, scan: UnseenScan, step: int, dataloader_idx: int = 0) -> None:
        outputs, presence = self.predict(scan)
        for output in outputs:
            error = (output.position_lps[:, :, 0] - scan.landmarks_lps).norm(dim=-1)
            distances = error[scan.present]
            if len(distances):
                names = [f"val/{output.scale_mm:g}mm", f"val/{output.scale_mm:g}mm_{scan.style}"]
                self.log_dict(dict.fromkeys(names, distances.mean()), batch_size=len(distances), sync_dist=True)
                if output is outputs[-1]:
                    gross = (distances > 10).float().mean()
                    self.log("val/over_10mm", gross, batch_size=len(distances), sync_dist=True)
                    self.log("val/error", distances.mean(), batch_size=len(distances), sync_dist=True, prog_bar=True)
        correct = ((presence > 0) == scan.present).float().mean()
        self.log("val/presence_correct", correct, batch_size=1, sync_dist=True)
        if scan.present.all():
            for output in self.near_truth(scan):
                error = (output.position_lps - scan.landmarks_lps[:, :, None]).norm(dim=-1).mean()
                self.log(f"val/near_{output.scale_mm:g}mm", error, batch_size=1, sync_dist=True)

    def predict(self, view: View) -> tuple[list[ScaleOutput], Tensor]:
        """The chain as it runs at test, one pass without noise; presence logits [B, L]."""
        outputs = self.net.unperturbed(view)
        return outputs, self.net.presence_logit(outputs)

    def near_truth(self, scan: UnseenScan) -> list[ScaleOutput]:
        """Every finer scale for itself: what it finds in patches that hold the landmark, off its middle.

        The chain's error is the coarsest net's for as long as that misses by more than a patch holds.
        """
        random = torch.Generator().manual_seed(self.seed)
        outputs = []
        for scale, spacing in list(enumerate(self.architecture.scales_mm))[1:]:
            off = 2 * torch.rand((*scan.present.shape, NEAR_LOOKS, 3), generator=random) - 1
            off = (off * NEAR_SHARE * spacing * self.architecture.patch_sizes[scale - 1]).to(scan.landmarks_lps.device)
            outputs.append(self.net.finer(scan, scale, scan.landmarks_lps[:, :, None] + off))
        return outputs

    def share_of_decay(self, share: float) -> float:
        """How far the learning rate has come along its cosine when this share of the steps is done."""
        return share

    def configure_optimizers(self) -> OptimizerLRScheduler:
        # Gains and biases are of order 1, standardised weights of order 0.05: at the weights' rate they hardly moved.
        # One landmark in ten is absent, so the heads' gradients are mostly noise: after 700 steps all of them said 2.9.
        convolutions = [part for part in self.net.modules() if isinstance(part, StandardisedConv3d)]
        scales = [parameter for part in convolutions for parameter in (part.gain, part.bias)]
        scales += list(self.net.presence.parameters())
        others = [parameter for parameter in self.parameters() if not any(parameter is scale for scale in scales)]
        fast: dict[str, Any] = {"params": scales, "lr": GAIN_RATE * self.learning_rate}
        optimizer = torch.optim.Adam([{"params": others}, fast], lr=self.learning_rate)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
            done = step / self.trainer.max_steps if self.hours is None else self.share
            return warm * (falling(self.share_of_decay(done)) if self.decay else 1.0)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _first_net(
    architecture: Architecture | None, start_from: Path | None
) -> tuple[MultiScaleLocNet, dict[str, Any] | None]:
    """The net before the first step; what it is the net of and how that was trained, for the run's record."""
    if start_from is None:
        if architecture is None:
            raise UserError("A net has an architecture or starts from a model; give model.architecture or start_from.")
        return MultiScaleLocNet(architecture), None
    if bundle := named_bundle(start_from):
        net, metadata = MultiScaleLocNet.of(bundle), bundle.metadata
        named = {"model": f"{metadata.name} {metadata.version}", "weights_sha256": metadata.weights_sha256}
        origin = {**named, **metadata.training}
    else:
        trained, state, training = read_run(start_from)
        net = MultiScaleLocNet(trained)
        net.load_state_dict(state)
        origin = {"model": f"the run {start_from.name}", **training}
    if architecture is not None and (differing := difference(net.architecture, architecture)):
        raise UserError(
            f"The model {start_from.name} differs in {differing}; leave model.architecture out, in the file too."
        )
    return net, origin
