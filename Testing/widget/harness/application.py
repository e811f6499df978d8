"""``slicer.app``, ``slicer.modules``, the scripted module base classes, and a main window around one module's panel."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import types
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
from CarotidLandmarkLib.scene.offscreen import Stage
from PySide6.QtWidgets import QApplication, QHBoxLayout, QMessageBox, QScrollArea, QVBoxLayout, QWidget

from . import parameters, pythonqt, widgets

PANEL_PX, VIEW_PX = 480, 360
LOADABLE = ("markups", "volumerendering")  # modules of C++ that are here


class Application:
    """What modules call ``slicer.app``: the event loop, the scene, the window. One in a process.

    ``answers`` are given to message boxes in turn (nobody is there to click); ``asked`` is what they asked. ``testing``
    is what ``testingEnabled()`` says.
    """

    applicationName = "Slicer"

    def __init__(self, qt_application: QApplication) -> None:
        self._application = qt_application
        self._signals: dict[str, list[Any]] = {}
        self.testing = True
        self.answers: list[Any] = []
        self.asked: list[str] = []
        self.stage = Stage()
        slicer.mrmlScene = self.stage.scene
        self._layout_manager: Any = None
        self._window: QWidget | None = None

    def processEvents(self) -> None:
        self._application.processEvents()

    def connect(self, signal: str, slot: Any) -> None:
        self._signals.setdefault(signal, []).append(slot)

    def emit(self, signal: str) -> None:
        """Call what was connected to an application signal, such as ``startupCompleted()``."""
        for slot in self._signals.get(signal, []):
            slot()

    def testingEnabled(self) -> bool:
        return self.testing

    def topLevelWidgets(self) -> list[QWidget]:
        return self._application.topLevelWidgets()

    def applicationLogic(self) -> Any:
        return self.stage.application

    def layoutManager(self) -> Any:
        if self._layout_manager is None:
            from .views import LayoutManager

            self._layout_manager = LayoutManager(self.stage, (VIEW_PX, VIEW_PX))
        return self._layout_manager

    def mainWindow(self) -> QWidget:
        if self._window is None:
            self._window = QWidget()
            self._window.setObjectName("qSlicerMainWindow")
            QHBoxLayout(self._window)
        return self._window

    def wait_until(self, condition: Any, timeout_s: float = 60.0) -> None:
        """Let the event loop turn until ``condition()``; TimeoutError after ``timeout_s``."""
        import time

        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} did not come true in {timeout_s} s")
            self.processEvents()
            time.sleep(0.005)

    def open_module(self, path: Path) -> Any:
        """Load the scripted module at ``path``, put its panel beside the views, enter it. Returns its widget object.

        One that is open already is returned as it is: an application has one panel of a module.
        """
        name = path.stem
        if hasattr(slicer.modules, f"{name}Widget"):
            return getattr(slicer.modules, f"{name}Widget")
        sys.path.insert(0, str(path.parent))
        code = importlib.import_module(name)
        description = types.SimpleNamespace(path=str(path))
        setattr(slicer.modules, name.lower(), description)
        getattr(code, name)(description)
        self.emit("startupCompleted()")
        panel = QWidget()
        QVBoxLayout(panel)
        panel.isEntered = False
        widget = getattr(code, f"{name}Widget")(panel)
        widget.setup()
        setattr(slicer.modules, f"{name}Widget", widget)
        scroll = QScrollArea()
        scroll.setWidget(panel)
        scroll.setWidgetResizable(True)
        scroll.setFixedWidth(PANEL_PX)
        window = self.mainWindow()
        window.layout().addWidget(scroll)
        window.layout().addWidget(self.layoutManager().widget)
        window.show()
        panel.isEntered = True
        widget.enter()
        return widget

    @contextmanager
    def ending(self) -> Iterator[None]:
        """While the application ends: loadable modules go before scripted panels are cleaned up."""
        gone = {name: getattr(slicer.modules, name) for name in LOADABLE}
        for name in gone:
            delattr(slicer.modules, name)
        try:
            yield
        finally:
            for name, module in gone.items():
                setattr(slicer.modules, name, module)

    def answer(self, box: Any) -> Any:
        """Notes the question of a message box and gives the next of ``answers``; Cancel is the key Escape."""
        self.asked.append(box.text)
        if not self.answers:
            raise AssertionError(f"Nobody has an answer to: {box.text}")
        answer = self.answers.pop(0)
        if answer & box.standardButtons:
            return answer
        if answer == QMessageBox.StandardButton.Cancel and box.escapeButton() is not None:
            return box.standardButton(box.escapeButton())
        raise AssertionError(f"{answer} is no button of: {box.text}")

    def message_box(self, text: str, parent: Any = None, **options: Any) -> Any:
        """`slicer.util.messageBox` as it is when the application is in use: every keyword that the box has is set."""
        box = sys.modules["ctk"].ctkMessageBox(parent or self.mainWindow())
        box.text = text
        for name, value in options.items():
            if hasattr(box, name):
                setattr(box, name, value)
        box.deleteLater()
        return box.exec_()


class _ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent


class _ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.parent = parent
        self.layout = parent.layout()
        self.moduleName = type(self).__name__.removesuffix("Widget")

    def setup(self) -> None:
        """For the module to extend."""

    def onReload(self) -> None:
        """In the application: the panel's ``cleanup``, the module's file executed again, another panel."""

    def resourcePath(self, name: str) -> str:
        module = getattr(slicer.modules, self.moduleName.lower())
        return str(Path(module.path).parent / "Resources" / name)


class _ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class _ScriptedLoadableModuleTest(unittest.TestCase):
    def runTest(self) -> None:
        """For the module to extend."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """In the application, a pause for the eye."""


class _SampleDataLogic:
    """Keeps the sources that modules register."""

    sources: list[dict[str, Any]] = []  # noqa: RUF012

    @classmethod
    def registerCustomSampleDataSource(cls, **source: Any) -> None:
        cls.sources.append(source)


def launch() -> Application:
    """Start the application once; later calls return the same one. RuntimeError inside the real application."""
    if isinstance(getattr(slicer, "app", None), Application):
        return slicer.app
    if hasattr(slicer, "app"):
        raise RuntimeError("This is the real Slicer: its own application is running.")
    _keep_none()
    qt_application = QApplication.instance() or QApplication([])
    qt_application.setStyle("Fusion")
    pythonqt.install(widgets.ALL)
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    _module("slicer.parameterNodeWrapper", **vars(parameters))
    _module(
        "slicer.ScriptedLoadableModule",
        ScriptedLoadableModule=_ScriptedLoadableModule,
        ScriptedLoadableModuleWidget=_ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic=_ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest=_ScriptedLoadableModuleTest,
    )
    sys.modules["SampleData"] = types.ModuleType("SampleData")
    sys.modules["SampleData"].SampleDataLogic = _SampleDataLogic
    slicer.util = importlib.import_module("slicer.util")
    slicer.app = Application(qt_application)
    stage = slicer.app.stage
    slicer.modules = types.SimpleNamespace(
        markups=types.SimpleNamespace(logic=lambda: stage.markups),
        volumerendering=types.SimpleNamespace(logic=lambda: stage.volume_rendering),
    )
    slicer.util.mainWindow = slicer.app.mainWindow
    slicer.util.messageBox = slicer.app.message_box
    return slicer.app


def _keep_none() -> None:
    """PySide6 and slicer-core drop references to None that they do not have; from Python 3.12 on None is immortal."""
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 10_000_000


def _module(name: str, **contents: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(contents)
    sys.modules[name] = module
    setattr(slicer, name.rpartition(".")[2], module)
