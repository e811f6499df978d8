"""The buttons and keys that change what the views show: seven slices about a point, the window of the scan."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from panel_steps import drag_left_point, show
from scene_cases import LEFT_LPS, RIGHT_LPS, make_detection


@pytest.fixture
def layout(widget):
    """Slicer's own layout logic, which makes the views that the harness does not have."""
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield logic.GetLayoutNode()
    logic.SetMRMLScene(None)


def middle():
    views = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetLayoutLabel() == "point"]
    (view,) = views
    return [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]


def test_the_strip_is_shown_about_the_selected_point_follows_it_and_leaves(widget, application, layout):
    nodes = show(widget)
    before = layout.GetViewArrangement()
    widget.table.select(1)
    widget.ui.stripButton.click()
    assert scene.strip_shown(slicer.mrmlScene) and widget.ui.stripButton.checked
    assert middle() == pytest.approx(scene.to_ras(RIGHT_LPS), abs=1e-3)
    widget.table.select(0)
    assert middle() == pytest.approx(scene.to_ras(LEFT_LPS), abs=1e-3)
    drag_left_point(widget, application)
    place = scene.position_ras(nodes, 0)
    assert abs(place - scene.to_ras(LEFT_LPS)).max() > 1
    assert middle() == pytest.approx(place, abs=1e-3)
    widget.ui.stripButton.click()
    assert layout.GetViewArrangement() == before and not widget.ui.stripButton.checked


def test_without_a_point_the_strip_says_what_it_needs(widget, layout):
    show(widget, make_detection(left=None, right=None))
    widget.ui.stripButton.click()
    assert "Seven slices are shown about a point" in widget.ui.statusLabel.text
    assert not widget.ui.stripButton.checked


def test_the_next_window_is_shown_and_named_by_button_and_key(widget):
    assert not widget.ui.windowButton.enabled and not widget.ui.stripButton.enabled
    nodes = show(widget)
    display = nodes.volume.GetDisplayNode()
    names = []
    for _ in range(3):
        widget.ui.windowButton.click()
        names.append((widget.ui.statusLabel.text, display.GetWindow()))
    assert len(set(names)) == 3
    assert ("soft tissue 400 / 50", 400.0) in names and ("CTA 900 / 300", 900.0) in names
    keys = {key for key, button, _action in widget.review._actions if button is widget.ui.windowButton}
    assert keys == {"W"}


def test_a_rendering_that_somebody_has_made_stays_as_it_is(widget):
    nodes, logic = show(widget), slicer.modules.volumerendering.logic()
    own = logic.CreateDefaultVolumeRenderingNodes(nodes.volume)
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "my box")
    box.SetSize(50.0, 60.0, 70.0)
    own.SetAndObserveROINodeID(box.GetID())
    opacity = own.GetVolumePropertyNode().GetVolumeProperty().GetScalarOpacity()
    before = [opacity.GetSize(), opacity.GetRange()]
    widget.ui.vesselsButton.click()
    assert widget.ui.vesselsButton.checked
    assert box.GetSize() == (50.0, 60.0, 70.0) and [opacity.GetSize(), opacity.GetRange()] == before
    scene.remove_volume(nodes.volume)
    assert box.GetScene() is slicer.mrmlScene
    slicer.mrmlScene.RemoveNode(box)


def test_without_the_module_that_renders_the_vessels_the_panel_says_so_and_the_scene_stays(widget, monkeypatch):
    show(widget)
    monkeypatch.delattr(slicer.modules, "volumerendering")
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLViewNode", "3D")
    view.SetUseDepthPeeling(False)
    before = slicer.mrmlScene.GetNumberOfNodes()
    widget.ui.vesselsButton.click()
    assert "module Volume Rendering is switched off" in widget.ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before and not view.GetUseDepthPeeling()
    assert not widget.ui.vesselsButton.checked
    slicer.mrmlScene.RemoveNode(view)


@pytest.mark.parametrize("how", ["moved", "under a transform"])
def test_the_rendered_box_stays_about_the_points_when_the_scan_is_moved(widget, application, how):
    nodes = show(widget)
    widget.ui.vesselsButton.click()
    (box,) = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    before, after = [0.0] * 6, [0.0] * 6
    box.GetRASBounds(before)
    if how == "moved":
        nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (0.0, 0.0, 300.0)))
    else:
        transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkTransform()
        matrix.Translate(0.0, 0.0, 300.0)
        transform.SetMatrixTransformToParent(matrix.GetMatrix())
        nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    application.processEvents()
    box.GetRASBounds(after)
    assert after == pytest.approx(np.add(before, (0.0, 0.0, 0.0, 0.0, 300.0, 300.0)))
