"""The strip of seven slices: Slicer's own layout logic makes its views, and they follow the point."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene import display as scene_display
from CarotidLandmarkLib.scene import review as scene_review
from CarotidLandmarkLib.scene.offscreen import SliceView, Stage
from CarotidLandmarkLib.scene.strip import LAYOUT, OFFSETS_MM, view_name
from scene_cases import LEFT_LPS, RIGHT_LPS, make_detection, neck_volume


@pytest.fixture
def stage():
    stage = Stage()
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(stage.scene)
    logic.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield stage
    logic.SetMRMLScene(None)


@pytest.fixture
def nodes(stage):
    return scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())


def layout(stage):
    return stage.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def strip(stage):
    return [stage.scene.GetSingletonNode(view_name(offset), "vtkMRMLSliceNode") for offset in OFFSETS_MM]


def centre(view):
    """Where the middle of a slice view is, RAS, world."""
    return np.array([view.GetSliceToRAS().GetElement(row, 3) for row in range(3)])


def check_strip(stage, place_ras):
    for offset, view in zip(OFFSETS_MM, strip(stage), strict=True):
        assert view.GetOrientation() == "Axial"
        assert centre(view) == pytest.approx(np.add(place_ras, (0, 0, offset)), abs=1e-4)


def test_seven_axial_slices_a_millimetre_apart_are_about_the_point(stage, nodes):
    assert scene.show_strip(nodes, 0)
    assert layout(stage).GetViewArrangement() == LAYOUT
    check_strip(stage, scene.to_ras(LEFT_LPS))
    assert [view.GetLayoutLabel() for view in strip(stage)] == [
        "−3 mm", "−2 mm", "−1 mm", "point", "+1 mm", "+2 mm", "+3 mm",
    ]  # fmt: skip


def test_the_usual_views_are_part_of_the_layout(stage, nodes):
    scene.show_strip(nodes, 0)
    description = layout(stage).GetLayoutDescription(LAYOUT)
    assert all(f'singletontag="{name}"' in description for name in ("Red", "Green", "Yellow", "1"))


def test_the_strip_goes_to_another_point_and_follows_one_that_is_moved(stage, nodes):
    scene.show_strip(nodes, 0)
    scene.follow_strip(nodes, 1)
    check_strip(stage, scene.to_ras(RIGHT_LPS))
    scene.set_position(nodes, 1, (-20.0, -5.0, 8.0))
    scene.follow_strip(nodes, 1)
    check_strip(stage, scene.to_ras((-20.0, -5.0, 8.0)))


def test_views_that_jump_to_a_point_leave_the_strip_a_strip(stage, nodes):
    scene.show_strip(nodes, 0)
    assert scene_display.centre_views(nodes, 1, stage.markups)
    check_strip(stage, scene.to_ras(RIGHT_LPS))


def test_the_strip_is_where_the_volume_is(stage, nodes):
    transform = stage.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 40.0)
    transform.SetMatrixTransformToParent(matrix)
    nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    scene.follow_volume(nodes)
    scene.show_strip(nodes, 0)
    check_strip(stage, np.add(scene.to_ras(LEFT_LPS), (0, 0, 40)))


def test_the_layout_of_before_comes_back(stage, nodes):
    before = layout(stage).GetViewArrangement()
    scene.show_strip(nodes, 0)
    scene.show_strip(nodes, 1)
    assert scene.strip_shown(stage.scene)
    scene.leave_strip(stage.scene)
    assert layout(stage).GetViewArrangement() == before
    assert not scene.strip_shown(stage.scene)
    assert not scene.follow_strip(nodes, 0)


def test_a_scene_that_was_saved_with_the_strip_shows_it_when_the_layout_becomes_known(stage, nodes):
    layout(stage).SetViewArrangement(LAYOUT)  # as such a scene opens where nobody has made it known
    assert layout(stage).GetCurrentLayoutDescription() == ""
    scene.register_strip(stage.scene)
    assert 'singletontag="Strip0"' in layout(stage).GetCurrentLayoutDescription()


def test_a_missing_landmark_leaves_the_strip_where_it_is(stage, nodes):
    scene.show_strip(nodes, 0)
    scene_review.mark_missing(nodes, 1)
    assert not scene.show_strip(nodes, 1)
    check_strip(stage, scene.to_ras(LEFT_LPS))


def test_without_a_layout_there_is_no_strip_and_no_error():
    stage = Stage()
    nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())
    assert not scene.show_strip(nodes, 0)
    scene.leave_strip(stage.scene)


def test_a_view_that_gets_its_size_later_keeps_its_height_and_its_place(stage, nodes):
    scene.show_strip(nodes, 0)
    view = SliceView(stage, (120, 180), view_name(2))
    assert view.node is strip(stage)[5]
    scene.follow_strip(nodes, 0)
    width, height, _ = view.node.GetFieldOfView()
    assert (width, height) == pytest.approx((40 * 120 / 180, 40))
    view.logic.ResizeSliceNode(200, 100)
    assert view.node.GetFieldOfView()[1] == pytest.approx(40)
    check_strip(stage, scene.to_ras(LEFT_LPS))


def test_the_strip_shows_the_vessel_divide(stage, nodes):
    """Below the apex one lumen, above it two: seen in the pictures of Slicer's own views."""
    sharp = scene.add_detection(scene.add_volume(stage.scene, neck_volume(1.0)), make_detection())
    scene.show_strip(sharp, 0)
    views = [SliceView(stage, (160, 160), view_name(offset)) for offset in (-3, 3)]
    scene.follow_strip(sharp, 0)
    sharp.points.GetDisplayNode().SetVisibility(False)
    for model in sharp.ellipsoids.values():
        model.GetDisplayNode().SetVisibility(False)
    below, above = (int((view.pixels()[60:100, 60:100, 0] > 120).sum()) for view in views)
    composites = [view.logic.GetSliceCompositeNode().GetBackgroundVolumeID() for view in views]
    assert composites == [sharp.volume.GetID()] * 2
    assert below > 300
    assert 0 < above < below
