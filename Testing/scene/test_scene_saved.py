"""What `save_scene` writes: a scene that opens again as it was, and pictures that show it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import slicer
from CarotidLandmarkLib import scene
from CarotidLandmarkLib.landmarks import rgb
from CarotidLandmarkLib.scene import display as scene_display
from CarotidLandmarkLib.scene import offscreen, pictures
from CarotidLandmarkLib.scene.offscreen import SliceView, Stage, View3D
from scene_cases import LEFT, LEFT_LPS, RIGHT, make_detection, neck_volume
from vtk.util.numpy_support import vtk_to_numpy

from ..full_disk import room_for


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    detection = make_detection(right=None)
    return scene.save_scene(neck_volume(), detection, tmp_path_factory.mktemp("saved") / "result"), detection


def reopened(path):
    stage = Stage()
    assert stage.scene.ReadFromMRB(str(path))
    (nodes,) = scene.find_detections(stage.scene)
    return stage, nodes


def test_the_scene_opens_again_with_the_same_points_and_the_missing_one_missing(saved):
    (mrb, *_), detection = saved
    _stage, nodes = reopened(mrb)
    assert np.allclose(scene.position_lps(nodes, 0), LEFT_LPS, atol=1e-3)
    assert nodes.points.GetNthControlPointPositionStatus(1) == slicer.vtkMRMLMarkupsNode.PositionMissing
    assert nodes.detection == detection
    assert nodes.points.GetFixedNumberOfControlPoints()


def test_the_scene_opens_again_with_the_scan_the_ellipsoid_and_the_folder(saved):
    (mrb, *_), _detection = saved
    stage, nodes = reopened(mrb)
    original = neck_volume()
    volume = scene.volume_from_node(nodes.volume)
    assert np.array_equal(volume.array, original.array)
    assert np.allclose(volume.affine_lps, original.affine_lps)
    points = vtk_to_numpy(nodes.ellipsoids[LEFT].GetPolyData().GetPoints().GetData())
    assert np.allclose(points.mean(axis=0), scene.to_ras(LEFT_LPS), atol=0.1)
    assert nodes.ellipsoids[RIGHT].GetPolyData() is None  # nothing to draw is not written
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(stage.scene)
    assert (
        hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.points))) == "neck bifurcations"
    )


def test_three_files_are_written_and_a_folder_that_can_not_be_written_is_left_alone(saved, tmp_path):
    paths, detection = saved
    assert [path.name for path in paths] == ["scene.mrb", "scene-3d.png", "scene-slices.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    with pytest.raises(OSError):
        scene.save_scene(neck_volume(5.0), detection, blocked)
    assert blocked.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [blocked]


def test_a_scene_is_saved_into_a_folder_whose_name_is_not_utf_8(tmp_path):
    """Slicer itself would end the program."""
    folder = tmp_path / os.fsdecode(b"h\xe4ls")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    scene.write_bundle(Stage().scene, folder / "saved.mrb")
    assert zipfile.is_zipfile(folder / "saved.mrb") and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_picture_that_does_not_fit_on_the_disk_is_an_error(tmp_path, share):
    pixels = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    size = pictures.write_png(pixels, tmp_path / "whole.png").stat().st_size
    with room_for(int(share * size)), pytest.raises(OSError):
        pictures.write_png(pixels, tmp_path / "cut.png")


def close_to(pixels, colour, tolerance=0.12):
    """Pixels whose hue is that of ``colour``: each is compared after scaling to its brightest channel."""
    scaled = pixels / np.maximum(pixels.max(axis=2, keepdims=True), 1)
    return (np.abs(scaled - np.array(colour) / max(colour)) < tolerance).all(axis=2) & (pixels.max(axis=2) > 60)


@pytest.fixture(scope="module")
def shown():
    with offscreen.quiet_vtk():
        stage = Stage()
        nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume()), make_detection())
        yield stage, nodes


def blank(stage, nodes, view):
    """What the view shows without points and ellipsoids."""
    displays = [node.GetDisplayNode() for node in (nodes.points, *nodes.ellipsoids.values())]
    for display in displays:
        display.SetVisibility(False)
    pixels = view.pixels().astype(int)
    for display in displays:
        display.SetVisibility(True)
    return pixels


@pytest.mark.parametrize("height_mm", [70.0, 150.0])
def test_a_region_of_one_millimetre_is_a_ring_and_the_wall_inside_is_seen(height_mm):
    stage = Stage()
    ball = replace(make_detection()[LEFT].confidence, semi_axes_mm=(1.0, 1.0, 1.0))
    detection = make_detection()
    one = replace(detection, landmarks=(replace(detection[LEFT], confidence=ball), detection[RIGHT]))
    nodes = scene.add_detection(scene.add_volume(stage.scene, neck_volume()), one)
    view = SliceView(stage, (420, 420))
    view.show(nodes.volume)
    view.look_at(scene.to_ras(LEFT_LPS), height_mm)
    pixels, before = view.pixels().astype(int), blank(stage, nodes, view)
    changed = np.abs(pixels - before).max(axis=2) > 10
    radius = 420 / height_mm
    y, x = np.mgrid[:420, :420]
    away = np.hypot(y - 209.5, x - 209.5)
    assert not changed[away < radius - 1.8].any()
    ring = close_to(pixels, rgb(0)) & (np.abs(away - radius) < 1.8)
    angles = np.degrees(np.arctan2(y - 209.5, x - 209.5))[ring]
    assert len(set((angles // 30).astype(int))) >= 10  # of twelve parts: all round
    assert changed[away < radius + 1].sum() < 4 * np.pi * radius


def test_letters_say_where_the_view_leads(stage_of_slices):
    views = {
        name: SliceView(stage_of_slices, (60, 60), f"Letters{name}", name) for name in ("Axial", "Coronal", "Sagittal")
    }
    letters = {name: pictures.slice_letters(view.node) for name, view in views.items()}
    assert letters == {"Axial": "RLAP", "Coronal": "RLHF", "Sagittal": "APHF"}


@pytest.fixture
def stage_of_slices():
    return Stage()


def test_a_scale_bar_is_as_long_as_it_says(stage_of_slices):
    view = SliceView(stage_of_slices, (500, 400), "Bar")
    view.look_at((0.0, 0.0, 0.0), 80.0)
    pictures.draw_scale_bar(view, 10.0, 80.0)
    white = (view.pixels().astype(int).min(axis=2) > 200)[-30:]
    assert white.any(axis=0).sum() == pytest.approx(10.0 * 400 / 80.0, abs=2)


def test_every_view_of_a_scene_with_vessels_has_an_orientation_cube_and_a_marker_that_was_chosen_stays(shown):
    stage, nodes = shown
    cube, human = (View3D(stage, (60, 60), name).node for name in ("Cube", "Human"))
    human.SetOrientationMarkerType(human.OrientationMarkerTypeHuman)
    scene_display.show_vessels(nodes.volume, stage.volume_rendering)
    assert cube.GetOrientationMarkerType() == cube.OrientationMarkerTypeCube
    assert human.GetOrientationMarkerType() == human.OrientationMarkerTypeHuman


def test_vessels_are_red_where_the_scan_has_its_lumen_and_an_adjusted_preset_stays(shown):
    stage, nodes = shown
    display = scene_display.show_vessels(nodes.volume, stage.volume_rendering)
    prop = display.GetVolumePropertyNode().GetVolumeProperty()
    red, green, blue = prop.GetRGBTransferFunction().GetColor(350.0)  # the lumen of this neck
    assert red > 2 * max(green, blue)
    assert min(prop.GetRGBTransferFunction().GetColor(900.0)) > 0.6  # bone
    assert prop.GetScalarOpacity().GetValue(350.0) > 2 * prop.GetScalarOpacity().GetValue(900.0)
    assert prop.GetGradientOpacity().GetValue(400.0) < 0.2 < prop.GetGradientOpacity().GetValue(40.0)
    prop.GetScalarOpacity().AddPoint(350.0, 0.77)
    scene_display.show_vessels(nodes.volume, stage.volume_rendering, visible=False)
    scene_display.show_vessels(nodes.volume, stage.volume_rendering)
    assert prop.GetScalarOpacity().GetValue(350.0) == pytest.approx(0.77)


def test_slices_show_the_outline_of_the_ellipsoid_around_the_point(shown):
    stage, nodes = shown
    view = SliceView(stage, (300, 300))
    view.show(nodes.volume)
    view.look_at(scene.to_ras(LEFT_LPS), 60.0)
    pixels = view.pixels()
    rows, columns = np.nonzero(close_to(pixels, rgb(0)))
    assert len(rows) > 60
    # The in-plane extent of the region at its centre, in pixels of 0.2 mm, is between its shortest and longest axis.
    assert 2 * 2.5 / 0.2 < np.ptp(columns) < 2 * 6.0 / 0.2 + 6
    assert abs(columns.mean() - 150) < 6
    assert abs(rows.mean() - 150) < 6


def test_in_3d_both_ellipsoids_are_seen_over_the_vessels_the_right_one_on_the_screens_left(shown):
    stage, nodes = shown
    scene_display.show_vessels(nodes.volume, stage.volume_rendering)
    for model in nodes.ellipsoids.values():
        model.GetDisplayNode().SetOpacity(1.0)
    view = View3D(stage, (300, 260))
    view.look_at((0.0, 10.0, 4.0), 110.0)
    pixels = view.pixels().astype(int)
    left_columns = np.nonzero(close_to(pixels, rgb(0)))[1]
    right_columns = np.nonzero(close_to(pixels, rgb(1)))[1]
    assert len(left_columns) > 20
    assert len(right_columns) > 20
    assert right_columns.max() < 150 < left_columns.min()
    assert vessel_pixels(pixels) > 700
    scene_display.show_vessels(nodes.volume, stage.volume_rendering, visible=False)
    assert vessel_pixels(view.pixels().astype(int)) < 100


def vessel_pixels(pixels):
    """How many are red."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    return int(((red > 90) & (green < 0.6 * red) & (blue < 0.6 * red)).sum())
