"""Small nets, and a trainer of them on batches of balls."""

import lightning.pytorch as pl
from carotid_training.training.losses import Objective
from carotid_training.training.module import ChainModule
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from torch.utils.data import DataLoader

from .balls import BallStream

SIDES = (LandmarkSpec("left_ball", "L", "right_ball"), LandmarkSpec("right_ball", "R", "left_ball"))


def module(**objective):
    architecture = Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24), noise_mm=2.0)
    objective = Objective(**objective)
    return ChainModule(architecture, objective, learning_rate=5e-3, warmup_steps=1, decay=False, epoch_steps=1)


def trainer(folder, steps, **options):
    return pl.Trainer(
        default_root_dir=folder, accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0, **options,
    )  # fmt: skip


class BallData(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(BallStream(self.trainer.global_step), batch_size=None)


class Interruption(pl.Callback):
    def __init__(self, after):
        self.after = after

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step >= self.after


def saving(folder):
    return pl.callbacks.ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)
