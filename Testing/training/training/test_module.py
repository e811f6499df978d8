"""The training loop on batches of balls: it learns, resumes to the bit, and keeps tied nets equal."""

from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from carotid_training.training.augment import Augmentation
from carotid_training.training.fit import RunCheckpoint
from carotid_training.training.module import ChainModule
from carotid_training.training.runs import read_run
from carotid_training.training.view import BatchView
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from torch.utils.data import DataLoader

from ..ball_training import SIDES, BallData, Interruption, module, saving, trainer
from ..balls import SIZES, BallStream, batch_of_balls


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = module()
    trainer(tmp_path / "whole", 6, enable_checkpointing=False).fit(whole, BallData())
    part = trainer(tmp_path / "part", 6, callbacks=[saving(tmp_path / "part"), Interruption(after=3)])
    part.fit(module(), BallData())
    assert part.global_step == 3
    resumed = module()
    trainer(tmp_path / "rest", 6, enable_checkpointing=False).fit(
        resumed, BallData(), ckpt_path=tmp_path / "part" / "last.ckpt", weights_only=True
    )
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_of_hours_ends_with_them_and_counts_those_before_an_interruption(tmp_path):
    timed = module()
    timed.hours, timed.decay, timed.trained_s = 1e-9, True, 3600.0  # so long as no step of these takes
    first = trainer(tmp_path, -1, callbacks=[RunCheckpoint()])
    first.fit(timed, BallData())
    assert first.global_step == 1 and timed.progress == 1
    rate = timed.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert rate(1) == pytest.approx(0.01)
    resumed = module()
    resumed.hours = timed.trained_s / 3600 + 1e-9
    again = trainer(tmp_path, 5, callbacks=[RunCheckpoint()])
    again.fit(resumed, BallData(), ckpt_path="last")
    assert again.global_step == 2 and resumed.trained_s > timed.trained_s


def test_the_schedule_of_a_training_shorter_than_an_epoch_goes_from_its_beginning_to_its_end():
    chain, seen = module(), []
    chain.epoch_steps = 167
    for step in range(20):
        chain.trainer = SimpleNamespace(max_steps=20, global_step=step)
        seen.append(chain.progress)
    assert (seen[0], seen[-1], len(set(seen))) == (0, 1, 10) and seen == sorted(seen)


def test_a_run_that_is_told_to_go_on_from_its_last_checkpoint_begins_where_there_is_none(tmp_path):
    with pytest.warns(UserWarning, match="no last checkpoint"):
        trainer(tmp_path, 1, callbacks=[RunCheckpoint()]).fit(module(), BallData(), ckpt_path="last")
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


def test_tied_nets_stay_equal_and_part_when_the_tie_ends(tmp_path):
    tied = module(tied_until=1.1)
    trainer(tmp_path, 3, enable_checkpointing=False).fit(tied, BallData())
    first, second, third = tied.net.nets[1:]
    for a, b, c in zip(first.parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)
    parted = module(tied_until=0.3)
    trainer(tmp_path, 4, enable_checkpointing=False).fit(parted, BallData())
    pairs = zip(parted.net.nets[1].parameters(), parted.net.nets[3].parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_nets_that_have_parted_stay_apart_in_a_run_that_is_prolonged(tmp_path):
    """With ten times the steps it is earlier in its schedule than it was."""
    first = trainer(tmp_path / "first", 4, callbacks=[saving(tmp_path / "first")])
    first.fit(module(tied_until=0.3), BallData())
    longer, last = module(tied_until=0.3), tmp_path / "first" / "last.ckpt"
    trainer(tmp_path / "more", 40, callbacks=[Interruption(after=6)], enable_checkpointing=False).fit(
        longer, BallData(), ckpt_path=last, weights_only=True
    )
    assert longer.progress < 0.3
    grads = [[parameter.grad for parameter in net.parameters()] for net in longer.net.nets[1:]]
    assert any(one is not None and not torch.equal(one, other) for one, other in zip(grads[0], grads[2], strict=True))


def test_scans_are_not_mirrored_where_a_landmark_of_one_side_has_no_counterpart():
    alone = (LandmarkSpec("left_ball", "L", "left_ball"), LandmarkSpec("chin", "C", "chin"))
    for landmarks, one_sided, share in ((SIDES, [], 1.0), (alone[1:], [], 1.0), (alone, ["left_ball"], 0.0)):
        small = Architecture(landmarks, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24))
        chain = ChainModule(small, augmentation=Augmentation(mirror_share=1.0))
        assert (chain.one_sided, chain.augmentation.mirror_share) == (one_sided, share)


