"""Scans in Slicer's scene: to the library's `Volume` and back. The scene is RAS, the library LPS."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..errors import UserError
from ..volume import Volume, check_geometry, check_size, from_array
from .windows import CTA, set_window

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse


BOX_ATTRIBUTE = "CarotidLandmark.BoxOf"  # of the rendered box: the affine of the volume that it was made for
STILL_UPRIGHT = 0.7  # cosine: an axis of the patient that a transform turns farther, by 45 degrees, is another one


class SceneError(UserError):
    """A node can not be used. The message is one sentence for the user: what is wrong and what to do."""


def to_ras(vector_lps: Any) -> np.ndarray:
    """A point or direction [3] from LPS to RAS (or back: it is its own inverse)."""
    return np.asarray(vector_lps, dtype=float) * (-1.0, -1.0, 1.0)


def volume_from_node(node: Any) -> Volume:
    """The scan in a ``vtkMRMLScalarVolumeNode``, in the volume's own frame (a linear parent transform is left aside).

    The voxels are shared with the node where `volume.from_array` can share them. Raises SceneError like
    `voxels_from_node`, and VolumeError when they can not be a CT.
    """
    return from_array(*voxels_from_node(node))


def voxels_from_node(node: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """The same, its values unchecked and never copied: voxels [k, j, i] of any type, affine to LPS [4, 4], name.

    Raises SceneError: no volume, a segmentation, label map or colour volume, no voxels, a nonlinear transform above it;
    VolumeError: too few voxels, axes or voxel sizes that can not be.
    """
    if node is None:
        raise SceneError("No volume is selected; choose the CT angiography to look at.")
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise SceneError(
            f"'{name}' is not a scalar volume; choose the CT itself, not a segmentation or another object."
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise SceneError(f"The volume '{name}' has no voxels; load it again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise SceneError(f"'{name}' is a colour volume; choose a CT with one value (HU) per voxel.")
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise SceneError(f"'{name}' is under a nonlinear transform; harden it or take the volume out of it first.")
    voxels, affine = voxels_of(node), affine_of(node)
    check_size(name, voxels.shape[::-1])
    check_geometry(name, affine)
    return voxels, affine, name


def scan_from_node(node: Any) -> tuple[np.ndarray, np.ndarray, str]:
    """`voxels_from_node` for a detector, which does not see the transform above the volume.

    Raises SceneError, too, where that turns the patient so far that the detector's left is not the left of the views.
    """
    scan, transform, matrix = voxels_from_node(node), node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    turned = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    if np.diag(turned / np.linalg.norm(turned, axis=0)).min() < STILL_UPRIGHT:
        words = f"'{scan[2]}' is turned or mirrored by the transform above it; harden the transform"
        raise SceneError(
            f"{words} (Data module, right-click the volume), then detect: or left and right would be mixed up."
        )
    return scan


def voxels_of(node: Any) -> np.ndarray:
    """The voxels [k, j, i] of a scalar volume that has some; not a copy."""
    image = node.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def fingerprint(node: Any) -> str:
    """Tells the voxels of a volume from others at a glance, by 50 along each axis; "" without voxels."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        return ""
    size = image.GetDimensions()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*size[::-1], -1)
    some = voxels[tuple(slice(None, None, -(-length // 50)) for length in voxels.shape[:3])]
    return f"{size[0]} {size[1]} {size[2]} {zlib.crc32(some.tobytes()):08x}"


def add_volume(scene: Any, volume: Volume) -> Any:
    """A ``vtkMRMLScalarVolumeNode`` in ``scene`` that shares the voxels of ``volume``, shown with a vessel window."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", volume.name)
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(volume.array).ravel()))
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LPS_RAS @ volume.affine_lps))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    set_window(node.GetDisplayNode(), CTA)
    return node


def affine_of(volume_node: Any) -> np.ndarray:
    """Where the volume's voxels are now: (i, j, k, 1) to LPS millimetres of its own frame, [4, 4]."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return LPS_RAS @ slicer.util.arrayFromVTKMatrix(matrix)


def nodes_of_class(scene: Any, name: str) -> list[Any]:
    """In the scene's order. ``slicer.util.getNodesByClass`` knows one scene only."""
    return [scene.GetNthNodeByClass(number, name) for number in range(scene.GetNumberOfNodesByClass(name))]


def remove_with_displays(node: Any) -> None:
    """The scene keeps display and storage nodes whose owner is gone; a day of cases would fill it with them."""
    scene = node.GetScene()
    if not node.IsA("vtkMRMLDisplayableNode"):
        scene.RemoveNode(node)
        return
    parts = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    for display in list(parts):
        if display is not None and display.IsA("vtkMRMLVolumeRenderingDisplayNode"):
            box = display.GetMarkupsROINode()
            parts += [
                display.GetVolumePropertyNode(),
                box if box is not None and box.GetAttribute(BOX_ATTRIBUTE) else None,
            ]
    parts += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is scene:
            remove_with_displays(part)


def write_bundle(scene: Any, path: Path) -> None:
    """Save ``scene`` as a ``.mrb``. Raises OSError with Slicer's own words when that fails."""
    messages = slicer.vtkMRMLMessageCollection()
    with TemporaryDirectory() as folder:  # Slicer aborts on a path that is not UTF-8
        bundle = Path(folder, "scene.mrb")
        if not scene.WriteToMRB(str(bundle), None, messages):
            raise OSError(f"The scene could not be saved to {path.name}: {messages.GetAllMessagesAsString()}")
        shutil.copyfile(bundle, path)
