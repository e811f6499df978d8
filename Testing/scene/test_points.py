"""A point stays its landmark's whatever is done to the list, the volume, a transform. Undo is the scan's own."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import slicer
import vtk
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.scene import display as scene_display
from CarotidLandmarkLib.scene import review as scene_review
from CarotidLandmarkLib.scene.offscreen import Stage
from CarotidLandmarkLib.scene.review import review_of
from CarotidLandmarkLib.scene.volumes import LPS_RAS, affine_of, voxels_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_cases import LEFT, LEFT_LPS, RIGHT, RIGHT_LPS, make_detection, neck_volume
from vtk.util.numpy_support import numpy_to_vtk

ELSEWHERE = (33.0, -8.0, 4.0)


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def nodes(stage):
    return scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())


def type_place(nodes, place, position_lps):
    """What the table of the Markups module does."""
    nodes.points.SetNthControlPointPosition(place, *scene.to_ras(position_lps))


def seen(nodes, index):
    """Where a landmark is drawn, RAS, world."""
    local, world = scene.position_ras(nodes, index), [0.0] * 3
    nodes.points.TransformPointToWorld(list(local), world)
    return np.array(world)


def linear_transform(stage, *shift):
    node = stage.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    for row, value in enumerate(shift):
        matrix.SetElement(row, 3, value)
    node.SetMatrixTransformToParent(matrix)
    return node


def test_points_in_another_order_keep_their_landmarks(nodes):
    nodes.points.SwapControlPoints(0, 1)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert scene_review.reviewed_landmarks(nodes) == {}
    scene_review.mark_missing(nodes, 0)
    assert scene.position_lps(nodes, 1) == pytest.approx(RIGHT_LPS)
    assert nodes.points.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionMissing


def test_points_in_another_order_keep_their_landmarks_in_a_saved_scene(nodes, stage, tmp_path):
    nodes.points.SwapControlPoints(0, 1)
    scene.write_bundle(stage.scene, tmp_path / "swapped.mrb")
    other = Stage()
    assert other.scene.ReadFromMRB(str(tmp_path / "swapped.mrb"))
    (again,) = scene.find_detections(other.scene)
    assert scene.position_lps(again, 0) == pytest.approx(LEFT_LPS, abs=1e-3)
    assert scene_review.reviewed_landmarks(again) == {}


def test_a_point_moved_by_anybody_is_a_correction_that_can_be_undone(nodes):
    type_place(nodes, 0, ELSEWHERE)
    assert scene_review.reviewed_landmarks(nodes) == {LEFT: ("corrected", pytest.approx(ELSEWHERE))}
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "predicted"}
    scene_review.undo(nodes)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert not scene_review.can_undo(nodes)


def test_an_accepted_point_that_is_moved_later_is_corrected(nodes):
    scene_review.accept(nodes, 0)
    type_place(nodes, 0, ELSEWHERE)
    scene_review.settle(nodes)
    assert review_of(nodes).status[LEFT] == "corrected"
    scene_review.undo(nodes)
    assert review_of(nodes).status[LEFT] == "accepted"
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)


@pytest.mark.parametrize("how", ["half placed", "unset", "cleared", "deleted"])
def test_a_point_that_is_not_placed_is_neither_missing_nor_lost(nodes, how):
    scene_review.accept(nodes, 0)
    points = nodes.points
    if how == "half placed":
        points.ResetNthControlPointPosition(0)
    elif how == "unset":
        points.UnsetNthControlPointPosition(0)
    else:
        points.SetFixedNumberOfControlPoints(False)
        points.RemoveAllControlPoints() if how == "cleared" else points.RemoveNthControlPoint(0)
    assert scene_review.reviewed_landmarks(nodes) == {}
    assert scene.is_unset(nodes, 0)
    assert points.GetNumberOfControlPoints() == 2
    assert points.GetFixedNumberOfControlPoints()
    scene_review.undo(nodes)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)
    assert scene.position_lps(nodes, 1) == pytest.approx(RIGHT_LPS)
    assert review_of(nodes).status[LEFT] == "accepted"


def test_undo_never_makes_a_point_missing_that_was_not_placed(nodes):
    nodes.points.UnsetNthControlPointPosition(0)
    scene_review.bring_back(nodes, 0, None)
    scene_review.undo(nodes)
    assert scene.is_unset(nodes, 0)


def test_a_renamed_point_gets_its_mark_back(nodes):
    nodes.points.SetNthControlPointLabel(0, "mine")
    scene_review.settle(nodes)
    assert nodes.points.GetNthControlPointLabel(0) == "L"


def test_the_colour_of_a_point_says_whether_somebody_has_looked(nodes):
    display = nodes.points.GetDisplayNode()
    assert display.GetSelectedColor() != display.GetColor()
    scene_review.accept(nodes, 0)
    assert [bool(nodes.points.GetNthControlPointSelected(n)) for n in range(2)] == [False, True]


def test_undo_of_one_scan_leaves_another_alone(nodes, stage):
    other = scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())
    scene_review.accept(nodes, 0)
    scene_review.mark_missing(other, 1)
    scene_review.undo(nodes)
    scene_review.undo(nodes)
    assert review_of(nodes).status[LEFT] == "predicted"
    assert review_of(other).status[RIGHT] == "missing"
    assert len(scene.find_detections(stage.scene)) == 2


def test_a_landmark_without_a_point_that_is_cleared_is_missing_as_before(stage):
    nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection(right=None))
    type_place(nodes, 0, ELSEWHERE)
    scene_review.settle(nodes)
    nodes.points.UnsetNthControlPointPosition(1)
    assert scene_review.settle(nodes) == []
    assert not scene.is_unset(nodes, 1)
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "predicted"}


def test_a_point_that_is_cleared_and_then_said_to_be_missing_is_missing(nodes):
    nodes.points.UnsetNthControlPointPosition(0)
    scene_review.settle(nodes)
    assert (scene.is_unset(nodes, 0), review_of(nodes).status[LEFT]) == (True, "predicted")
    nodes.points.SetNthControlPointPositionMissing(0)
    assert scene_review.settle(nodes) == [0]
    assert review_of(nodes).status[LEFT] == "missing"
    scene_review.undo(nodes)
    assert (scene.is_unset(nodes, 0), review_of(nodes).status[LEFT]) == (True, "predicted")
    scene_review.undo(nodes)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)


@pytest.mark.parametrize("what", ["model", "display"])
def test_a_review_goes_on_where_an_ellipsoid_or_how_it_is_shown_was_deleted(nodes, stage, what):
    model = nodes.ellipsoids[LEFT]
    stage.scene.RemoveNode(model if what == "model" else model.GetDisplayNode())
    scene_display.set_opacity(nodes, 0.3)
    scene_review.mark_missing(nodes, 0)
    scene_review.reset(nodes, 0)
    scene.show_detection(nodes, make_detection(left=None))
    scene.show_detection(nodes, make_detection())
    assert review_of(nodes).status[LEFT] == "predicted"


def test_undo_does_not_reach_behind_a_new_detection(nodes):
    scene_review.accept(nodes, 0)
    scene_review.replace_detection(nodes, make_detection(left=ELSEWHERE))
    scene_review.undo(nodes)
    assert scene.position_lps(nodes, 0) == pytest.approx(ELSEWHERE)


shifts = st.tuples(*[st.floats(-60, 60)] * 3)


@settings(max_examples=15, deadline=None)
@given(shift=shifts, transform=shifts, harden=st.booleans())
def test_points_go_with_the_anatomy_wherever_the_volume_goes_and_are_reported_in_the_image(shift, transform, harden):
    stage = Stage()
    nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume(5.0)), make_detection())
    scene_review.mark_missing(nodes, 1)
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), shift))
    scene.follow_volume(nodes)
    nodes.volume.SetAndObserveTransformNodeID(linear_transform(stage, *transform).GetID())
    scene.follow_volume(nodes)
    if harden:
        nodes.volume.HardenTransform()
        scene.follow_volume(nodes)
    assert np.allclose(seen(nodes, 0), scene.to_ras(LEFT_LPS) + shift + transform, atol=1e-6)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS, abs=1e-6)
    assert scene_review.reviewed_landmarks(nodes) == {RIGHT: ("missing", None)}
    bounds = [0.0] * 6
    nodes.ellipsoids[LEFT].GetRASBounds(bounds)
    assert np.allclose(np.reshape(bounds, (3, 2)).mean(axis=1), seen(nodes, 0), atol=0.05)
    assert not nodes.ellipsoids[RIGHT].GetDisplayNode().GetVisibility()


def exchange(volume, array, affine_lps):
    """Give a volume other voxels [k, j, i] in another grid, as modules do whose output is their input."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    volume.SetAndObserveImageData(image)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LPS_RAS @ affine_lps))


