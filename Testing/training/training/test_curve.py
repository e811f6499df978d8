"""The learning curve of a run, read from logs as TensorBoard writes them."""

import csv
import time

import pytest
from carotid_training.cli import main
from carotid_training.training.curve import curve_csv, curve_figure, read_curve
from torch.utils.tensorboard import SummaryWriter

HOUR = 3600.0


def log(folder, train, validations=()):
    """One log: training steps {step: hours} and validations [(step, hours, {tag: value})], hours since it began."""
    began = time.time()
    writer = SummaryWriter(folder)
    for step, hours in train.items():
        writer.add_scalar("loss", 1.0, step, began + hours * HOUR)
        writer.add_scalar("epoch", 0, step, began + hours * HOUR)
    for step, hours, values in validations:
        for tag, value in values.items():
            writer.add_scalar(tag, value, step, began + hours * HOUR)
    writer.close()


def validation(error, gross=0.1):
    return {
        "val/error": error,
        "val/0.5mm": error,
        "val/4mm": error + 2,
        "val/4mm_painted": 9.0,
        "val/over_10mm": gross,
        "val/near_0.5mm": error / 8,
        "val/near_2mm": error / 2,
    }


@pytest.fixture
def interrupted(tmp_path):
    """Stopped after step 299, resumed from 200: step 299 came twice."""
    run = tmp_path / "run"
    log(run / "version_0", {9: 0.1, 199: 2.0, 299: 3.0}, [(99, 1.0, validation(8)), (299, 3.0, validation(5))])
    log(run / "version_1", {209: 0.1, 399: 2.0}, [(299, 0.5, validation(4)), (399, 2.0, validation(1.5))])
    return run


def test_a_resumed_run_is_one_curve_and_the_steps_that_were_lost_are_not_in_it(interrupted):
    points = read_curve(interrupted)
    assert [point.step for point in points] == [99, 299, 399]
    assert [point.values["val/error"] for point in points] == [8, 4, 1.5]


def test_hours_count_while_the_run_trains_and_not_while_it_is_interrupted(interrupted):
    assert [point.hours for point in read_curve(interrupted)] == pytest.approx([1.0, 2.5, 4.0], abs=0.01)


def test_a_run_that_was_begun_again_leaves_out_what_was_there_before(tmp_path):
    log(tmp_path / "version_0", {9: 0.1}, [(99, 1.0, validation(8))])
    log(tmp_path / "version_1", {9: 0.1}, [(199, 1.0, validation(6))])
    assert [(point.step, point.values["val/error"]) for point in read_curve(tmp_path)] == [(199, 6)]


def test_logs_of_one_second_are_read_in_the_order_in_which_they_were_begun(tmp_path):
    for number, step in ((9, 99), (10, 199)):
        log(tmp_path / f"version_{number}", {step: 1.0}, [(step, 1.0, validation(step))])
        (file,) = (tmp_path / f"version_{number}").iterdir()
        file.rename(file.with_name(f"events.out.tfevents.1700000000.a.host.7.{number}"))
    assert [point.step for point in read_curve(tmp_path)] == [99, 199]


def test_a_folder_of_several_runs_is_refused_and_not_drawn_as_one(tmp_path):
    for name in ("one", "two"):
        log(tmp_path / name / "lightning_logs" / "version_0", {9: 0.1}, [(99, 1.0, validation(8))])
    with pytest.raises(ValueError, match=r"holds several runs \(one, two\); give one of them"):
        read_curve(tmp_path)
    assert [point.step for point in read_curve(tmp_path / "two")] == [99]


def test_a_folder_whose_name_is_no_text_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="TensorBoard reads no log below a folder whose name is not text"):
        read_curve(tmp_path / "r\udcfcn")


def test_the_table_goes_from_the_chain_over_the_coarse_to_the_fine_net_and_ends_near_the_truth(interrupted):
    rows = list(csv.DictReader(curve_csv(read_curve(interrupted)).splitlines()))
    chain = ["val/error", "val/4mm", "val/0.5mm", "val/over_10mm"]
    assert list(rows[0]) == ["step", "hours", *chain, "val/near_2mm", "val/near_0.5mm"]
    assert [float(row["val/near_2mm"]) for row in rows] == [4, 2, 0.75]
    assert [float(row["val/4mm"]) for row in rows] == [10, 6, 3.5]


def command(run, code=0):
    with pytest.raises(SystemExit) as left:
        main(["curve", str(run)])
    assert left.value.code == code


def test_the_picture_shows_every_net_against_steps_and_hours(interrupted):
    points = read_curve(interrupted)
    (by_step, by_hour, gross, _) = curve_figure(points, "run").axes
    shown = {line.get_label(): line for line in by_step.lines}
    assert {"whole chain", "4 mm net", "0.5 mm net"} <= set(shown)
    assert list(shown["whole chain"].get_xdata()) == [99, 299, 399]
    assert list(shown["whole chain"].get_ydata()) == [8, 4, 1.5]
    assert list(by_hour.lines[0].get_xdata()) == [point.hours for point in points]
    assert list(gross.lines[0].get_ydata()) == pytest.approx([0.1] * 3)


def test_the_command_writes_picture_and_table_and_says_when_the_goal_was_reached(interrupted, capsys):
    command(interrupted)
    assert {"curve.svg", "curve.csv"} <= {file.name for file in interrupted.iterdir()}
    assert "under 2 mm from step 399, 4.00 hours" in capsys.readouterr().out
    first = (interrupted / "curve.svg").read_bytes()
    command(interrupted)
    assert (interrupted / "curve.svg").read_bytes() == first


@pytest.mark.parametrize("trained, sentence", [(False, "holds no TensorBoard log"), (True, "has not validated yet")])
def test_a_run_without_a_curve_is_refused_in_a_sentence(tmp_path, capsys, trained, sentence):
    run = tmp_path / "run"
    run.mkdir()
    if trained:
        log(run / "version_0", {9: 0.1})
    command(run, code=2)
    assert capsys.readouterr().err.startswith(f"carotid-train curve: run {sentence}")
    assert not (run / "curve.csv").exists()
