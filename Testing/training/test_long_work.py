"""What training says in a log, where nobody sees a bar."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace

import pytest
from carotid_training.batches.stream import NeckStream
from carotid_training.cohorts import synthesize
from carotid_training.processes import pool
from carotid_training.training import fit, reading
from CarotidLandmarkLib.dataset import Dataset

from .balls import batch_of_balls


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.work.log.LINE_EVERY_S", 0.005)


def test_fit_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(NeckStream, "batch", lambda self, index: replace(batch_of_balls(coarse=(24,) * 3), index=index))
    options = {"default_root_dir": tmp_path, "max_steps": 3, "limit_val_batches": 0}
    checkpoints = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": str(tmp_path)}}
    fit.main(
        [
            f"--config={reading.configuration('smoke')}",
            *(f"--trainer.{name}={value}" for name, value in options.items()),
            f"--trainer.callbacks={json.dumps([checkpoints])}",
            "--model.architecture.patch_sizes=[24, 24, 24]",
        ]
    )
    captured = capsys.readouterr()
    assert re.search(r"^\d\d:\d\d:\d\d training, step [123] of 3(, loss [\d.]+)?: \d+% done", captured.err, flags=re.M)
    assert "Epoch 0" not in captured.out + captured.err  # lightning's bar


def test_synthesize_says_how_far_it_is(tmp_path, monkeypatch, capsys):
    def three(cases, seed, output, *_how, on_case):
        for done in range(1, 4):
            on_case(done, 3)
            _wait_for_a_line(capsys, err)
        return Dataset.create(output, synthesize.LANDMARKS)

    err: list[str] = []
    monkeypatch.setattr(synthesize, "synthesize", three)
    synthesize.main(3, tmp_path / "cohort", styles="sculpted")
    assert any(re.search(r"2 of 3 digital necks: 67% done", line) for line in err)


def _wait_for_a_line(capsys, lines):
    """Until another line has been printed."""
    for _ in range(2000):
        printed = capsys.readouterr().err.splitlines()
        lines += printed
        if printed:
            return
        time.sleep(0.005)
    raise AssertionError("no line in ten seconds")


def test_as_many_processes_as_windows_can_wait_for_are_begun_there(monkeypatch):
    """The system's own rule: Python refuses more."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pool(96) as workers:
        assert workers._max_workers == 61