def hu_at(nodes, index):
    """What the voxel says in which a point is drawn, in a volume under a linear transform or none."""
    local = np.append(scene.to_ras(scene.position_ras(nodes, index)), 1.0)
    i, j, k = np.rint(np.linalg.inv(affine_of(nodes.volume)) @ local)[:3].astype(int)
    return int(voxels_of(nodes.volume)[k, j, i])


corners = st.tuples(*[st.integers(0, 4)] * 3)


@settings(max_examples=20, deadline=None)
@given(
    corner=corners, step=st.tuples(*[st.sampled_from([1, -1])] * 3), shift=shifts, transform=st.none() | shifts,
    hardened=st.booleans(),
)  # fmt: skip
def test_points_stay_on_the_anatomy_when_their_scan_is_cropped_or_flipped_in_place(
    corner, step, shift, transform, hardened
):
    stage = Stage()
    whole = neck_volume(2.0)
    nodes = scene.add_detection(scene.add_volume(stage.scene, whole), make_detection())
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), shift))  # it may have been moved before
    scene.follow_volume(nodes)
    if transform is not None:
        nodes.volume.SetAndObserveTransformNodeID(linear_transform(stage, *transform).GetID())
        scene.follow_volume(nodes)
    before, hu = seen(nodes, 0), hu_at(nodes, 0)
    array, affine = whole.array[tuple(slice(n, None) for n in corner[::-1])], np.eye(4)
    affine[:3, 3] = corner
    for axis in range(3):
        if step[axis] < 0:
            affine[axis, 3] += array.shape[2 - axis] - 1
            affine[axis, axis] = -1
            array = np.flip(array, 2 - axis)
    exchange(nodes.volume, array, affine_of(nodes.volume) @ affine)
    scene_review.settle(nodes)
    assert np.allclose(seen(nodes, 0), before, atol=1e-6)
    assert hu_at(nodes, 0) == hu
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS, abs=1e-6)
    assert review_of(nodes).reviewed == ()
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (5.0, 0.0, 0.0)))  # and it may be moved afterwards
    if hardened:
        nodes.volume.HardenTransform()
    scene_review.settle(nodes)
    assert hu_at(nodes, 0) == hu
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS, abs=1e-6)
    bounds = [0.0] * 6
    nodes.ellipsoids[LEFT].GetRASBounds(bounds)
    assert np.allclose(np.reshape(bounds, (3, 2)).mean(axis=1), seen(nodes, 0), atol=0.05)


