"""The summary of many scans: what comes first, what the table and the page hold."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import matplotlib.image
from CarotidLandmarkLib.detection import LandmarkResult
from CarotidLandmarkLib.report import SummaryRow, summary, write_summary, write_thumbnail


def rows_of(make_detection):
    detections = {
        "sure": make_detection(presence=0.95),
        "doubted": make_detection(presence=0.6),
        "bad": make_detection(verdict="reject"),
        "look": make_detection(verdict="review"),
    }
    rows = [SummaryRow(name, f"/scans/{name}.nrrd", detection) for name, detection in detections.items()]
    return [*rows, SummaryRow("lost", "/scans/<lost>.nrrd", None, "lost.nrrd does not exist; check the path.")]


def test_the_doubtful_come_first_in_the_table_and_on_the_page(tmp_path, make_detection):
    counts = write_summary(tmp_path, rows_of(make_detection), ["One note."])
    assert counts == {"ok": 2, "reject": 1, "review": 1, "not done": 1}
    order = ["lost", "bad", "look", "doubted", "sure"]
    with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert list(dict.fromkeys(row["folder"] for row in table)) == order
    assert [row["landmark"] for row in table].count("left_carotid_bifurcation") == 4
    assert table[0]["problem"] == "lost.nrrd does not exist; check the path." and table[0]["landmark"] == ""
    assert (table[1]["verdict"], table[1]["x_lps_mm"], table[1]["scan"]) == ("reject", "30.0", "/scans/bad.nrrd")
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    places = [page.index(f"/scans/{name}.nrrd") for name in ("&lt;lost&gt;", *order[1:])]
    assert places == sorted(places)
    assert "One note." in page and "2 ok" in page and "<lost>" not in page
    assert 'href="bad/report.html"' in page and 'href="lost/report.html"' not in page


def test_the_page_says_the_level_of_each_region_and_what_the_percentage_is(tmp_path, make_detection):
    made = make_detection()
    left, right = made.landmarks
    left = replace(left, confidence=replace(left.confidence, level=0.945))
    right = LandmarkResult(right.name, "missing", 0.2)
    write_summary(tmp_path, [SummaryRow("scan", "/scan.nrrd", replace(made, landmarks=(left, right)))])
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert "30.0, 0.0, 0.0, ± 2.0 mm (94.5 % region), presence 90 %" in page
    assert "missing, presence 20 %" in page


def test_the_table_says_how_likely_a_point_is_right_where_the_model_does(tmp_path, make_detection):
    left, right = make_detection().landmarks
    judged = replace(make_detection(), landmarks=(replace(left, reliability=0.75), right))
    write_summary(tmp_path, [SummaryRow("scan", "scan.nrrd", judged)])
    with open(tmp_path / "summary.csv", newline="", encoding="utf-8") as stream:
        assert [row["reliability"] for row in csv.DictReader(stream)] == ["0.75", ""]


def test_the_page_of_very_many_scans_says_that_it_shows_the_first(tmp_path, make_detection, monkeypatch):
    monkeypatch.setattr(summary, "MOST_ROWS", 2)
    write_summary(tmp_path, rows_of(make_detection))
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert "The first 2 of 5 scans are shown here" in page
    assert len(re.findall(r'class="picture"', page)) == 2
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 1 + 4 * 2 + 1


def test_a_thumbnail_is_small_and_the_page_points_to_it_and_to_none_that_is_absent(
    tmp_path, case_volume, make_detection
):
    (tmp_path / "a scan").mkdir()
    write_thumbnail(tmp_path / "a scan", case_volume, make_detection())
    height, width = matplotlib.image.imread(tmp_path / "a scan" / "thumbnail.png").shape[:2]
    assert max(width, height) == 200 and min(width, height) > 50
    assert (tmp_path / "a scan" / "thumbnail.png").stat().st_size < 60_000
    write_summary(tmp_path, [SummaryRow(name, name, make_detection()) for name in ("a scan", "b")])
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert re.findall(r'<img src="([^"]+)"', page) == ["a%20scan/thumbnail.png"]


def test_names_that_are_no_text_are_marked_not_refused(tmp_path):
    rows = [SummaryRow("scan", "/scans/\udcff.nrrd", None, "\udcff.nrrd is half a sign, \ud83d.")]
    write_summary(tmp_path, rows, ["\udcff is a folder of scans."])
    for name in ("summary.csv", "summary.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "/scans/\ufffd.nrrd" in text and "\ufffd.nrrd is half a sign, \ufffd." in text
