"""The charts of an evaluation show what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from carotid_training.evaluation import figures as evaluation_figures
from carotid_training.evaluation import metrics
from carotid_training.evaluation.outcomes import located
from carotid_training.evaluation.tables import FIGURES
from matplotlib.colors import to_rgb

from ..outcomes import LEFT, RIGHT, calibration, cohort, model, outcome
from ..tube import scan


@pytest.mark.parametrize("which", ["all", "none found", "none absent", "one"])
def test_every_chart_is_drawn_for_any_outcomes(which, tmp_path):
    outcomes = {
        "all": cohort(),
        "none found": [outcome(error=None, presence=0.1), outcome(name=RIGHT, error=None, presence=0.2)],
        "none absent": [outcome("a"), outcome("b", RIGHT, (1, 0, 0))],
        "one": [outcome("a", error=(0, 0, 2))],
    }[which]
    evaluation_figures.write_figures(tmp_path, outcomes, model(calibration(**{"0.8": 2.0})))
    assert {file.stem for file in tmp_path.glob("*.svg")} == set(FIGURES) - {"worst_cases"}


def drawn(line):
    return np.stack(line.get_data())


def test_the_reliability_chart_has_the_observed_coverage_of_both_kinds_of_regions():
    calibrated = model(calibration(**{"0.5": 1.5, "0.9": 2.5}))
    pairs = located(cohort())
    lines = {line.get_label(): line for line in evaluation_figures.reliability(cohort(), calibrated).axes[0].lines}
    levels, ours = drawn(lines["calibrated"])
    assert levels.max() == pytest.approx(0.9)
    covered = [metrics.regions(pairs, calibrated.calibration, float(level)).covered.mean() for level in levels]
    assert np.allclose(ours, covered) and not np.allclose(ours, 1 - np.array(covered))
    levels, paper = drawn(lines["paper's, from the passes' sd"])
    assert np.allclose(paper, [metrics.regions(pairs, {}, float(level)).paper_covered.mean() for level in levels])


def test_figure_5_has_the_calibrated_volumes_at_the_left_and_the_papers_at_the_right():
    calibrated = model(calibration(**{"0.5": 1.5, "0.9": 2.5}))
    pairs = located(cohort())
    regions = metrics.regions(pairs, calibrated.calibration, calibrated.volume_level)
    axes = evaluation_figures.volume_against_error(cohort(), calibrated).axes
    for axis, volumes in zip(axes, (regions.volume_mm3, regions.paper_volume_mm3), strict=True):
        shown = np.concatenate([dots.get_offsets() for dots in axis.collections])
        assert np.allclose(np.sort(shown[:, 1]), np.sort(volumes))
    assert not np.allclose(regions.volume_mm3, regions.paper_volume_mm3)


def test_the_volumes_of_a_model_that_is_not_calibrated_are_not_called_calibrated():
    own, _ = evaluation_figures.volume_against_error(cohort(), model()).axes
    assert own.get_ylabel().startswith("Uncalibrated 90 %")


def test_the_ring_of_the_roc_is_what_was_detected_absent_ones_across_present_ones_up():
    outcomes = [
        *(outcome(f"p{n}", present=True, presence=0.9) for n in range(3)),
        outcome("q", error=None, presence=0.1),
        *(outcome(f"a{n}", error=(1, 0, 0) if n == 0 else None, present=False, presence=0.2) for n in range(5)),
    ]
    axes = evaluation_figures.presence_roc(outcomes, model()).axes[0]
    (ring,) = [line for line in axes.lines if line.get_label() == "as detected"]
    assert np.allclose(np.ravel(drawn(ring)), (1 / 5, 3 / 4))


def test_the_bland_altman_chart_has_found_minus_true_per_axis():
    pairs = [outcome(f"c{n}", LEFT, (1.0 + n, -2.0, 3.0)) for n in range(3)]
    for n, axes in enumerate(evaluation_figures.offsets(pairs, model()).axes[:3]):
        shown = np.concatenate([dots.get_offsets() for dots in axes.collections])
        assert np.allclose(np.sort(shown[:, 1]), np.sort([(1.0 + case, -2.0, 3.0)[n] for case in range(3)]))


def test_the_cumulative_curve_ends_at_the_share_that_was_found():
    outcomes = [outcome(f"c{n}", error=None if n == 0 else (n, 0, 0)) for n in range(5)]
    curve = evaluation_figures.cumulative_error(outcomes, model()).axes[0].lines[0]
    places, shares = curve.get_data()
    assert shares[-1] == pytest.approx(0.8)
    assert shares[np.searchsorted(places, 2.5, side="right") - 1] == pytest.approx(0.4)


def test_the_gallery_shows_truth_as_plus_and_answer_as_cross_on_radiological_slices():
    pair = outcome("a", LEFT, (2.0, -5.0, 9.0))
    true, answer = np.array(pair.truth_lps), np.array(pair.result.position_lps_mm)
    figure = evaluation_figures.worst_cases([pair], model(), lambda name: scan())
    axial, coronal, sagittal = figure.axes[:3]
    for axes, shown in zip((axial, coronal, sagittal), ([0, 1], [0, 2], [1, 2]), strict=True):
        plus = next(line for line in axes.lines if line.get_marker() == "+")
        cross = next(line for line in axes.lines if line.get_marker() == "x")
        assert np.allclose(np.ravel(plus.get_data()), true[shown])
        assert np.allclose(np.ravel(cross.get_data()), answer[shown])
        assert to_rgb(plus.get_color()) != to_rgb(cross.get_color())
        assert np.allclose((np.mean(axes.get_xlim()), np.mean(axes.get_ylim())), answer[shown], atol=0.2)
        assert axes.get_xlim()[0] < axes.get_xlim()[1]  # the patient's left is at the viewer's right
    assert axial.get_ylim()[0] > axial.get_ylim()[1] and coronal.get_ylim()[0] < coronal.get_ylim()[1]
