"""The verdict: each threshold from both sides, and which landmarks a reason is about, for any set of landmarks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from CarotidLandmarkLib.detection import ConfidenceRegion, LandmarkResult, Quality
from CarotidLandmarkLib.landmarks import LandmarkSpec
from CarotidLandmarkLib.quality import Signals, judge

LEFT, RIGHT = "left_carotid_bifurcation", "right_carotid_bifurcation"
SPECS = (LandmarkSpec(LEFT, "L bifurcation", RIGHT), LandmarkSpec(RIGHT, "R bifurcation", LEFT))
AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
GOOD = Signals(elsewhere=0.05, longest_mm=2.0, brightest_hu=350.0, inside=True)


def point(name: str, x: float, presence: float = 0.99, reliability: float | None = None) -> LandmarkResult:
    region = ConfidenceRegion(0.9, 30.0, 20.0, (2.0, 1.5, 1.0), AXES)
    return LandmarkResult(name, "detected", presence, (x, 0.0, 0.0), confidence=region, reliability=reliability)


def verdict(left: LandmarkResult, signal: Signals = GOOD, right_x: float = -30.0) -> Quality:
    return judge(SPECS, [left, point(RIGHT, right_x)], [signal, GOOD], constant=False)


@pytest.mark.parametrize(
    ("left", "signal", "expected"),
    [
        (point(LEFT, 30, presence=0.91), GOOD, "ok"),
        (point(LEFT, 30, presence=0.89), GOOD, "review"),
        (point(LEFT, 30, reliability=0.9), GOOD, "ok"),
        (point(LEFT, 30, reliability=0.899), GOOD, "review"),
        (point(LEFT, 30, reliability=0.9), replace(GOOD, elsewhere=0.2, longest_mm=9.0), "ok"),
        (point(LEFT, 30), replace(GOOD, longest_mm=5.9), "ok"),
        (point(LEFT, 30), replace(GOOD, longest_mm=6.1), "review"),
        (point(LEFT, 30), replace(GOOD, elsewhere=0.09), "ok"),
        (point(LEFT, 30), replace(GOOD, elsewhere=0.11), "review"),
        (point(LEFT, 30), replace(GOOD, brightest_hu=131.0), "ok"),
        (point(LEFT, 30), replace(GOOD, brightest_hu=129.0), "review"),
        (point(LEFT, 0), GOOD, "ok"),
        (point(LEFT, 70), GOOD, "ok"),
        (point(LEFT, 1), GOOD, "ok"),
        (point(LEFT, -1), GOOD, "review"),
        (point(LEFT, 69), GOOD, "ok"),
        (point(LEFT, 71), GOOD, "review"),
    ],
)
def test_every_threshold_holds_on_both_sides(left, signal, expected):
    quality = verdict(left, signal)
    assert quality.verdict == expected
    assert len(quality.reasons) == (expected == "review")


@pytest.mark.parametrize(
    ("left", "right", "signal", "expected", "words"),
    [
        (point(LEFT, 30, presence=0.7), point(RIGHT, -30), GOOD, "review", "may not be in this scan"),
        (point(LEFT, 30), point(RIGHT, -30), replace(GOOD, longest_mm=9.0), "review", "wide uncertainty"),
        (LandmarkResult(LEFT, "missing", 0.1), point(RIGHT, -30), GOOD, "review", "not found"),
        (LandmarkResult(LEFT, "missing", 0.9), point(RIGHT, -30), replace(GOOD, inside=False), "review", "lie outside"),
        (point(LEFT, -30), point(RIGHT, 30), GOOD, "reject", "to the right of the right"),
        (point(LEFT, 0), point(RIGHT, 0), GOOD, "reject", "to the right of the right"),
        (point(LEFT, 5), point(RIGHT, -5), GOOD, "review", "10.0 mm apart"),
        (point(LEFT, 30), point(RIGHT, -30), replace(GOOD, brightest_hu=60.0), "reject", "no contrast agent"),
        (point(LEFT, 30), point(RIGHT, -30), replace(GOOD, elsewhere=0.6), "review", "second place"),
        (LandmarkResult(LEFT, "missing", 0.1), LandmarkResult(RIGHT, "missing", 0.1), GOOD, "reject", "No landmark"),
    ],
)
def test_the_verdict_says_what_to_check(left, right, signal, expected, words):
    quality = judge(SPECS, [left, right], [signal, signal], constant=False)
    assert quality.verdict == expected
    assert any(words in reason for reason in quality.reasons)


def test_a_scan_without_structure_is_rejected():
    quality = judge(SPECS, [point(LEFT, 30), point(RIGHT, -30)], [GOOD, GOOD], constant=True)
    assert quality.verdict == "reject" and "same value everywhere" in quality.reasons[0]


def test_without_contrast_at_any_point_found_the_scan_is_rejected():
    dark = replace(GOOD, brightest_hu=60.0)
    landmarks = [point(LEFT, 30), LandmarkResult(RIGHT, "missing", 0.1)]
    assert judge(SPECS, landmarks, [dark, GOOD], constant=False).verdict == "reject"
    assert judge(SPECS, [point(LEFT, 30), point(RIGHT, -30)], [dark, dark], constant=False).verdict == "reject"
    assert verdict(point(LEFT, 30), dark).verdict == "review"


def test_one_landmark_in_an_artery_does_not_reject_points_that_are_good_elsewhere():
    specs = (LandmarkSpec(LEFT, "L bifurcation", LEFT), LandmarkSpec("nasion", "Nasion", "nasion"))
    dark = replace(GOOD, brightest_hu=60.0)
    assert judge(specs, [point(LEFT, 30), point("nasion", 0)], [dark, GOOD], constant=False).verdict == "review"


def test_a_number_in_a_reason_does_not_look_like_one_that_is_in_order():
    (probability,) = verdict(point(LEFT, 30, reliability=0.896)).reasons
    assert "a probability of 89% only" in probability
    (distance,) = verdict(point(LEFT, -0.4)).reasons
    assert "29.6 mm apart, which is unusual" in distance


def test_a_reason_is_about_its_landmark_and_the_other_one_is_in_order():
    quality = verdict(point(LEFT, 30), replace(GOOD, longest_mm=9.0))
    assert quality.about == ((LEFT,),)
    assert (quality.verdict_on(LEFT), quality.verdict_on(RIGHT)) == ("review", "ok")
    apart = verdict(point(LEFT, 90))
    assert (apart.verdict_on(LEFT), apart.verdict_on(RIGHT)) == ("review", "review")
    assert Quality("review", ("Look at the scan.",)).verdict_on(LEFT) == "review"
    assert Quality("reject", ("No.",), ((RIGHT,),)).verdict_on(LEFT) == "reject"


class TestTwoPairsAndOneSingle:
    """A second pair, and a landmark of the midline: each pair is judged by itself."""

    SPECS = (
        LandmarkSpec(LEFT, "L bifurcation", RIGHT),
        LandmarkSpec("right_orbit", "R orbit", "left_orbit"),
        LandmarkSpec("nasion", "Nasion", "nasion"),
        LandmarkSpec(RIGHT, "R bifurcation", LEFT),
        LandmarkSpec("left_orbit", "L orbit", "right_orbit"),
    )

    def judge(self, **places: float) -> Quality:
        usual = {LEFT: 30.0, RIGHT: -30.0, "left_orbit": 32.0, "right_orbit": -32.0, "nasion": 0.0} | places
        landmarks = [point(spec.name, usual[spec.name]) for spec in self.SPECS]
        return judge(self.SPECS, landmarks, [GOOD] * 5, constant=False)

    def test_all_in_order_is_ok(self):
        assert self.judge() == Quality("ok")

    def test_where_nothing_is_found_other_landmarks_are_not_asked_for_in_the_neck(self):
        none = [LandmarkResult(spec.name, "missing", 0.1) for spec in self.SPECS]
        (reason,) = judge(self.SPECS, none, [GOOD] * 5, constant=False).reasons
        assert reason == "No landmark was found: does the scan show where they are?"

    def test_contrast_is_asked_of_landmarks_in_arteries_alone(self):
        """A soft-tissue landmark at 60 HU made every scan a review, and a model of nothing else only rejected."""
        names = [spec.name for spec in self.SPECS if "orbit" in spec.name]
        specs = [spec for spec in self.SPECS if spec.name in names]
        landmarks = [point(name, 30.0 if "left" in name else -30.0) for name in names]
        dark = [replace(GOOD, brightest_hu=60.0)] * 2
        assert judge(specs, landmarks, dark, constant=False) == Quality("ok")

    @pytest.mark.parametrize(
        ("left", "right", "label"),
        [(LEFT, RIGHT, "L bifurcation and R bifurcation"), ("left_orbit", "right_orbit", "L orbit and R orbit")],
    )
    def test_swapped_points_are_named_for_the_right_pair(self, left, right, label):
        quality = self.judge(**{left: -31.0, right: 31.0})
        assert quality.verdict == "reject"
        assert quality.reasons == (f"{label}: the left point lies to the right of the right point.",)
        assert quality.about == ((left, right),)

    def test_an_unusual_distance_is_named_for_the_pair_whose_distance_is_known(self):
        quality = self.judge(**{LEFT: 5.0, RIGHT: -5.0, "left_orbit": 1.0, "right_orbit": -1.0})
        assert quality.reasons == (
            "L bifurcation and R bifurcation: 10.0 mm apart, which is unusual: check both points.",
        )
        assert quality.verdict_on("left_orbit") == "ok" and quality.verdict_on(RIGHT) == "review"


def test_the_page_on_detecting_lists_every_reason():
    page = (Path(__file__).parents[2] / "docs" / "using" / "detect.md").read_text(encoding="utf-8")
    listed = [re.sub(r"\bN\b", "(number)", reason) for reason in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)]
    absent = LandmarkResult(LEFT, "missing", 0.1)
    given = [
        verdict(absent),
        verdict(absent, replace(GOOD, inside=False)),
        verdict(point(LEFT, 30.0, presence=0.6)),
        verdict(point(LEFT, 30.0, reliability=0.4)),
        verdict(point(LEFT, 30.0), replace(GOOD, longest_mm=9.0)),
        verdict(point(LEFT, 30.0), replace(GOOD, elsewhere=0.5)),
        verdict(point(LEFT, 30.0), replace(GOOD, brightest_hu=50.0)),
        verdict(point(LEFT, 90.0)),
        verdict(point(LEFT, -70.0)),
    ]
    assert all(quality.reasons for quality in given)
    for reason in (reason for quality in given for reason in quality.reasons):
        words = re.sub(r"[\d.]+(?= mm apart|%)", "(number)", reason).replace("(number)%", "(number) %")
        assert any(each in words for each in listed), reason