def test_points_go_with_a_scan_that_was_smoothed_in_place_and_moved_later(nodes):
    voxels_of(nodes.volume)[:] += 5
    nodes.volume.GetImageData().Modified()
    scene_review.settle(nodes)
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (0.0, 0.0, 25.0)))
    scene_review.settle(nodes)
    assert np.allclose(seen(nodes, 0), np.add(scene.to_ras(LEFT_LPS), (0.0, 0.0, 25.0)))


@pytest.mark.parametrize("order", [("volume", "points"), ("points", "volume")])
def test_a_transform_hardened_on_scan_and_points_in_one_go_leaves_both_where_they_are_seen(nodes, stage, order):
    nodes.volume.SetAndObserveTransformNodeID(linear_transform(stage, 25.0, 0.0, 7.0).GetID())
    scene_review.settle(nodes)
    before = seen(nodes, 0)
    for name in order:
        getattr(nodes, name).HardenTransform()
    scene_review.settle(nodes)
    assert np.allclose(seen(nodes, 0), before, atol=1e-6)
    assert review_of(nodes).reviewed == ()


def test_points_stay_on_the_anatomy_when_a_nonlinear_transform_is_hardened_on_the_scan(nodes, stage):
    spline = stage.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    warp = vtk.vtkThinPlateSplineTransform()
    places, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for place in itertools.product((-50.0, 50.0), repeat=3):
        places.InsertNextPoint(place)
        moved.InsertNextPoint(np.multiply(place, 1.1) if place[0] > 0 else place)
    warp.SetSourceLandmarks(places)
    warp.SetTargetLandmarks(moved)
    warp.SetBasisToR()
    spline.SetAndObserveTransformToParent(warp)
    nodes.volume.SetAndObserveTransformNodeID(spline.GetID())
    scene_review.settle(nodes)
    before = seen(nodes, 1)
    assert not np.allclose(before, scene.to_ras(RIGHT_LPS), atol=0.5)
    nodes.volume.HardenTransform()
    scene_review.settle(nodes)
    assert np.allclose(seen(nodes, 1), before, atol=1e-6)


