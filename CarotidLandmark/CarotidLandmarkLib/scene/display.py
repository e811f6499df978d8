"""How a detection is looked at: vessels in 3-D, ellipsoids' opacity, all views on one point."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from .nodes import DetectionNodes, find_detection
from .points import control_point, position_ras

# HU: vessels with contrast come up red, bone pale and fainter, soft tissue and air not at all.
# Thin enough (per millimetre) for the ellipsoids inside the vessels to shine through.
_VESSEL_OPACITY = ((-1000, 0.0), (150, 0.0), (230, 0.05), (420, 0.11), (700, 0.08), (3000, 0.3))
_VESSEL_COLOUR = (
    (-1000, 0.0, 0.0, 0.0),
    (150, 0.55, 0.08, 0.05),
    (350, 0.95, 0.30, 0.20),
    (520, 0.96, 0.36, 0.24),
    (800, 0.96, 0.86, 0.74),
    (3000, 1.0, 1.0, 0.97),
)

# How far the rendered box reaches beyond the points: right, posterior, inferior; left, anterior, superior (mm).
_BOX_BELOW_MM = np.array([22.0, 30.0, 55.0])
_BOX_ABOVE_MM = np.array([22.0, 9.0, 45.0])


def show_vessels(volume_node: Any, logic: Any, visible: bool = True) -> Any:
    """Volume rendering of a CTA: vessels with contrast red, bone pale, the rest unseen. Returns the display node.

    Where the scan has a detection, only a box around its points is rendered: the jaw would hide them. ``logic`` is the
    volume rendering module's.
    """
    display = logic.GetFirstVolumeRenderingDisplayNode(volume_node)
    if display is None:
        display = logic.CreateDefaultVolumeRenderingNodes(volume_node)
        display.RemoveAllViewNodeIDs()  # in every 3-D view, also in one that comes later
        _set_vessel_preset(display.GetVolumePropertyNode().GetVolumeProperty())
    nodes = find_detection(volume_node)
    box = None if nodes is None else _box_around(nodes)
    if visible and box is not None:
        _crop(display, logic, volume_node, box)
    display.SetVisibility(visible)
    return display


def _set_vessel_preset(prop: Any) -> None:
    opacity, colour, gradient = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for hu, value in _VESSEL_OPACITY:
        opacity.AddPoint(hu, value)
    for hu, red, green, blue in _VESSEL_COLOUR:
        colour.AddRGBPoint(hu, red, green, blue)
    gradient.AddPoint(0, 1.0)
    prop.SetScalarOpacity(opacity)
    prop.SetColor(colour)
    prop.SetGradientOpacity(gradient)
    prop.SetShade(True)
    prop.SetAmbient(0.35)
    prop.SetDiffuse(0.9)
    prop.SetSpecular(0.25)


def _box_around(nodes: DetectionNodes) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper corner (RAS, the volume's frame) of what to render; None when no point is placed."""
    places = [position_ras(nodes, index) for index in range(len(nodes.detection.landmarks))]
    placed = [place for place in places if place is not None]
    if not placed:
        return None
    return np.min(placed, axis=0) - _BOX_BELOW_MM, np.max(placed, axis=0) + _BOX_ABOVE_MM


def _crop(display: Any, logic: Any, volume_node: Any, box: tuple[np.ndarray, np.ndarray]) -> None:
    region = display.GetMarkupsROINode()
    if region is None:
        region = volume_node.GetScene().AddNewNodeByClass(
            "vtkMRMLMarkupsROINode", f"{volume_node.GetName()} vessels box"
        )
        region.CreateDefaultDisplayNodes()
        region.GetDisplayNode().SetVisibility(False)
        display.SetAndObserveROINodeID(region.GetID())
    region.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    region.SetCenter(*((box[0] + box[1]) / 2))
    region.SetSize(*(box[1] - box[0]))
    display.SetCroppingEnabled(True)


def vessels_shown(volume_node: Any, logic: Any) -> bool:
    """Whether `show_vessels` has the volume rendered now; ``logic`` may be None, as when the application ends."""
    display = None if None in (volume_node, logic) else logic.GetFirstVolumeRenderingDisplayNode(volume_node)
    return display is not None and bool(display.GetVisibility())


def set_opacity(nodes: DetectionNodes, opacity: float) -> None:
    """How solid the ellipsoids are in 3-D, 0 to 1; their outlines in the slices stay."""
    for model in nodes.ellipsoids.values():
        model.GetDisplayNode().SetOpacity(opacity)
        model.GetDisplayNode().SetSliceIntersectionOpacity(1.0)


def centre_views(nodes: DetectionNodes, index: int, logic: Any) -> bool:
    """Bring slices and 3-D cameras to landmark number ``index``; False when it is not placed.

    ``logic``: the markups module's.
    """
    if position_ras(nodes, index) is None:
        return False
    place = control_point(nodes, index)
    logic.JumpSlicesToNthPointInMarkup(nodes.points.GetID(), place, True)
    logic.FocusCamerasOnNthPointInMarkup(nodes.points.GetID(), place)
    return True


def peel_depth(scene: Any) -> None:
    """Let points be seen inside translucent ellipsoids, in every 3-D view."""
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLViewNode")):
        scene.GetNthNodeByClass(number, "vtkMRMLViewNode").SetUseDepthPeeling(True)
