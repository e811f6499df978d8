"""carotid-train table1 on scans of balls and tiny nets: it goes on where it stopped, its numbers are right."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from carotid_training.cli import app
from carotid_training.evaluation.metrics import TOLERANCES_MM
from carotid_training.pages import csv_of
from carotid_training.reproduction import table1
from carotid_training.reproduction.module import FieldModule
from carotid_training.reproduction.predict import (
    COLUMNS,
    DIGITS,
    Answers,
    _detected,
    _rows,
    forget_peak,
    read_predictions,
    resident_mb,
)
from carotid_training.reproduction.protocol import METHODS, Protocol
from carotid_training.reproduction.training import TrainingResult, plan_of, train
from carotid_training.scans.acquisition import Acquisition
from carotid_training.training import precision
from carotid_training.training.curve import read_curve
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.memory import keep_freed_memory
from typer.testing import CliRunner

from ..ball_scans import PLACES, scan_of_balls, write_cohort
from ..cohorts.test_synthesize import StandInStyles
from ..outcomes import LEFT, RIGHT

PROTOCOL = Protocol(
    cases=8, steps=6, validations=2, workers=0, methods=("constant", "patches"), augmentation=None, field_voxels=48,
    patch_widths=(2, 2, 4, 4), patch_voxels=16, patch_count=2,
)  # fmt: skip
CPU = torch.device("cpu")
SPLITS = ("train", "validation", "test")


def trained_into(folder, cohort, protocol=PROTOCOL):
    """The one trained row of the protocol, trained into ``folder``."""
    plan = plan_of("patches", protocol, cohort, folder, CPU)
    return train("patches", protocol, cohort, folder, CPU, plan, lambda words, share: None)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAROTID_CACHE", str(folder / "cache"))
        yield write_cohort(folder / "cohort", {"train": 3, "validation": 2, "test": 3})


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """The folder of a whole run."""
    output = tmp_path_factory.mktemp("run") / "table1"
    table1.table1(cohort.path, output, PROTOCOL, device="cpu")
    return output


@pytest.fixture
def without_figures(monkeypatch):
    """For what is not about them: they take most of the time."""
    monkeypatch.setattr(table1, "save", lambda *of: None)


def carried(run: Path, output: Path, protocol: Protocol, methods=PROTOCOL.methods) -> Path:
    """Records, answers and figures of a run, as another machine has them: nets and logs are too large to carry."""
    output.mkdir()
    document = json.loads((run / "run.json").read_text()) | {"protocol": asdict(protocol)}
    (output / "run.json").write_text(json.dumps(document))
    for key in methods:
        (output / key).mkdir()
        for path in [*(run / key).glob("*.json"), *(run / key).glob("*.csv"), *(run / key).glob("*.npz")]:
            shutil.copy(path, output / key)
    return output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(TrainingResult.checkpoint(folder), map_location="cpu", weights_only=False)["state_dict"]


def test_the_tables_numbers_are_those_of_the_answers(run):
    table = {row["method"]: row for row in rows_of(run / "table1.csv")}
    assert list(table) == list(PROTOCOL.methods)
    for key, row in table.items():
        answers = rows_of(run / key / "test.csv")
        assert len(answers) == 6 == int(row["landmarks"])
        ours, true = (
            np.array([[float(a[f"{which}_{axis}_lps_mm"]) for axis in "xyz"] for a in answers])
            for which in ("found", "true")
        )
        errors = np.linalg.norm(ours - true, axis=1)
        assert np.allclose(errors, [float(a["error_mm"]) for a in answers])
        assert float(row["mean"]) == pytest.approx(errors.mean())
        assert float(row["sd"]) == pytest.approx(errors.std(ddof=1))
        assert float(row["median"]) == pytest.approx(np.median(errors))
        for limit in TOLERANCES_MM:
            assert float(row[f"success_{limit:g}"]) == pytest.approx((errors <= limit).mean())
        assert float(row["mean_low95"]) <= errors.mean() <= float(row["mean_high95"])
    page = (run / "table1.md").read_text()
    assert f"| {float(table['patches']['mean']):.2f} ± {float(table['patches']['sd']):.2f} |" in page
    assert "| 4.35 ± 4.33 |" in page  # the paper's, beside it
    assert (
        f"minus {METHODS['patches'].title} (mm)" in page
    )  # without ours, the last row is what others are held against
    (pair,) = rows_of(run / "pairs.csv")
    difference = float(table["patches"]["mean"]) - float(table["constant"]["mean"])
    assert float(pair["difference_mm"]) == pytest.approx(difference)


def test_every_answer_is_of_a_test_scan_and_its_truth_is_the_annotators(run, cohort):
    answers = rows_of(run / "patches" / "test.csv")
    assert {row["case"] for row in answers} == {"test-0", "test-1", "test-2"}
    for row in answers:
        point = cohort.case(row["case"]).annotation("truth").points[row["landmark"]]
        assert [float(row[f"true_{axis}_lps_mm"]) for axis in "xyz"] == pytest.approx(point)
        assert float(row["seconds_net"]) > 0 and float(row["peak_mb"]) >= 0


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells and forgets peaks")
def test_what_reading_a_scan_took_for_a_moment_is_not_the_methods_memory():
    keep_freed_memory()  # as the process that asks does
    block = np.ones(40_000_000)
    high = resident_mb("VmHWM")
    del block
    forget_peak()
    assert resident_mb("VmHWM") < high - 250


def test_a_net_that_says_nan_has_no_place_and_its_answers_are_read_back(cohort, tmp_path):
    places = np.array([[np.nan] * 3, [1.0, 2.0, 3.0]])
    answers = Answers(_detected(places), (0.0,) * 4, ())
    rows = list(_rows(cohort, cohort.case("test-0"), answers, 1.0))
    (tmp_path / "test.csv").write_text(csv_of([dict(zip(COLUMNS, row, strict=True)) for row in rows], DIGITS))
    (scan,) = read_predictions(tmp_path / "test.csv")
    assert [outcome.result.position_lps_mm for outcome in scan.outcomes] == [None, (1.0, 2.0, 3.0)]
    assert scan.outcomes[0].error_mm is None and scan.outcomes[1].error_mm > 0


def test_a_run_that_is_done_trains_nothing_and_asks_nothing_again(run, cohort, without_figures):
    files = [run / "patches" / name for name in ("trained.json", "test.csv", "checkpoints/best.ckpt")]
    files.append(run / "constant" / "test.csv")
    before, table = [file.stat().st_mtime_ns for file in files], (run / "table1.csv").read_bytes()
    (run / "table1.csv").unlink()
    table1.table1(cohort.path, run, PROTOCOL, device="cpu")
    assert [file.stat().st_mtime_ns for file in files] == before
    assert (run / "table1.csv").read_bytes() == table


def test_another_protocol_or_cohort_is_not_mixed_into_a_run(run, cohort, tmp_path):
    with pytest.raises(ValueError, match="another protocol or cohort"):
        table1.table1(cohort.path, run, replace(PROTOCOL, steps=7), device="cpu")
    other = write_cohort(tmp_path / "other", {"train": 1, "validation": 1, "test": 1}, seed=9)
    with pytest.raises(ValueError, match="another protocol or cohort"):
        table1.table1(other.path, run, PROTOCOL, device="cpu")
    # Digital necks are the same by their recipe.
    for folder, seed in ((cohort.path, 8), (other.path, 8), (other.path, 9)):
        (folder / "cohort.json").write_text(json.dumps({"seed": seed}))
        claimed = tmp_path / "digital"
        if seed == 8:
            table1._claim(claimed, PROTOCOL, Dataset.open(folder))
        else:
            with pytest.raises(ValueError, match="another protocol or cohort"):
                table1._claim(claimed, PROTOCOL, Dataset.open(folder))
    (cohort.path / "cohort.json").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        table1.table1(cohort.path, tmp_path / "mine", PROTOCOL, device="cpu")


def test_a_protocol_whose_model_is_not_there_is_refused_before_anything_is_made(tmp_path):
    wanted = replace(PROTOCOL, methods=("patches", "shipped"), bundle="nope")
    with pytest.raises(ValueError, match="There is no model bundle at nope"):
        table1.table1(tmp_path / "cohort", tmp_path / "run", wanted, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_training_and_the_choice_of_the_checkpoint_do_without_the_test_scans(cohort, tmp_path):
    folder = tmp_path / "cohort"
    shutil.copytree(cohort.path, folder)
    for image in folder.glob("cases/test-*/image*"):
        image.unlink()
    trained = trained_into(tmp_path / "patches", folder)
    assert trained.steps == 6 and trained.best_step in (3, 6)
    assert math.isfinite(trained.best_error_mm) and trained.seconds > 0


def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(cohort, run, tmp_path, monkeypatch):
    step = FieldModule.training_step

    def interrupted(self, batches, number):
        if self.global_step == 4:
            raise KeyboardInterrupt
        return step(self, batches, number)

    monkeypatch.setattr(FieldModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained_into(tmp_path / "patches", cohort.path)
    assert not (tmp_path / "patches" / "trained.json").exists()
    seen = []
    monkeypatch.setattr(
        FieldModule, "training_step", lambda self, batches, n: seen.append(self.global_step) or step(self, batches, n)
    )
    trained = trained_into(tmp_path / "patches", cohort.path)
    assert seen == [4, 5]
    whole = TrainingResult(**json.loads((run / "patches" / "trained.json").read_text()))
    assert (trained.steps, trained.best_step) == (whole.steps, whole.best_step)
    for name, tensor in weights(run / "patches").items():
        assert torch.equal(tensor, weights(tmp_path / "patches")[name]), name


@pytest.mark.parametrize("step", [3, 6])
def test_a_training_stopped_in_a_validation_measures_all_the_same(cohort, run, tmp_path, monkeypatch, step):
    measure, folder = FieldModule.validation_step, tmp_path / "patches"

    def interrupted(self, *what):
        if self.global_step == step:
            raise KeyboardInterrupt
        return measure(self, *what)

    with monkeypatch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(FieldModule, "validation_step", interrupted)
        trained_into(folder, cohort.path)
    assert trained_into(folder, cohort.path).best_step == TrainingResult.read(run / "patches").best_step
    assert [point.values for point in read_curve(folder)] == [point.values for point in read_curve(run / "patches")]


def test_minutes_become_steps_by_what_a_step_takes(cohort, tmp_path):
    folder = tmp_path / "patches"
    trained_into(folder, cohort.path, replace(PROTOCOL, steps=None, minutes=0.002))
    plan = json.loads((folder / "plan.json").read_text())
    wanted = 0.002 * 60 / plan["seconds_per_step"]
    assert plan["interval"] == max(1, int(int(wanted) / 2))
    assert json.loads((folder / "trained.json").read_text())["steps"] == 2 * plan["interval"]


def test_a_second_seed_is_another_training_of_as_many_steps_and_the_row_holds_both(
    run, cohort, tmp_path, without_figures
):
    twice = replace(PROTOCOL, seeds=(0, 5))
    output = carried(run, tmp_path / "table1", twice)
    table1.table1(cohort.path, output, twice, device="cpu")
    first, second = (output / name for name in ("patches", "patches-5"))
    assert any(not torch.equal(tensor, weights(second)[name]) for name, tensor in weights(run / "patches").items())
    assert TrainingResult.read(first).steps == TrainingResult.read(second).steps
    errors = [[float(row["error_mm"]) for row in rows_of(folder / "test.csv")] for folder in (first, second)]
    constant, patches = rows_of(output / "table1.csv")
    assert [float(mean) for mean in patches["each_training"].split()] == pytest.approx(
        np.mean(errors, axis=1), rel=1e-5
    )
    assert float(patches["mean"]) == pytest.approx(np.mean(errors))
    assert float(patches["median"]) == pytest.approx(np.median(errors))
    assert len(constant["each_training"].split()) == 1 and not (output / "constant-5").exists()
    assert "{:.2f}, {:.2f}".format(*np.mean(errors, axis=1)) in (output / "table1.md").read_text()
    once = replace(twice, once=("patches",))
    assert [one.seed for one in once.trainings("patches")] == [0]


def test_all_methods_are_timed_before_the_first_is_trained(cohort, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(table1, "plan_of", lambda key, *rest: order.append(f"plan {key}"))
    monkeypatch.setattr(table1, "train", lambda key, *rest: order.append(f"train {key}"))
    monkeypatch.setattr(table1, "_ask", lambda *what: None)
    monkeypatch.setattr(table1, "_write_tables", lambda *what: [])
    wanted = replace(PROTOCOL, methods=("single", "patches"))
    table1.table1(cohort.path, tmp_path / "table1", wanted, device="cpu", only=("single", "patches"))
    assert order == ["plan single", "plan patches", "train single", "train patches"]


def test_every_method_is_trained_once_before_any_is_trained_again(cohort, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(table1, "plan_of", lambda *what: None)
    monkeypatch.setattr(table1, "train", lambda key, one, *rest: order.append((key, one.seed)))
    monkeypatch.setattr(table1, "_ask", lambda *what: None)
    monkeypatch.setattr(table1, "_write_tables", lambda *what: [])
    wanted = replace(PROTOCOL, methods=("single", "heatmap", "patches"), seeds=(0, 5), once=("heatmap",))
    table1.table1(cohort.path, tmp_path / "table1", wanted, device="cpu", only=wanted.methods)
    assert order == [("single", 0), ("heatmap", 0), ("patches", 0), ("single", 5), ("patches", 5)]


def test_the_cohort_of_the_protocol_is_made_once_and_another_is_not_mixed_into_it(tmp_path, monkeypatch):
    drawn = Acquisition.draw.__func__

    def small(cls, generator):
        few = {"matrix": 96, "pixel_mm": 2.5, "slice_mm": 4.0, "thickness_mm": 4.0, "step_at": (), "step_mm": ()}
        return replace(drawn(cls, generator), **few)

    monkeypatch.setattr(Acquisition, "draw", classmethod(small))
    monkeypatch.setattr(table1.os, "cpu_count", lambda: 1)
    wanted, sentences = replace(PROTOCOL, cases=5), []
    dataset = table1._cohort(tmp_path / "necks", wanted, StandInStyles(), sentences.append)
    splits = [dataset.case(name).split for name in dataset.case_ids()]
    assert {split: splits.count(split) for split in set(splits)} == {"train": 3, "validation": 1, "test": 1}
    lengths = [float(row["length_mm"]) for row in rows_of(tmp_path / "necks" / "cohort.csv")]
    assert all(170 < length < 230 for length in lengths)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "necks").glob("cases/*/image*")}
    table1._cohort(tmp_path / "necks", wanted, StandInStyles(), sentences.append)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "necks").glob("cases/*/image*")} == before
    with pytest.raises(ValueError, match="a cohort of another"):
        table1._cohort(tmp_path / "necks", replace(wanted, cohort_seed=9), StandInStyles(), sentences.append)


def test_cases_without_a_split_have_one_before_the_run_records_its_dataset(tmp_path):
    dataset = write_cohort(tmp_path / "own", {"train": 1, "validation": 1, "test": 1})
    case = dataset.add_case(scan_of_balls(PLACES), case_id="later", group="later")
    places = dict(zip((LEFT, RIGHT), map(tuple, PLACES.tolist()), strict=True))
    dataset.save_annotation(case, "anna", places, dict.fromkeys(places, "accepted"))
    opened = table1._cohort(dataset.path, PROTOCOL, StandInStyles(), lambda words: None)
    assert opened.case("later").split == "train"


def test_bad_arguments_end_in_one_sentence(cohort, tmp_path):
    result = CliRunner().invoke(
        app, ["table1", str(cohort.path), "--output", str(tmp_path / "x"), "--protocol", "table9"]
    )
    assert result.exit_code == 2 and "There is no protocol table9" in result.output
    assert "table1, table1-medium, table1-small" in " ".join(result.output.split())
    assert not (tmp_path / "x").exists()


def test_a_processor_that_does_not_multiply_bfloat16_trains_in_float32_and_says_so(cohort, tmp_path, monkeypatch):
    sentences, wanted = [], replace(PROTOCOL, precision="bf16-mixed")
    monkeypatch.setattr(table1, "_ask", lambda *what: None)
    monkeypatch.setattr(table1, "_write_tables", lambda *what: [])
    for fast, numbers in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "bfloat16_is_fast", lambda device, fast=fast: fast)
        output = tmp_path / numbers
        table1.table1(cohort.path, output, wanted, device="cpu", only=("constant",), say=sentences.append)
        assert (precision.NOTE in sentences) is not fast
        recorded = json.loads((output / "run.json").read_text())["protocol"]["precision"]
        assert recorded == ("bf16-mixed" if fast else "32-true")


def test_the_table_is_of_what_is_done_so_far(cohort, run, tmp_path, without_figures):
    output = carried(run, tmp_path / "table1", PROTOCOL, ("patches",))
    table1.table1(cohort.path, output, PROTOCOL, device="cpu", only=("patches",))
    assert [row["method"] for row in rows_of(output / "table1.csv")] == ["patches"]
    missing = f"**Not all is done yet**: {METHODS['constant'].title}."
    assert missing in (output / "table1.md").read_text()
    table1.table1(cohort.path, output, PROTOCOL, device="cpu")
    assert [row["mean"] for row in rows_of(output / "table1.csv")] == [
        row["mean"] for row in rows_of(run / "table1.csv")
    ]
    assert "Not all is done" not in (output / "table1.md").read_text()
    with pytest.raises(ValueError, match="no method unet"):
        table1.table1(cohort.path, output, PROTOCOL, device="cpu", only=("unet",))


def test_the_table_is_written_after_each_training_not_after_the_last(
    cohort, run, tmp_path, monkeypatch, without_figures
):
    def stopped(key, one, *rest):
        if one.seed == 5:
            raise KeyboardInterrupt
        return train(key, one, *rest)

    monkeypatch.setattr(table1, "train", stopped)
    twice = replace(PROTOCOL, seeds=(0, 5))
    output = carried(run, tmp_path / "table1", twice, ("constant",))
    shutil.copytree(run / "patches", output / "patches", ignore=shutil.ignore_patterns("*.csv"))
    with pytest.raises(KeyboardInterrupt):
        table1.table1(cohort.path, output, twice, device="cpu")
    assert f"**Not all is done yet**: {METHODS['patches'].title} (seed 5)." in (output / "table1.md").read_text()


def test_records_and_answers_are_enough_for_another_machine(cohort, run, tmp_path):
    """The table is made again without the nets, to the last digit."""
    output = carried(run, tmp_path / "table1", PROTOCOL)
    table1.table1(cohort.path, output, PROTOCOL, device="cpu")
    assert not (output / "patches" / "checkpoints").exists()
    for name in ("table1.csv", "table1.md", "pairs.csv", "figures/figure3_slices.png"):
        assert (output / name).read_bytes() == (run / name).read_bytes(), name
