"""The modules ``qt`` and ``ctk`` as PythonQt has them: one flat name space, and Qt properties as plain attributes."""

from __future__ import annotations

import re
import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# Virtual functions that Qt itself calls, and a static function that shares its name with a property.
_NOT_ATTRIBUTES = {"sizeHint", "minimumSizeHint", "singleShot", "objectName"}
_SCENE_CONNECTION = re.compile(rb"<connections>.*</connections>", re.DOTALL)


def install(custom_widgets: list[type]) -> tuple[types.ModuleType, types.ModuleType]:
    """Make ``import qt`` and ``import ctk`` work. ``custom_widgets`` are what ``.ui`` files may name."""
    qt = types.ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                _add_attributes(value)
            setattr(qt, name, value)
    QtCore.QObject.name = property(lambda self: QtCore.QObject.objectName(self))
    QtCore.QObject.className = lambda self: self.metaObject().className()
    qt.QUiLoader = _loader(custom_widgets)
    qt.QMessageBox = _MessageBox
    ctk = types.ModuleType("ctk")
    ctk.ctkMessageBox = _MessageBox
    for widget in custom_widgets:
        setattr(ctk if widget.__name__.startswith("ctk") else qt, widget.__name__, widget)
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk
    return qt, ctk


def _add_attributes(cls: type) -> None:
    """Turn the properties that ``cls`` itself declares into attributes, in place of PySide6's getter functions."""
    meta = cls.staticMetaObject
    for number in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(number).name()
        if name not in _NOT_ATTRIBUTES:
            setattr(cls, name, _attribute(name))


def _attribute(name: str) -> property:
    return property(
        lambda self: QtCore.QObject.property(self, name),
        lambda self, value: QtCore.QObject.setProperty(self, name, value),
    )


class _MessageBox(QtWidgets.QMessageBox):
    """Nobody is there to click: ``slicer.app`` answers. What is a slot can not be overwritten, as PythonQt has it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if callable(getattr(type(self), name, None)):
            raise AttributeError(f"Slot '{name}' can not be overwritten")
        super().__setattr__(name, value)

    def exec_(self) -> Any:
        import slicer

        return slicer.app.answer(self)


def _loader(custom_widgets: list[type]) -> type:
    class QUiLoader(QtUiTools.QUiLoader):
        """Knows the custom widgets; connections about the scene have no C++ slots here and are made in Python."""

        def __init__(self) -> None:
            super().__init__()
            for widget in custom_widgets:
                self.registerCustomWidget(widget)

        def load(self, file: Any) -> Any:
            text = bytes(file.readAll())
            buffer = QtCore.QBuffer()
            buffer.setData(_SCENE_CONNECTION.sub(b"", text))
            buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
            widget = super().load(buffer)
            receivers = re.findall(rb"<receiver>(\w+)</receiver>\s*<slot>setMRMLScene", text)
            for name in receivers:
                widget.mrmlSceneChanged.connect(widget.findChild(QtCore.QObject, name.decode()).setMRMLScene)
            return widget

    return QUiLoader
