"""Views of a scene without a window: Slicer's own displayable managers in off-screen render windows.

Only for ``slicer-core``: inside the application the layout manager owns the views.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

# The order in which the application registers them: another order crashes (Camera before View).
_MANAGERS_3D = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
)
_MANAGERS_SLICE = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLMarkupsDisplayableManager")


@contextmanager
def quiet_vtk() -> Iterator[None]:
    """No VTK messages on stderr inside the block: they tell that there is no screen, which is known."""
    before = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(before)


class Stage:
    """An empty scene with Slicer's colour tables and slice orientations, and what keeps alive the logics that its views
    and files need."""

    def __init__(self) -> None:
        self.scene = scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(scene)
        self.application.GetColorLogic().SetMRMLScene(scene)
        self.application.GetColorLogic().AddDefaultColorNodes()
        self.application.SetSliceLogics(vtk.vtkCollection())
        self.application.SetViewLogics(vtk.vtkCollection())
        self.volume_rendering, self.markups = slicer.vtkSlicerVolumeRenderingLogic(), slicer.vtkSlicerMarkupsLogic()
        for name, logic in (("VolumeRendering", self.volume_rendering), ("Markups", self.markups)):
            logic.SetMRMLApplicationLogic(self.application)
            logic.SetMRMLScene(scene)
            self.application.SetModuleLogic(name, logic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        # what the scene needs to unpack an .mrb
        self._folder = tempfile.TemporaryDirectory(prefix="carotid-landmark-")
        self._remote, self._manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
        self._remote.GetCacheManager().SetRemoteCacheDirectory(self._folder.name)
        self._manager.SetMRMLApplicationLogic(self.application)
        self._manager.SetAndObserveDataIOManager(self._remote.GetDataIOManager())
        self.application.SetMRMLSceneDataIO(scene, self._remote, self._manager)


class _View:
    """An off-screen render window of ``size`` (width, height) pixels, its displayable managers, and ``style``, which
    gets the interactor's events."""

    def __init__(self, stage: Stage, size: tuple[int, int], factory: Any, managers: Sequence[str], style: Any) -> None:
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        factory.SetMRMLApplicationLogic(stage.application)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.style = style
        self.style.SetInteractor(self.interactor)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.style.SetDisplayableManagers(self.group)

    def pixels(self) -> np.ndarray:
        """What the view shows: [row, column, 3] uint8, top row first."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        columns, rows, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, :3].copy()


class View3D(_View):
    """A 3-D view of a scene. ``node`` is the view node."""

    def __init__(self, stage: Stage, size: tuple[int, int], name: str = "1") -> None:
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        super().__init__(stage, size, factory, _MANAGERS_3D, slicer.vtkMRMLThreeDViewInteractorStyle())
        node = slicer.vtkMRMLViewNode()
        node.SetLayoutName(name)
        node.SetName(f"View{name}")
        self.node = stage.scene.AddNode(node)
        self.node.SetUseDepthPeeling(True)  # points stay visible inside translucent ellipsoids
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetBackgroundColor(0.07, 0.08, 0.11)
        self.node.SetBackgroundColor2(0.16, 0.18, 0.23)
        self.group.SetMRMLDisplayableNode(self.node)

    def look_at(self, centre_ras: Any, height_mm: float) -> None:
        """Look from in front, a little from above, at a point (RAS); ``height_mm`` fills the view."""
        camera = self.renderer.GetActiveCamera()
        distance = height_mm / 2 / np.tan(np.deg2rad(camera.GetViewAngle() / 2))
        direction = np.array([0.0, np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))])
        camera.SetFocalPoint(*centre_ras)
        camera.SetPosition(*(np.asarray(centre_ras) + distance * direction))
        camera.SetViewUp(0, 0, 1)
        camera.SetParallelScale(height_mm / 2)
        self.renderer.ResetCameraClippingRange()


class SliceView(_View):
    """A slice view. ``orientation`` is Axial, Coronal or Sagittal; ``node`` is the slice node, ``logic`` its logic."""

    def __init__(self, stage: Stage, size: tuple[int, int], name: str = "Red", orientation: str = "Axial") -> None:
        self.size = size
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(stage.application)
        self.logic.SetMRMLScene(stage.scene)
        stage.application.GetSliceLogics().AddItem(self.logic)
        self.node = stage.scene.GetSingletonNode(name, "vtkMRMLSliceNode")  # a layout may have made it
        if self.node is None:
            self.node = self.logic.AddSliceNode(name)
            self.node.SetOrientation(orientation)
        self.logic.SetSliceNode(self.node)
        self.node.SetMappedInLayout(1)
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetSliceLogic(self.logic)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(stage, size, factory, _MANAGERS_SLICE, style)
        self.group.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._image.SetVisibility(False)
        self.renderer.AddViewProp(self._image)

    def show(self, volume_node: Any) -> None:
        """Show ``volume_node`` as the background, whole."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID() if volume_node else None)
        self.logic.FitSliceToBackground(*self.size)

    def look_at(self, centre_ras: Any, height_mm: float) -> None:
        """Centre the slice on a point (RAS, world); ``height_mm`` fills the view."""
        self.node.JumpSliceByCentering(*centre_ras)
        self.node.SetFieldOfView(height_mm * self.size[0] / self.size[1], height_mm, self.node.GetFieldOfView()[2])

    def pixels(self) -> np.ndarray:
        """What the view shows: [row, column, 3] uint8, top row first."""
        port = self.logic.GetImageDataConnection()
        self._image.SetVisibility(port is not None)
        if port is not None:
            self._mapper.SetInputConnection(port)
        return super().pixels()
