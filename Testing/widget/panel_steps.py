"""Steps that several tests of the panel share: put results into it, read its table, use mouse and keys."""

from __future__ import annotations

import time
from contextlib import suppress

import numpy as np
import psutil
import slicer
import vtk
from CarotidLandmarkLib import scene
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QProgressDialog
from scene_cases import make_detection, neck_volume


def show(widget, detection=None, name="neck", spacing=5.0):
    """Put a made-up detection on a new volume into the scene and make it the panel's."""
    volume = scene.add_volume(slicer.mrmlScene, neck_volume(spacing, name))
    nodes = widget.logic.show(volume, detection or make_detection())
    widget.ui.inputSelector.setCurrentNode(volume)
    widget.onParametersChanged()
    return nodes


def children():
    """The processes that detect."""
    detecting = []
    for child in psutil.Process().children():  # other tests have some of their own
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if "job.worker" in " ".join(child.cmdline()):
                detecting.append(child)
    return detecting


def wait_for_children():
    """Until none is left, without a turn of the event loop."""
    while children():
        time.sleep(0.05)


def load_scene(widget, path, clear=False, meanwhile=lambda: None):
    """As the application does: behind a progress dialog, which lets the event loop turn at every node that comes.

    ``meanwhile()`` is called before each of these turns.
    """

    def turn(*_):
        meanwhile()
        dialog.setValue(min(dialog.value + 1, 99))

    dialog, before = QProgressDialog("Loading file", "", 0, 100), list(slicer.app.asked)
    dialog.setWindowModality(Qt.WindowModality.WindowModal)
    dialog.setMinimumDuration(0)
    for value in (0, 25):  # now it is shown
        dialog.setValue(value)
    added = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, turn)
    assert slicer.mrmlScene.ReadFromMRB(str(path), clear)
    slicer.mrmlScene.RemoveObserver(added)
    assert slicer.app.asked == before, "a question in the middle of a load"
    dialog.close()
    slicer.app.wait_until(lambda: not widget._bulk.active)


def cells(widget, row):
    table = widget.ui.resultsTable
    titles = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
    return {title: table.item(row, column).text() for column, title in enumerate(titles)}


def pixel_of(view_widget, ras):
    """Where a point (RAS, world) is drawn in a slice view widget."""
    to_xy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(view_widget.view.node.GetXYToRAS(), to_xy)
    x, y, _depth, _one = to_xy.MultiplyPoint((*ras, 1.0))
    return QPoint(round(x), round(view_widget.view.size[1] - 1 - y))


def drag(application, view_widget, start, end):
    """Move there, press, move in steps, let go: what a hand does."""
    QTest.mouseMove(view_widget, QPoint(3, 3))  # so that the next one is a move, wherever the mouse was left
    QTest.mouseMove(view_widget, start)
    application.processEvents()
    QTest.mousePress(view_widget, Qt.MouseButton.LeftButton, pos=start)
    for share in np.linspace(0, 1, 6):
        QTest.mouseMove(view_widget, start + (end - start) * float(share))
        application.processEvents()
    QTest.mouseRelease(view_widget, Qt.MouseButton.LeftButton, pos=end)
    application.processEvents()


def press(application, key, modifier=Qt.KeyboardModifier.NoModifier):
    """A key, where a keyboard would send it: to what has the focus."""
    window = application.mainWindow()
    window.activateWindow()
    application.processEvents()
    QTest.keyClick(QApplication.focusWidget() or window, key, modifier)
    application.processEvents()


def type_name(widget, name):
    line = widget.ui.annotatorLineEdit
    line.setFocus()
    line.clear()
    QTest.keyClicks(line, name)
    QTest.keyClick(line, Qt.Key.Key_Return)


def case_shown(widget):
    return widget.ui.inputSelector.currentNode().GetName()


def nodes_shown(widget):
    return scene.find_detection(widget.ui.inputSelector.currentNode())


def drag_left_point(widget, application):
    """Drag it 40 pixels to the patient's left and 20 backwards in the axial view; returns where it is then."""
    nodes = nodes_shown(widget)
    place = scene.to_ras(scene.position_lps(nodes, 0))
    red = application.layoutManager().widgets["Red"]
    red.view.look_at(place, 90.0)
    red.view.pixels()
    start = pixel_of(red, place)
    drag(application, red, start, start + QPoint(40, 20))
    return scene.position_lps(nodes, 0)
