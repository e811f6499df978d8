"""What is known of landmarks by their names alone, for the project's own set and for any other."""

from __future__ import annotations

import pytest
from CarotidLandmarkLib import landmarks
from CarotidLandmarkLib.landmarks import LandmarkSpec, Pair
from hypothesis import given
from hypothesis import strategies as st

words = st.text("abcdefgh", min_size=1, max_size=6)
names = st.lists(words, min_size=1, max_size=3).flatmap(
    lambda some: st.tuples(st.sampled_from(["left", "Right", "L", "r", "LT", "rt"]), st.sampled_from("_-")).flatmap(
        lambda side: st.integers(0, len(some)).map(lambda at: side[1].join([*some[:at], side[0], *some[at:]]))
    )
)


@given(names)
def test_the_mirror_of_the_mirror_is_the_landmark_and_lies_on_the_other_side(name):
    other = landmarks.mirror(name)
    assert landmarks.mirror(other) == name
    assert {landmarks.side(name), landmarks.side(other)} == {"left", "right"}
    assert landmarks.kind(name) == landmarks.kind(other)


@pytest.mark.parametrize("name", ["left_carotid_bifurcation", "right_vertebral_origin", "aortic_arch"])
def test_what_is_in_an_artery_says_so_by_its_name(name):
    assert landmarks.is_arterial(name) and not landmarks.is_arterial("left_orbit")
    assert not landmarks.is_arterial("c4_vertebral_body") and not landmarks.is_arterial("left_carotid_canal")


@pytest.mark.parametrize(
    ("name", "side", "label", "title"),
    [
        ("left_carotid_bifurcation", "left", "L bifurcation", "Left carotid bifurcation"),
        ("right_vertebral_origin", "right", "R vertebral origin", "Right vertebral origin"),
        ("orbit_left", "left", "L orbit", "Orbit left"),
        ("subclavian-L", "left", "L subclavian", "Subclavian-L"),
        ("Right_ICA", "right", "R ICA", "Right ICA"),
        ("nasion", "", "Nasion", "Nasion"),
        ("leftover", "", "Leftover", "Leftover"),
        ("left", "left", "Left", "Left"),
    ],
)
def test_a_name_says_the_side_and_what_is_shown(name, side, label, title):
    assert (landmarks.side(name), landmarks.label(name), landmarks.title(name)) == (side, label, title)


def test_pairs_are_those_whose_counterpart_is_there():
    names = ("right_a", "left_a", "left_b", "nasion", "c_left", "c_right")
    assert landmarks.pairs(names) == [Pair("left_a", "right_a"), Pair("c_left", "c_right")]


def test_a_model_s_pairs_follow_its_mirrors_left_first():
    specs = [
        LandmarkSpec("right_a", "A", "left_a"),
        LandmarkSpec("left_a", "A", "right_a"),
        LandmarkSpec("nasion", "N", "nasion"),
        LandmarkSpec("one", "1", "two"),
        LandmarkSpec("two", "2", "one"),
    ]
    assert landmarks.mirror_pairs(specs) == [Pair("left_a", "right_a")]


@pytest.mark.parametrize("number", range(len(landmarks.PALETTE)))
def test_no_colour_is_the_red_of_rendered_vessels(number):
    red, green, blue = landmarks.rgb(number)
    assert not (green < 0.6 * red and blue < 0.6 * red)


def test_what_is_usual_is_known_of_bifurcations_and_of_nothing_else():
    low, high = Pair("left_carotid_bifurcation", "right_carotid_bifurcation").usual_distance_mm
    assert low < 38 and high > 89  # the smallest and the largest of 52 published scans
    assert Pair("left_orbit", "right_orbit").usual_distance_mm == (0.0, float("inf"))
    middle, _ = Pair("left_carotid_bifurcation", "right_carotid_bifurcation").usual_offset_mm
    assert middle[0] > 0
    assert Pair("left_orbit", "right_orbit").usual_offset_mm is None


def test_every_landmark_has_a_colour_of_its_own_as_long_as_there_are_some():
    count = len(landmarks.PALETTE)
    assert len({landmarks.colour(number) for number in range(count)}) == count
    assert landmarks.colour(count) == landmarks.colour(0)
    assert landmarks.rgb(0) == tuple(int(landmarks.colour(0)[n : n + 2], 16) / 255 for n in (1, 3, 5))
