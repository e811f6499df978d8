"""Stand-ins for the ctk and qMRML widgets that the module's ``.ui`` file names."""

from __future__ import annotations

from typing import Any

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
    """Lists the scene's nodes of given classes, by name."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._types: list[str] = []
        self._child_types = True
        self._node: Any = None
        self.activated.connect(lambda row: self.setCurrentNode(self._nodes()[row - 1] if row > 0 else None))

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
            scene.AddObserver(event, lambda *_: self._update())
        self._update()

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        changed = node is not self._node
        self._node = node
        self._update()
        if changed:
            self.currentNodeChanged.emit(node)

    def _nodes(self) -> list[Any]:
        nodes = []
        for number in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            node = self._scene.GetNthNode(number)
            wanted = any(node.IsA(name) if self._child_types else node.GetClassName() == name for name in self._types)
            if wanted and not node.GetHideFromEditors():
                nodes.append(node)
        return nodes

    def _update(self) -> None:
        nodes = self._nodes()
        if self._node is not None and self._node not in nodes:
            self.setCurrentNode(None)
            return
        self.clear()
        self.addItem("None")
        self.addItems([node.GetName() for node in nodes])
        self.setCurrentIndex(nodes.index(self._node) + 1 if self._node is not None else 0)

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
