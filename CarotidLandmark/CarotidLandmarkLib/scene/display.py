"""How a detection is looked at: vessels in 3-D, ellipsoids' opacity, all views on one point."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from ..volume import Volume, lumen_hu
from .nodes import DetectionNodes, find_detection
from .points import control_point, position_ras
from .strip import follow_strip
from .volumes import affine_of, nodes_of_class, to_ras, voxels_of

# Opacity (per mm) by shares of the HU in the lumen. Thin enough for the ellipsoids inside the vessels to shine through.
_VESSEL_OPACITY = ((0.45, 0.0), (0.7, 0.05), (0.85, 0.1), (1.2, 0.1), (1.45, 0.03))
_DARK, _RED, _PALE = (0.55, 0.10, 0.08), (0.93, 0.18, 0.12), (0.93, 0.90, 0.84)
_VESSEL_COLOUR = ((0.45, *_DARK), (0.7, *_RED), (1.2, *_RED), (1.4, *_PALE))
# Bone has the lumen's HU at its edges, but no place as even as a lumen: what is steep (HU per mm, as a share of the
# lumen's HU) is faint.
_STEEPNESS_OPACITY = ((0.0, 1.0), (0.2, 1.0), (0.35, 0.12))
_MOST_HU = 3000.0
LUMEN_ATTRIBUTE = "CarotidLandmark.LumenHU"  # of the display node: what its preset was made for

# How far the rendered box reaches beyond the points: right, posterior, inferior; left, anterior, superior (mm). The
# carotids are within it, jaw and spine mostly beyond: farther up, an internal carotid that bends backwards is cut.
_BOX_BELOW_MM = np.array([14.0, 10.0, 45.0])
_BOX_ABOVE_MM = np.array([14.0, 12.0, 45.0])


def show_vessels(volume_node: Any, logic: Any, visible: bool = True) -> Any:
    """Volume rendering of a CTA: vessels with contrast red, bone pale, the rest unseen. Returns the display node.

    Where the scan has a detection, only a box around its points is rendered (jaw and spine would hide them), and red is
    what has the HU of the lumen there. Views without an orientation marker get a cube. ``logic`` is the volume
    rendering module's.
    """
    display = logic.GetFirstVolumeRenderingDisplayNode(volume_node)
    if display is None:
        volume_node.CreateDefaultDisplayNodes()  # the slices' display stays the first
        display = logic.CreateDefaultVolumeRenderingNodes(volume_node)
        display.RemoveAllViewNodeIDs()  # in every 3-D view, also in one that comes later
    if visible:
        placed = _placed(find_detection(volume_node))
        lumen = lumen_hu(Volume(voxels_of(volume_node), affine_of(volume_node)), map(to_ras, placed))
        if display.GetAttribute(LUMEN_ATTRIBUTE) != f"{lumen:.0f}":  # else it may be what somebody has adjusted
            _set_vessel_preset(display.GetVolumePropertyNode().GetVolumeProperty(), lumen)
            display.SetAttribute(LUMEN_ATTRIBUTE, f"{lumen:.0f}")
        if placed:
            low, high = np.min(placed, axis=0) - _BOX_BELOW_MM, np.max(placed, axis=0) + _BOX_ABOVE_MM
            _crop(display, volume_node, (low + high) / 2, high - low)
        show_cube(volume_node.GetScene())
    display.SetVisibility(visible)
    return display


def show_cube(scene: Any) -> None:
    """An orientation cube (letters R, L, A, P, S, I) in every 3-D view that has no orientation marker."""
    for view in nodes_of_class(scene, "vtkMRMLViewNode"):
        if view.GetOrientationMarkerType() == view.OrientationMarkerTypeNone:
            view.SetOrientationMarkerType(view.OrientationMarkerTypeCube)
            view.SetOrientationMarkerSize(view.OrientationMarkerSizeSmall)


def _set_vessel_preset(prop: Any, lumen: float) -> None:
    opacity, colour, steepness = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction(), vtk.vtkPiecewiseFunction()
    for share, value in _VESSEL_OPACITY:
        opacity.AddPoint(share * lumen, value)
    opacity.AddPoint(max(_MOST_HU, 2 * lumen), 0.06)
    for share, red, green, blue in _VESSEL_COLOUR:
        colour.AddRGBPoint(share * lumen, red, green, blue)
    for share, value in _STEEPNESS_OPACITY:
        steepness.AddPoint(share * lumen, value)
    prop.SetScalarOpacity(opacity)
    prop.SetColor(colour)
    prop.SetGradientOpacity(steepness)
    prop.SetInterpolationTypeToLinear()
    prop.SetShade(True)
    prop.SetAmbient(0.35)
    prop.SetDiffuse(0.9)
    prop.SetSpecular(0.25)


def _placed(nodes: DetectionNodes | None) -> list[np.ndarray]:
    """Every placed point, RAS, in the volume's frame."""
    places = (position_ras(nodes, index) for index in range(len(nodes.detection.landmarks))) if nodes else ()
    return [place for place in places if place is not None]


def _crop(display: Any, volume_node: Any, centre_ras: np.ndarray, size_mm: np.ndarray) -> None:
    """Render only a box, in the volume's frame."""
    region = display.GetMarkupsROINode()
    if region is None:
        title = f"{volume_node.GetName()} vessels box"
        region = volume_node.GetScene().AddNewNodeByClass("vtkMRMLMarkupsROINode", title)
        region.CreateDefaultDisplayNodes()
        region.GetDisplayNode().SetVisibility(False)
        display.SetAndObserveROINodeID(region.GetID())
    region.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    region.SetCenter(*centre_ras)
    region.SetSize(*size_mm)
    display.SetCroppingEnabled(True)


def vessels_shown(volume_node: Any, logic: Any) -> bool:
    """Whether `show_vessels` has the volume rendered now; ``logic`` may be None, as when the application ends."""
    display = None if None in (volume_node, logic) else logic.GetFirstVolumeRenderingDisplayNode(volume_node)
    return display is not None and bool(display.GetVisibility())


def set_opacity(nodes: DetectionNodes, opacity: float) -> None:
    """How solid the ellipsoids are in 3-D, 0 to 1; their outlines in the slices stay."""
    for display in (model.GetDisplayNode() for model in nodes.ellipsoids.values()):
        if display is not None:  # the user may have deleted it
            display.SetOpacity(opacity)
            display.SetSliceIntersectionOpacity(1.0)


def centre_views(nodes: DetectionNodes, index: int, logic: Any) -> bool:
    """Bring slices and 3-D cameras to landmark number ``index``; False when it is not placed.

    ``logic``: the markups module's.
    """
    if position_ras(nodes, index) is None:
        return False
    place = control_point(nodes, index)
    logic.JumpSlicesToNthPointInMarkup(nodes.points.GetID(), place, True)
    logic.FocusCamerasOnNthPointInMarkup(nodes.points.GetID(), place)
    follow_strip(nodes, index)  # it has jumped along
    return True


def volumes_in_views(scene: Any) -> list[Any]:
    """The volumes that slice views have as background or foreground, each as often as a view has it."""
    composites = nodes_of_class(scene, "vtkMRMLSliceCompositeNode")
    ids = [each for view in composites for each in (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) if each]
    return [node for each in ids if (node := scene.GetNodeByID(each)) is not None]


def peel_depth(scene: Any) -> None:
    """Let points be seen inside translucent ellipsoids, in every 3-D view."""
    for view in nodes_of_class(scene, "vtkMRMLViewNode"):
        view.SetUseDepthPeeling(True)
