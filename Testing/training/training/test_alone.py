"""Two trainings in one folder, as when a command is given again while the first is still at work."""

from __future__ import annotations

import errno

import lightning.pytorch as pl
import pytest
import torch
from carotid_training.training.alone import Alone
from CarotidLandmarkLib.errors import UserError


class Nothing(pl.LightningModule):
    """Learns nothing, and at its second step calls ``then``."""

    def __init__(self, then=lambda: None):
        super().__init__()
        self.weight, self.then = torch.nn.Parameter(torch.zeros(())), then

    def training_step(self, batch, step):
        if self.global_step == 1:
            self.then()
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(3, 1))


def train(folder, then=lambda: None):
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 1}
    trainer = pl.Trainer(default_root_dir=folder, accelerator="cpu", callbacks=[Alone()], **options)
    trainer.fit(Nothing(then))
    return trainer.global_step


def test_a_second_training_in_a_folder_is_refused_and_the_first_goes_on(tmp_path):
    said = []

    def again():
        with pytest.raises(UserError) as refusal:
            train(tmp_path / "run")
        said.append(str(refusal.value))
        assert train(tmp_path / "other") == 3

    assert train(tmp_path / "run", again) == 3
    assert said == [f"Another training is at work in {tmp_path / 'run'}; wait until it ends, or take another folder."]


def test_a_training_that_ended_or_failed_leaves_its_folder_to_the_next(tmp_path):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        train(tmp_path, fail)
    assert train(tmp_path) == train(tmp_path) == 3


@pytest.mark.parametrize("word", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_that_knows_no_locks_is_trained_on_all_the_same(tmp_path, monkeypatch, recwarn, word):
    """A lock that is a mere file stayed when the training was killed, and refused every later one."""
    fcntl = pytest.importorskip("fcntl", reason="locks are others there")
    number = getattr(errno, word)
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(number, word)))
    assert train(tmp_path, lambda: train(tmp_path)) == 3
    assert not [warning for warning in recwarn if "SoftFileLock" in str(warning.message)]


def test_a_folder_that_can_not_be_locked_for_another_reason_is_an_error(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="locks are others there")
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        train(tmp_path)