def test_a_point_dragged_on_a_moved_volume_is_reported_in_the_image(nodes):
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (10.0, 0.0, 25.0)))
    scene.follow_volume(nodes)
    type_place(nodes, 0, np.add(ELSEWHERE, (-10.0, 0.0, 25.0)))
    assert scene_review.reviewed_landmarks(nodes)[LEFT] == ("corrected", pytest.approx(ELSEWHERE))


def test_points_whose_own_transform_was_hardened_stay_where_they_are_seen(nodes, stage):
    nodes.volume.SetAndObserveTransformNodeID(linear_transform(stage, 25.0, 0.0, 0.0).GetID())
    scene.follow_volume(nodes)
    before = seen(nodes, 0)
    nodes.points.HardenTransform()
    scene.follow_volume(nodes)
    assert np.allclose(seen(nodes, 0), before, atol=1e-6)
    assert scene.position_lps(nodes, 0) == pytest.approx(LEFT_LPS)


def test_a_new_detection_on_a_moved_volume_leaves_reviewed_points_on_their_anatomy(nodes):
    type_place(nodes, 0, ELSEWHERE)
    scene_review.settle(nodes)
    nodes.volume.SetOrigin(*np.add(nodes.volume.GetOrigin(), (0.0, 0.0, 25.0)))
    scene.follow_volume(nodes)
    before = seen(nodes, 0)
    scene_review.replace_detection(nodes, make_detection(right=(-25.0, -9.0, 27.0)), [LEFT])
    assert np.allclose(seen(nodes, 0), before)
    assert np.allclose(seen(nodes, 1), scene.to_ras((-25.0, -9.0, 27.0)))
    assert review_of(nodes).status == {LEFT: "corrected", RIGHT: "predicted"}


def test_a_copy_of_the_list_that_the_user_makes_does_not_take_its_place(nodes, stage):
    copy = stage.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "copy")
    copy.Copy(nodes.points)
    assert scene.find_detection(nodes.volume).points is nodes.points


def test_a_deleted_ellipsoid_or_table_takes_neither_points_nor_review_along(nodes, stage):
    scene_review.mark_missing(nodes, 0)
    for node in (nodes.ellipsoids[LEFT], nodes.table):
        stage.scene.RemoveNode(node)
    (again,) = scene.find_detections(stage.scene)
    scene_review.accept(again, 1)
    scene.show_detection(again, make_detection(scale=0.5))
    assert review_of(again).status == {LEFT: "missing", RIGHT: "accepted"}
    assert math.dist(scene.position_lps(again, 1), RIGHT_LPS) < 1e-6


def test_a_point_that_somebody_selects_elsewhere_does_not_count_as_looked_at(nodes):
    nodes.points.SetNthControlPointSelected(0, False)
    assert scene_review.settle(nodes) == []
    assert nodes.points.GetNthControlPointSelected(0)


def test_an_ellipsoid_is_hidden_while_there_is_none_and_else_as_the_user_has_it(nodes):
    displays = {name: model.GetDisplayNode() for name, model in nodes.ellipsoids.items()}
    displays[RIGHT].SetVisibility(False)
    scene_review.mark_missing(nodes, 0)
    assert not displays[LEFT].GetVisibility()
    scene_review.undo(nodes)
    assert displays[LEFT].GetVisibility()
    scene_review.replace_detection(nodes, make_detection(left=None))
    assert not displays[LEFT].GetVisibility()
    scene_review.replace_detection(nodes, make_detection(scale=0.5))
    assert displays[LEFT].GetVisibility()
    assert not displays[RIGHT].GetVisibility()


def test_points_of_a_newer_version_are_left_alone_and_the_reason_is_told(nodes):
    text = nodes.points.GetAttribute("CarotidLandmark.Detection")
    nodes.points.SetAttribute("CarotidLandmark.Detection", text.replace('"schema_version": 1', '"schema_version": 9'))
    assert scene.find_detection(nodes.volume) is None
    assert "schema version is not 1" in scene.unreadable(nodes.volume)
    again = scene.add_detection(nodes.volume, make_detection())
    assert scene.find_detection(nodes.volume).points is again.points
    assert nodes.points.GetScene() is not None


def test_what_a_newer_version_says_more_of_a_review_does_no_harm(nodes):
    scene_review.accept(nodes, 0)
    text = nodes.points.GetAttribute(scene_review.REVIEW_ATTRIBUTE)
    nodes.points.SetAttribute(scene_review.REVIEW_ATTRIBUTE, text.replace("{", '{"newer": [1], ', 1))
    assert review_of(nodes).status == {LEFT: "accepted", RIGHT: "predicted"}
