"""A run's checkpoints: whole or as they were before, and refused in a sentence where they can not be used."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from carotid_training.training.checkpoint import Checkpoints
from carotid_training.training.fit import RunCheckpoint
from carotid_training.training.module import ChainModule
from carotid_training.training.runs import named_bundle, read_checkpoint, read_run
from CarotidLandmarkLib.errors import UserError
from lightning.pytorch.callbacks import EMAWeightAveraging

from ...full_disk import assert_all_or_nothing
from ..ball_training import BallData, module, saving, trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of one step, and its checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    trainer(folder, 1, callbacks=[saving(folder / "checkpoints")], plugins=Checkpoints()).fit(module(), BallData())
    return folder, folder / "checkpoints" / "last.ckpt"


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("letter.txt", "Dear")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [lambda whole: b"junk\n", lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: zipped()],
    ids=["text", "empty", "cut", "another archive"],
)
def test_a_damaged_checkpoint_is_named_wherever_it_is_read(run, tmp_path, content):
    damaged = tmp_path / "last.ckpt"
    damaged.write_bytes(content(run[1].read_bytes()))
    says = f"The checkpoint {damaged} is damaged"
    with pytest.raises(UserError, match=says):
        read_run(damaged)
    with pytest.raises(UserError, match=says):
        ChainModule(start_from=damaged)
    with pytest.raises(UserError, match=says):
        trainer(tmp_path, 2, enable_checkpointing=False, plugins=Checkpoints()).fit(
            module(), BallData(), ckpt_path=damaged
        )


@pytest.mark.parametrize("held", [[1, 2], {"weights": torch.ones(2)}, {"state_dict": {}}])
def test_a_checkpoint_of_another_program_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt is no checkpoint of carotid-train"):
        read_run(tmp_path / "other.ckpt")


def test_a_run_does_not_go_on_with_other_nets_than_it_was_begun_with(run, tmp_path):
    other = ChainModule(replace(module().architecture, widths=((4, 8, 16),) * 4, noise_mm=1.0))
    with pytest.raises(UserError, match=r"differ from model\.architecture in widths, noise_mm;"):
        trainer(tmp_path, 2, enable_checkpointing=False).fit(other, BallData(), ckpt_path=run[1])


def test_a_checkpoint_that_can_not_be_written_leaves_the_one_before(run, tmp_path):
    checkpoint, last = read_checkpoint(run[1]), tmp_path / "last.ckpt"
    Checkpoints().save_checkpoint(checkpoint, last)
    later = {**checkpoint, "global_step": 2}
    assert_all_or_nothing(lambda: Checkpoints().save_checkpoint(later, last), last, last.read_bytes())
    assert read_checkpoint(last)["global_step"] == 2


def test_a_run_goes_on_at_the_learning_rate_that_is_asked_for(run, tmp_path):
    rates = []

    class Slower(ChainModule):
        def on_train_batch_start(self, *what):
            super().on_train_batch_start(*what)
            rates.append([group["lr"] for group in self.trainer.optimizers[0].param_groups])

    for rate in (1e-3, 1e-4):
        chain = Slower(module().architecture, warmup_steps=0, decay=False, learning_rate=rate)
        trainer(tmp_path, 2, enable_checkpointing=False).fit(chain, BallData(), ckpt_path=run[1])
    assert rates[0] == pytest.approx([10 * rate for rate in rates[1]])


def test_the_folder_of_several_runs_is_none_of_them(run, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(run[0], tmp_path / "runs" / name)
    with pytest.raises(UserError, match=r"runs holds several runs \(one, two\); give one of them"):
        read_run(tmp_path / "runs")
    assert read_run(tmp_path / "runs" / "one")[2]["steps"] == 1


def test_a_word_is_the_run_in_a_folder_of_that_name_and_else_a_model(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "carotid-small").mkdir()  # of results, for instance
    assert named_bundle(Path("carotid-small")).metadata.name == "carotid-small"
    shutil.copytree(run[0], tmp_path / "mine")
    assert named_bundle(Path("mine")) is None


def test_a_run_that_was_copied_goes_on_with_one_last_checkpoint(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "copy")
    copy = trainer(tmp_path / "copy", 2, callbacks=[RunCheckpoint()], plugins=Checkpoints())
    copy.fit(module(), BallData(), ckpt_path=tmp_path / "copy" / "checkpoints" / "last.ckpt")
    assert [file.name for file in (tmp_path / "copy" / "checkpoints").glob("last*")] == ["last.ckpt"]
    assert read_run(tmp_path / "copy")[2]["steps"] == 2


@pytest.mark.parametrize("steps", [3, 4])
def test_a_run_of_any_length_goes_on_from_the_weights_it_trained_and_not_from_their_average(tmp_path, steps):
    def train(until, *more):
        average = EMAWeightAveraging(decay=0.5)
        lightning = trainer(tmp_path, until, callbacks=[RunCheckpoint(3), average, *more], plugins=Checkpoints())
        chain, last = module(), tmp_path / "checkpoints" / "last.ckpt"
        lightning.fit(chain, BallData(), ckpt_path=last if last.exists() else None)
        return read_checkpoint(last, weights_only=False)

    kept = train(steps)
    assert kept["global_step"] == steps
    trained, averaged = kept["current_model_state"], kept["state_dict"]
    assert any(not torch.equal(trained[name], averaged[name]) for name in averaged)
    assert train(steps + 1)["global_step"] == steps + 1


def test_weights_that_are_no_numbers_any_more_are_not_saved_over_those_that_were(tmp_path):
    class Diverging(ChainModule):
        def on_train_batch_end(self, *what):
            super().on_train_batch_end(*what)
            if self.global_step == 2:
                with torch.no_grad():
                    next(self.net.parameters()).fill_(torch.nan)

    diverging = Diverging(module().architecture)
    with pytest.raises(UserError, match=r"At step 3 the nets' weights are no numbers any more"):
        trainer(tmp_path, 3, callbacks=[saving(tmp_path / "checkpoints")]).fit(diverging, BallData())
    _, state, training = read_run(tmp_path)
    assert training["steps"] == 2 and all(values.isfinite().all() for values in state.values())
