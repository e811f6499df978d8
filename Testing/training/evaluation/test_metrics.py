"""The numbers of an evaluation: against hand-computed cases, against scipy, and by their properties."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from carotid_training.evaluation import metrics
from carotid_training.evaluation.summary import ALL, LEVELS, lookup, measure
from CarotidLandmarkLib.uncertainty import calibrate, gaussian_radius, highest_level
from hypothesis import given as given_values
from hypothesis import settings
from hypothesis import strategies as st
from scipy import stats

from ..outcomes import LEFT, PLACES, RIGHT, calibration, cohort, model, outcome


def given(**values):
    """Without a time limit for one example: a busy machine is not a fault."""
    return lambda test: settings(deadline=None)(given_values(**values)(test))


MIRRORS = {LEFT: RIGHT, RIGHT: LEFT}
lengths = st.floats(0, 80, allow_subnormal=False)
lists_of_errors = st.lists(lengths | st.just(math.nan), min_size=1, max_size=30).map(np.array)


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "bootstrap", functools.partial(metrics.bootstrap, resamples=20))


def whole(value):
    """A statistic whose value is known for every resample."""
    return lambda rows: {"value": float(value(rows))}


def test_a_missed_landmark_fails_every_success_rate_and_leaves_the_mean_alone():
    all_found = metrics.error_statistics(np.array([1.0, 2.0, 3.0, 12.0]))
    missed = metrics.error_statistics(np.array([1.0, 2.0, 3.0, 12.0, math.nan]))
    assert all_found["mean"] == missed["mean"] == 4.5
    assert all_found["sd"] == missed["sd"] == pytest.approx(math.sqrt((3.5**2 + 2.5**2 + 1.5**2 + 7.5**2) / 3))
    assert all_found["median"] == missed["median"] == 2.5
    assert all_found["p95"] == pytest.approx(3 + 0.85 * 9)
    assert [all_found[f"success_{limit}"] for limit in ("2", "2.5", "3", "4", "10")] == [0.5, 0.5, 0.75, 0.75, 0.75]
    assert [missed[f"success_{limit}"] for limit in ("2", "2.5", "3", "4", "10")] == [0.4, 0.4, 0.6, 0.6, 0.6]


def test_without_landmarks_no_number_is_made_up():
    assert all(map(math.isnan, metrics.error_statistics(np.zeros(0)).values()))
    nothing = metrics.error_statistics(np.array([math.nan]))
    assert math.isnan(nothing["mean"]) and nothing["success_10"] == 0


@given(errors=lists_of_errors, factor=st.floats(1.01, 3))
def test_larger_errors_never_make_a_success_rate_larger(errors, factor):
    before, after = metrics.error_statistics(errors), metrics.error_statistics(errors * factor)
    rates = [before[f"success_{limit:g}"] for limit in metrics.TOLERANCES_MM]
    assert rates == sorted(rates)
    assert all(after[name] <= before[name] for name in before if name.startswith("success"))


@given(errors=lists_of_errors, seed=st.integers(0, 99))
def test_the_order_of_cases_changes_nothing(errors, seed):
    shuffled = np.random.default_rng(seed).permutation(errors)
    before, after = metrics.error_statistics(errors), metrics.error_statistics(shuffled)
    assert all(after[name] == pytest.approx(before[name], nan_ok=True) for name in before)


def test_the_bootstrap_takes_all_landmarks_of_a_patient_or_none():
    groups = ["a", "b", "a", "c", "b", "a"]
    seen = []
    metrics.bootstrap(groups, lambda rows: seen.append(sorted(rows)) or {"n": 1.0}, resamples=50)
    for rows in seen:
        times = [[rows.count(row) for row in range(6) if groups[row] == group] for group in "abc"]
        assert all(len(set(counts)) == 1 for counts in times) and sum(counts[0] for counts in times) == 3
    assert len({tuple(rows) for rows in seen}) > 5


def test_landmarks_of_one_patient_that_err_alike_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(0, 1, 20), 10)
    mean = whole(lambda rows: values[rows].mean())
    clustered = metrics.bootstrap([f"p{n // 10}" for n in range(200)], mean, resamples=400)["value"]
    alone = metrics.bootstrap([f"p{n}" for n in range(200)], mean, resamples=400)["value"]
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(2).normal(5, 2, 400)
    estimate = metrics.bootstrap([f"p{n}" for n in range(400)], whole(lambda rows: values[rows].mean()), 1000)["value"]
    half = 1.96 * values.std(ddof=1) / 20
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.04)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.04)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.arange(12.0) ** 2
    groups = [f"p{n // 2}" for n in range(12)]
    runs = [metrics.bootstrap(groups, whole(lambda r: values[r].mean()), 100, seed)["value"] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_a_share_of_all_or_none_of_few_patients_is_not_certain():
    errors = metrics.errors_mm([outcome(f"c{n}", (LEFT, RIGHT)[n % 2], (1.0, 0, 0)) for n in range(8)])
    groups = [f"p{n // 2}" for n in range(8)]
    rates = metrics.bootstrap(groups, lambda rows: metrics.error_statistics(errors[rows]), 20)
    exact = stats.binomtest(4, 4).proportion_ci(0.95, "exact")
    assert rates["success_2"] == (1.0, pytest.approx(exact.low), 1.0) and exact.low < 0.4
    none = metrics.bootstrap(groups, lambda rows: {"coverage_90": 0.0}, 20)["coverage_90"]
    assert none == (0.0, 0.0, pytest.approx(1 - exact.low))
    assert rates["mean"] == (1.0, 1.0, 1.0)  # no share


def test_one_patient_alone_has_no_interval():
    estimate = metrics.bootstrap(["a", "a"], whole(len), 10)["value"]
    assert estimate.value == 2 and math.isnan(estimate.low) and math.isnan(estimate.high)


pairs_of_arrays = st.lists(st.tuples(st.integers(0, 9), st.floats(0.01, 1e4)), min_size=3, max_size=25).map(
    lambda pairs: np.array(pairs, dtype=float).T
)


@given(pairs=pairs_of_arrays)
def test_correlations_and_their_p_values_are_scipy_s(pairs):
    x, y = pairs
    ours, p = metrics.correlations(x, y), metrics.correlation_p_values(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert all(map(math.isnan, (*ours.values(), *p.values())))
        return
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    assert ours["pearson"] == pytest.approx(pearson.statistic, abs=1e-6)
    assert ours["spearman"] == pytest.approx(spearman.statistic, abs=1e-6)
    assert p == {"pearson": pytest.approx(pearson.pvalue), "spearman": pytest.approx(spearman.pvalue)}


scored = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=30).map(
    lambda rows: (np.array([row[0] / 8 for row in rows]), np.array([row[1] for row in rows]))
)


@given(rows=scored)
def test_the_roc_area_is_mann_whitney_s_and_the_area_under_the_curve(rows):
    scores, positive = rows
    area = metrics.roc_area(scores, positive)
    if positive.all() or not positive.any():
        assert math.isnan(area)
        with pytest.raises(ValueError, match="present"):
            metrics.roc_curve(scores, positive)
        return
    u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    assert area == pytest.approx(u / (positive.sum() * (~positive).sum()))
    false, true = metrics.roc_curve(scores, positive)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(area)
    assert metrics.roc_area(-scores, positive) == pytest.approx(1 - area)


def test_a_landmark_is_on_the_other_side_when_it_lies_nearer_to_its_mirror():
    swapped = [outcome("a", LEFT, (-60, 0, 0)), outcome("a", RIGHT, (60, 0, 0))]
    one = [outcome("b", LEFT, (-31, 0, 0)), outcome("b", RIGHT)]
    near = [outcome("c", LEFT, (-29, 0, 0)), outcome("c", RIGHT)]
    alone = [outcome("d", LEFT, (-60, 0, 0)), outcome("d", RIGHT, None, present=False)]
    everything = swapped + one + near + alone
    assert metrics.on_other_side(everything, MIRRORS) == [True, True, True, False, False, False, False, False]
    assert metrics.swapped_cases(everything, MIRRORS) == 1


def test_a_landmark_on_the_midline_has_no_other_side():
    errors = np.random.default_rng(0).normal(0, 2, (50, 3))  # distances to one point, rounded in two ways
    cases = [outcome(f"c{n}", LEFT, tuple(error)) for n, error in enumerate(errors)]
    assert metrics.on_other_side(cases, {LEFT: LEFT}) == [False] * 50


def test_a_case_with_two_swapped_pairs_is_one_swapped_case():
    crossed = {LEFT: (-60, 0, 0), RIGHT: (60, 0, 0)}
    pairs = [outcome("a", name, error) for name, error in crossed.items()]
    orbits = [replace(each, landmark=each.landmark.replace("carotid_bifurcation", "orbit")) for each in pairs]
    assert (
        metrics.swapped_cases(pairs + orbits, {**MIRRORS, "left_orbit": "right_orbit", "right_orbit": "left_orbit"})
        == 1
    )


@given(radius=st.floats(0.1, 6), sd=st.floats(0.2, 5), length=st.floats(0, 20))
def test_a_region_holds_the_truth_when_the_error_is_within_its_radius(radius, sd, length):
    held = metrics.regions([outcome(error=(0, length, 0), sd=sd)], calibration(**{"0.9": radius}), 0.9)
    if abs(length - radius * sd) > 1e-6:
        assert held.covered.tolist() == [length < radius * sd]
    assert held.volume_mm3[0] == pytest.approx(4 / 3 * math.pi * (radius * sd) ** 3)
    if abs(length - gaussian_radius(0.9) * sd / 2) > 1e-6:
        assert held.paper_covered.tolist() == [length < gaussian_radius(0.9) * sd / 2]
    assert held.paper_volume_mm3[0] == pytest.approx(4 / 3 * math.pi * (gaussian_radius(0.9) * sd / 2) ** 3)


def test_a_tilted_region_is_long_along_its_own_axis():
    slant = np.array([1.0, 1.0, 0.0]) / math.sqrt(2)
    covariance = np.eye(3) * 0.01 + 4 * np.outer(slant, slant)
    along, across = (outcome(error=tuple(direction)) for direction in (3 * slant, 3 * np.array([1, -1, 0]) / 2**0.5))
    tilted = [
        replace(pair, result=replace(pair.result, covariance_mm2=tuple(map(tuple, covariance))))
        for pair in (along, across)
    ]
    assert metrics.regions(tilted, {}, 0.9).covered.tolist() == [True, False]


def test_a_paper_region_of_no_width_holds_nothing():
    pair = outcome(error=(0.1, 0, 0))
    flat = replace(pair, result=replace(pair.result, std_mm=(0.0, 1.0, 1.0)))
    assert not metrics.regions([flat], {}, 0.95).paper_covered[0]


def test_regions_above_the_calibrated_level_are_refused():
    table = calibration(**{"0.8": 2.0})
    assert highest_level(table, [LEFT, RIGHT]) == 0.8
    assert highest_level({}, [LEFT]) == 1
    with pytest.raises(ValueError, match="calibrated up to 80%"):
        metrics.regions([outcome()], table, 0.9)


@given(errors=st.lists(lengths, min_size=1, max_size=30).map(np.array), data=st.data())
def test_the_sphere_holds_as_many_and_a_smaller_one_fewer(errors, data):
    covered = data.draw(st.integers(0, len(errors)))
    volume = metrics.sphere_volume(errors, covered)
    radius = np.cbrt(volume * 3 / (4 * math.pi))
    assert (errors <= radius + 1e-6).sum() >= covered
    assert (errors < radius - 1e-6).sum() < max(covered, 1)


def test_sizes_known_case_by_case_are_smaller_than_one_sphere_for_all():
    generator = np.random.default_rng(0)
    sds = generator.lognormal(0, 1, 300)
    directions = generator.normal(0, 1, (300, 3))
    known = [
        outcome(f"c{n}", error=tuple(sd * d), sd=float(sd))
        for n, (sd, d) in enumerate(zip(sds, directions, strict=True))
    ]
    errors = metrics.errors_mm(known)
    numbers = metrics.region_statistics(metrics.regions(known, {}, 0.9), errors)
    assert numbers["coverage"] == pytest.approx(0.9, abs=0.05)
    assert numbers["median_volume"] < 0.5 * numbers["sphere_volume"]
    # The paper's sd is half the true one here: its regions are too small.
    assert numbers["paper_coverage"] == pytest.approx(stats.chi.cdf(gaussian_radius(0.9) / 2, 3), abs=0.06)


def test_conformal_calibration_covers_what_it_says_where_the_model_is_overconfident():
    generator = np.random.default_rng(4)
    errors = generator.standard_t(3, (800, 3)) * 2
    pairs = [outcome(f"c{n}", (LEFT, RIGHT)[n % 2], tuple(error)) for n, error in enumerate(errors)]
    scores = {
        name: [(pair.group, pair.score) for pair in pairs[:400] if pair.landmark == name] for name in (LEFT, RIGHT)
    }
    table = calibrate(scores, LEVELS)
    for level in LEVELS:
        low, high = metrics.binomial_band(400, np.array([level]))
        assert low[0] - 0.05 < metrics.regions(pairs[400:], table, level).covered.mean() < high[0] + 0.05
        assert metrics.regions(pairs[400:], {}, level).covered.mean() < low[0]


@given(n=st.integers(1, 200), level=st.floats(0.05, 0.95))
def test_the_binomial_band_holds_95_percent_of_experiments(n, level):
    low, high = metrics.binomial_band(n, np.array([level]))
    inside = stats.binom.cdf(round(high[0] * n), n, level) - stats.binom.cdf(round(low[0] * n) - 1, n, level)
    assert inside >= 0.95 - 1e-9


def test_offsets_are_found_minus_annotated_along_lps():
    pairs = [outcome(error=(1, -2, 3)), outcome(name=RIGHT, error=(0, 0.5, 0))]
    assert np.allclose(metrics.offsets_mm(pairs), [[1, -2, 3], [0, 0.5, 0]])
    assert metrics.offsets_mm([]).shape == (0, 3)


def test_counts_of_missed_and_falsely_found_landmarks_and_of_verdicts(few_resamples):
    outcomes = [
        outcome("a", LEFT, (3, 0, 0)), outcome("a", RIGHT, None, presence=0.2),
        outcome("b", LEFT, (0, 1, 0), present=False, presence=0.8, verdict="review"),
        outcome("b", RIGHT, None, present=False, presence=0.1, verdict="review"),
        outcome("c", LEFT, (0, 0, -1)), outcome("c", RIGHT, (0, 4, 0)),
    ]  # fmt: skip
    rows = lookup(measure(outcomes, model()))
    value = {key: row.value for key, row in rows.items()}
    count = {key: row.n for key, row in rows.items()}
    assert (value["found", ALL], value["missed", ALL], count["missed", ALL]) == (3, 1, 4)
    assert (value["falsely_found", ALL], count["falsely_found", ALL]) == (1, 2)
    assert (value["missed", LEFT], value["missed", RIGHT], value["falsely_found", RIGHT]) == (0, 1, 0)
    assert value["error_mean_mm", LEFT] == 2 and value["error_mean_mm", ALL] == pytest.approx(8 / 3)
    assert value["success_3mm", ALL] == 0.5 and count["success_3mm", ALL] == 4 and count["error_mean_mm", ALL] == 3
    assert value["presence_roc_area", ALL] == 7 / 8
    assert [value[f"verdict_{verdict}_cases", ALL] for verdict in ("ok", "review", "reject")] == [2, 1, 0]
    assert value["verdict_ok_error_largest_mm", ALL] == 4 and math.isnan(value["verdict_review_error_mean_mm", ALL])
    assert value["offset_left_mean_mm", LEFT] == 1.5 and value["offset_superior_mean_mm", LEFT] == -0.5


def test_levels_above_what_is_calibrated_are_named_and_have_no_number(few_resamples):
    rows = lookup(measure(cohort(6), model(calibration(**{"0.8": 2.0}))))
    assert rows["coverage_80", ALL].value > 0 and rows["coverage_80", ALL].note == ""
    for name in ("coverage_90", "volume_90_mm3", "sphere_volume_95_mm3"):
        assert math.isnan(rows[name, ALL].value) and "above what is calibrated" in rows[name, ALL].note
    assert rows["paper_coverage_90", ALL].value >= 0
    assert model(calibration(**{"0.8": 2.0})).volume_level == 0.8 and PLACES[LEFT][0] > 0


@pytest.mark.parametrize("seed", range(5))
def test_true_probabilities_show_the_calibration_error_that_chance_alone_makes(seed):
    generator = np.random.default_rng(seed)
    probabilities = generator.uniform(0.05, 0.95, 400)
    chance = metrics.calibration_error_by_chance(probabilities, seed)
    seen = metrics.calibration_error(probabilities, generator.random(400) < probabilities)
    # One experiment in twenty lies outside the interval; none three times as far out.
    assert chance.value - 3 * (chance.value - chance.low) < seen < chance.value + 3 * (chance.high - chance.value)
    assert metrics.calibration_error(probabilities, generator.random(400) < probabilities**2) > chance.high


def test_fewer_answers_look_less_calibrated_and_none_look_like_nothing():
    few, many = (metrics.calibration_error_by_chance(np.full(n, 0.5)).value for n in (10, 1000))
    # The mean distance of a share of n fair coins from a half: 0.123 for ten.
    assert few == pytest.approx(0.123, abs=0.01) and many < few / 5
    assert math.isnan(metrics.calibration_error_by_chance(np.empty(0)).value)
