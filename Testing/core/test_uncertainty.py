"""Noise, covariance, calibration, confidence regions."""

import math

import numpy as np
import pytest
from CarotidLandmarkLib import uncertainty
from hypothesis import example, given, settings
from hypothesis import strategies as st


def test_noise_is_uniform_on_both_sides_and_a_function_of_its_seed():
    noise = uncertainty.draw_noise(2, 4000, 5.0, seed=3)
    assert noise.shape == (2, 4000, 3)
    assert noise.min() < -4.9 and noise.max() > 4.9 and abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(10 / math.sqrt(12), rel=0.02)
    assert np.array_equal(noise, uncertainty.draw_noise(2, 4000, 5.0, seed=3))
    assert not np.array_equal(noise, uncertainty.draw_noise(2, 4000, 5.0, seed=4))


@pytest.mark.parametrize(("level", "radius"), [(0.5, 1.5382), (0.9, 2.5003), (0.95, 2.7955), (0.99, 3.3682)])
def test_the_gaussian_radius_is_that_of_the_chi_distribution(level, radius):
    assert uncertainty.gaussian_radius(level) == pytest.approx(radius, abs=1e-3)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 90.0])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        uncertainty.gaussian_radius(level)


def of_patients(scores):
    """Each score a patient's own."""
    return [(f"p{number}", float(score)) for number, score in enumerate(scores)]


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 60), level=st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@example(n=8, level=0.9)
@example(n=18, level=0.95)
def test_the_conformal_factor_exists_exactly_when_there_are_enough_cases(n, level):
    needed = {0.5: 1, 0.8: 4, 0.9: 9, 0.95: 19}[level]
    scores = of_patients(range(1, n + 1))
    if n < needed:
        with pytest.raises(ValueError, match="too few"):
            uncertainty.conformal_factor(scores, level)
    else:
        assert uncertainty.conformal_factor(scores, level) == min(n, math.ceil((n + 1) * level - 1e-9))


def test_conformal_regions_cover_new_cases_as_often_as_they_say():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        scores = of_patients(generator.gamma(2.0, size=30))
        covered.append(generator.gamma(2.0) <= uncertainty.conformal_factor(scores, 0.9))
    assert 0.86 < np.mean(covered) < 0.96


def test_a_patient_with_many_scans_counts_as_one_however_easy_they_are():
    scores = [("many", 0.1)] * 60 + [(f"p{number}", float(number)) for number in range(1, 9)]
    assert [uncertainty.conformal_factor(scores, level) for level in (0.1, 0.5, 0.9)] == [0.1, 4.0, 8.0]
    with pytest.raises(ValueError, match="8 calibration patients are too few"):
        uncertainty.conformal_factor(scores[:-1], 0.9)


def test_regions_hold_new_patients_as_often_as_they_say_where_patients_have_many_scans_and_differ():
    generator = np.random.default_rng(1)
    held = []
    for _ in range(400):
        spread = generator.gamma(1.0, size=31)  # of each patient; the last one is new
        scans = generator.integers(1, 12, size=30)
        scores = [(f"p{n}", float(score)) for n in range(30) for score in generator.gamma(2.0, spread[n], scans[n])]
        held.append(generator.gamma(2.0, spread[-1]) <= uncertainty.conformal_factor(scores, 0.9))
    assert 0.86 < np.mean(held) < 0.96


def test_levels_that_the_cases_can_not_support_are_left_out_of_a_calibration():
    scores = {"a": of_patients([1.0] * 12), "b": [*of_patients([2.0] * 12), ("p0", 2.0)]}
    table = uncertainty.calibrate(scores, (0.5, 0.9, 0.95))
    assert set(table) == {"0.5", "0.9"}
    assert table["0.9"]["b"] == {"factor": 2.0, "n": 12}


def test_a_level_above_the_highest_calibrated_one_is_refused():
    table = uncertainty.calibrate({"a": of_patients(range(1, 13))}, (0.5, 0.9))
    for level in (0.95, 0.905):
        with pytest.raises(ValueError, match="calibrated up to 90%"):
            uncertainty.calibrated_radius(table, "a", level)
    assert uncertainty.calibrated_radius(table, "a", 0.9) == pytest.approx(12.0)
    assert uncertainty.calibrated_radius(table, "a", 0.7) < uncertainty.calibrated_radius(table, "a", 0.85)


