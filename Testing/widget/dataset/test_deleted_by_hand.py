"""A case's list of points, or its scan, is deleted in another module while the case is open."""

from __future__ import annotations

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.dataset import read_draft
from panel_steps import case_shown, nodes_shown, press
from PySide6.QtCore import Qt
from scene_cases import LEFT

ALARMED, ELSEWHERE = "alarmed", (33.0, -8.0, 4.0)


@pytest.mark.parametrize("deleted", ["before", "meanwhile"])
def test_what_is_detected_after_the_list_was_deleted_is_of_the_case(widget, opened_dataset, application, deleted):
    widget.ui.passesSpinBox.setValue(2)
    if deleted == "meanwhile":
        widget.ui.detectButton.click()
    slicer.mrmlScene.RemoveNode(nodes_shown(widget).points)
    application.processEvents()
    if deleted == "before":
        widget.ui.detectButton.click()
    application.wait_until(lambda: not widget.logic.running, 100)
    case = opened_dataset.case(ALARMED)
    assert case.prediction().model.name == "tiny"
    assert widget.ui.saveNextButton.enabled and not widget.ui.addCaseButton.enabled
    nodes_shown(widget).points.SetNthControlPointPosition(0, *scene.to_ras(ELSEWHERE))
    widget.refresh()
    assert read_draft(case, "anna").landmarks[LEFT][1] == pytest.approx(ELSEWHERE)
    press(application, Qt.Key.Key_S)
    assert case.annotation("anna").points[LEFT] == pytest.approx(ELSEWHERE)


def test_without_its_list_a_case_is_not_detected_in_where_its_scan_was_moved(widget, opened_dataset, application):
    volume = nodes_shown(widget).volume
    slicer.mrmlScene.RemoveNode(nodes_shown(widget).points)
    volume.SetOrigin(0.0, 0.0, 0.0)
    widget.ui.detectButton.click()
    assert not widget.logic.running
    assert "was moved since it was opened; open it again" in widget.ui.statusLabel.text


@pytest.mark.parametrize("at_once", [False, True])
def test_the_points_of_a_scan_that_was_deleted_do_not_lie_over_the_next_case(
    widget, opened_dataset, application, at_once
):
    old = nodes_shown(widget)
    if at_once:  # as with other nodes
        slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    slicer.mrmlScene.RemoveNode(old.volume)
    if at_once:
        slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    press(application, Qt.Key.Key_N)
    assert case_shown(widget) == "unsure"
    assert [bool(node.GetDisplayVisibility()) for node in (old.points, *old.ellipsoids.values())] == [False] * 3
    assert nodes_shown(widget).points.GetDisplayVisibility()
