"""How a detection is looked at: vessels in 3-D, ellipsoids' opacity, all views on one point."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import vtk

from ..volume import Volume, lumen_hu
from .nodes import DetectionNodes, find_detection, find_detections
from .points import control_point, position_ras
from .strip import follow_strip
from .volumes import BOX_ATTRIBUTE, SceneError, affine_of, nodes_of_class, to_ras, voxels_of

# Opacity (per mm) by shares of the HU in the lumen. Thin enough for the ellipsoids inside the vessels to shine through.
_VESSEL_OPACITY = ((0.45, 0.0), (0.7, 0.05), (0.85, 0.1), (1.2, 0.1), (1.45, 0.03))
_DARK, _RED, _PALE = (0.55, 0.10, 0.08), (0.93, 0.18, 0.12), (0.93, 0.90, 0.84)
_VESSEL_COLOUR = ((0.45, *_DARK), (0.7, *_RED), (1.2, *_RED), (1.4, *_PALE))
# Bone has the lumen's HU at its edges, but no place as even as a lumen: what is steep (HU per mm, as a share of the
# lumen's HU) is faint.
_STEEPNESS_OPACITY = ((0.0, 1.0), (0.2, 1.0), (0.35, 0.12))
_MOST_HU = 3000.0
WITHHELD_ATTRIBUTE = "CarotidLandmark.Withheld"  # of a display node that `attend` has hidden
LUMEN_ATTRIBUTE = "CarotidLandmark.LumenHU"  # of the display node: what its preset was made for

# How far the rendered box reaches beyond the points: right, posterior, inferior; left, anterior, superior (mm). The
# carotids are within it, jaw and spine mostly beyond: farther up, an internal carotid that bends backwards is cut.
_BOX_BELOW_MM = np.array([14.0, 10.0, 45.0])
_BOX_ABOVE_MM = np.array([14.0, 12.0, 45.0])


def show_vessels(volume_node: Any, logic: Any, visible: bool = True) -> Any:
    """Volume rendering of a CTA: vessels with contrast red, bone pale, the rest unseen. Returns the display node.

    Where the scan has a detection, only a box around its points is rendered (jaw and spine would hide them), and red is
    what has the HU of the lumen there. Views without an orientation marker get a cube. A rendering that somebody has
    made of the scan stays as it is. ``logic`` is the volume rendering module's, None where that is switched off: what
    is not rendered yet raises SceneError then, and the scene stays as it was.
    """
    display = _rendering(volume_node) or _add_rendering(volume_node, logic)
    if visible:
        placed = _placed(find_detection(volume_node))
        lumen = lumen_hu(Volume(voxels_of(volume_node), affine_of(volume_node)), map(to_ras, placed))
        if display.GetAttribute(LUMEN_ATTRIBUTE) != f"{lumen:.0f}":  # else it may be what somebody has adjusted
            _set_vessel_preset(display.GetVolumePropertyNode().GetVolumeProperty(), lumen)
            display.SetAttribute(LUMEN_ATTRIBUTE, f"{lumen:.0f}")
        if placed:
            _crop(display, volume_node, placed)
        show_cube(volume_node.GetScene())
        peel_depth(volume_node.GetScene())
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


def _crop(display: Any, volume_node: Any, placed: list[np.ndarray]) -> None:
    """Render only a box around these points, RAS, in the volume's frame."""
    region = display.GetMarkupsROINode()
    if region is None or not region.GetAttribute(BOX_ATTRIBUTE):
        title = f"{volume_node.GetName()} vessels box"
        region = volume_node.GetScene().AddNewNodeByClass("vtkMRMLMarkupsROINode", title)
        region.CreateDefaultDisplayNodes()
        region.GetDisplayNode().SetVisibility(False)
        display.SetAndObserveROINodeID(region.GetID())
    low, high = np.min(placed, axis=0) - _BOX_BELOW_MM, np.max(placed, axis=0) + _BOX_ABOVE_MM
    region.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    region.SetCenter(*(low + high) / 2)
    region.SetSize(*high - low)
    region.SetAttribute(BOX_ATTRIBUTE, _place_of(volume_node))
    display.SetCroppingEnabled(True)


