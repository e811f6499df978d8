"""``slicer.parameterNodeWrapper`` as far as the module uses it: typed attributes kept in a scripted module node."""

from __future__ import annotations

import typing
from typing import Any

import vtk


class WithinRange:
    """A bound for a number, both ends included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


def parameterNodeWrapper(cls: type) -> type:
    """Give ``cls`` one property per annotation; it is constructed with the node that keeps the values."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for name, hint in hints.items():
        kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        bounds = [extra for extra in typing.get_args(hint)[1:] if isinstance(extra, WithinRange)]
        default = cls.__dict__.get(name, "" if kind is str else None)
        is_node = isinstance(kind, type) and hasattr(kind, "GetNodeTagName")
        setattr(cls, name, _reference(name) if is_node else _value(name, kind, default, bounds))
    for method in (__init__, AddObserver, RemoveObserver, connectGui, disconnectGui):
        setattr(cls, method.__name__, method)
    return cls


def _value(name: str, kind: Any, default: Any, bounds: list[WithinRange]) -> property:
    def read(self: Any) -> Any:
        text = self.parameterNode.GetParameter(name)
        return kind(text) if text else default

    def write(self: Any, value: Any) -> None:
        for bound in bounds:
            if not bound.minimum <= value <= bound.maximum:
                raise ValueError(f"{name} must be within {bound.minimum} and {bound.maximum}, not {value}")
        self.parameterNode.SetParameter(name, str(kind(value)))

    return property(read, write)


def _reference(name: str) -> property:
    return property(
        lambda self: self.parameterNode.GetNodeReference(name),
        lambda self, node: self.parameterNode.SetNodeReferenceID(name, node.GetID() if node else None),
    )


def __init__(self: Any, node: Any) -> None:
    self.parameterNode = node
    self._connections = {}


def AddObserver(self: Any, *arguments: Any) -> int:
    return self.parameterNode.AddObserver(*arguments)


def RemoveObserver(self: Any, tag: int) -> None:
    self.parameterNode.RemoveObserver(tag)


def connectGui(self: Any, ui: Any) -> int:
    """Couple every widget of ``ui`` that has the dynamic property SlicerParameterName, both ways."""
    undo = []
    for widget in vars(ui).values():
        name = widget.property("SlicerParameterName")
        if name:
            undo += _couple(self, widget, name)
    tag = max(self._connections, default=0) + 1
    self._connections[tag] = undo
    return tag


def disconnectGui(self: Any, tag: int) -> None:
    for undo in self._connections.pop(tag, []):
        undo()


# By exact class name, as the application decides: (signal, read, write).
_CONNECTORS = {
    "QSpinBox": ("valueChanged", lambda w: w.value, lambda w, v: w.setValue(v)),
    "QLineEdit": ("textChanged", lambda w: w.text, lambda w, v: w.setText(v)),
    "ctkSliderWidget": ("valueChanged", lambda w: w.value, lambda w, v: w.setValue(v)),
    "qMRMLNodeComboBox": ("currentNodeChanged", lambda w: w.currentNode(), lambda w, v: w.setCurrentNode(v)),
}


def _couple(self: Any, widget: Any, name: str) -> list[Any]:
    signal_name, read, write = _CONNECTORS[type(widget).__name__]
    signal = getattr(widget, signal_name)

    def to_node(*_: Any) -> None:
        if read(widget) != getattr(self, name):
            setattr(self, name, read(widget))

    def to_widget(*_: Any) -> None:
        if read(widget) != getattr(self, name):
            write(widget, getattr(self, name))

    to_widget()
    signal.connect(to_node)
    tag = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, to_widget)
    return [lambda: signal.disconnect(to_node), lambda: self.parameterNode.RemoveObserver(tag)]