def test_between_calibrated_levels_the_radius_follows_the_gaussian_one():
    twice = {f"{level:g}": {"a": {"factor": 2 * uncertainty.gaussian_radius(level)}} for level in (0.5, 0.9)}
    assert uncertainty.calibrated_radius(twice, "a", 0.8) == pytest.approx(2 * uncertainty.gaussian_radius(0.8))


def test_without_calibration_the_region_is_the_gaussian_one():
    assert uncertainty.calibrated_radius({}, "a", 0.9) == pytest.approx(2.5003, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.3, 0.95))
def test_a_confidence_region_is_the_ellipsoid_of_its_covariance(seed, level):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(3, 3))
    covariance = root @ root.T + 0.05 * np.eye(3)
    region = uncertainty.confidence_region(covariance, np.sqrt(np.diag(covariance)), "a", level, {})
    axes, semi = np.array(region.axes_lps), np.array(region.semi_axes_mm)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert np.all(np.diff(semi) <= 1e-9)
    rebuilt = axes.T @ np.diag((semi / uncertainty.gaussian_radius(level)) ** 2) @ axes
    assert np.allclose(rebuilt, covariance)
    assert region.volume_mm3 == pytest.approx(4 / 3 * math.pi * semi.prod())
    assert region.volume_mm3 <= region.paper_volume_mm3 * (1 + 1e-9)  # Hadamard: equal when the axes are uncorrelated


def test_the_spread_of_the_passes_reaches_the_covariance():
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(5000, 3)) * [1.0, 2.0, 3.0]
    total = uncertainty.total_covariance(samples, np.zeros((5000, 3, 3)), np.ones((1, 3)), np.ones(1))
    assert np.allclose(np.diag(total), [1.01, 4.01, 9.01], rtol=0.06)


def test_a_second_place_that_looks_alike_makes_the_region_long_towards_it():
    samples, within = np.random.default_rng(0).normal(size=(50, 3)) * 0.2, np.zeros((50, 3, 3))
    places = np.array([[10.0, 0.0, 0.0], [10.0, 0.0, 30.0]])
    sure = uncertainty.total_covariance(samples, within, places, np.array([12.0, 4.0]))
    torn = uncertainty.total_covariance(samples, within, places, np.array([9.0, 9.3]))
    assert np.sqrt(np.trace(sure)) < 0.6
    values, vectors = np.linalg.eigh(torn)
    assert np.sqrt(values[2]) > 10 and abs(vectors[2, 2]) > 0.99 and np.sqrt(values[1]) < 0.5


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=6))
def test_the_shares_of_the_places_are_one_together_and_the_highest_peak_has_the_largest(peaks):
    shares = uncertainty.place_shares(np.array(peaks))
    assert np.isclose(shares.sum(), 1) and shares[int(np.argmax(peaks))] == shares.max()


def test_no_answer_is_more_certain_than_a_tenth_of_a_millimetre():
    same, within = np.zeros((50, 3)), np.zeros((50, 3, 3))
    assert np.allclose(uncertainty.total_covariance(same, within, np.zeros((1, 3)), np.ones(1)), 0.01 * np.eye(3))


def test_a_doubtful_answer_is_as_wide_as_wrong_ones_are_far_off():
    sure = np.diag([1.0, 2.0, 3.0])
    assert np.array_equal(uncertainty.doubtful_covariance(sure, 1.0), sure)
    assert np.allclose(uncertainty.doubtful_covariance(sure, 0.0), np.diag([25.0, 25.0, 225.0]))
    assert np.allclose(uncertainty.doubtful_covariance(sure, 0.75), np.diag([7.0, 7.75, 58.5]))


def test_a_peak_that_leads_by_one_is_e_squared_times_as_likely():
    first, second = uncertainty.place_shares(np.array([6.0, 5.0]))
    assert first / second == pytest.approx(math.exp(2.0))