@pytest.mark.slow
def test_the_finer_nets_learn_to_find_a_ball(tmp_path):
    chain = module(teacher_until=1.1, tied_until=1.1)
    batch = batch_of_balls(sd=5.0, coarse=(24, 24, 32))

    def error():
        with torch.no_grad():
            outputs, _ = chain.predict(BatchView(batch))
        return [float((o.position_lps[:, :, 0] - batch.landmarks_lps).norm(dim=-1).mean()) for o in outputs[1:]]

    trainer(tmp_path, 60, enable_checkpointing=False).fit(chain, BallData())
    assert max(error()) < 4.0


def test_the_noise_of_the_last_crop_goes_as_far_to_either_side():
    chain, noises = module(), []
    chain.hours = 1.0  # whose schedules ask no trainer
    chain.net.register_forward_pre_hook(lambda net, arguments: noises.append(arguments[1]))
    batch = batch_of_balls(coarse=(16, 16, 24))
    batch = replace(batch, boxes={2.0: batch.boxes[2.0]}, box_origins_lps={2.0: batch.box_origins_lps[2.0]})
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(20):
            chain.losses(batch, random)
    noise, bound = torch.cat(noises), chain.architecture.noise_mm
    assert noise.shape == (20, 2, 1, 3)
    assert -bound <= noise.min() < -0.9 * bound and 0.9 * bound < noise.max() <= bound
    assert noise.mean().abs() < 0.2 * bound


def test_a_crop_stays_in_its_box_wherever_the_chain_points_and_noise_shifts_it():
    chain, view = module(), BatchView(batch_of_balls())
    guide = chain.guide(view, torch.Generator().manual_seed(0), teach=False)
    for scale, (spacing, side) in enumerate(SIZES.items(), start=1):
        noise = chain.architecture.noise_mm if spacing == 0.5 else 0.0
        crop = guide(scale, torch.full((1, 2, 1, 3), 1e3)) + noise
        torch.testing.assert_close(
            crop - view.box_middles(spacing), torch.full((1, 2, 1, 3), (side - 24) / 2 * spacing)
        )


def test_gains_learn_faster_than_weights_and_a_plain_net_at_one_rate():
    def rates(convolution):
        made = module()
        made = ChainModule(replace(made.architecture, convolution=convolution), learning_rate=1e-3)
        made.trainer = pl.Trainer(max_steps=1, logger=False, enable_checkpointing=False, accelerator="cpu")
        groups = made.configure_optimizers()["optimizer"].param_groups
        assert sum(len(group["params"]) for group in groups) == len(list(made.parameters()))
        return {id(p): group["initial_lr"] for group in groups for p in group["params"]}, made.net.nets[0].encoder[0][0]

    rate, first = rates("standardised")
    assert rate[id(first.gain)] == rate[id(first.bias)] == pytest.approx(5 * rate[id(first.weight)])
    rate, first = rates("plain")
    assert rate[id(first.bias)] == rate[id(first.weight)]


def test_a_run_says_what_it_trained(tmp_path):
    trainer(tmp_path, 1, callbacks=[saving(tmp_path / "checkpoints")]).fit(module(), BallData())
    architecture, state, training = read_run(tmp_path)
    assert architecture.patch_sizes == (24, 24, 24) and architecture.landmarks == SIDES
    assert training["steps"] == 1
    module().net.load_state_dict(state)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no checkpoint last\.ckpt"):
        read_run(tmp_path)


class CoarseBallData(BallData):
    """The balls at 4 and 2 mm alone."""

    def train_dataloader(self):
        whole = next(iter(BallStream()))["necks"]
        origins = {2.0: whole.box_origins_lps[2.0]}
        coarse = replace(whole, boxes={2.0: whole.boxes[2.0]}, box_origins_lps=origins)
        return DataLoader([{"necks": coarse}] * 2, batch_size=None)


def test_batches_at_two_scales_train_two_nets(tmp_path):
    chain = module()
    before = [net.head.weight.clone() for net in chain.net.nets]
    trainer(tmp_path, 2, enable_checkpointing=False).fit(chain, CoarseBallData())
    moved = [not torch.equal(net.head.weight, old) for net, old in zip(chain.net.nets, before, strict=True)]
    assert moved == [True, True, False, False]


def test_a_run_goes_on_from_another_run(tmp_path):
    first = module()
    trainer(tmp_path, 1, callbacks=[saving(tmp_path / "run" / "checkpoints")]).fit(first, BallData())
    second = ChainModule(start_from=tmp_path / "run")
    assert second.architecture == first.architecture
    for one, other in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert second.origin["model"] == "the run run" and second.origin["steps"] == 1


def test_a_run_of_another_architecture_is_no_place_to_start(tmp_path):
    trainer(tmp_path, 1, callbacks=[saving(tmp_path / "run" / "checkpoints")]).fit(module(), BallData())
    with pytest.raises(ValueError, match="differs in pooling"):
        ChainModule(replace(module().architecture, pooling="max"), start_from=tmp_path / "run")
