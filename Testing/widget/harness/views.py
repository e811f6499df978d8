"""The central part of the window: three slice views and a 3-D view, each a picture that takes the mouse."""

from __future__ import annotations

from typing import Any

import vtk
from CarotidLandmarkLib.scene.offscreen import SliceView, Stage, View3D
from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QGridLayout, QSizePolicy, QWidget

_BUTTONS = {
    Qt.MouseButton.LeftButton: "Left",
    Qt.MouseButton.MiddleButton: "Middle",
    Qt.MouseButton.RightButton: "Right",
}


class ViewWidget(QWidget):
    """Shows what an off-screen view renders, and hands it the mouse, as the application's view widgets do."""

    def __init__(self, view: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.view = view
        self._size = QSize(*size)
        self.setFixedSize(self._size)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self._refresh = QTimer(self)
        self._refresh.setSingleShot(True)
        self._refresh.timeout.connect(self.update)
        self._painting = False
        view.interactor.AddObserver("RenderEvent", self._asked_to_render)

    def _asked_to_render(self, *_: Any) -> None:
        if not self._painting:
            self._refresh.start(30)

    def paintEvent(self, event: Any) -> None:
        self._painting = True
        pixels = self.view.pixels()
        self._painting = False
        rows, columns, _ = pixels.shape
        image = QImage(pixels.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        painter = QPainter(self)
        painter.drawImage(0, 0, image)
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        self._tell(event, f"{_BUTTONS[event.button()]}ButtonPressEvent")

    def mouseReleaseEvent(self, event: Any) -> None:
        self._tell(event, f"{_BUTTONS[event.button()]}ButtonReleaseEvent")

    def mouseMoveEvent(self, event: Any) -> None:
        self._tell(event, "MouseMoveEvent")

    def _tell(self, event: Any, name: str) -> None:
        place = event.position()
        rows = self._size.height()
        self.view.interactor.SetEventInformation(round(place.x()), round(rows - 1 - place.y()), 0, 0, "\0", 0, None)
        self.view.style.DelegateInteractionEventToDisplayableManagers(vtk.vtkCommand.GetEventIdFromString(name))
        self.update()


class LayoutManager:
    """What ``slicer.app.layoutManager()`` is asked for: slice logics by name, and the views themselves."""

    def __init__(self, stage: Stage, size: tuple[int, int]) -> None:
        self._stage = stage
        self.widget = QWidget()
        grid = QGridLayout(self.widget)
        grid.setContentsMargins(2, 2, 2, 2)
        grid.setSpacing(2)
        self.slices = {
            name: SliceView(stage, size, name, orientation)
            for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
        }
        self.three_d = View3D(stage, size)
        self.widgets = {name: ViewWidget(view, size) for name, view in {**self.slices, "3D": self.three_d}.items()}
        for name, place in (("Red", (0, 0)), ("3D", (0, 1)), ("Green", (1, 0)), ("Yellow", (1, 1))):
            grid.addWidget(self.widgets[name], *place)

    def mrmlSliceLogics(self) -> Any:
        return self._stage.application.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return list(self.slices)

    def resetThreeDViews(self) -> None:
        self.three_d.renderer.ResetCamera()
