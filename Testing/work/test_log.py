"""What long work says where there is no terminal."""

from __future__ import annotations

import re
import time

import pytest
from CarotidLandmarkLib.work import duration, progress
from CarotidLandmarkLib.work.log import remaining_words


def test_a_log_gets_a_line_now_and_then_even_from_work_that_tells_nothing(monkeypatch, capsys):
    monkeypatch.setattr("CarotidLandmarkLib.work.log.LINE_EVERY_S", 0.05)
    with progress() as step:
        step("training, step 20 of 40", 0.5)
        deadline = time.monotonic() + 20
        err = ""
        while err.count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            err += capsys.readouterr().err
    lines = err.splitlines()
    assert len(lines) >= 3
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d training, step 20 of 40: 50% done", line) for line in lines)


def test_short_work_says_nothing_and_nothing_is_said_when_it_is_over(monkeypatch, capsys):
    with progress() as step:
        step("reading", 0.1)
    monkeypatch.setattr("CarotidLandmarkLib.work.log.LINE_EVERY_S", 0.01)
    with progress(lines=False) as step:
        step("reading", 0.1)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_the_time_left_is_that_of_the_speed_since_the_work_went_on():
    assert remaining_words(100.0, 0.5, 160.0, 0.75) == "60 s"  # a quarter in 60 s, a quarter is left
    assert remaining_words(0.0, 0.0, 3600.0, 0.1) == "9 h 0 min"
    assert remaining_words(0.0, 0.5, 60.0, 0.5) == ""
    assert remaining_words(0.0, 0.0, 60.0, 1.0) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5940, "99 min"), (6000, "1 h 40 min"), (86400 * 3, "3 d 0 h")],
)
def test_a_duration_is_in_words_that_people_use(seconds, words):
    assert duration(seconds) == words
