"""What a detection looks like in Slicer's scene: named points, confidence ellipsoids, a table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import slicer
import vtk

from ..detection import ConfidenceRegion, Detection, LandmarkResult, percent
from ..landmarks import heading, rgb, side
from .nodes import (
    DETECTION_ATTRIBUTE,
    ELLIPSOID_ROLE,
    LANDMARK_ATTRIBUTE,
    TABLE_ROLE,
    VOLUME_ROLE,
    DetectionNodes,
    file_in_folder,
)
from .points import axial_slice, control_point, displacement, follow_image, position_lps, set_frame, set_position
from .volumes import LPS_RAS, affine_of, to_ras

# Of a point: the model's word, and what somebody has looked at. Neither is a colour of `PALETTE`, nor of a scan.
PREDICTED_COLOUR, REVIEWED_COLOUR = (1.0, 0.95, 0.35), (0.35, 1.0, 0.55)

TABLE_COLUMNS = (
    "name", "status", "presence", "R [mm]", "A [mm]", "S [mm]", "axial slice",
    "± R [mm]", "± A [mm]", "± S [mm]", "level", "volume [mm³]",
)  # fmt: skip


def add_detection(volume_node: Any, detection: Detection, frame_lps: np.ndarray | None = None) -> DetectionNodes:
    """Put ``detection`` into the volume's scene: points, one ellipsoid model per landmark, a table, in one folder.

    The list of points is fixed: they can be moved, or be missing, but not added or deleted. ``frame_lps`` is the
    geometry [4, 4] of the image that was detected in, where it is not the volume's present one.
    """
    scene = volume_node.GetScene()
    title = f"{volume_node.GetName()} {heading(detection.labels).lower().removeprefix('carotid ')}"
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(title))
    points.CreateDefaultDisplayNodes()
    show_as_crosses(points.GetDisplayNode())
    ellipsoids = {
        landmark.name: _add_ellipsoid(scene, points, landmark, rgb(index))
        for index, landmark in enumerate(detection.landmarks)
    }
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{title} table"))
    points.SetNodeReferenceID(VOLUME_ROLE, volume_node.GetID())
    points.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    nodes, marks = DetectionNodes(volume_node, points, ellipsoids, table), marks_of(detection)
    set_frame(nodes, affine_of(volume_node) if frame_lps is None else frame_lps)
    show_detection(nodes, detection)
    for index, landmark in enumerate(detection.landmarks):
        set_position(nodes, index, landmark.position_lps_mm)
        points.SetNthControlPointLabel(index, marks[landmark.name])
    describe(nodes)
    follow_volume(nodes)
    file_in_folder(nodes, title)
    return nodes


def marks_of(detection: Detection) -> dict[str, str]:
    """What stands beside each point: L or R where no other landmark is of that side, else the label."""
    sides = [side(landmark.name) for landmark in detection.landmarks]
    return {
        landmark.name: where[0].upper() if where and sides.count(where) == 1 else landmark.label
        for landmark, where in zip(detection.landmarks, sides, strict=True)
    }


def show_as_crosses(display: Any) -> None:
    """Marks that leave what is marked to be seen: a cross, open for 16 pixels, with a letter beside it."""
    display.SetGlyphTypeFromString("Cross2D")
    display.SetGlyphScale(9.0)  # Slicer draws the arms three pixels wide: so they end before a region of 1 mm begins
    display.SetSelectedColor(*PREDICTED_COLOUR)
    display.SetColor(*REVIEWED_COLOUR)
    display.SetTextScale(2.6)
    display.SetOccludedVisibility(True)
    display.SetOccludedOpacity(0.6)


def show_detection(nodes: DetectionNodes, detection: Detection) -> None:
    """Redraw ellipsoids for ``detection`` (the same one at another confidence level); points stay put.

    `describe`, or `review.write_review`, brings words and table in line.
    """
    nodes.points.SetAttribute(DETECTION_ATTRIBUTE, detection.to_json())
    draw_regions(nodes)


def describe(nodes: DetectionNodes, said: Mapping[str, str] = MappingProxyType({})) -> None:
    """Put what is known of each point into its description and into the table; ``said`` of it, by landmark name."""
    for index, landmark in enumerate(nodes.detection.landmarks):
        place, words = control_point(nodes, index), _description(landmark)
        if landmark.name in said:
            words = f"{said[landmark.name]}; was {words}"
        if place >= 0:
            nodes.points.SetNthControlPointDescription(place, words)
    if nodes.table is not None:
        _fill_table(nodes, said)


def draw_regions(nodes: DetectionNodes) -> None:
    """Draw each confidence region where the volume is now."""
    shift = displacement(nodes)
    for landmark in nodes.detection.landmarks:
        if landmark.name in nodes.ellipsoids:
            model, surface = nodes.ellipsoids[landmark.name], _ellipsoid(landmark, shift)
            before, there = model.GetPolyData(), surface.GetNumberOfPoints() > 0
            model.SetAndObservePolyData(surface)
            changed = before is None or there != (before.GetNumberOfPoints() > 0)  # else the user may have hidden it
            if changed and model.GetDisplayNode() is not None:
                model.GetDisplayNode().SetVisibility(there)


def follow_volume(nodes: DetectionNodes) -> None:
    """Take points and ellipsoids along wherever the volume has gone: see `follow_image`."""
    if follow_image(nodes):
        draw_regions(nodes)
    for model in nodes.ellipsoids.values():
        if model.GetTransformNodeID() != nodes.volume.GetTransformNodeID():
            model.SetAndObserveTransformNodeID(nodes.volume.GetTransformNodeID())


def _description(landmark: LandmarkResult) -> str:
    if landmark.status == "missing":
        return f"missing, presence {landmark.presence:.0%}"
    region, words = landmark.confidence, f"predicted, presence {landmark.presence:.0%}"
    if region is not None:
        words += ", ± {:.1f} {:.1f} {:.1f} mm (R A S)".format(*region.reach_mm) + f" at {percent(region.level)}%"
    return words


def _add_ellipsoid(scene: Any, points: Any, landmark: LandmarkResult, colour: tuple[float, ...]) -> Any:
    title = f"{landmark.label} confidence region"
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", scene.GenerateUniqueName(title))
    model.SetAttribute(LANDMARK_ATTRIBUTE, landmark.name)
    model.SetSelectable(False)  # a click goes through it, to the point inside
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    display.SetColor(*colour)
    display.SetOpacity(0.5)
    display.SetVisibility2D(True)
    display.SetSliceIntersectionThickness(1)  # a region of 1 mm stays a ring, also in a view of the whole neck
    display.SetBackfaceCulling(False)
    display.SetAmbient(0.6)  # bright enough to be seen among rendered vessels
    points.AddNodeReferenceID(ELLIPSOID_ROLE, model.GetID())
    return model


def _ellipsoid(landmark: LandmarkResult, shift: np.ndarray) -> Any:
    """The confidence region's surface in RAS, ``shift`` (LPS) from where it was; empty for a missing landmark."""
    if landmark.confidence is None or landmark.position_lps_mm is None:
        return vtk.vtkPolyData()
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(1.0)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    transform = vtk.vtkTransform()
    matrix = ellipsoid_matrix(landmark.confidence, landmark.position_lps_mm)
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(LPS_RAS @ shift @ LPS_RAS @ matrix))
    surface = vtk.vtkTransformPolyDataFilter()
    surface.SetTransform(transform)
    surface.SetInputConnection(sphere.GetOutputPort())
    surface.Update()
    return surface.GetOutput()


