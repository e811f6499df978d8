"""Part of the module's panel: the annotator's buttons, keys, drags, and points from a file (Qt)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from .. import scene
from ..errors import UserError
from ..exchange import PointsOptions, points_of_scan
from ..job import DetectionCancelled
from ..landmarks import Point
from ..scene import DetectionNodes, Review, position_lps, review_of, write_review
from ..scene import review as scene_review
from .words import YES_NO, ask

FILES = "Points (*.mrk.json *.fcsv *.csv *.tsv *.json);;All files (*)"


def ask_to_keep_reviewed(nodes: DetectionNodes | None, landmarks: Sequence[str]) -> bool:
    """Whether points that somebody has reviewed stay in a new detection; asks when there are any.

    ``landmarks`` are those that will be detected: others can not stay. Raises DetectionCancelled when the user would
    rather not detect.
    """
    if nodes is None:
        return True
    scene_review.settle(nodes)  # a point moved in another module counts
    review = review_of(nodes)
    if not review.reviewed:
        return True
    names = ", ".join(f"{review.labels[name]} ({review.status[name]})" for name in review.reviewed)
    question = _("These points were reviewed: {names}. Keep them as they are?").format(names=names)
    lost = ", ".join(review.labels[name] for name in review.reviewed if name not in landmarks)
    if lost:
        question += " " + _("The model does not find {names}: that goes, unless you cancel.").format(names=lost)
    keep = ask(question, YES_NO | qt.QMessageBox.Cancel, _("Detect again"))
    if keep is None:
        raise DetectionCancelled
    return keep


class ReviewPanel:
    """Wires the review widgets of ``module``, the module's widget, to the points shown."""

    def __init__(self, module: Any) -> None:
        self._module, self.ui = module, module.ui
        self._shortcuts: list[Any] = []
        self._remarked: DetectionNodes | None = None  # whose comment the field has
        ui = self.ui
        self._actions: tuple[tuple[str, Any, Callable[[], None]], ...] = (
            ("Shift+L", ui.previousLandmarkButton, lambda: self.step_landmark(-1)),
            ("L", ui.nextLandmarkButton, lambda: self.step_landmark(1)),
            ("Shift+N", ui.previousCaseButton, lambda: module.stepCase(-1)),
            ("N", ui.nextCaseButton, lambda: module.stepCase(1)),
            ("A", ui.acceptButton, lambda: self._apply(scene_review.accept)),
            ("M", ui.missingButton, self.toggle_missing),
            ("Shift+R", ui.resetButton, lambda: self._apply(scene_review.reset)),
            ("Ctrl+Z", ui.undoButton, self.undo),
            ("7", ui.stripButton, module.onStripButton),
            ("W", ui.windowButton, module.onWindowButton),
            ("S", ui.saveNextButton, lambda: module.dataset.save_and_next()),
            ("Q", ui.askButton, lambda: module.dataset.ask_colleague()),
        )
        for _key, button, action in self._actions:
            # while a case is opened no button or key does anything
            button.clicked.connect(lambda *_checked, do=action: None if module.dataset.opening else do())
        for line in (ui.annotatorLineEdit, ui.commentLineEdit):
            line.returnPressed.connect(lambda line=line: line.clearFocus())  # the next key is meant for the review
        ui.importPointsButton.clicked.connect(lambda *_checked: self.choose_points())
        ui.annotatorLineEdit.editingFinished.connect(self._name_typed)
        ui.commentLineEdit.editingFinished.connect(self.write_remarks)

    def install_keys(self, window: Any) -> None:
        """Make the keys work while the module is open."""
        self.remove_keys()
        for key, button, _action in self._actions:
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            # the button, not the action: what is disabled must not work by key either
            shortcut.activated.connect(lambda button=button: button.click())
            shortcut.setAutoRepeat(False)  # a key held down must not accept case after case
            self._shortcuts.append(shortcut)

    def remove_keys(self) -> None:
        """Give the keys back to the application."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def show(self) -> None:
        """Bring the widgets in line with what is in the scene."""
        nodes, row = self._module.nodes, self._module.table.row()
        count = 0 if nodes is None else len(nodes.detection.landmarks)
        chosen = 0 <= row < count
        for button in (self.ui.missingButton, self.ui.resetButton):
            button.setEnabled(chosen)
        self.ui.acceptButton.setEnabled(chosen and not scene.is_unset(nodes, row))
        for button in (self.ui.previousLandmarkButton, self.ui.nextLandmarkButton):
            button.setEnabled(count > 0)
        self.ui.undoButton.setEnabled(nodes is not None and scene_review.can_undo(nodes))
        self.ui.commentLineEdit.setEnabled(nodes is not None)
        before, self._remarked = self._remarked, nodes
        same = before is not None and nodes is not None and before.points is nodes.points
        if before is not None and not same:
            self._write_remarks(before)  # it may be typed still: on macOS a button does not take the focus
        if nodes is None:
            self.ui.commentLineEdit.setText("")
            self.ui.reviewLabel.setText(_("Detect first; then drag a point in a slice view to correct it."))
            return
        review = review_of(nodes)
        if not (same and self.ui.commentLineEdit.hasFocus()):
            self.ui.commentLineEdit.setText(review.comment)
        there = chosen and position_lps(nodes, row) is not None
        self.ui.missingButton.setText(_("Mark missing (M)") if there or not chosen else _("Bring back (M)"))
        words = _("{done} of {all} points reviewed.")
        self.ui.reviewLabel.setText(words.format(done=len(review.reviewed), all=len(review.status)))

    def step_landmark(self, step: int) -> None:
        """Select the next (or previous) row, round and round."""
        nodes, row = self._module.nodes, self._module.table.row()
        if nodes is not None:
            count = len(nodes.detection.landmarks)
            self._module.table.select((row + step) % count if row >= 0 else (0 if step > 0 else count - 1))

    def toggle_missing(self) -> None:
        """Mark the selected landmark missing, or bring its point back."""

        def toggle(nodes: DetectionNodes, row: int) -> None:
            if position_lps(nodes, row) is not None:
                scene_review.mark_missing(nodes, row)
            else:
                scene_review.bring_back(nodes, row, _middle_of_axial_view(nodes))
                self._module.onRowSelected(row)

        self._apply(toggle)

    def undo(self) -> None:
        """Take the last change of a point back, moved or marked."""
        if self._module.nodes is not None:
            scene_review.undo(self._module.nodes)
            self._module.refresh()

    def choose_points(self) -> None:
        """Let the user choose a file and take its points over."""
        title = _("Import points of this scan")
        file = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", FILES)
        file = file[0] if isinstance(file, (tuple, list)) else file
        if file:
            self.import_points(Path(str(file)))

    def import_points(self, file: Path) -> None:
        """What choosing ``file`` does: its points count as corrected; Undo takes them back."""
        nodes, say = self._module.nodes, self._module.say
        if nodes is None:
            say(_("Open a case, or detect in a scan, before you import its points."))
            return
        try:
            name = scene.voxels_from_node(nodes.volume)[2]
            geometry = scene.geometry_of(nodes)  # the detection's, if the scan has moved
            points, notes = points_of_scan(file, geometry, scene.names_of(nodes), name, PointsOptions({}, None, {}))
        except UserError as error:
            options = _("Here there are no options: use carotid-landmark import.") if "--" in str(error) else ""
            say(" ".join(filter(None, [str(error), options])))
            return
        except OSError as error:
            say(_("{name} can not be read ({reason}).").format(name=file.name, reason=error.strerror or error))
            return
        scene_review.remember(nodes)
        for index, landmark in enumerate(scene.names_of(nodes)):
            if landmark in points:
                scene.set_position(nodes, index, points[landmark])
                scene_review.set_status(nodes, index, "missing" if points[landmark] is None else "corrected")
        write_review(nodes, self._signed(review_of(nodes)))
        self._module.refresh()
        words = _("{count} points of {name} were taken over.").format(count=len(points), name=file.name)
        say(" ".join([words, *(f"{note[0].upper()}{note[1:]}." for note in notes)]))

    def write_remarks(self) -> None:
        """Keep the comment with the points that it was typed for."""
        if self._remarked is not None:
            self._write_remarks(self._remarked)

    def _write_remarks(self, nodes: DetectionNodes) -> None:
        if nodes.are_there:
            review = review_of(nodes)
            if review.comment != self.ui.commentLineEdit.text:
                write_review(nodes, replace(self._signed(review), comment=self.ui.commentLineEdit.text))

    def _signed(self, review: Review) -> Review:
        """The review under the name of the one who sits here: whoever did something last."""
        return replace(review, annotator=self.ui.annotatorLineEdit.text)

    def _name_typed(self) -> None:
        """A review that was begun without a name gets it; one of somebody else stays theirs until it is changed."""
        nodes = self._module.nodes
        if nodes is not None and not review_of(nodes).annotator:
            write_review(nodes, self._signed(review_of(nodes)))
        self._module.refresh()

    def moved(self, nodes: DetectionNodes, landmarks: list[int]) -> None:
        """Points were moved, by a hand in a view or elsewhere: the last of those shown is selected."""
        shown = self._module.nodes
        if landmarks:
            write_review(nodes, self._signed(review_of(nodes)))
            if self._module.parameters and shown is not None and shown.points is nodes.points:
                self._module.table.select(landmarks[-1])
        self._module.refresh()

    def _apply(self, change: Callable[[DetectionNodes, int], None]) -> None:
        nodes, row = self._module.nodes, self._module.table.row()
        if nodes is not None and row >= 0:
            change(nodes, row)
            write_review(nodes, self._signed(review_of(nodes)))
            self.write_remarks()
            self._module.refresh()


def _middle_of_axial_view(nodes: DetectionNodes) -> Point:
    """Where a point begins that the detector did not find, LPS in the detection's frame: always in the scan.

    Of a layout without an axial view it is the scan's middle.
    """
    geometry = scene.geometry_of(nodes)
    views = [view for view in slicer.util.getNodesByClass("vtkMRMLSliceNode") if view.IsMappedInLayout()]
    axial = next((view for view in views if view.GetOrientation() == "Axial"), None)
    if axial is None:
        return tuple(geometry.centre_lps.tolist())
    middle = scene.lps_from_world(nodes, slicer.util.arrayFromVTKMatrix(axial.GetSliceToRAS())[:3, 3])
    voxels = np.clip(geometry.to_voxels(middle), 0, np.array(geometry.size) - 1)
    return tuple(geometry.to_lps(voxels).tolist())
