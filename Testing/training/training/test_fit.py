"""The record of a run, what its weights came from; and that no other run is begun over it."""

import json
import re
from typing import ClassVar

import lightning.pytorch as pl
import pytest
import torch
from carotid_training import cli
from carotid_training.batches.datamodule import NecksData
from carotid_training.seeds import GENERATOR
from carotid_training.training.fit import ProgressCallback, RunRecord, _without_folders, interruptible
from carotid_training.training.module import ChainModule
from carotid_training.training.reading import configuration
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.errors import UserError
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ..ball_training import BallData, module, saving, trainer
from ..outcomes import LANDMARKS


def test_the_record_of_a_run_names_the_generator_and_the_styles_of_its_necks(tmp_path):
    recorded = pl.Trainer(
        max_steps=1, limit_train_batches=0, limit_val_batches=0, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, default_root_dir=tmp_path, callbacks=[RunRecord([])],
    )  # fmt: skip
    chain = ChainModule(Architecture(LANDMARKS, widths=((4, 8, 8),) * 4, patch_sizes=(24, 24, 24)), seed=3)
    recorded.fit(chain, datamodule=NecksData(chain.architecture, styles={"sculpted": 1.0}, seed=7, workers=0))
    record = json.loads((tmp_path / "run.json").read_text())
    assert (record["generator"], record["seed"], record["styles"]) == (GENERATOR, 7, {"sculpted": 1.0})


def test_no_run_is_begun_over_one_that_is_there_and_it_goes_on_only_from_its_own_checkpoint(
    tmp_path, tmp_path_factory, capsys
):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("cut")
    (tmp_path / "run.json").write_text("{}")

    def says(*options: str) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main(["fit", f"--config={configuration('smoke')}", f"--trainer.default_root_dir={tmp_path}", *options])
        assert end.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert says().endswith(
        f"{tmp_path} holds a run already: go on with it by --ckpt_path last, or begin another one in another "
        "--trainer.default_root_dir."
    )
    assert (tmp_path / "run.json").read_text() == "{}"
    assert f"{tmp_path / 'checkpoints' / 'last.ckpt'} is damaged" in says("--ckpt_path=last")
    another = tmp_path_factory.mktemp("another") / "last.ckpt"
    another.write_text("whole")
    assert f"{tmp_path} holds a run already: go on with it by --ckpt_path last" in says(f"--ckpt_path={another}")
    assert (tmp_path / "checkpoints" / "last.ckpt").read_text() == "cut" and (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("asked", "options", "count"),
    [
        ("--help", "(?:model|data)", 26),
        ("--model.architecture.help", "model.architecture", 12),
        ("--model.objective.help", "model.objective", 7),
        ("--model.augmentation.help", "model.augmentation", 9),
    ],
)
def test_every_option_of_model_and_data_has_a_sentence_of_help(asked, options, count, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", asked])
    text = capsys.readouterr().out
    blocks = re.findall(rf"^  --({options}\.\w+)[ ,](.*?)(?=^ ? ?\S|\Z)", text, re.M | re.S)
    silent = [name for name, words in blocks if not re.search(r"\w\S*\. \(type:", " ".join(words.split()))]
    assert (end.value.code, len(blocks), silent) == (0, count, []) and "lambda" not in text


def test_a_training_that_a_scheduler_ends_has_not_come_to_its_end():
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise SIGTERMException


def test_a_dataset_that_nothing_would_look_at_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Nothing looks at data\.dataset"):
        NecksData(Architecture(LANDMARKS), dataset=tmp_path)


class RecordedBalls(BallData):
    """Balls that a record can tell apart by their seed."""

    weights: ClassVar = {"balls": 1.0}
    draws_necks = True

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def dataset_hash(self) -> None:
        return None


def test_a_run_that_went_on_with_other_data_says_what_it_was_trained_on_before(tmp_path):
    def record(steps: int, seed: int, checkpoint=None, folder=tmp_path / "run") -> dict:
        callbacks = [saving(folder / "checkpoints"), RunRecord([])]
        trainer(folder, steps, callbacks=callbacks).fit(module(), RecordedBalls(seed), ckpt_path=checkpoint)
        return json.loads((folder / "run.json").read_text())

    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert "before" not in record(1, seed=3)
    assert "before" not in record(2, seed=3, checkpoint=last)
    assert record(3, seed=4, checkpoint=last)["before"]["seed"] == 3
    again = record(4, seed=4, checkpoint=last)
    assert (again["seed"], again["before"]["seed"]) == (4, 3)
    elsewhere = record(5, seed=5, checkpoint=last, folder=tmp_path / "new")
    assert [elsewhere["seed"], elsewhere["before"]["seed"], elsewhere["before"]["before"]["seed"]] == [5, 4, 3]


class ValidatedBalls(BallData):
    """Balls, and a validation that takes one step; `ValidatedModule` measures it."""

    def val_dataloader(self):
        return [torch.zeros(1)]


class ValidatedModule(ChainModule):
    def validation_step(self, batch, step):
        self.log("val/error", torch.tensor(4.25), prog_bar=True, batch_size=1)


def test_a_training_tells_how_far_it_is_its_loss_and_its_validation_also_when_it_goes_on(tmp_path):
    def told(steps: int, checkpoint=None) -> list[tuple[str, float]]:
        lines: list[tuple[str, float]] = []
        progress = ProgressCallback(lambda words, share: lines.append((words, share)))
        options = {"val_check_interval": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 2}
        made = trainer(tmp_path, steps, callbacks=[saving(tmp_path), progress], **options)
        net = ValidatedModule(module().architecture, warmup_steps=1)
        made.fit(net, ValidatedBalls(), ckpt_path=checkpoint)
        return lines

    first = told(2)
    assert [words.partition(", loss")[0] for words, _ in first] == [
        "training, step 0 of 2",
        "training, step 1 of 2",
        "validating, step 1 of 2",
        "training, step 2 of 2",
        "validating, step 2 of 2",
    ]
    assert re.fullmatch(r"training, step 2 of 2, loss \d[\d.e+]*, validation 4\.2 mm", first[3][0])
    assert [share for _, share in first] == [0.0, 0.5, 0.5, 1.0, 1.0]
    again = told(4, tmp_path / "last.ckpt")
    assert again[0] == ("training, step 2 of 4", 0.5) and again[1][0] == "training, step 3 of 4"


def test_a_training_that_logs_nothing_tells_its_steps(tmp_path):
    told: list[str] = []
    made = trainer(tmp_path, 2, callbacks=[ProgressCallback(lambda words, _: told.append(words))], log_every_n_steps=0)
    made.fit(module(), BallData())
    assert told == ["training, step 0 of 2", "training, step 1 of 2", "training, step 2 of 2"]


@pytest.mark.parametrize(
    ("record", "recorded"),
    [
        ("--data.dataset=/home/Jane Doe/scans/lyon", "--data.dataset=lyon"),
        ('["/home/Jane Doe/a b.nrrd", "/mnt/c.nrrd"]', '["a b.nrrd", "c.nrrd"]'),
        (r'["C:\Users\Jane Doe\a.nrrd", "\\nas\b.nrrd", "D:/x/c.nrrd"]', '["a.nrrd", "b.nrrd", "c.nrrd"]'),
        ("--model.learning_rate=1e-4", "--model.learning_rate=1e-4"),
        ("--config=Training/configs/small.yaml", "--config=Training/configs/small.yaml"),
    ],
)
def test_a_runs_record_names_no_folder(record, recorded):
    assert _without_folders(record) == recorded
