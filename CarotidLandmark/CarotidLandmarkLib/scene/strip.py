"""Seven consecutive axial slices about a point, side by side: the level of a bifurcation is told by what comes next.

A layout of Slicer, with the usual views below the strip. In the application the layout manager makes its views; the
slice nodes are the layout logic's.
"""

from __future__ import annotations

from typing import Any

from .nodes import DetectionNodes
from .points import control_point, position_ras
from .volumes import nodes_of_class

OFFSETS_MM = (-3, -2, -1, 0, 1, 2, 3)  # towards the feet first: the definition goes up
FIELD_MM = 40.0  # height of each view
LAYOUT = 52803  # any number that no other layout has
BEFORE_ATTRIBUTE = "CarotidLandmark.LayoutBefore"
VIEW_GROUP = 28  # linked views and the crosshair leave the strip alone

_USUAL = (("Red", "Axial", "#F34A33"), ("Green", "Coronal", "#6EB04B"), ("Yellow", "Sagittal", "#EDD54C"))


def show_strip(nodes: DetectionNodes, index: int) -> bool:
    """Change to the layout with the strip, about landmark number ``index``. Whether the point is placed.

    The layout that was there comes back with `leave_strip`. A slice view that is new shows the detection's volume.
    """
    layout = _layout(nodes.volume.GetScene())
    if layout is None or position_ras(nodes, index) is None:
        return False
    register_strip(nodes.volume.GetScene())
    if layout.GetViewArrangement() != LAYOUT:
        layout.SetAttribute(BEFORE_ATTRIBUTE, str(layout.GetViewArrangement()))
        layout.SetViewArrangement(LAYOUT)
    return follow_strip(nodes, index)


def register_strip(scene: Any) -> None:
    """Make the layout known, so that a scene that was saved with it opens with it. Where it is known, nothing."""
    layout = _layout(scene)
    if layout is not None and not layout.IsLayoutDescription(LAYOUT):
        layout.AddLayoutDescription(LAYOUT, _description())
        if strip_shown(scene):  # such a scene was opened before, and showed no views
            layout.SetViewArrangement(LAYOUT)


def leave_strip(scene: Any) -> None:
    """Back to the layout that was there before `show_strip`."""
    if strip_shown(scene):
        layout = _layout(scene)
        layout.SetViewArrangement(int(layout.GetAttribute(BEFORE_ATTRIBUTE) or layout.SlicerLayoutFourUpView))


def strip_shown(scene: Any) -> bool:
    """Whether the layout with the strip is the present one."""
    layout = _layout(scene)
    return layout is not None and layout.GetViewArrangement() == LAYOUT


def follow_strip(nodes: DetectionNodes, index: int) -> bool:
    """Put the strip's slices about landmark number ``index``, where it is now. False: no strip, or no point."""
    scene = nodes.volume.GetScene()
    if position_ras(nodes, index) is None or not strip_shown(scene):
        return False
    x, y, z = nodes.points.GetNthControlPointPositionWorld(control_point(nodes, index))
    for offset in OFFSETS_MM:
        view = scene.GetNodeByID(f"vtkMRMLSliceNode{view_name(offset)}")
        if view is None:
            continue
        _show_volume(scene, view, nodes.volume)
        width, height, _ = view.GetDimensions()
        view.SetOrientation("Axial")
        view.SetFieldOfView(FIELD_MM * width / max(height, 1), FIELD_MM, view.GetFieldOfView()[2])
        view.JumpSliceByCentering(x, y, z + offset)
    return True


def view_name(offset_mm: int) -> str:
    """Of the slice view ``offset_mm`` above the point."""
    return f"Strip{offset_mm:+d}" if offset_mm else "Strip0"


def view_label(offset_mm: int) -> str:
    """The same as a human reads it."""
    return f"{offset_mm:+d} mm".replace("-", "−") if offset_mm else "point"


def _show_volume(scene: Any, view: Any, volume_node: Any) -> None:
    for composite in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetLayoutName() == view.GetLayoutName():
            composite.SetLinkedControl(False)
            composite.SetBackgroundVolumeID(volume_node.GetID())


def _layout(scene: Any) -> Any:
    return scene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _description() -> str:
    strip = [_slice(view_name(offset), "Axial", view_label(offset), "#F34A33", VIEW_GROUP) for offset in OFFSETS_MM]
    usual = [_slice(tag, orientation, tag[0], colour, 0) for tag, orientation, colour in _USUAL]
    usual.append(_view("vtkMRMLViewNode", "1", viewlabel="1"))
    items = "".join(
        f'<item splitSize="{size}"><layout type="horizontal" split="true">{"".join(views)}</layout></item>'
        for size, views in ((400, strip), (600, usual))
    )
    return f'<layout type="vertical" split="true">{items}</layout>'


def _slice(tag: str, orientation: str, label: str, colour: str, group: int) -> str:
    return _view(
        "vtkMRMLSliceNode", tag, orientation=orientation, viewlabel=label, viewcolor=colour, viewgroup=str(group)
    )


def _view(kind: str, tag: str, **properties: str) -> str:
    words = "".join(f'<property name="{name}" action="default">{word}</property>' for name, word in properties.items())
    return f'<item><view class="{kind}" singletontag="{tag}">{words}</view></item>'
