"""A short training run on balls, as a program: one process over all batches, or several that share them.

python Testing/training/distributed_run.py PROCESSES FOLDER

Whatever the number of processes, an optimizer step sees the same `BATCHES` batches. Writes FOLDER/weights.pt (the
nets after the last step), FOLDER/gradients.pt (of the first step, before clipping), FOLDER/batches-RANK.txt and
FOLDER/clock-RANK.txt (the seconds that it has trained).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lightning.pytorch as pl
import torch
from balls import LEFT, RIGHT, batch_of_balls
from carotid_training.batches.stream import turns
from carotid_training.training.augment import Augmentation
from carotid_training.training.losses import Objective
from carotid_training.training.module import ChainModule
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from torch.utils.data import DataLoader, IterableDataset

SIDES = (LandmarkSpec("left_ball", "L", "right_ball"), LandmarkSpec("right_ball", "R", "left_ball"))
BATCHES, STEPS = 2, 3


class Balls(IterableDataset):
    """Numbered batches; every third lacks the right ball's truth, so that processes average over unequal numbers."""

    def __init__(self, rank: int, world_size: int, record: Path):
        super().__init__()
        self.rank, self.world_size, self.record = rank, world_size, record

    def __iter__(self):
        for number in turns(0, self.rank, self.world_size):
            with self.record.open("a") as file:
                print(number, file=file)
            shift = torch.rand(2, 3, generator=torch.Generator().manual_seed(number)) * 16 - 8
            batch = batch_of_balls(LEFT + shift[0], RIGHT + shift[1], sd=5.0, coarse=(24, 24, 32))
            batch.present[0, 1] = number % 3 != 0
            yield {"necks": batch}


class Data(pl.LightningDataModule):
    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def train_dataloader(self) -> DataLoader:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return DataLoader(Balls(rank, world, self.folder / f"batches-{rank}.txt"), batch_size=None)


class FirstGradients(pl.Callback):
    """Keeps what the first step is made of, after the processes have averaged it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.is_global_zero and trainer.global_step == 0:
            grads = {name: p.grad for name, p in module.named_parameters()}
            torch.save(grads, self.folder / "gradients.pt")


def main(processes: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    architecture = Architecture(SIDES, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24), noise_mm=2.0)
    # The presence head without weight, as in the paper, and nets tied for a part of the run, as in ours.
    objective = Objective(tied_until=0.5, presence_weight=0.0)
    module = ChainModule(
        architecture, objective, Augmentation(), learning_rate=1e-3, warmup_steps=1, decay=False, epoch_steps=1
    )
    trainer = pl.Trainer(
        default_root_dir=folder, accelerator="cpu", devices=processes, strategy="auto" if processes == 1 else "ddp",
        accumulate_grad_batches=BATCHES // processes, max_steps=STEPS, max_epochs=-1, gradient_clip_val=0.1,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[FirstGradients(folder)],
    )  # fmt: skip
    trainer.fit(module, Data(folder))
    (folder / f"clock-{trainer.global_rank}.txt").write_text(repr(module.trained_s))
    if trainer.is_global_zero:
        torch.save(module.net.state_dict(), folder / "weights.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
