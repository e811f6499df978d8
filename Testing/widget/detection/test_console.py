"""Detections that somebody else has put into the scene, such as Slicer's Python console: the panel follows them."""

from __future__ import annotations

import gc
import weakref

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.panel import logic as logic_module
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import cells
from scene_cases import LEFT, RIGHT, make_detection, neck_volume


@pytest.fixture
def volume(widget):
    node = scene.add_volume(slicer.mrmlScene, neck_volume(5.0))
    widget.ui.inputSelector.setCurrentNode(node)
    return node


def test_a_detection_from_the_console_is_shown_by_the_panel_and_followed_by_it_alone(widget, application, volume, tiny):
    widget.ui.annotatorLineEdit.setText("anna")
    logic = logic_module.CarotidLandmarkLogic()
    logic.bundles = [tiny]
    logic.detect(volume, passes=2, device="cpu")
    application.wait_until(lambda: widget.nodes is not None)
    gone = weakref.ref(logic)
    del logic
    gc.collect()
    assert gone() is None
    assert cells(widget, 1)["Landmark"] == "R bifurcation"
    nodes = scene.find_detection(volume)
    assert nodes.detection.timing_s["load"] > 0
    nodes.points.SetNthControlPointPosition(1, -20.0, 8.0, 4.0)
    application.processEvents()
    assert cells(widget, 1)["Status"].startswith("reviewed by anna")
    assert widget.table.row() == 1


def test_a_point_that_was_moved_while_nobody_followed_it_counts_as_corrected(widget, application, volume):
    widget.exit()
    nodes = logic_module.CarotidLandmarkLogic().show(volume, make_detection())
    nodes.points.SetNthControlPointPosition(1, -20.0, 8.0, 4.0)
    application.processEvents()
    widget.enter()
    application.processEvents()
    assert review_of(nodes).status == {LEFT: "predicted", RIGHT: "corrected"}
