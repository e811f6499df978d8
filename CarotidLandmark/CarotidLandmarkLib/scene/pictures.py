"""Pictures of a detection as PNG files, with the letters of the patient's directions and a scale bar in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..detection import Detection
from ..files import staged_folder
from ..volume import Volume
from .display import show_cube, show_vessels
from .nodes import DetectionNodes
from .offscreen import SliceView, Stage, View3D, quiet_vtk
from .points import axial_slice, control_point, position_lps, position_ras
from .regions import add_detection
from .volumes import add_volume, write_bundle

_HEIGHT_3D_MM, _HEIGHT_SLICE_MM = 105.0, 70.0
_TILE = 420  # pixels
FRONT = "RLHF"  # letters at left, right, top, bottom of a view from in front
_ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
_PLACES = ((0.015, 0.5, 0, 1), (0.985, 0.5, 2, 1), (0.5, 0.985, 1, 2), (0.5, 0.015, 1, 0))  # x, y, justifications


def save_scene(volume: Volume, detection: Detection, directory: Path) -> list[Path]:
    """Write ``scene.mrb`` (opens in Slicer: scan, points, ellipsoids), ``scene-3d.png`` and ``scene-slices.png``.

    Pictures are rendered off-screen by Slicer's own displayable managers. All three files or none. Returns their paths.
    Raises OSError when they can not be written.
    """
    names = ("scene.mrb", "scene-3d.png", "scene-slices.png")
    with quiet_vtk(), staged_folder(directory) as folder:
        stage = Stage()
        volume_node = add_volume(stage.scene, volume)
        nodes = add_detection(volume_node, detection)
        show_vessels(volume_node, stage.volume_rendering)
        write_bundle(stage.scene, folder / names[0])  # first: the pictures add views to the scene
        picture_3d(nodes, stage, folder / names[1])
        picture_slices(nodes, stage, folder / names[2])
    return [Path(directory) / name for name in names]


def picture_3d(nodes: DetectionNodes, stage: Stage, path: Path) -> Path:
    """Write what is visible in 3-D around the points as a PNG and return its path."""
    view = View3D(stage, (900, 800), "Picture")
    view.node.SetRenderMode(view.node.Orthographic)  # so that a scale bar is true
    show_cube(stage.scene)
    write_letters(view, FRONT)
    centres = placed_points(nodes)
    view.look_at(np.mean(centres, axis=0) if centres else _volume_centre(nodes.volume), _HEIGHT_3D_MM)
    draw_scale_bar(view, 20.0, _HEIGHT_3D_MM)
    return write_png(view.pixels(), path)


def picture_slices(nodes: DetectionNodes, stage: Stage, path: Path) -> Path:
    """Write a PNG with axial, coronal and sagittal slices, one row per placed point, or the volume's middle."""
    rows: list[np.ndarray] = []
    for title, centre in _places(nodes) or [("axial, middle", _volume_centre(nodes.volume))]:
        tiles: list[np.ndarray] = []
        for orientation in _ORIENTATIONS:
            view = SliceView(stage, (_TILE, _TILE), f"Picture{len(rows)}{orientation}", orientation)
            view.show(nodes.volume)
            view.look_at(centre, _HEIGHT_SLICE_MM)
            draw_scale_bar(view, 10.0, _HEIGHT_SLICE_MM)
            write_letters(view, slice_letters(view.node), title if not tiles else orientation.lower())
            tiles.append(view.pixels())
        rows.append(np.concatenate(tiles, axis=1))
    return write_png(np.concatenate(rows, axis=0), path)


def _places(nodes: DetectionNodes) -> list[tuple[str, np.ndarray]]:
    """Of each placed landmark what its row is called, and where it is (RAS, world)."""
    places = []
    for index, landmark in enumerate(nodes.detection.landmarks):
        local = position_ras(nodes, index)
        if local is None:
            continue
        world = nodes.points.GetNthControlPointPositionWorld(control_point(nodes, index))
        number, count = axial_slice(nodes, position_lps(nodes, index)) or (0, 0)
        title = f"{landmark.label}\naxial, slice {number} of {count}\nS {local[2]:.1f} mm".replace("-", "−")
        places.append((title, np.array(world)))
    return places


def slice_letters(slice_node: Any) -> str:
    """Where the left, right, top and bottom of a slice view lead in the patient: nearest of R L A P H F."""
    directions = slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, :2].T
    ends = []
    for direction in directions:
        axis = int(np.argmax(np.abs(direction)))
        pair = ("LR", "PA", "FH")[axis]
        ends.append(pair if direction[axis] > 0 else pair[::-1])
    across, along = ends
    return across + along[::-1]


def write_letters(view: View3D | SliceView, letters: str, title: str = "") -> None:
    """Put letters at left, right, top and bottom of a view, and a title in its upper left corner."""
    for letter, (x, y, across, along) in zip(letters, _PLACES, strict=True):
        _write(view, letter, x, y, (across, along), 16)
    if title:
        _write(view, title, 0.015, 0.985, (0, 2), 13)


def draw_scale_bar(view: View3D | SliceView, length_mm: float, height_mm: float) -> None:
    """A bar of ``length_mm`` in the lower left corner of a view whose height is ``height_mm``."""
    width, height = view.window.GetSize()
    share = length_mm / height_mm * height / width
    for thickness, colour in ((5, (0.0, 0.0, 0.0)), (2, (1.0, 1.0, 1.0))):  # white on a black edge: seen on bone, too
        line = vtk.vtkLineSource()
        line.SetPoint1(0.02, 0.02, 0.0)
        line.SetPoint2(0.02 + share, 0.02, 0.0)
        place = vtk.vtkCoordinate()
        place.SetCoordinateSystemToNormalizedViewport()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputConnection(line.GetOutputPort())
        mapper.SetTransformCoordinate(place)
        bar = vtk.vtkActor2D()
        bar.SetMapper(mapper)
        bar.GetProperty().SetColor(*colour)
        bar.GetProperty().SetLineWidth(thickness)
        view.renderer.AddViewProp(bar)
    _write(view, f"{length_mm:g} mm", 0.02, 0.032, (0, 0), 13)


def _write(view: View3D | SliceView, text: str, x: float, y: float, justification: tuple[int, int], size: int) -> None:
    actor = vtk.vtkTextActor()
    actor.SetInput(text)
    actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
    actor.SetPosition(x, y)
    style = actor.GetTextProperty()
    style.SetFontSize(size)
    style.SetColor(1.0, 0.83, 0.23)
    style.SetBackgroundColor(0.0, 0.0, 0.0)
    style.SetBackgroundOpacity(0.45)
    style.SetJustification(justification[0])
    style.SetVerticalJustification(justification[1])
    view.renderer.AddViewProp(actor)


def write_png(pixels: np.ndarray, path: Path) -> Path:
    """Write [row, column, 3] uint8 as a PNG. Raises OSError when that fails."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    writer.WriteToMemoryOn()  # into a file it wrote half a picture where the disk was full, and said nothing
    writer.Write()
    path.write_bytes(vtk_to_numpy(writer.GetResult()))
    return path


def placed_points(nodes: DetectionNodes) -> list[np.ndarray]:
    """The placed points, RAS, world."""
    return [place for _, place in _places(nodes)]


def _volume_centre(volume_node: Any) -> np.ndarray:
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    return np.array(bounds).reshape(3, 2).mean(axis=1)
