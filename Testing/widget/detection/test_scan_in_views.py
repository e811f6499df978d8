"""The scan that is chosen is the one in the views, with its points and its vessels."""

from __future__ import annotations

import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene.display import vessels_shown, volumes_in_views
from panel_steps import load_scene, show
from scene_cases import make_detection, neck_volume


@pytest.fixture
def two(widget):
    """Two scans with points; the first is chosen, and in the views."""
    first, second = show(widget, name="first"), show(widget, make_detection(left=(27.0, -11.0, 30.0)), name="second")
    widget.ui.inputSelector.setCurrentNode(first.volume)
    return first, second


def in_views():
    return {node.GetName() for node in volumes_in_views(slicer.mrmlScene)}


def test_without_a_choice_the_scan_in_the_views_is_taken(widget):
    for name in ("first", "second"):
        volume = scene.add_volume(slicer.mrmlScene, neck_volume(5.0, name))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    widget.initializeParameterNode()
    assert widget.parameters.inputVolume.GetName() == "second"


def test_a_scan_that_is_chosen_comes_into_the_views(widget, two):
    assert in_views() == {"first"}
    widget.ui.inputSelector.setCurrentNode(two[1].volume)
    assert in_views() == {"second"}


def test_a_point_is_not_shown_in_another_scan(widget, two):
    slicer.util.setSliceViewerLayers(background=two[1].volume)
    widget.table.select(1)
    assert in_views() == {"first"}


def test_views_that_somebody_has_set_side_by_side_stay(widget, two):
    red = slicer.app.layoutManager().mrmlSliceLogics().GetItemAsObject(0).GetSliceCompositeNode()
    red.SetBackgroundVolumeID(two[1].volume.GetID())
    widget.ui.inputSelector.setCurrentNode(two[1].volume)
    widget.table.select(0)
    assert in_views() == {"first", "second"}


def test_the_vessels_are_those_of_the_scan_that_is_chosen(widget, two):
    widget.ui.vesselsButton.click()
    widget.stepCase(1)
    assert [vessels_shown(nodes.volume) for nodes in two] == [False, True]
    assert widget.ui.vesselsButton.checked


def test_the_next_scan_begins_at_its_first_point(widget, two):
    widget.table.select(1)
    widget.stepCase(1)
    assert widget.table.row() == 0
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    assert red.GetSliceOffset() == pytest.approx(30.0)


def test_points_whose_scan_was_deleted_can_not_be_dragged(widget, two):
    slicer.mrmlScene.RemoveNode(two[0].volume)
    assert two[0].points.GetLocked()


def test_the_scan_that_is_chosen_stays_so_when_a_scene_without_this_module_is_added(widget, two, tmp_path):
    slicer.util.setSliceViewerLayers(background=two[1].volume)
    other = slicer.vtkMRMLScene()
    scene.add_volume(other, neck_volume(5.0, "third"))
    scene.write_bundle(other, tmp_path / "other.mrb")
    load_scene(widget, tmp_path / "other.mrb")
    assert len(widget.logic.volumes()) == 3
    assert widget.parameters.inputVolume is widget.ui.inputSelector.currentNode() is two[0].volume
    assert in_views() == {"first"}


def test_a_scan_that_is_chosen_and_leaves_the_scene_leaves_its_place_empty(widget, two):
    widget.ui.vesselsButton.click()
    scene.remove_volume(two[0].volume)
    assert widget.parameters.inputVolume is widget.ui.inputSelector.currentNode() is None
    assert not vessels_shown(two[1].volume)
    assert in_views() == set()
