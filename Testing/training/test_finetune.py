"""carotid-train finetune on small scans and tiny nets: what it learns from, compares, keeps, lists and refuses."""

from __future__ import annotations

import csv
import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from carotid_training import finetune
from carotid_training.comparison import COST, MISTAKE_MM, compare
from carotid_training.disk import CaseBatches
from carotid_training.losses import Objective
from carotid_training.module import ChainModule
from CarotidLandmarkLib.bundle import Bundle, BundleError, BundleMetadata, available_bundles, open_bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.multiscale import Architecture, MultiScaleLocNet
from CarotidLandmarkLib.splits import freeze_splits
from CarotidLandmarkLib.volume import Volume
from typer.testing import CliRunner

from .outcomes import LANDMARKS, LEFT, PLACES, RIGHT, outcome

app = typer.Typer()
app.command()(finetune.main)

MIRRORS = {LEFT: RIGHT, RIGHT: LEFT}


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """A user without models or cached scans."""
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CAROTID_CACHE", str(tmp_path / "cache"))
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def save_start(folder, presence: float) -> Bundle:
    """Small untrained nets, the same ones always; ``presence`` is the log-odds that they give to every landmark."""
    metadata = BundleMetadata(
        name=folder.name, version="0.1", landmarks=LANDMARKS, scales_mm=(4.0, 2.0, 1.0, 0.5), patch_size=16,
        widths=((2, 4),) * 4, hu_window=(-200.0, 1000.0), noise_mm=5.0, architecture={"mirrored": True},
        torch_version=torch.__version__, lib_version="0.1.0", training={}, accuracy={}, calibration={},
        intended_use="Tests.", licence="Apache-2.0",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = MultiScaleLocNet(Architecture.of(metadata))
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(presence / len(net.presence))
    return Bundle.save(folder, metadata, net.state_dict(), "# Tiny\n")


@pytest.fixture(scope="module")
def sure(tmp_path_factory) -> Bundle:
    """A model that calls everything present."""
    return save_start(tmp_path_factory.mktemp("start") / "sure", 9.0)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory) -> Bundle:
    """The same model, which calls everything missing, by a hair."""
    return save_start(tmp_path_factory.mktemp("start") / "doubtful", -1e-6)


def scan(number: int = 0) -> Volume:
    """A tube in soft tissue in air, 32 voxels of 3 mm, its middle at the origin."""
    z, y, x = np.mgrid[0:32, 0:32, 0:32].astype(float)
    array = np.full(z.shape, -1000)
    array[(x - 16) ** 2 + (y - 16) ** 2 < 14**2] = 40
    array[(x - 22) ** 2 + (y - 16) ** 2 < 3**2] = 350 + number
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -46.5
    return Volume(array.astype(np.int16), affine, f"scan {number}")


def annotate(dataset: Dataset, case: str, points=PLACES) -> None:
    dataset.save_annotation(case, "anna", points, dict.fromkeys(points, "accepted"))


@pytest.fixture
def dataset(tmp_path, sure) -> Dataset:
    """Ten patients without a split, whose points an annotator has accepted as ``sure`` finds them."""
    made = Dataset.create(tmp_path / "lyon", [LEFT, RIGHT])
    detector = Detector(sure, "cpu")
    for number in range(10):
        case = made.add_case(scan(number), case_id=f"c{number}", group=f"p{number}")
        detection = detector.detect(made.case(case).read_volume())
        annotate(made, case, {mark.name: mark.position_lps_mm for mark in detection.landmarks})
    return made


def run(dataset, start, output, *options, steps=2):
    arguments = [
        dataset.path, "--model", start.path, "--output", output, "--steps", steps, "--device", "cpu",
        "--styles", "anatomical", *options,
    ]  # fmt: skip
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_model_that_got_better_is_listed_by_name_with_its_record(dataset, doubtful, tmp_path):
    output = tmp_path / "runs" / "lyon-1"
    result = run(dataset, doubtful, output)
    assert result.exit_code == 0, result.output
    assert "Listed: lyon-1" in result.output
    new = open_bundle("lyon-1")
    assert new.path.parent == tmp_path / "home" / "models"
    assert [bundle.metadata.name for bundle in available_bundles() if bundle.path == new.path] == ["lyon-1"]
    assert new.metadata.training["start_from"] == f"doubtful 0.1, weights {doubtful.metadata.weights_sha256[:12]}"
    assert new.metadata.training["steps"] == 2
    assert any(not torch.equal(new.state[name], doubtful.state[name]) for name in new.state)
    with (output / "comparison.csv").open(newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    assert float(rows[COST]["before"]) == MISTAKE_MM and float(rows[COST]["after"]) < 10
    assert (rows["missed, of 4"]["before"], rows["missed, of 4"]["after"]) == ("4", "0")
    assert "mean cost" in (output / "comparison.md").read_text()
    assert new.metadata.calibration == {} and "Not calibrated: 2 calibration cases are too few" in result.output
    assert sorted(file.stem for file in (output / "detections" / "after").iterdir()) == sorted(
        case.id for case in map(dataset.case, dataset.case_ids()) if case.split == "test"
    )


def test_a_worse_model_is_not_listed_unless_forced(dataset, sure, tmp_path):
    output = tmp_path / "runs" / "lyon-2"
    result = run(dataset, sure, output)
    assert result.exit_code == 0, result.output
    assert "Not listed: lyon-2 is worse than sure" in result.output
    assert Bundle.load(output / "bundle").metadata.name == "lyon-2"
    with pytest.raises(BundleError):
        open_bundle("lyon-2")
    forced = run(dataset, sure, output, "--force")
    assert forced.exit_code == 0 and "although it is worse" in forced.output
    assert open_bundle("lyon-2").metadata == Bundle.load(output / "bundle").metadata


def test_a_run_stopped_in_training_goes_on_and_ends_as_if_it_had_not_been(dataset, doubtful, tmp_path, monkeypatch):
    step = ChainModule.training_step

    def interrupted(self, batches, number):
        if self.global_step == 11:
            signal.raise_signal(signal.SIGINT)
        return step(self, batches, number)

    monkeypatch.setattr(ChainModule, "training_step", interrupted)
    stopped = run(dataset, doubtful, tmp_path / "part", steps=13)
    assert stopped.exit_code == 3 and "the same command goes on from here" in stopped.output
    assert not (tmp_path / "part" / "bundle").exists()
    monkeypatch.undo()
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    first = []

    def watched(self, batches, number):
        first.append(self.global_step)
        return step(self, batches, number)

    monkeypatch.setattr(ChainModule, "training_step", watched)
    assert run(dataset, doubtful, tmp_path / "part", steps=13).exit_code == 0
    assert first[0] == 10
    assert run(dataset, doubtful, tmp_path / "whole", steps=13).exit_code == 0
    parts, whole = (Bundle.load(tmp_path / name / "bundle").state for name in ("part", "whole"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
