"""Of two places that look alike, the search takes the one that fits the landmark's counterpart."""

import math

import torch
from CarotidLandmarkLib.bundle import LandmarkSpec
from CarotidLandmarkLib.nets.pairs import beside_counterparts
from hypothesis import given
from hypothesis import strategies as st

from .untrained import SIDES

LEFT_LPS, RIGHT_LPS = (26.0, -20.0, 100.0), (-26.0, -18.0, 104.0)
LOW_LPS = (30.0, -15.0, 40.0)  # in a vessel, 60 mm below


def fitting(left, right, landmarks=SIDES):
    """The peaks beside each other, of looks at two landmarks: [(place, peak), ...] each."""
    positions = torch.tensor([[[place for place, _ in looks] for looks in (left, right)]])
    return beside_counterparts(
        positions, torch.tensor([[[peak for _, peak in looks] for looks in (left, right)]]), landmarks
    )[0]


def test_of_two_places_that_look_alike_the_one_beside_its_counterpart_is_higher():
    left, right = fitting([(LOW_LPS, 9.0), (LEFT_LPS, 8.8)], [(RIGHT_LPS, 9.0), (RIGHT_LPS, 8.9)])
    assert left.argmax() == 1 and right.argmax() == 0


def test_a_place_that_looks_far_better_is_taken_wherever_its_counterpart_is():
    left, _ = fitting([(LOW_LPS, 9.0), (LEFT_LPS, 5.0)], [(RIGHT_LPS, 9.0), (RIGHT_LPS, 9.0)])
    assert left.argmax() == 0


def test_a_usual_pair_hardly_loses_and_no_look_gains():
    peaks = fitting([(LEFT_LPS, 9.0), (LOW_LPS, 7.0)], [(RIGHT_LPS, 8.0), (LOW_LPS, 2.0)])
    assert peaks[0, 0] > 8.9 and peaks[1, 0] > 7.9
    assert (peaks <= torch.tensor([[9.0, 7.0], [8.0, 2.0]])).all()


@given(st.floats(-80, 80))
def test_a_pair_is_as_usual_when_the_patient_is_rolled(degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # With each other upright, so that the way from right to left goes straight to the left.
    left, right = (26.0, -20.0, 100.0), (-26.0, -20.0, 104.0)
    rolled = [(c * x - s * y, s * x + c * y, z) for x, y, z in (left, right, LOW_LPS)]
    upright = fitting([(left, 9.0), (LOW_LPS, 8.0)], [(right, 8.0), (right, 3.0)])
    turned = fitting([(rolled[0], 9.0), (rolled[2], 8.0)], [(rolled[1], 8.0), (rolled[1], 3.0)])
    assert torch.allclose(turned, upright, atol=1e-3)


def test_exchanged_sides_are_no_usual_pair():
    exchanged = fitting([(RIGHT_LPS, 9.0)], [(LEFT_LPS, 9.0)])
    assert float(exchanged.max()) < 9 - 4


def test_peaks_in_half_precision_are_weighed_in_whole():
    wanted = fitting([(LOW_LPS, 9.0), (LEFT_LPS, 8.75)], [(RIGHT_LPS, 9.0), (RIGHT_LPS, 9.0)])
    positions = torch.tensor([[[LOW_LPS, LEFT_LPS], [RIGHT_LPS, RIGHT_LPS]]])
    halves = torch.tensor([[[9.0, 8.75], [9.0, 9.0]]]).bfloat16()
    assert torch.equal(beside_counterparts(positions, halves, SIDES)[0], wanted)


def test_landmarks_whose_usual_way_to_each_other_nobody_knows_keep_their_peaks():
    orbits = (LandmarkSpec("left_orbit", "L", "right_orbit"), LandmarkSpec("right_orbit", "R", "left_orbit"))
    assert fitting([(LOW_LPS, 9.0)], [(RIGHT_LPS, 8.0)], orbits).tolist() == [[9.0], [8.0]]


places = st.tuples(*[st.floats(-150, 150, width=32)] * 3)
looks = st.lists(st.tuples(places, st.floats(-20, 20, width=32)), min_size=3, max_size=3)


@given(looks, looks)
def test_the_highest_looks_are_the_best_pair_of_all(left, right):
    """The sum over a pair is its two peaks less one number; the highest of each side reaches the best of all nine."""
    both = fitting(left, right)
    singles = [[float(fitting([one], [other])[0, 0]) + other[1] for other in right] for one in left]
    best = max(max(row) for row in singles)
    assert abs(float(both[0].max()) + max(peak for _, peak in right) - best) < 1e-3
    assert abs(float(both[1].max()) + max(peak for _, peak in left) - best) < 1e-3
    of_left, of_right = int(both[0].argmax()), int(both[1].argmax())
    ties = sum(abs(value - best) < 1e-3 for row in singles for value in row)
    assert ties > 1 or abs(singles[of_left][of_right] - best) < 1e-3


def test_the_order_of_the_landmarks_does_not_matter():
    left, right = fitting([(LOW_LPS, 9.0), (LEFT_LPS, 8.8)], [(RIGHT_LPS, 9.0), (RIGHT_LPS, 8.9)])
    turned = fitting([(RIGHT_LPS, 9.0), (RIGHT_LPS, 8.9)], [(LOW_LPS, 9.0), (LEFT_LPS, 8.8)], SIDES[::-1])
    assert torch.equal(turned, torch.stack([right, left]))