def ellipsoid_matrix(region: ConfidenceRegion, centre_lps_mm: Any) -> np.ndarray:
    """The 4 x 4 matrix that takes the unit ball to ``region`` around ``centre_lps_mm``, in RAS, never mirrored."""
    columns = to_ras(region.axes_lps).T * region.semi_axes_mm
    if np.linalg.det(columns) < 0:
        columns[:, 2] *= -1  # the ball does not care, but a mirrored surface would be lit from inside
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    matrix[:3, 3] = to_ras(centre_lps_mm)
    return matrix


def _fill_table(nodes: DetectionNodes, said: Mapping[str, str]) -> None:
    table = vtk.vtkTable()
    for title in TABLE_COLUMNS:
        column = vtk.vtkStringArray() if title in ("name", "status") else vtk.vtkDoubleArray()
        column.SetName(title)
        table.AddColumn(column)
    for index, landmark in enumerate(nodes.detection.landmarks):
        nothing, place = (float("nan"),) * 3, position_lps(nodes, index)
        position = nothing if place is None else to_ras(place)
        number, _ = axial_slice(nodes, place) or nothing[:2]
        region, status = landmark.confidence, said.get(landmark.name, landmark.status)
        row: list[Any] = [landmark.name, status, landmark.presence, *position, number]
        row += [*nothing, *nothing[:2]] if region is None else [*region.reach_mm, region.level, region.volume_mm3]
        for column, value in enumerate(row):
            table.GetColumn(column).InsertNextValue(value if isinstance(value, str) else float(value))
    nodes.table.SetAndObserveTable(table)
