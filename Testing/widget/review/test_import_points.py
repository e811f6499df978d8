"""Points of another program come into the scan that is shown: as corrections that Undo takes back, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.markups import write_markups
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import show
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS


def test_imported_points_are_corrections_and_undo_takes_them_back(widget, tmp_path):
    nodes = show(widget)
    left = tuple(float(value) for value in np.add(LEFT_LPS, (2.0, -3.0, 4.0)))
    widget.review.import_points(write_markups(tmp_path / "F.mrk.json", {"L": left, "R": None}))
    assert scene.position_lps(nodes, 0) == pytest.approx(left)
    assert scene.position_lps(nodes, 1) is None
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "missing"}
    assert widget.ui.statusLabel.text == "2 points of F.mrk.json were taken over."
    widget.review.undo()
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "predicted"}


def test_points_that_can_not_be_of_this_scan_change_nothing_and_say_why(widget, tmp_path):
    widget.review.import_points(tmp_path / "F.mrk.json")
    assert widget.ui.statusLabel.text == "Open a case, or detect in a scan, before you import its points."
    nodes = show(widget)
    for points, words in (
        ({"L": (9000.0, 0.0, 0.0)}, "mm outside the image of neck"),
        ({"L": RIGHT_LPS, "R": LEFT_LPS}, "are exchanged"),
        ({"nose": LEFT_LPS}, "has a point 'nose', which is none of"),
    ):
        widget.review.import_points(write_markups(tmp_path / "F.mrk.json", points))
        assert words in widget.ui.statusLabel.text
    box = (tmp_path / "F.mrk.json").read_text().replace('"Fiducial"', '"ROI"').replace('"nose"', '"R-1"')
    (tmp_path / "F.mrk.json").write_text(box)
    widget.review.import_points(tmp_path / "F.mrk.json")
    assert "holds no point list, but markups of another type (ROI)" in widget.ui.statusLabel.text
    widget.review.import_points(tmp_path / "none.csv")
    assert widget.ui.statusLabel.text == "none.csv does not exist; check the path."
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "predicted"}


def test_points_that_are_imported_leave_a_question_to_a_colleague_and_are_signed(widget, opened_dataset, tmp_path):
    widget.ui.askButton.click()
    file = tmp_path / "p.csv"
    file.write_text(f"landmark,L_mm,P_mm,S_mm\n{LEFT},30,-8,5\n")
    widget.review.import_points(file)
    review = scene.review_of(widget.nodes)
    assert (review.ask_colleague, review.annotator, review.status[LEFT]) == (True, "anna", "corrected")


def test_of_landmarks_that_a_file_does_not_name_nothing_is_said(widget, application, tmp_path):
    nodes = show(widget)
    nodes.points.UnsetNthControlPointPosition(1)
    application.processEvents()
    widget.review.import_points(write_markups(tmp_path / "F.mrk.json", {"L": LEFT_LPS}))
    assert scene.is_unset(nodes, 1)
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "predicted"}
