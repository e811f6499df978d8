"""The page: it says all there is to know, in the right order, and loads nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from CarotidLandmarkLib.detection import Detection, LandmarkResult, Quality
from CarotidLandmarkLib.markups import read_markups, write_markups
from CarotidLandmarkLib.report import ReportError, report_html, results_folder, write_report, write_results
from PIL import Image
from report_cases import CENTRE, LEFT, RIGHT, detection, volume


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(body).split())


def test_the_page_says_all_there_is_to_know():
    text = text_of(report_html(volume(), detection(volume())))
    for words in (
        "REVIEW",
        "R bifurcation: not found.",
        "Left carotid bifurcation left detected 97 % 10.0, -20.0, 30.0 -10.0, 20.0, 30.0 33 of 64 "
        "6.0, 4.0, 2.0 201 mm³",
        "Right carotid bifurcation right missing 21 %",
        "Not found in this scan. The probability that it is there is 21 %.",
        "first 0.1.0",
        "ab" * 32,
        "Seed 3",
        "Device cpu",
        "total 4.0 s",
        "Not for clinical use.",
    ):
        assert words in text


def test_the_level_of_the_regions_is_said_as_it_was_chosen(tmp_path):
    scan, made = volume(), detection(volume())
    left = replace(made[LEFT], confidence=replace(made[LEFT].confidence, level=0.999))
    write_results(tmp_path, scan, replace(made, landmarks=(left, made[RIGHT])))
    text = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert all(words in text for words in ("± mm at 99.9 %", "99.9 % region", "at the 99.9 % level"))
    assert "99.9% region" in (tmp_path / "landmarks.mrk.json").read_text(encoding="utf-8")


def test_the_page_does_not_say_that_every_model_is_calibrated():
    text = text_of(report_html(volume(), detection(volume())))
    assert "the model card says whether, and how, it was calibrated" in text


def test_that_it_is_not_for_clinical_use_comes_before_anything_else():
    body = report_html(volume(), detection(volume())).partition("<body>")[2]
    assert text_of(body).startswith("Not for clinical use.")


def test_thick_slices_are_told_where_slices_between_them_are_shown():
    told = "own slices are {:.2f} mm apart: what lies between is interpolated."
    assert told.format(1.5) in text_of(report_html(volume(), detection(volume())))
    fine = volume()
    fine = replace(fine, affine_lps=fine.affine_lps @ np.diag([1, 1, 2 / 3, 1]))
    assert "interpolated" not in text_of(report_html(fine, replace(detection(fine), volume=fine.info)))


@pytest.mark.parametrize("truth", [None, {LEFT: CENTRE}])
def test_every_row_of_the_table_has_a_cell_for_each_heading(truth):
    table = report_html(volume(), detection(volume()), truth).partition("<table>")[2].partition("</table>")[0]
    rows = table.split("<tr>")[1:]
    assert len(rows) == 3
    assert {len(re.findall(r"<t[hd][ >]", row)) for row in rows} == {10 if truth else 9}


def test_a_landmark_that_seems_to_lie_beyond_the_scan_is_not_called_improbable():
    beyond = LandmarkResult(RIGHT, "missing", 0.98)
    text = text_of(report_html(volume(), detection(volume(), beyond)))
    assert "Not found in this scan. The place where it seems to be lies outside the scan" in text


def test_the_page_loads_nothing_from_elsewhere_and_its_pictures_are_whole(tmp_path):
    page = write_report(tmp_path / "report.html", volume(), detection(volume())).read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 3  # the found landmark's planes and strip, and the overview
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(data))).verify()
    assert not re.search(r"https?://|<link|<script|url\(", page)


def test_a_name_or_reason_can_not_break_the_page():
    hostile = replace(volume(), name="<script>alert(1)</script>.nrrd")
    result = replace(detection(hostile), quality=Quality("reject", ('<img src="x">',)))
    page = report_html(hostile, result)
    assert "<script>" not in page
    assert '<img src="x">' not in page


def test_the_truth_adds_the_error_and_a_cross():
    x, y, z = CENTRE
    text = text_of(report_html(volume(), detection(volume()), {LEFT: (x + 3, y, z + 4), RIGHT: None}))
    assert "5.0 mm" in text
    assert "absent in the truth" in text
    assert "known truth (×)" in text


def test_a_detection_on_another_scan_is_refused():
    with pytest.raises(ReportError, match="64 x 64 x 64"):
        scan = volume()
        report_html(replace(scan, array=scan.array[:-1]), detection(scan))


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A folder as a program leaves it that is killed when it has moved the first of new results onto old ones."""
    results, move = tmp_path / "results", os.replace

    def watched(source, target):
        move(source, target)
        if target == results / "detection.json":
            shutil.copytree(results, tmp_path / "killed" / "results")

    write(results, CENTRE)
    monkeypatch.setattr(os, "replace", watched)
    write(results, (1.0, 2.0, 3.0))
    monkeypatch.setattr(os, "replace", move)
    return tmp_path / "killed" / "results"


def write(folder, point):
    (left, right), scan = detection(volume()).landmarks, volume()
    with results_folder(folder) as staging:
        found = replace(detection(scan), landmarks=(replace(left, position_lps_mm=point), right))
        write_results(staging, scan, found)


def left_points(folder):
    labels = {LEFT: "L bifurcation", RIGHT: "R bifurcation"}
    detected = Detection.from_json((folder / "detection.json").read_bytes())
    return [read_markups(folder / "landmarks.mrk.json", labels)[LEFT], detected[LEFT].position_lps_mm]


def test_results_that_a_killed_program_has_replaced_in_part_are_replaced_by_the_same_command(killed):
    assert left_points(killed) == [CENTRE, (1.0, 2.0, 3.0)]
    write(killed, (4.0, 5.0, 6.0))
    assert left_points(killed) == [(4.0, 5.0, 6.0)] * 2


def test_points_corrected_in_what_a_killed_program_left_are_not_replaced(killed):
    write_markups(killed / "landmarks.mrk.json", {LEFT: (7.0, 8.0, 9.0), RIGHT: None})
    with pytest.raises(ReportError, match="is not as a detection left it"):
        write(killed, (4.0, 5.0, 6.0))
