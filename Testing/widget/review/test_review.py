"""What an annotator does, with mouse and keys: drag, undo, mark, accept, comment, step through points and scans."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.job import DetectionCancelled
from CarotidLandmarkLib.panel.review import ask_to_keep_reviewed
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import cells, drag, drag_left_point, load_scene, pixel_of, press, show
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, landmark, make_detection, neck_volume


@pytest.fixture
def nodes(widget, application):
    nodes = show(widget)
    slicer.util.setSliceViewerLayers(background=nodes.volume, fit=True)
    widget.table.select(0)
    application.processEvents()
    return nodes


def test_a_drag_in_a_slice_view_ends_as_corrected_with_its_distance_and_undo_restores_it(widget, nodes, application):
    red = application.layoutManager().widgets["Red"]
    red.view.look_at(scene.to_ras(LEFT_LPS), 90.0)
    red.view.pixels()
    start = pixel_of(red, scene.to_ras(LEFT_LPS))
    drag(application, red, start, start + QPoint(40, 20))
    moved = np.array(scene.position_lps(nodes, 0)) - LEFT_LPS
    per_pixel = 90.0 / red.view.size[1]
    assert moved == pytest.approx([40 * per_pixel, 20 * per_pixel, 0.0], abs=1.5 * per_pixel)
    distance = float(np.linalg.norm(moved))
    assert cells(widget, 0)["Status"] == f"reviewed, moved {distance:.1f} mm"
    assert not nodes.points.GetNthControlPointSelected(0)
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "predicted"}
    widget.ui.undoButton.click()
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert cells(widget, 0)["Status"] == "ok"
    assert nodes.points.GetNthControlPointSelected(0)


def test_a_click_on_a_point_without_moving_it_corrects_nothing(widget, nodes, application):
    red = application.layoutManager().widgets["Red"]
    red.view.look_at(scene.to_ras(LEFT_LPS), 90.0)
    red.view.pixels()
    start = pixel_of(red, scene.to_ras(LEFT_LPS))
    drag(application, red, start, start)
    assert review_of(nodes).status[LEFT] == "predicted"


def test_dragging_selects_the_row_of_the_point(widget, nodes, application):
    red = application.layoutManager().widgets["Red"]
    red.view.look_at(scene.to_ras(RIGHT_LPS), 90.0)
    red.view.pixels()
    start = pixel_of(red, scene.to_ras(RIGHT_LPS))
    drag(application, red, start, start + QPoint(0, 25))
    assert widget.table.row() == 1
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "corrected"}


def test_marking_missing_takes_point_and_ellipsoid_away_and_bringing_back_returns_them(widget, nodes):
    widget.ui.missingButton.click()
    assert scene.position_lps(nodes, 0) is None
    assert nodes.points.GetNthControlPointPositionStatus(0) == slicer.vtkMRMLMarkupsNode.PositionMissing
    assert not nodes.ellipsoids[LEFT].GetDisplayNode().GetVisibility()
    assert cells(widget, 0)["Status"] == "missing"
    assert widget.ui.missingButton.text == "Bring back (M)"
    widget.ui.missingButton.click()
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert nodes.ellipsoids[LEFT].GetDisplayNode().GetVisibility()
    assert cells(widget, 0)["Status"] == "ok"
    assert widget.ui.missingButton.text == "Mark missing (M)"


def test_a_point_that_was_not_found_can_be_brought_to_the_slice_that_is_shown(widget, application):
    nodes = show(widget, make_detection(left=None))
    application.layoutManager().slices["Red"].look_at((-20.0, 5.0, 12.0), 100.0)
    widget.table.select(0)
    assert widget.ui.missingButton.text == "Bring back (M)"
    widget.ui.missingButton.click()
    assert scene.to_ras(scene.position_lps(nodes, 0)) == pytest.approx([-20.0, 5.0, 12.0], abs=1e-3)
    assert review_of(nodes).status[LEFT] == "corrected"


def test_reset_returns_a_moved_point_to_its_prediction(widget, nodes):
    scene.set_position(nodes, 0, (1.0, 2.0, 3.0))
    widget.ui.acceptButton.click()
    assert review_of(nodes).status[LEFT] == "accepted"
    widget.ui.resetButton.click()
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert review_of(nodes).status[LEFT] == "predicted"


def test_undo_can_not_be_pressed_where_reset_has_changed_nothing(widget, nodes):
    widget.table.select(0)
    widget.ui.resetButton.click()
    assert not widget.ui.undoButton.enabled


def test_every_change_can_be_undone_one_by_one(widget, nodes):
    widget.ui.acceptButton.click()
    widget.ui.missingButton.click()
    widget.ui.undoButton.click()
    assert (review_of(nodes).status[LEFT], scene.position_lps(nodes, 0)) == ("accepted", pytest.approx(LEFT_LPS))
    widget.ui.undoButton.click()
    assert review_of(nodes).status[LEFT] == "predicted"
    assert not widget.ui.undoButton.enabled


def test_keys_accept_mark_reset_undo_and_step_through_landmarks(widget, nodes, application):
    press(application, Qt.Key.Key_A)
    assert review_of(nodes).status[LEFT] == "accepted"
    press(application, Qt.Key.Key_L)
    assert widget.table.row() == 1
    press(application, Qt.Key.Key_M)
    assert review_of(nodes).status[RIGHT] == "missing"
    press(application, Qt.Key.Key_R)
    assert review_of(nodes).status[RIGHT] == "missing"  # the views' own key: it resets their field of view
    press(application, Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    assert review_of(nodes).status[RIGHT] == "predicted"
    press(application, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert review_of(nodes).status[RIGHT] == "missing"
    press(application, Qt.Key.Key_L, Qt.KeyboardModifier.ShiftModifier)
    assert widget.table.row() == 0


def test_keys_step_through_the_scans_of_the_scene_round_and_round(widget, application):
    names = ["first", "second", "third"]
    for name in names:
        show(widget, name=name)
    widget.ui.inputSelector.setCurrentNode(slicer.util.getNode("first"))
    seen = []
    for _ in range(4):
        press(application, Qt.Key.Key_N)
        seen.append(widget.ui.inputSelector.currentNode().GetName())
    assert seen == ["second", "third", "first", "second"]
    press(application, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert widget.ui.inputSelector.currentNode().GetName() == "first"
    background = application.layoutManager().slices["Red"].logic.GetSliceCompositeNode().GetBackgroundVolumeID()
    assert background == slicer.util.getNode("first").GetID()


def test_keys_typed_into_the_comment_are_text_and_the_comment_is_kept_with_the_scan(widget, nodes, application):
    line = widget.ui.commentLineEdit
    application.mainWindow().activateWindow()
    line.setFocus()
    application.processEvents()
    QTest.keyClicks(line, "calm neck, all")
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert line.text == "calm neck, all"
    assert review_of(nodes).comment == "calm neck, all"
    assert review_of(nodes).status[LEFT] == "predicted"
    other = show(widget, name="other")
    line.clearFocus()
    widget.refresh()
    assert line.text == ""
    assert review_of(other).comment == ""


def test_the_annotators_name_is_kept_with_every_reviewed_scan(widget, nodes):
    QTest.keyClicks(widget.ui.annotatorLineEdit, "reader-1")
    widget.ui.acceptButton.click()
    assert review_of(nodes).annotator == "reader-1"


@pytest.mark.parametrize("clear", [False, True])
def test_a_review_survives_saving_and_opening(widget, nodes, tmp_path, clear):
    scene.set_position(nodes, 0, (20.0, -8.0, 4.0))
    widget.ui.acceptButton.click()
    widget.table.select(1)
    widget.ui.missingButton.click()
    scene.write_bundle(slicer.mrmlScene, tmp_path / "reviewed.mrb")
    slicer.mrmlScene.Clear(0)
    load_scene(widget, tmp_path / "reviewed.mrb", clear)
    (again,) = scene.find_detections(slicer.mrmlScene)
    assert review_of(again).status == {LEFT: "accepted", RIGHT: "missing"}
    assert scene.position_lps(again, 0) == pytest.approx((20.0, -8.0, 4.0), abs=1e-3)
    assert again.points.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionMissing
    assert not again.ellipsoids[RIGHT].GetDisplayNode().GetVisibility()
    assert cells(widget, 0)["Status"] == "reviewed, moved 8.0 mm"


@pytest.mark.parametrize(("answer", "stays"), [("Yes", True), ("No", False)])
def test_a_second_detection_asks_before_it_touches_a_reviewed_point(widget, nodes, application, answer, stays):
    import qt

    scene.set_position(nodes, 0, (20.0, -8.0, 4.0))
    widget.ui.acceptButton.click()
    application.answers = [getattr(qt.QMessageBox, answer)]
    keep = ask_to_keep_reviewed(nodes, (LEFT, RIGHT))
    assert keep is stays
    assert "L bifurcation (accepted)" in application.asked[0]
    replaced = {} if keep else scene.reviewed_landmarks(nodes)
    widget.logic.show(nodes.volume, make_detection(left=(30.0, -12.0, 7.0), right=(-30.0, -12.0, 7.0)), replaced)
    assert scene.position_lps(nodes, 0) == pytest.approx((20.0, -8.0, 4.0) if stays else (30.0, -12.0, 7.0))
    assert scene.position_lps(nodes, 1) == pytest.approx((-30.0, -12.0, 7.0))
    assert review_of(nodes).status[LEFT] == ("accepted" if stays else "predicted")


def test_a_reviewed_point_stays_when_another_model_lists_the_landmarks_in_another_order(widget, nodes):
    scene.set_position(nodes, 0, (20.0, -8.0, 4.0))
    widget.ui.acceptButton.click()
    detection = make_detection(left=(30.0, -12.0, 7.0), right=(-30.0, -12.0, 7.0))
    widget.logic.show(nodes.volume, replace(detection, landmarks=detection.landmarks[::-1]))
    assert scene.position_lps(nodes, 1) == pytest.approx((20.0, -8.0, 4.0))
    assert review_of(nodes).status == {LEFT: "accepted", RIGHT: "predicted"}
    assert scene.position_lps(nodes, 0) == pytest.approx((-30.0, -12.0, 7.0))
    assert sorted(nodes.points.GetNthControlPointLabel(n) for n in range(2)) == ["L", "R"]


def test_cancelling_that_question_detects_nothing(widget, nodes, application):
    import qt

    widget.ui.acceptButton.click()
    application.answers = [qt.QMessageBox.Cancel]
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert review_of(nodes).status[LEFT] == "accepted"


def test_without_reviewed_points_nothing_is_asked(widget, nodes, application):
    assert ask_to_keep_reviewed(nodes, (LEFT, RIGHT))
    assert ask_to_keep_reviewed(None, (LEFT, RIGHT))
    assert application.asked == []


def test_a_reviewed_point_stays_when_another_model_finds_more_landmarks(widget, nodes):
    scene.set_position(nodes, 0, (20.0, -8.0, 4.0))
    widget.ui.acceptButton.click()
    detection = make_detection(left=(30.0, -12.0, 7.0))
    more = replace(detection, landmarks=(landmark("dens", (0.0, 0.0, 0.0)), *detection.landmarks))
    nodes = widget.logic.show(nodes.volume, more)
    assert scene.position_lps(nodes, 1) == pytest.approx((20.0, -8.0, 4.0))
    assert review_of(nodes).status == {"dens": "predicted", LEFT: "accepted", RIGHT: "predicted"}


def test_the_question_names_reviewed_points_that_the_model_does_not_find(widget, nodes, application):
    import qt

    widget.ui.acceptButton.click()
    application.answers = [qt.QMessageBox.Cancel]
    with pytest.raises(DetectionCancelled):
        ask_to_keep_reviewed(nodes, ("dens",))
    assert "The model does not find L bifurcation: that goes, unless you cancel." in application.asked[0]


def test_a_point_that_is_moved_while_a_detection_runs_stays_though_the_reviewed_ones_shall_be_replaced(
    widget, nodes, application
):
    import qt

    widget.ui.acceptButton.click()
    application.answers = [qt.QMessageBox.No]
    widget.parameters.passes = 2
    widget.ui.detectButton.click()
    scene.set_position(nodes, 1, (-20.0, -8.0, 4.0))
    application.wait_until(lambda: not widget.logic.running, 120)
    assert scene.position_lps(nodes, 1) == pytest.approx((-20.0, -8.0, 4.0))
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "corrected"}


def test_a_point_that_is_not_placed_can_not_be_accepted(widget, nodes, application):
    nodes.points.UnsetNthControlPointPosition(0)
    application.processEvents()
    assert not widget.ui.acceptButton.enabled
    press(application, Qt.Key.Key_A)
    assert review_of(nodes).status[LEFT] == "predicted"


def test_an_ellipsoid_that_the_user_has_hidden_stays_hidden(widget, nodes):
    display = nodes.ellipsoids[LEFT].GetDisplayNode()
    display.SetVisibility(False)
    widget.ui.acceptButton.click()
    widget.ui.levelSlider.setValue(0.5)
    assert not display.GetVisibility()


def test_points_are_imported_where_the_file_has_them_in_a_scan_that_was_centred(widget, nodes, tmp_path):
    (tmp_path / "points.csv").write_text(f"name,L,P,S\n{LEFT},30,-10,5\n{RIGHT},-25,-9,2\n")
    x, y, z = nodes.volume.GetOrigin()
    nodes.volume.SetOrigin(x + 300.0, y, z)
    widget.review.import_points(tmp_path / "points.csv")
    assert scene.position_lps(nodes, 0) == pytest.approx((30.0, -10.0, 5.0)), widget.ui.statusLabel.text


def test_a_file_whose_frame_nobody_says_is_referred_to_the_command_that_has_the_option(widget, nodes, tmp_path):
    (tmp_path / "points.csv").write_text(f"name,x,y,z\n{LEFT},30,-10,5\n{RIGHT},-25,-9,2\n")
    widget.review.import_points(tmp_path / "points.csv")
    assert widget.ui.statusLabel.text.endswith("--frame. Here there are no options: use carotid-landmark import.")


def test_a_point_that_was_not_found_is_brought_into_the_scan_and_seen_there(widget, application):
    nodes = show(widget, make_detection(left=None))
    red = application.layoutManager().slices["Red"]
    red.look_at((-20.0, 5.0, 4000.0), 100.0)
    widget.table.select(0)
    widget.ui.missingButton.click()
    place = scene.position_lps(nodes, 0)
    assert neck_volume(5.0).geometry.contains(place)
    assert red.node.GetSliceOffset() == pytest.approx(place[2], abs=1e-3)


@pytest.mark.parametrize("accepted", [True, False])
def test_the_region_of_a_landmark_that_somebody_calls_absent_stays_away(widget, accepted):
    nodes = show(widget, make_detection(left=None) if accepted else None)
    display = nodes.ellipsoids[LEFT].GetDisplayNode()
    widget.table.select(0)
    if not accepted:
        widget.ui.missingButton.click()
    widget.ui.acceptButton.click()
    assert not display.GetVisibility()
    nodes = widget.logic.show(nodes.volume, make_detection())  # a second model finds it: the annotator's word counts
    assert scene.position_lps(nodes, 0) is None and not display.GetVisibility()
    widget.onParametersChanged()
    widget.ui.resetButton.click()
    assert display.GetVisibility()


def test_what_is_said_of_a_point_is_in_its_description_and_in_the_table(widget, application):
    nodes = show(widget)
    widget.ui.annotatorLineEdit.setText("anna")
    moved = drag_left_point(widget, application)
    table = nodes.table.GetTable()
    assert table.GetValueByName(0, "status").ToString() == "corrected by anna"
    assert [table.GetValueByName(0, name).ToDouble() for name in ("R [mm]", "A [mm]", "S [mm]")] == pytest.approx(
        scene.to_ras(moved)
    )
    description = nodes.points.GetNthControlPointDescription(0)
    assert description.startswith("corrected by anna; was predicted, presence 97%")
    nodes = widget.logic.show(nodes.volume, make_detection(scale=3.0))
    assert nodes.points.GetNthControlPointDescription(0) != description  # of the detection that is shown now
    assert nodes.table.GetTable().GetValueByName(1, "status").ToString() == "detected"
