"""Of several scans in one scene, points and regions are those of the scan that is looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene.display import volumes_in_views
from CarotidLandmarkLib.scene.review import review_of
from panel_steps import cells, drag, pixel_of, show
from PySide6.QtCore import QPoint
from scene_cases import LEFT_LPS, RIGHT, make_detection, neck_volume


@pytest.fixture
def other(widget):
    """A scan without points; not chosen."""
    return scene.add_volume(slicer.mrmlScene, neck_volume(5.0, "other"))


def is_seen(nodes):
    displays = [node.GetDisplayNode() for node in (nodes.points, *nodes.ellipsoids.values())]
    return {bool(display.GetVisibility()) for display in displays}


def turn_by(volume, turn):
    transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkTransform()
    turn(matrix)
    transform.SetMatrixTransformToParent(matrix.GetMatrix())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_points_of_one_scan_are_neither_seen_nor_moved_in_another_that_has_none(widget, application, other):
    nodes = show(widget, name="first")
    widget.ui.inputSelector.setCurrentNode(other)
    place, red = scene.to_ras(LEFT_LPS), application.layoutManager().widgets["Red"]
    red.view.look_at(place, 90.0)
    red.view.pixels()
    drag(application, red, pixel_of(red, place), pixel_of(red, place) + QPoint(40, 20))
    assert is_seen(nodes) == {False}
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    widget.ui.inputSelector.setCurrentNode(nodes.volume)
    assert is_seen(nodes) == {True} and not nodes.points.GetLocked()


def test_points_of_a_scan_that_a_view_shows_are_seen_there(widget, other):
    nodes = show(widget, name="first")
    red = slicer.app.layoutManager().mrmlSliceLogics().GetItemAsObject(0).GetSliceCompositeNode()
    widget.ui.inputSelector.setCurrentNode(other)
    red.SetBackgroundVolumeID(nodes.volume.GetID())
    widget.onParametersChanged()
    assert is_seen(nodes) == {True} and nodes.points.GetLocked()


def test_points_follow_their_scan_into_a_view_and_out_of_it_also_when_the_panel_is_not_open(widget, application, other):
    nodes = show(widget, name="first")
    widget.ui.inputSelector.setCurrentNode(other)
    widget.exit()
    red = slicer.app.layoutManager().mrmlSliceLogics().GetItemAsObject(0).GetSliceCompositeNode()
    for volume, seen in ((nodes.volume, True), (other, False)):
        red.SetBackgroundVolumeID(volume.GetID())  # as with the view's own selector
        application.processEvents()
        assert is_seen(nodes) == {seen}
    added = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    added.SetLayoutName(red.GetLayoutName())
    application.processEvents()
    added.SetBackgroundVolumeID(nodes.volume.GetID())
    application.processEvents()
    assert is_seen(nodes) == {True} and nodes.points.GetLocked()
    slicer.mrmlScene.RemoveNode(added)
    application.processEvents()
    assert is_seen(nodes) == {False}
    widget.enter()


def test_what_the_user_has_hidden_or_locked_stays_so(widget, other):
    nodes = show(widget, name="first")
    nodes.ellipsoids[RIGHT].GetDisplayNode().SetVisibility(False)
    nodes.points.SetLocked(True)
    widget.ui.opacitySlider.value = 0.7
    widget.onParametersChanged()
    assert nodes.points.GetLocked()
    widget.ui.inputSelector.setCurrentNode(other)
    widget.ui.inputSelector.setCurrentNode(nodes.volume)
    assert nodes.points.GetDisplayNode().GetVisibility()
    assert not nodes.ellipsoids[RIGHT].GetDisplayNode().GetVisibility()


def test_a_detection_that_ends_while_another_scan_is_looked_at_names_its_scan_and_stays_out_of_the_views(widget, other):
    widget.ui.inputSelector.setCurrentNode(other)
    volume = scene.add_volume(slicer.mrmlScene, neck_volume(5.0, "first"))
    widget.onDetectionEnds(widget.logic.show(volume, make_detection()), "Done.")
    assert widget.ui.statusLabel.text == "first: Done."
    assert is_seen(scene.find_detection(volume)) == {False}


def test_a_view_that_is_not_in_the_layout_or_a_layer_that_can_not_be_seen_shows_no_scan(widget, other):
    nodes = show(widget, name="first")
    hidden = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    hidden.SetLayoutName("Hidden")
    hidden.SetBackgroundVolumeID(nodes.volume.GetID())
    slicer.util.setSliceViewerLayers(background=other, foreground=nodes.volume, foregroundOpacity=0.0)
    assert {node.GetName() for node in volumes_in_views(slicer.mrmlScene)} == {"other"}
    widget.table.select(0)  # its point is not shown in the other scan
    assert nodes.volume in volumes_in_views(slicer.mrmlScene)
    slicer.mrmlScene.RemoveNode(hidden)


def test_a_scan_that_a_transform_turns_so_that_its_left_is_another_is_not_detected(widget, other):
    widget.ui.inputSelector.setCurrentNode(other)
    for turn in (lambda matrix: matrix.RotateZ(180), lambda matrix: matrix.Scale(-1, 1, 1)):
        turn_by(other, turn)
        widget.ui.detectButton.click()
        assert "turned or mirrored by the transform" in widget.ui.statusLabel.text
        assert not widget.logic.running
    turn_by(other, lambda matrix: matrix.RotateZ(20))
    assert scene.scan_from_node(other)[2] == "other"


def test_how_far_a_region_reaches_is_said_along_the_axes_of_the_position_beside_it(widget, application):
    nodes = show(widget)
    before = cells(widget, 0)["± 90%\n(mm)"].split()
    turn_by(nodes.volume, lambda matrix: matrix.RotateX(90))
    application.processEvents()
    widget.refresh()
    assert cells(widget, 0)["± 90%\n(mm)"].split() == [before[0], before[2], before[1]]
    bounds = [0.0] * 6
    nodes.ellipsoids["left_carotid_bifurcation"].GetRASBounds(bounds)
    drawn = [(high - low) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    assert [float(word) for word in cells(widget, 0)["± 90%\n(mm)"].split()] == pytest.approx(drawn, abs=0.1)


def test_results_of_other_voxels_are_called_so(widget, application):
    nodes = show(widget)
    image = vtk.vtkImageData()
    image.DeepCopy(nodes.volume.GetImageData())
    image.GetPointData().GetScalars().Fill(7)
    nodes.volume.SetAndObserveImageData(image)  # as when a sequence is played
    application.processEvents()
    widget.refresh()
    assert "voxels of the scan have changed" in widget.ui.adviceLabel.text
    widget.logic.show(nodes.volume, make_detection())
    widget.refresh()
    assert "changed" not in widget.ui.adviceLabel.text


def test_what_the_detector_has_noted_stays_to_be_read(widget):
    nodes = show(widget, replace(make_detection(), notes=("The CPU took over.",)))
    widget.say("Points were taken over.")
    widget.parameters.opacity = 0.3
    assert "The CPU took over." in widget.ui.adviceLabel.text
    assert widget.ui.statusLabel.text == "Points were taken over."
    assert review_of(nodes).reviewed == ()


def test_of_two_scans_of_a_scene_without_the_panel_one_is_attended_to():
    other_scene = slicer.vtkMRMLScene()
    first, second = (
        scene.add_detection(scene.add_volume(other_scene, neck_volume(5.0, name)), make_detection()) for name in "ab"
    )
    scene.attend(other_scene, first)
    assert (is_seen(first), is_seen(second)) == ({True}, {False})
    scene.attend(other_scene, second)
    assert (is_seen(first), is_seen(second)) == ({False}, {True})
