"""Views of a scene without a window: Slicer's own displayable managers in off-screen render windows.

Only for ``slicer-core``: inside the application the layout manager owns the views.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Stage:
    """An empty scene, and what keeps alive the logics that its views and files need."""

    scene: Any
    application: Any
    volume_rendering: Any
    markups: Any
    files: tuple[Any, ...]

    @classmethod
    def new(cls) -> Stage:
        """With Slicer's colour tables and slice orientations."""
        scene = slicer.vtkMRMLScene()
        application = slicer.vtkSlicerApplicationLogic()
        application.SetMRMLScene(scene)
        application.GetColorLogic().SetMRMLScene(scene)
        application.GetColorLogic().AddDefaultColorNodes()
        application.SetSliceLogics(vtk.vtkCollection())
        application.SetViewLogics(vtk.vtkCollection())
        volume_rendering, markups = slicer.vtkSlicerVolumeRenderingLogic(), slicer.vtkSlicerMarkupsLogic()
        stage = cls(scene, application, volume_rendering, markups, _file_logics(scene, application))
        for name, logic in (("VolumeRendering", stage.volume_rendering), ("Markups", stage.markups)):
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(scene)
            application.SetModuleLogic(name, logic)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        return stage


def _file_logics(scene: Any, application: Any) -> tuple[Any, ...]:
    """What the scene needs to unpack an ``.mrb``; the folder lives as long as what is returned."""
    folder = tempfile.TemporaryDirectory(prefix="carotid-landmark-")
    remote, manager = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    remote.GetCacheManager().SetRemoteCacheDirectory(folder.name)
    manager.SetMRMLApplicationLogic(application)
    manager.SetAndObserveDataIOManager(remote.GetDataIOManager())
    application.SetMRMLSceneDataIO(scene, remote, manager)
    return remote, manager, folder


class View3D:
    """A 3-D view of a scene in an off-screen render window of ``size`` (width, height) pixels.

    ``node`` is the view node, ``window`` the render window, ``style`` gets the interactor's events.
    """

    def __init__(self, stage: Stage, size: tuple[int, int], name: str = "1") -> None:
        self.window, self.renderer, self.interactor = _window(size)
        factory = _factory(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, stage.application, _MANAGERS_3D)
        self.style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self.style.SetInteractor(self.interactor)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.style.SetDisplayableManagers(self.group)
        self.node = slicer.vtkMRMLViewNode()
        self.node.SetLayoutName(name)
        self.node.SetName(f"View{name}")
        self.node = stage.scene.AddNode(self.node)
        self.node.SetUseDepthPeeling(True)  # points stay visible inside translucent ellipsoids
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.node.SetBackgroundColor(0.07, 0.08, 0.11)
        self.node.SetBackgroundColor2(0.16, 0.18, 0.23)
        self.group.SetMRMLDisplayableNode(self.node)

    def set_parallel(self) -> None:
        """Without perspective: a millimetre is as long in front as behind."""
        self.node.SetRenderMode(self.node.Orthographic)

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

    def pixels(self) -> np.ndarray:
        """What the view shows: [row, column, 3] uint8, top row first."""
        return _pixels(self.window)


class SliceView:
    """A slice view in an off-screen render window. ``orientation`` is Axial, Coronal or Sagittal.

    ``node`` is the slice node, ``logic`` the slice logic, ``style`` gets the interactor's events.
    """

    def __init__(self, stage: Stage, size: tuple[int, int], name: str = "Red", orientation: str = "Axial") -> None:
        self.size = size
        self.window, self.renderer, self.interactor = _window(size)
        factory = _factory(slicer.vtkMRMLSliceViewDisplayableManagerFactory, stage.application, _MANAGERS_SLICE)
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
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetInteractor(self.interactor)
        self.style.SetSliceLogic(self.logic)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.style.SetDisplayableManagers(self.group)
        self.group.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        image = vtk.vtkActor2D()
        image.SetMapper(self._mapper)
        image.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(image)
        self._image = image
        self._image.SetVisibility(False)

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
        return _pixels(self.window)


def _factory(factory_class: Any, application: Any, managers: tuple[str, ...]) -> Any:
    factory = factory_class.GetInstance()
    factory.SetMRMLApplicationLogic(application)
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _window(size: tuple[int, int]) -> tuple[Any, Any, Any]:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.Initialize()
    return window, renderer, interactor


def _pixels(window: Any) -> np.ndarray:
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, :3].copy()
