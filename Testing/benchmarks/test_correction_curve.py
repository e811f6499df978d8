"""The curve of corrected cases: which cases are chosen, what the simulated annotator says, what the tables show."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from carotid_training.evaluation.comparison import MISTAKE_MM
from CarotidLandmarkLib.dataset import Dataset, DatasetError, check_dataset

from benchmarks.training import correction_curve as curve
from benchmarks.training import correction_report

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")


@pytest.fixture
def style(tmp_path, other_volumes, make_detection, monkeypatch) -> Dataset:
    """Twelve cases with truth; the confidence region grows with the number of the case."""
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    made = Dataset.create(tmp_path / "style", NAMES)
    for number in range(12):
        case_id = made.add_case(next(other_volumes), f"case-{number:02d}", group=f"patient-{number}")
        left = None if number == 11 else (30.0, float(number), 0.0)
        status = {LEFT: "accepted" if left else "missing", RIGHT: "accepted"}
        made.save_annotation(case_id, "truth", {LEFT: left, RIGHT: (-30.0, 0.0, 0.0)}, status)
        made.save_prediction(case_id, make_detection(volume_mm3=10.0 + number))
    return made


class TestChoice:
    def test_unseen_cases_are_never_corrected_and_the_same_for_every_order(self, style):
        unseen, queues = curve.choose_cases(style, (2, 4), 5, seed=3)
        assert len(unseen) == 5 and set(queues) == {"uncertain", "random"}
        for queue in queues.values():
            assert len(queue) == 4 and not set(queue) & set(unseen)

    def test_the_most_uncertain_of_the_others_come_first(self, style):
        unseen, queues = curve.choose_cases(style, (4,), 5, seed=3)
        others = sorted(set(style.case_ids()) - set(unseen), reverse=True)
        assert queues["uncertain"] == others[:4]
        assert queues["random"] != queues["uncertain"]

    def test_the_choice_follows_its_seed_and_a_longer_list_begins_like_a_shorter_one(self, style):
        once, again = (curve.choose_cases(style, (4,), 5, seed=1) for _ in range(2))
        assert once == again
        assert len({tuple(curve.choose_cases(style, (4,), 5, seed)[0]) for seed in range(8)}) > 4
        assert curve.choose_cases(style, (2,), 5, seed=1)[1]["random"] == once[1]["random"][:2]

    def test_so_few_cases_that_both_orders_would_choose_the_same_are_refused(self, style):
        with pytest.raises(DatasetError, match="has 12 cases and more than 12 are needed"):
            curve.choose_cases(style, (2, 7), 5, seed=0)
        _, queues = curve.choose_cases(style, (2, 6), 5, seed=0)
        assert set(queues["uncertain"]) != set(queues["random"])

    def test_cases_without_a_prediction_are_refused(self, style, case_volume):
        style.add_case(case_volume, "new")
        with pytest.raises(DatasetError, match=r"1 cases of style have no prediction \(new\)"):
            curve.choose_cases(style, (2,), 5, seed=0)


class TestCorrection:
    def test_the_annotator_corrects_to_the_truth_and_says_what_is_missing(self, style, tmp_path):
        chosen = ["case-03", "case-11"]
        made = curve.correct(style, chosen, tmp_path / "corrected")
        assert made.case_ids() == chosen and check_dataset(made) == []
        for case_id in chosen:
            assert made.case(case_id).annotation("simulated").points == style.case(case_id).annotation("truth").points
            assert made.case(case_id).group == style.case(case_id).group and made.case(case_id).split is None
            assert (made.case(case_id).read_volume().array == style.case(case_id).read_volume().array).all()
        annotation = made.case("case-03").annotation("simulated")
        assert annotation.moved_mm == {LEFT: 3.0, RIGHT: 0.0}
        assert made.case("case-11").annotation("simulated").status == {LEFT: "missing", RIGHT: "corrected"}

    def test_one_that_was_begun_goes_on(self, style, tmp_path):
        curve.correct(style, ["case-03"], tmp_path / "corrected")
        before = (tmp_path / "corrected/cases/case-03/annotations/simulated.json").read_bytes()
        made = curve.correct(style, ["case-03", "case-04"], tmp_path / "corrected")
        assert made.case_ids() == ["case-03", "case-04"]
        assert (tmp_path / "corrected/cases/case-03/annotations/simulated.json").read_bytes() == before


def test_the_first_model_is_measured_on_the_style_by_the_predictions_that_order_the_queue(style):
    marks = curve.predicted(style, ["case-03", "case-11"])
    assert {key: mark.error_mm for key, mark in marks.items()} == {
        f"case-03/{LEFT}": 3.0, f"case-03/{RIGHT}": 0.0, f"case-11/{LEFT}": None, f"case-11/{RIGHT}": 0.0
    }  # fmt: skip
    false_alarm = marks[f"case-11/{LEFT}"]
    assert false_alarm.detected and not false_alarm.present and false_alarm.cost_mm == MISTAKE_MM
    assert {mark.group for mark in marks.values()} == {"patient-3", "patient-11"}


def test_the_curve_says_what_the_first_model_costs_on_the_cases_of_each_order(style):
    queues = {"uncertain": ["case-11", "case-04"], "random": ["case-02", "case-04"]}
    assert curve.cost_of_corrected(style, queues, (1, 2)) == (
        "mean cost, most uncertain first and in random order: 10.0 and 1.0 mm on 1 cases, 6.0 and 1.5 mm on 2 cases"
    )


def point(order, cases, style_shift, original_shift, missed=()):
    """A model whose errors are 5 mm + shift on the style, 1 mm + shift on the original styles, spread between cases."""

    def marks(base, shift, prefix, lost):
        by_landmark = {}
        for number in range(20):
            error = base + shift + number / 20
            gone = number in lost
            by_landmark[f"{prefix}{number}/{LEFT}"] = curve.Mark(f"p{number}", True, not gone, None if gone else error)
            by_landmark[f"{prefix}{number}/{RIGHT}"] = curve.Mark(f"p{number}", False, number == 0, None)
        return by_landmark

    return curve.Point(
        order,
        cases,
        order != "random",
        {
            curve.STYLE: marks(5.0, style_shift, "s", missed),
            curve.ORIGINAL: marks(1.0, original_shift, "o", ()),
        },
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("curve")
    before = point("before", 0, 0.0, 0.0, missed=(19,))
    points = [
        point("uncertain", 10, -2.0, 0.1),
        point("random", 10, -1.0, 0.3),
        point("uncertain", 20, -3.0, -0.1),
    ]
    curve.write_curve(tmp_path, before, points, {"first model": "by hand"})
    return tmp_path


class TestTables:
    def test_the_table_has_every_model_on_both_sets(self, written):
        with (written / "curve.csv").open(newline="") as stream:
            rows = {(row["measured_on"], row["order"], row["cases"]): row for row in csv.DictReader(stream)}
        assert len(rows) == 8
        before, after = rows[curve.STYLE, "before", "0"], rows[curve.STYLE, "uncertain", "20"]
        assert [rows[curve.STYLE, order, "10"]["listed"] for order in ("uncertain", "random")] == ["yes", "no"]
        assert (before["present"], before["missed"], before["false_alarms"]) == ("20", "1", "1")
        assert float(before["mean_mm"]) == pytest.approx(5 + np.arange(19).mean() / 20, abs=1e-3)
        assert float(before["mean_low_95"]) < float(before["mean_mm"]) < float(before["mean_high_95"])
        assert after["missed"] == "0" and float(after["mean_mm"]) == pytest.approx(
            2 + np.arange(20).mean() / 20, abs=1e-3
        )

    def test_a_miss_and_a_false_alarm_cost_what_they_cost_in_fine_tuning(self, written):
        with (written / "curve.csv").open(newline="") as stream:
            before = next(csv.DictReader(stream))
        errors = 5 + np.arange(19) / 20
        assert float(before["cost_mm"]) == pytest.approx((errors.sum() + 2 * MISTAKE_MM) / 40, abs=1e-3)

    def test_the_change_is_over_landmarks_that_both_models_found(self, written):
        with (written / "curve.csv").open(newline="") as stream:
            changes = {
                (r["measured_on"], r["order"], r["cases"]): float(r["change_mm"]) for r in csv.DictReader(stream)
            }
        assert changes[curve.STYLE, "uncertain", "20"] == -3.0  # not pulled by the case that was missed before
        assert changes[curve.ORIGINAL, "random", "10"] == 0.3
        assert changes[curve.STYLE, "before", "0"] == 0.0

    def test_a_loss_beyond_what_is_allowed_is_said(self, written):
        text = (written / "curve.md").read_text()
        assert "10 cases, uncertain order: original styles +0.10 mm (at most +0.2 mm): kept" in text
        assert "10 cases, random order: original styles +0.30 mm (at most +0.2 mm): NOT KEPT" in text
        assert "10 cases: cost of uncertainty-first minus that of random order -0.50 (-0.50 to -0.50) mm" in text
        assert "20 cases: cost of uncertainty-first" not in text  # random order has not been measured there

    def test_one_patient_has_no_interval_in_the_table_and_still_a_point_in_the_chart(self):
        models = []
        for order, cases in (("before", 0), ("random", 3)):
            whole = point(order, cases, -cases, 0.0)
            alone = {
                name: {key: mark for key, mark in marks.items() if mark.group == "p0"}
                for name, marks in whole.marks.items()
            }
            models.append(replace(whole, marks=alone))
        lines = [
            correction_report.line(model, models[0], name) for name in (curve.STYLE, curve.ORIGINAL) for model in models
        ]
        text = correction_report.curve_markdown(lines, models[1:], {})
        assert "(nan" not in text and "| random | 3 | 11.00 | 0 of 1 | 1 | 2.00 | 2.00 | 2.00 | -3.00 |" in text
        axes, _ = correction_report.curve_figure(lines).axes
        assert axes.get_ylim()[1] > 5.0  # the first model's mean

    def test_the_chart_shows_cost_on_the_style_and_change_against_what_is_allowed_on_the_others(self):
        models = [point("before", 0, 0.0, 0.0), point("uncertain", 10, -2.0, 0.1)]
        lines = [
            correction_report.line(model, models[0], name) for name in (curve.STYLE, curve.ORIGINAL) for model in models
        ]
        left, right = correction_report.curve_figure(lines).axes
        costs = [row.cost_mm.value for row in lines if row.measured_on == curve.STYLE]
        assert left.containers[0][0].get_ydata() == pytest.approx(costs)
        assert right.containers[0][0].get_ydata() == pytest.approx([0.0, 0.1])
        assert any(list(drawn.get_ydata()) == [correction_report.ALLOWED_LOSS_MM] * 2 for drawn in right.lines)

    def test_the_chart_is_there(self, written):
        assert (written / "curve.svg").read_text().startswith("<?xml") and (written / "curve.png").stat().st_size > 9000


class TestResuming:
    def test_a_point_is_measured_once_and_comes_back_the_same(self, tmp_path):
        made = point("random", 10, -1.0, 0.0, missed=(2,))
        calls = []

        def make():
            calls.append(1)
            return made

        assert [curve.kept_point(tmp_path / "p.json", make) for _ in range(2)] == [made, made]
        assert len(calls) == 1

    def test_a_folder_with_another_curve_is_refused(self, tmp_path):
        curve.same_settings(tmp_path / "out", {"steps": 10})
        curve.same_settings(tmp_path / "out", {"steps": 10})
        with pytest.raises(DatasetError, match="another model, dataset or settings"):
            curve.same_settings(tmp_path / "out", {"steps": 20})
