"""carotid-train evaluate: what it writes, what it keeps, what it refuses. The model is tiny and untrained."""

from __future__ import annotations

import csv
import functools
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from carotid_training.cli import app
from carotid_training.evaluation import (
    evaluate,
    metrics,
)
from carotid_training.evaluation.datasets import datasets_csv, datasets_markdown, side_by_side
from carotid_training.evaluation.summary import ALL, landmarks_csv, lookup, measure, summary_csv
from carotid_training.evaluation.tables import FIGURES, summary_markdown, worst
from CarotidLandmarkLib.bundle import Bundle, BundleMetadata
from CarotidLandmarkLib.dataset import Dataset, DatasetError
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from typer.testing import CliRunner

from ..outcomes import LANDMARKS, LEFT, PLACES, RIGHT, calibration, cohort, model, outcome
from ..tube import scan


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "bootstrap", functools.partial(metrics.bootstrap, resamples=40))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """A chain of small untrained nets that calls both landmarks present."""
    metadata = BundleMetadata(
        name="tiny", version="0.1", landmarks=LANDMARKS, scales_mm=(4.0, 2.0, 1.0, 0.5), patch_sizes=(16, 16, 16),
        widths=((2, 4),) * 4, hu_window=(-200.0, 1000.0), noise_mm=5.0,
        architecture={"mirrored": True, "mode_window_mm": None}, torch_version=torch.__version__,
        lib_version="0.1.0", training={}, accuracy={}, calibration=calibration(**{"0.5": 1.6, "0.8": 2.4}),
        intended_use="Tests.", licence="Apache-2.0",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = MultiScaleLocNet(metadata.nets())
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(9.0 / len(net.presence))
    return Bundle.save(tmp_path_factory.mktemp("bundle") / "tiny", metadata, net.state_dict(), "# Tiny\n")


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Three annotated test cases, one annotated training case, one test case that nobody has annotated."""
    made = Dataset.create(tmp_path / "necks", [LEFT, RIGHT])
    for number, split in enumerate(("test", "test", "test", "train", "test")):
        case = made.add_case(scan(number), case_id=f"c{number}", group=f"p{number}", split=split)
        if number < 4:
            points = {**PLACES, RIGHT: None} if number == 2 else PLACES
            status = {name: "missing" if point is None else "accepted" for name, point in points.items()}
            made.save_annotation(case, "anna", points, status)
    return made


def run(bundle, dataset, output, *options):
    arguments = [bundle.path, dataset.path, "--output", output, "--device", "cpu", "--passes", "2", *options]
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def without_figures(monkeypatch):
    """For what is not about them: they take most of the time."""
    monkeypatch.setattr(evaluate, "write_figures", lambda *of: None)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_command_writes_tables_figures_and_detections_and_the_same_again(bundle, dataset, tmp_path):
    output = tmp_path / "out"
    result = run(bundle, dataset, output)
    assert result.exit_code == 0, result.output
    assert {file.name for file in (output / "detections").iterdir()} == {"c0.json", "c1.json", "c2.json"}
    drawn = {file.name for file in (output / "figures").iterdir()}
    assert drawn == {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")}
    table = rows_of(output / "landmarks.csv")
    assert [(row["case"], row["truth"]) for row in table] == [
        ("c0", "present"), ("c0", "present"), ("c1", "present"), ("c1", "present"), ("c2", "present"), ("c2", "absent"),
    ]  # fmt: skip
    for row in table[:5]:
        answer, true = ([float(row[f"{kind}_{axis}_lps_mm"]) for axis in "xyz"] for kind in ("found", "true"))
        assert float(row["error_mm"]) == pytest.approx(math.dist(answer, true), rel=1e-4)
        assert float(row["volume_level"]) == 0.8
    mean = np.mean([float(row["error_mm"]) for row in table[:5]])
    numbers = {(row["measure"], row["landmark"]): row for row in rows_of(output / "summary.csv")}
    assert float(numbers["error_mean_mm", ALL]["value"]) == pytest.approx(mean, rel=1e-4)
    assert float(numbers["error_mean_mm", ALL]["low_95"]) < mean < float(numbers["error_mean_mm", ALL]["high_95"])
    assert numbers["coverage_90", ALL]["value"] == "" and numbers["coverage_90", ALL]["note"]
    assert f"{mean:.2f}" in (output / "summary.md").read_text()
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    assert run(bundle, dataset, output).exit_code == 0
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before


def test_several_datasets_are_measured_together_and_two_of_one_name_are_refused(
    bundle, dataset, tmp_path, without_figures
):
    copied = shutil.copytree(dataset.path, tmp_path / "copied")
    assert run(bundle, dataset, tmp_path / "out", copied).exit_code == 0
    cases = {row["case"] for row in rows_of(tmp_path / "out" / "landmarks.csv")}
    assert cases == {f"{name}/c{number}" for name in ("necks", "copied") for number in range(3)}
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "3 of necks, 3 of copied, split test" in page
    assert "a bootstrap over 3 patients" in page  # the same three
    own, same = rows_of(tmp_path / "out" / "datasets.csv")
    assert (own.pop("dataset"), same.pop("dataset")) == ("necks", "copied") and own == same
    assert (own["scans"], own["landmarks"]) == ("3", "5")
    assert page.count(f"| 3 | 5 | 0 | {float(own['mean_mm']):.2f} (") == 2
    assert run(bundle, dataset, tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "datasets.csv").exists()  # the table of two is not that of one
    shutil.copytree(dataset.path, tmp_path / "elsewhere" / "necks")
    refused = run(bundle, dataset, tmp_path / "not", tmp_path / "elsewhere" / "necks")
    assert refused.exit_code == 2 and "Two of the datasets have one name" in refused.stderr
    assert not (tmp_path / "not").exists()


def test_a_scan_that_was_exchanged_after_its_detection_is_named(bundle, dataset, tmp_path, without_figures):
    copied = Dataset.open(shutil.copytree(dataset.path, tmp_path / "copied"))
    assert run(bundle, copied, tmp_path / "out").exit_code == 0
    shutil.copy(copied.case("c1").image_path, copied.case("c0").image_path)
    refused = run(bundle, copied, tmp_path / "out")
    assert refused.exit_code == 2 and "The image of case c0 is not the one that was added" in refused.stderr


def test_a_stopped_run_leaves_with_3_and_the_next_detects_only_what_is_left(
    bundle, dataset, tmp_path, monkeypatch, without_figures
):
    detect, seen, stop_at = Detector.detect, [], ["c1"]

    def watched(self, volume, *how):
        if volume.name in stop_at:
            raise KeyboardInterrupt
        seen.append(volume.name)
        return detect(self, volume, *how)

    monkeypatch.setattr(Detector, "detect", watched)
    assert run(bundle, dataset, tmp_path / "out").exit_code == 3
    assert seen == ["c0"] and not (tmp_path / "out" / "summary.md").exists()
    stop_at.clear()
    assert run(bundle, dataset, tmp_path / "out").exit_code == 0
    assert seen == ["c0", "c1", "c2"]
    (tmp_path / "out" / "detections" / "c2.json").write_text("{")
    assert run(bundle, dataset, tmp_path / "out").exit_code == 0
    assert seen == ["c0", "c1", "c2", "c2"]


def test_kept_detections_are_measured_anew_where_a_scan_is_away(bundle, dataset, tmp_path, without_figures):
    assert run(bundle, dataset, tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "summary.md").unlink()
    dataset.case("c0").image_path.unlink()
    result = run(bundle, dataset, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "summary.md").exists() and (tmp_path / "out" / "figures" / "worst_cases.png").exists()


def test_a_kept_detection_counts_only_for_the_same_model_scan_settings_and_program(
    bundle, dataset, tmp_path, monkeypatch
):
    detector, cases = Detector(bundle, "cpu"), [dataset.case("c0")]

    def detect(settings, detector=detector):
        evaluate.detect_cases(detector, cases, tmp_path, settings, lambda words, share: None)
        file = tmp_path / "c0.json"
        document = json.loads(file.read_text())
        document["mark"] = True  # gone when the file is written anew
        fresh = "mark" not in json.loads(file.read_text())
        file.write_text(json.dumps(document))
        return fresh

    settings = evaluate.Settings("cpu", passes=2)
    assert detect(settings) and not detect(settings)
    assert detect(replace(settings, seed=1)) and detect(replace(settings, passes=3)) and detect(settings)
    other = Detector(Bundle(bundle.path, replace(bundle.metadata, calibration=calibration(**{"0.8": 5.0}))), "cpu")
    assert detect(settings, other)
    monkeypatch.setattr(evaluate, "CODE", "another program's")
    assert detect(settings, other) and not detect(settings, other)
    others = Dataset.open(shutil.copytree(dataset.path, tmp_path / "others"))
    shutil.rmtree(others.case("c0").folder)
    others.case("c1").folder.rename(others.path / "cases" / "c0")
    cases[0] = others.case("c0")
    assert detect(settings, other) and not detect(settings, other)


def test_bad_input_is_one_sentence_and_leaves_with_2(bundle, dataset, tmp_path):
    other = Dataset.create(tmp_path / "other", ["nose"])
    lines = {
        "is not a split": run(bundle, dataset, tmp_path / "out", "--split", "exam"),
        "no annotated case in the split 'validation'": run(bundle, dataset, tmp_path / "out", "--split", "validation"),
        "is about nose": run(bundle, other, tmp_path / "out"),
        "is not available here": run(bundle, dataset, tmp_path / "out", "--device", "cuda:99"),
        "no model bundle": CliRunner().invoke(app, ["evaluate", str(tmp_path / "none" / "such"), str(dataset.path)]),
        "is not a dataset": CliRunner().invoke(app, ["evaluate", str(bundle.path), str(tmp_path)]),
    }
    for words, result in lines.items():
        assert result.exit_code == 2 and words in result.stderr, (words, result.stderr)
        assert result.stderr.count("\n") == 1 and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_scan_that_can_not_be_read_is_named(bundle, dataset):
    (dataset.path / "cases" / "c1" / "image.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(DatasetError, match="The image of case c1 is not the one that was added; restore it"):
        evaluate.evaluate(bundle, [dataset], dataset.path / "out", settings=evaluate.Settings("cpu", 2))


def test_the_middle_of_the_scan_comes_with_each_outcome(bundle, dataset, tmp_path):
    quick = evaluate.Settings("cpu", 2)
    cases = [dataset.case("c0")]
    outcomes = evaluate.detect_cases(Detector(bundle, "cpu"), cases, tmp_path, quick, lambda words, share: None)
    assert np.allclose([each.centre_lps for each in outcomes], dataset.case("c0").read_volume().centre_lps)


def test_the_probability_of_a_right_answer_is_held_against_what_was_right():
    errors = [(1.0, 0.97), (4.9, 0.93), (5.1, 0.91), (0.5, 0.55), (9.0, 0.52), (None, 0.1)]
    outcomes = [
        outcome(f"c{number}", error=None if error is None else (error, 0, 0), reliability=reliability)
        for number, (error, reliability) in enumerate(errors)
    ]
    known = lookup(measure(outcomes, model()))
    high, low = (known[f"reliability_from_{tenth}_right", ALL] for tenth in (0.9, 0.5))
    assert (high.value, high.n, low.value, low.n) == (pytest.approx(2 / 3), 3, 0.5, 2)
    expected = (abs((0.97 + 0.93 + 0.91) / 3 - 2 / 3) * 3 + abs((0.55 + 0.52) / 2 - 0.5) * 2) / 5
    assert known["reliability_calibration_error", ALL].value == pytest.approx(expected)
    assert known["reliability_roc_area", ALL].value == pytest.approx(5 / 6)
    page = summary_markdown(measure(outcomes, model()), outcomes, model(), {})
    assert "| 0.9 to 1.0 | 3 | 0.94 | 0.67 |" in page
    assert "| the same, were every probability true |" in page
    unjudged = measure([outcome()], model())
    assert lookup(unjudged)["reliability_roc_area", ALL].note == "the model does not judge its answers"


def test_the_verdict_is_counted_over_right_scans_and_over_those_that_lack_a_landmark():
    def scan(case, verdict, left, right, present=True):
        near, far = (left, 0, 0), (right, 0, 0)
        return [
            outcome(case, LEFT, near, verdict=verdict), outcome(case, RIGHT, far, present=present, verdict=verdict)
        ]  # fmt: skip

    outcomes = [*scan("a", "ok", 2.4, 0), *scan("b", "review", 0, 1), *scan("c", "ok", 2.6, 0)]
    outcomes += [*scan("d", "ok", 0, 0, present=False), *scan("e", "review", 0, 0, present=False)]
    known = lookup(measure(outcomes, model()))
    right, lacking = (known[f"verdict_ok_of_{name}", ALL] for name in ("right_scans", "scans_that_lack_a_landmark"))
    assert (right.value, right.n, lacking.value, lacking.n) == (1, 2, 1, 2)


def test_the_tables_agree_with_each_other():
    outcomes, own_model = cohort(), model(calibration(**{"0.5": 1.5, "0.9": 2.5, "0.95": 2.8}))
    rows = measure(outcomes, own_model)
    known, table = lookup(rows), list(csv.DictReader(landmarks_csv(outcomes, own_model).splitlines()))
    errors = [float(row["error_mm"]) for row in table if row["error_mm"]]
    held = [float(row["mahalanobis"]) <= 2.5 for row in table if row["mahalanobis"]]
    volumes = [float(row["volume_mm3"]) for row in table if row["error_mm"]]
    assert known["error_median_mm", ALL].value == pytest.approx(np.median(errors), rel=1e-5)
    assert known["coverage_90", ALL].value == pytest.approx(np.mean(held))
    assert known["volume_90_mm3", ALL].value == pytest.approx(np.mean(volumes), rel=1e-4)
    page = summary_markdown(rows, outcomes, own_model, {"cases": "12"})
    assert f"{known['error_mean_mm', LEFT].value:.2f} (" in page and "nan" not in page and "not calibrated:" not in page
    cells = list(csv.DictReader(summary_csv(rows).splitlines()))
    assert len(cells) == len(rows) == len({(row["measure"], row["landmark"]) for row in cells})
    assert not any("nan" in row.values() for row in cells)


def test_a_model_without_calibration_is_called_so():
    rows = measure(cohort(4), model())
    page = summary_markdown(rows, cohort(4), model(), {})
    assert "is not calibrated" in page and "| uncalibrated volume, Pearson r |" in page
    assert "calibrated volume" not in page.replace("uncalibrated", "")


def test_datasets_side_by_side_have_the_numbers_that_each_has_alone():
    calibrated = model(calibration(**{"0.5": 1.5, "0.9": 2.5}))
    lacking = [outcome("n", LEFT, None, present=False), outcome("n", RIGHT, (1, 0, 0), present=False)]
    rows = side_by_side({"one": cohort(), "lacking": lacking}, calibrated)
    known = lookup(measure(cohort(), calibrated))
    for key, measured in {
        "mean_mm": "error_mean_mm", "median_mm": "error_median_mm", "p95_mm": "error_p95_mm", "missed": "missed",
        "coverage": "coverage_90", "ok": "verdict_ok_cases", "ok_error_largest_mm": "verdict_ok_error_largest_mm",
    }.items():  # fmt: skip
        assert rows[0][key] == pytest.approx(known[measured, ALL].value), key
    assert rows[0]["mean_low_95_mm"] == pytest.approx(known["error_mean_mm", ALL].low_95)
    errors = [each.error_mm for each in cohort() if each.error_mm is not None]
    assert rows[0]["over_10mm"] == pytest.approx(np.mean(np.array(errors) > 10)) and rows[0]["over_10mm"] > 0
    assert "| lacking | 1 | 0 | 0 | – | – | – | – | – | 1 | 0 of 0 | – |" in datasets_markdown(rows)
    cells = list(csv.DictReader(datasets_csv(rows).splitlines()))
    assert cells[1]["mean_mm"] == "" and not any("nan" in row.values() for row in cells)


def test_the_worst_come_first():
    errors = [outcome(f"c{n}", error=(length, 0, 0)) for n, length in enumerate((1, 9, 4, 9))]
    ranked = worst([*errors, outcome("m", error=None)], 3)
    assert [each.case_id for each in ranked] == ["c1", "c3", "c2"]
