"""carotid-train table1 on scans of balls and tiny nets: it goes on where it stopped, its numbers are right."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from carotid_training.cli import app
from carotid_training.evaluation.metrics import TOLERANCES_MM
from carotid_training.reproduction import table1
from carotid_training.reproduction.figures import slices, violins
from carotid_training.reproduction.maps import PLANES, Heatmap, Shown
from carotid_training.reproduction.methods import CAROTID_BIFURCATIONS
from carotid_training.reproduction.module import FieldModule
from carotid_training.reproduction.predict import COLUMNS, Scan, forget_peak, read_predictions, resident_mb
from carotid_training.reproduction.protocol import METHODS, Protocol
from carotid_training.reproduction.report import Training, pair_of, pairs_of, row_of, table_markdown
from carotid_training.reproduction.training import TrainingResult, plan_of, train
from carotid_training.scans.acquisition import Acquisition
from CarotidLandmarkLib.memory import keep_freed_memory
from typer.testing import CliRunner

from ..ball_scans import PLACES, scan_of_balls, write_cohort
from ..cohorts.test_synthesize import StandInStyles
from ..outcomes import LEFT, RIGHT, outcome

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


def test_a_run_that_is_done_trains_nothing_and_asks_nothing_again(run, cohort):
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
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        table1.table1(cohort.path, tmp_path / "mine", PROTOCOL, device="cpu")


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


def test_minutes_become_steps_by_what_a_step_takes(cohort, tmp_path):
    folder = tmp_path / "patches"
    trained_into(folder, cohort.path, replace(PROTOCOL, steps=None, minutes=0.002))
    plan = json.loads((folder / "plan.json").read_text())
    wanted = 0.002 * 60 / plan["seconds_per_step"]
    assert plan["interval"] == max(1, int(int(wanted) / 2))
    assert json.loads((folder / "trained.json").read_text())["steps"] == 2 * plan["interval"]


def test_a_second_seed_is_another_training_of_as_many_steps_and_the_row_holds_both(run, cohort, tmp_path):
    output = tmp_path / "table1"
    table1.table1(cohort.path, output, replace(PROTOCOL, seeds=(0, 5)), device="cpu")
    first, second = (output / name for name in ("patches", "patches-5"))
    for name, tensor in weights(run / "patches").items():
        assert torch.equal(tensor, weights(first)[name]), name
    assert any(not torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())
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
    once = replace(PROTOCOL, seeds=(0, 5), once=("patches",))
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


def scans(errors: list[tuple[float, float]]) -> list[Scan]:
    """One scan per pair of errors along x."""
    seconds = [(1.0, 2.0 + n, 0.5, 3.0) for n in range(len(errors))]
    return [
        Scan((outcome(f"c{n}", LEFT, (a, 0, 0)), outcome(f"c{n}", RIGHT, (b, 0, 0))), seconds[n], 100.0 + n)
        for n, (a, b) in enumerate(errors)
    ]


def test_a_method_that_is_better_on_every_patient_is_so_by_the_interval_and_the_test():
    worse = row_of("single", [Training(0, scans([(n / 2 + 3, n / 2 + 4) for n in range(12)]))], 0)
    better = row_of("ours", [Training(0, scans([(n / 2 + 1, n / 2 + 2.5) for n in range(12)]))], 0)
    pair = pair_of(better, worse, 0)
    assert pair.difference_mm.value == pytest.approx(-1.75)
    assert pair.difference_mm.high < 0 and pair.p < 0.001
    back = pair_of(worse, better, 0)
    assert back.difference_mm.value == pytest.approx(1.75) and back.p == pytest.approx(pair.p)
    assert math.isnan(pair_of(better, better, 0).p)
    assert (better.seconds_net, better.seconds_search, better.seconds_passes, better.peak_mb) == (7.5, 0.5, 3.0, 111.0)


def test_rows_of_other_landmarks_are_not_compared():
    with pytest.raises(ValueError, match="same landmarks"):
        pair_of(
            row_of("ours", [Training(0, scans([(1, 1)] * 3))], 0),
            row_of("single", [Training(0, scans([(1, 1)] * 2))], 0),
            0,
        )


def test_a_place_that_is_not_a_number_counts_as_missed(tmp_path):
    row = dict.fromkeys(COLUMNS, "")
    row |= {"case": "a", "group": "p", "landmark": LEFT, "presence": "1"}
    row |= {f"{which}_{axis}_lps_mm": "1.5" for which in ("scan", "true") for axis in "xyz"}
    row |= {f"found_{axis}_lps_mm": "nan" for axis in "xyz"}
    row |= {f"seconds_{what}": "0.1" for what in ("resampling", "net", "search", "passes")} | {"peak_mb": "1"}
    path = tmp_path / "test.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join(row[name] for name in COLUMNS) + "\n")
    (scan,) = read_predictions(path)
    assert scan.outcomes[0].error_mm is None
    assert row_of("single", [Training(0, [scan])], 0).statistics["success_10"].value == 0
    path.write_text(",".join(COLUMNS) + "\na,p\n")
    with pytest.raises(ValueError, match="is damaged"):
        read_predictions(path)


def test_the_page_tells_how_far_each_net_of_a_chain_came_and_what_is_still_to_come():
    validation = {
        "val/4mm": 11.04,
        "val/near_2mm": 17.0,
        "val/near_1mm": 10.5,
        "val/near_0.5mm": 5.0,
        "val/error": 12.0,
    }
    result = TrainingResult(90, 60.0, 80, 12.0, validation)
    rows = [row_of("constant", [Training(3, scans([(1, 2)]))], 0),
            row_of("noise", [Training(4, scans([(1, 2)]), result)], 0)]  # fmt: skip
    protocol = replace(PROTOCOL, methods=("constant", "single", "noise", "shipped"), seeds=(3, 4), once=("single",))
    page = table_markdown("t", protocol, rows, pairs_of(rows, 0), dict.fromkeys(SPLITS, 1), "x")
    assert f"| {METHODS['noise'].title}, seed 4 | 11.0 | 17.0 | 10.5 | 5.0 |" in page
    assert "| the middle of a patch of 56 voxels | – | 21.5 | 10.8 | 5.4 |" in page
    assert f"| {METHODS['constant'].title}, seed" not in page
    missing = f"{METHODS['single'].title} (seed 3); {METHODS['noise'].title} (seed 3); {METHODS['shipped'].title}."
    assert f"**Not all is done yet**: {missing}" in page


def test_the_violins_show_every_error_and_the_papers_mean_where_there_is_one():
    rows = [row_of(key, [Training(0, scans([(1, 2), (3, 9), (2, 5)]))], 0) for key in ("constant", "single")]
    axes = violins(rows).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "." and len(line.get_xdata())]
    assert [sorted(10 ** line.get_ydata()) for line in dots] == [pytest.approx([1, 2, 2, 3, 5, 9])] * 2
    (cross,) = [line for line in axes.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert (cross.get_xdata()[0], 10 ** cross.get_ydata()[0]) == (1, pytest.approx(METHODS["single"].paper_mm[0]))


def test_the_names_under_the_violins_do_not_overlap():
    rows = [row_of(key, [Training(0, scans([(1, 2), (3, 9), (2, 5)]))], 0) for key in METHODS]
    figure = violins(rows)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == len(METHODS)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_the_slices_show_a_heatmap_where_it_lies(tmp_path):
    """A heatmap of one bright voxel, 5 mm left, 3 mm behind and 0 mm above the true place."""
    values = np.zeros((41, 41, 41), np.float32)
    values[20, 23, 25] = 0.25
    place = np.array(PLACES[0])
    heatmap = Heatmap(values, 1.0, place)
    shown = Shown(place + np.array([5, 3, 0]), tuple(heatmap.layer(place, plane) for plane in PLANES))
    shown.write(tmp_path / "figure3.npz")
    figure = slices(scan_of_balls(PLACES), place, {"heatmap": tmp_path / "figure3.npz"})
    axial, sagittal, axial_map, sagittal_map = figure.axes
    for axes, axis, (across, along) in ((axial, (0, 1), (5, 3)), (sagittal, (1, 2), (3, 0))):
        plus, cross = (next(line for line in axes.lines if line.get_marker() == marker) for marker in "+x")
        assert np.ravel(plus.get_data()) == pytest.approx(place[list(axis)])
        assert np.ravel(cross.get_data()) == pytest.approx(place[list(axis)] + (across, along))
    assert axial.get_ylim()[0] > axial.get_ylim()[1] and sagittal.get_ylim()[0] < sagittal.get_ylim()[1]
    drawn = axial_map.images[1]
    row, column = np.argwhere(~np.ma.getmaskarray(drawn.get_array()))[0]
    left, right, low, high = drawn.get_extent()
    height, width = drawn.get_array().shape
    assert left + (column + 0.5) * (right - left) / width == pytest.approx(place[0] + 5)
    assert low + (row + 0.5) * (high - low) / height == pytest.approx(place[1] + 3)
    assert drawn.get_array().max() == 1  # a share of the highest value
    assert np.ma.getmaskarray(sagittal_map.images[1].get_array()).all()  # it lies 5 mm off this slice
    far = heatmap.layer(place + np.array([0, 0, 30]), PLANES[0])
    Shown(place, (far, far)).write(tmp_path / "far.npz")
    texts = slices(scan_of_balls(PLACES), place, {"heatmap": tmp_path / "far.npz"}).axes[2].texts
    assert "the heatmap lies elsewhere" in [text.get_text() for text in texts]


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
    assert not (tmp_path / "x").exists()


def test_the_rows_are_those_of_the_paper_in_its_order():
    papers = [method.paper_mm[0] for method in METHODS.values() if method.paper_mm]
    assert papers == [6.45, 5.52, 4.35, 3.72, 3.61, 2.81]
    assert [landmark.name for landmark in CAROTID_BIFURCATIONS] == [LEFT, RIGHT]


def test_the_table_is_of_what_is_done_so_far(cohort, run, tmp_path):
    output = tmp_path / "table1"
    table1.table1(cohort.path, output, PROTOCOL, device="cpu", only=("patches",))
    assert [row["method"] for row in rows_of(output / "table1.csv")] == ["patches"]
    missing = f"**Not all is done yet**: {METHODS['constant'].title}."
    assert missing in (output / "table1.md").read_text()
    chosen = (output / "patches" / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    table1.table1(cohort.path, output, PROTOCOL, device="cpu")
    assert (output / "patches" / "checkpoints" / "best.ckpt").stat().st_mtime_ns == chosen
    assert [row["mean"] for row in rows_of(output / "table1.csv")] == [
        row["mean"] for row in rows_of(run / "table1.csv")
    ]
    assert "Not all is done" not in (output / "table1.md").read_text()
    with pytest.raises(ValueError, match="no method unet"):
        table1.table1(cohort.path, output, PROTOCOL, device="cpu", only=("unet",))


def test_records_and_answers_are_enough_for_another_machine(cohort, run, tmp_path):
    """Nets and logs are too large to carry; the table is made again without them, to the last digit."""
    output = tmp_path / "table1"
    output.mkdir()
    shutil.copy(run / "run.json", output)
    for key in PROTOCOL.methods:
        (output / key).mkdir()
        for path in [*(run / key).glob("*.json"), *(run / key).glob("*.csv"), *(run / key).glob("*.npz")]:
            shutil.copy(path, output / key)
    table1.table1(cohort.path, output, PROTOCOL, device="cpu")
    assert not (output / "patches" / "checkpoints").exists()
    for name in ("table1.csv", "table1.md", "pairs.csv", "figures/figure3_slices.png"):
        assert (output / name).read_bytes() == (run / name).read_bytes(), name
