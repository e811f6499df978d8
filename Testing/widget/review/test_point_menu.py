"""The context menu of a point: what it does to the points is seen, and can be undone or is told."""

from __future__ import annotations

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene.review import review_of
from harness.menus import PointMenu
from panel_steps import cells, nodes_shown, pixel_of, press, show
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from scene_cases import LEFT, LEFT_LPS


def turn(application):
    for _ in range(5):
        application.processEvents()


def test_a_point_that_is_cleared_is_not_placed_and_undo_brings_it_back(widget, application):
    nodes = show(widget)
    PointMenu(nodes.points, 0).clear()
    turn(application)
    assert cells(widget, 0)["R A S (mm)"] == "not placed"
    assert review_of(nodes).status[LEFT] == "predicted"
    widget.ui.undoButton.click()
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)


def test_a_point_that_is_renamed_keeps_its_letter(widget, application):
    nodes = show(widget)
    PointMenu(nodes.points, 0).rename("another")
    turn(application)
    assert nodes.points.GetNthControlPointLabel(0) == "L"
    assert cells(widget, 0)["Landmark"] == "L bifurcation"


def test_a_list_that_is_deleted_takes_table_ellipsoids_and_rows_along(widget, application):
    nodes = show(widget)
    PointMenu(nodes.points, 0).delete_list()
    turn(application)
    assert [node.GetScene() for node in nodes.all()] == [None] * 4
    assert widget.ui.resultsTable.rowCount == 0
    assert not widget.ui.acceptButton.enabled


@pytest.mark.parametrize("gone", ["points", "volume"])
def test_a_hand_has_no_hold_of_a_point_that_has_left_the_scene(widget, application, gone):
    nodes, red = show(widget), application.layoutManager().widgets["Red"]
    red.view.look_at(scene.to_ras(LEFT_LPS), 90.0)
    red.view.pixels()
    start = pixel_of(red, scene.to_ras(LEFT_LPS))
    for place in (QPoint(3, 3), start):
        QTest.mouseMove(red, place)
    application.processEvents()
    QTest.mousePress(red, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(red, start + QPoint(10, 5))
    assert widget.logic.follower.dragging
    slicer.mrmlScene.RemoveNode(getattr(nodes, gone))
    QTest.mouseRelease(red, Qt.MouseButton.LeftButton, pos=start)
    turn(application)
    assert not widget.logic.follower.dragging


def test_a_point_of_a_case_that_was_cleared_is_not_saved_as_missing(widget, opened_dataset, application):
    PointMenu(nodes_shown(widget).points, 1).clear()
    turn(application)
    press(application, Qt.Key.Key_S)
    assert "R bifurcation is not placed" in widget.ui.statusLabel.text
    assert opened_dataset.case("alarmed").annotators() == []