def follow_vessels(nodes: DetectionNodes) -> None:
    """Take the box of `show_vessels` along wherever the volume has gone."""
    display, placed = _rendering(nodes.volume), _placed(nodes)
    region = None if display is None else display.GetMarkupsROINode()
    if region is None or not region.GetAttribute(BOX_ATTRIBUTE):
        return
    if region.GetTransformNodeID() != nodes.volume.GetTransformNodeID():
        region.SetAndObserveTransformNodeID(nodes.volume.GetTransformNodeID())
    if placed and region.GetAttribute(BOX_ATTRIBUTE) != _place_of(nodes.volume):
        _crop(display, nodes.volume, placed)


def _place_of(volume_node: Any) -> str:
    return json.dumps(affine_of(volume_node).tolist())


def vessels_shown(volume_node: Any) -> bool:
    """Whether `show_vessels` has the volume rendered now."""
    display = None if volume_node is None else _rendering(volume_node)
    return display is not None and bool(display.GetVisibility())


def _rendering(volume_node: Any) -> Any:
    """The volume's display node that `show_vessels` has made, or None."""
    displays = (volume_node.GetNthDisplayNode(n) for n in range(volume_node.GetNumberOfDisplayNodes()))
    return next((each for each in displays if each is not None and each.GetAttribute(LUMEN_ATTRIBUTE)), None)


def _add_rendering(volume_node: Any, logic: Any) -> Any:
    if logic is None:
        raise SceneError(
            "Slicer's module Volume Rendering is switched off; switch it on in the settings, under Modules, and start "
            "Slicer again to see the vessels."
        )
    volume_node.CreateDefaultDisplayNodes()  # the slices' display stays the first
    display = logic.CreateVolumeRenderingDisplayNode()
    display.UnRegister(logic)  # Python has it, and does not know that it was given it
    volume_node.GetScene().AddNode(display)
    volume_node.AddAndObserveDisplayNodeID(display.GetID())
    logic.UpdateDisplayNodeFromVolumeNode(display, volume_node, None, None, False)  # the box is ours
    display.RemoveAllViewNodeIDs()  # in every 3-D view, also in one that comes later
    return display


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
    """The volumes that are seen in the slice views of the present layout, each as often as a view has it."""
    layout = {view.GetLayoutName() for view in nodes_of_class(scene, "vtkMRMLSliceNode") if view.IsMappedInLayout()}
    ids = []
    for view in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        if view.GetLayoutName() in layout:
            ids += [view.GetBackgroundVolumeID(), view.GetForegroundVolumeID() if view.GetForegroundOpacity() else None]
    return [node for each in ids if each and (node := scene.GetNodeByID(each)) is not None]


def attend(scene: Any, chosen: DetectionNodes | None, before: DetectionNodes | None = None) -> None:
    """Show the points and regions of ``chosen``, and those of other scans only where a view shows their scan: else they
    would lie over another patient. Those of other scans can not be moved.

    What the user has hidden stays hidden, and locked what he locks while it is chosen: ``before`` was chosen until now.
    """
    seen = volumes_in_views(scene)
    for nodes in find_detections(scene):
        mine = chosen is not None and nodes.points is chosen.points
        if not mine or before is None or before.points is not nodes.points:
            nodes.points.SetLocked(not mine)
        for display in (node.GetDisplayNode() for node in (nodes.points, *nodes.ellipsoids.values())):
            if display is not None:  # the user may have deleted it
                _withhold(display, not mine and nodes.volume not in seen)


def _withhold(display: Any, hide: bool) -> None:
    withheld = display.GetAttribute(WITHHELD_ATTRIBUTE) is not None
    if hide and not withheld and display.GetVisibility():
        display.SetVisibility(False)
        display.SetAttribute(WITHHELD_ATTRIBUTE, "1")
    elif withheld and not hide:
        display.SetVisibility(True)
        display.RemoveAttribute(WITHHELD_ATTRIBUTE)


def peel_depth(scene: Any) -> None:
    """Let points be seen inside translucent ellipsoids, in every 3-D view."""
    for view in nodes_of_class(scene, "vtkMRMLViewNode"):
        view.SetUseDepthPeeling(True)
