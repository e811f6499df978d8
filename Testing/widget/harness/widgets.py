"""Stand-ins for the ctk and qMRML widgets that the module's ``.ui`` file names."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QSizePolicy, QSlider, QToolButton, QWidget

HEADER_PX = 26


class ctkCollapsibleButton(QWidget):
    """A titled section that folds away. Its contents are its other children."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._folded: list[QWidget] = []
        self._header = QToolButton(self)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setAutoRaise(True)
        self._header.setStyleSheet("QToolButton { text-align: left; font-weight: bold; background: #c9c9c9; }")
        self._header.clicked.connect(lambda: self._collapse(not self._collapsed))
        self.setContentsMargins(0, HEADER_PX, 0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def resizeEvent(self, event: Any) -> None:
        self._header.setGeometry(0, 0, event.size().width(), HEADER_PX - 2)

    def showEvent(self, event: Any) -> None:
        self._collapse(self._collapsed)  # the contents came after the property

    def _title(self) -> str:
        return QToolButton.property(self._header, "text")

    def _set_title(self, text: str) -> None:
        self._header.setText(text)

    def _collapse(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._header.setArrowType(Qt.ArrowType.RightArrow if collapsed else Qt.ArrowType.DownArrow)
        contents = [child for child in self.children() if isinstance(child, QWidget) and child is not self._header]
        if collapsed:
            self._folded += [child for child in contents if not child.isHidden()]
            for child in contents:
                child.hide()
        else:
            for child in self._folded:
                child.show()
            self._folded = []
        self.setMaximumHeight(HEADER_PX if collapsed else 16777215)

    text = Property(str, _title, _set_title)
    collapsed = Property(bool, lambda self: self._collapsed, _collapse)


class ctkSliderWidget(QWidget):
    """A slider with a spin box, over real numbers."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._box_changed)
        self._slider.valueChanged.connect(lambda step: self._box.setValue(self._lowest() + step * self._step()))
        self._fit()

    def _lowest(self) -> float:
        return self._box.property("minimum")

    def _step(self) -> float:
        return self._box.property("singleStep")

    def _fit(self, *_value: float) -> None:
        span = self._box.property("maximum") - self._lowest()
        self._slider.setRange(0, round(span / self._step()))

    def _box_changed(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(round((value - self._lowest()) / self._step()))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _set(name: str) -> Any:
        def setter(self: Any, value: float) -> None:
            self._box.setProperty(name, value)
            if name != "value":
                self._fit()

        return setter

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    value = Property(float, lambda self: self._box.property("value"), _set("value"))
    minimum = Property(float, lambda self: self._box.property("minimum"), _set("minimum"))
    maximum = Property(float, lambda self: self._box.property("maximum"), _set("maximum"))
    singleStep = Property(float, lambda self: self._box.property("singleStep"), _set("singleStep"))
    decimals = Property(int, lambda self: self._box.property("decimals"), _set("decimals"))
    pageStep = Property(float, lambda self: 0.0, lambda self, value: None)


class qMRMLWidget(QWidget):
    """The root of a module's panel: hands the scene to its children."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QComboBox):
    """Lists the scene's nodes of given classes, by name; a row's data is the node's ID.

    As in the application: of a chosen node that leaves the scene the row goes while it is still there, and Qt chooses
    a neighbour's; when a scene was closed or imported all rows are made anew, which leaves None chosen.
    """

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._child_types = True
        self.addItem("None", "")
        self.currentIndexChanged.connect(lambda _row: self.currentNodeChanged.emit(self.currentNode()))

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        scene.AddObserver(scene.NodeAddedEvent, self._added, 10.0)  # the application's priorities
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._goes, -10.0)
        for event in (scene.EndCloseEvent, scene.EndImportEvent):
            scene.AddObserver(event, self._list_anew)
        self._list_anew()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self.itemData(self.currentIndex) or "") if self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentIndex(max(self.findData(node.GetID()), 0) if node is not None else 0)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _scene: Any, _event: str, node: Any) -> None:
        if not self._scene.IsImporting():  # the IDs are not yet those that they will be
            self._append(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _goes(self, _scene: Any, _event: str, node: Any) -> None:
        row = self.findData(node.GetID())
        if row > 0 and not self._scene.IsClosing():
            self.removeItem(row)

    def _list_anew(self, *_: Any) -> None:
        self.model().removeRows(1, self.count - 1)
        for number in range(self._scene.GetNumberOfNodes()):
            self._append(self._scene.GetNthNode(number))

    def _append(self, node: Any) -> None:
        wanted = any(node.IsA(name) if self._child_types else node.GetClassName() == name for name in self._types)
        if wanted and not node.GetHideFromEditors():
            self.addItem(node.GetName(), node.GetID())

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)

    def _set_child_types(self, on: bool) -> None:
        self._child_types = on

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    showChildNodeTypes = Property(bool, lambda self: self._child_types, _set_child_types)
    addEnabled = Property(bool, lambda self: False, lambda self, on: None)
    removeEnabled = Property(bool, lambda self: False, lambda self, on: None)
    noneEnabled = Property(bool, lambda self: True, lambda self, on: None)


ALL = [ctkCollapsibleButton, ctkSliderWidget, qMRMLWidget, qMRMLNodeComboBox]
