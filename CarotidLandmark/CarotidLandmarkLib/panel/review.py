"""Part of the module's panel: the annotator's buttons, keys and drags (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from ..job import DetectionCancelled
from ..scene import DetectionNodes, position_lps
from ..scene import review as scene_review
from ..scene.review import LEAST_MOVE_MM, review_of, write_review
from .words import ask


def keep_reviewed(nodes: DetectionNodes | None) -> bool:
    """Whether points that somebody has reviewed stay in a new detection; asks when there are any.

    Raises DetectionCancelled when the user would rather not detect.
    """
    review = None if nodes is None else review_of(nodes)
    if review is None or not review.reviewed:
        return True
    names = ", ".join(f"{review.labels[name]} ({review.status[name]})" for name in review.reviewed)
    keep = ask(
        _("These points were reviewed: {names}. Keep them as they are?").format(names=names),
        qt.QMessageBox.Yes | qt.QMessageBox.No | qt.QMessageBox.Cancel,
        _("Detect again"),
    )
    if keep is None:
        raise DetectionCancelled
    return keep


class ReviewPanel:
    """Wires the review widgets of ``ui`` to the points shown.

    ``current`` gives the detection shown and the selected row (-1 without one); ``select`` selects a row; ``changed``
    is called after every change; ``step_case`` goes that many scans further; ``new_point`` says where, LPS millimetres,
    a point begins that the detector did not find.
    """

    def __init__(
        self,
        ui: Any,
        current: Callable[[], tuple[DetectionNodes | None, int]],
        select: Callable[[int], None],
        changed: Callable[[], None],
        step_case: Callable[[int], None],
        new_point: Callable[[DetectionNodes], Any],
    ) -> None:
        self.ui = ui
        self._current, self._select, self._changed = current, select, changed
        self._step_case, self._new_point = step_case, new_point
        self._shortcuts: list[Any] = []
        self._before_drag: list[Any] = []
        self._actions: tuple[tuple[str, Any, Callable[[], None]], ...] = (
            ("Shift+L", ui.previousLandmarkButton, lambda: self.step_landmark(-1)),
            ("L", ui.nextLandmarkButton, lambda: self.step_landmark(1)),
            ("Shift+N", ui.previousCaseButton, lambda: self._step_case(-1)),
            ("N", ui.nextCaseButton, lambda: self._step_case(1)),
            ("A", ui.acceptButton, self.accept),
            ("M", ui.missingButton, self.toggle_missing),
            ("R", ui.resetButton, self.reset),
            ("Ctrl+Z", ui.undoButton, self.undo),
        )
        for _key, button, action in self._actions:
            button.clicked.connect(lambda *_checked, action=action: action())
        ui.annotatorLineEdit.editingFinished.connect(self.write_remarks)
        ui.commentLineEdit.editingFinished.connect(self.write_remarks)

    def add_action(self, key: str, button: Any, action: Callable[[], None]) -> None:
        """Give a button of another part of the panel a key beside those of the review."""
        button.clicked.connect(lambda *_checked: action())
        self._actions += ((key, button, action),)

    def install_keys(self, window: Any) -> None:
        """Make the keys work while the module is open."""
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
        nodes, row = self._current()
        chosen = nodes is not None and 0 <= row < nodes.points.GetNumberOfControlPoints()
        for button in (self.ui.acceptButton, self.ui.missingButton, self.ui.resetButton):
            button.setEnabled(chosen)
        several = nodes is not None and nodes.points.GetNumberOfControlPoints() > 0
        for button in (self.ui.previousLandmarkButton, self.ui.nextLandmarkButton):
            button.setEnabled(several)
        self.ui.undoButton.setEnabled(nodes is not None and nodes.points.GetScene().GetNumberOfUndoLevels() > 0)
        self.ui.commentLineEdit.setEnabled(nodes is not None)
        if nodes is None:
            self.ui.commentLineEdit.setText("")
            self.ui.reviewLabel.setText(_("Detect first; then drag a point in a slice view to correct it."))
            return
        review = review_of(nodes)
        if not self.ui.commentLineEdit.hasFocus():
            self.ui.commentLineEdit.setText(review.comment)
        there = chosen and position_lps(nodes, row) is not None
        self.ui.missingButton.setText(_("Mark missing") if there or not chosen else _("Bring back"))
        self.ui.reviewLabel.setText(
            _("{done} of {all} points reviewed.").format(done=len(review.reviewed), all=len(review.status))
        )

    def step_landmark(self, step: int) -> None:
        """Select the next (or previous) row, round and round."""
        nodes, row = self._current()
        if nodes is not None:
            count = nodes.points.GetNumberOfControlPoints()
            self._select((row + step) % count if row >= 0 else (0 if step > 0 else count - 1))

    def accept(self) -> None:
        self._apply(scene_review.accept)

    def reset(self) -> None:
        self._apply(scene_review.reset)

    def toggle_missing(self) -> None:
        """Mark the selected landmark missing, or bring its point back."""
        nodes, row = self._current()
        if nodes is not None and row >= 0:
            if position_lps(nodes, row) is not None:
                self._apply(scene_review.mark_missing)
            else:
                self._apply(lambda nodes, row: scene_review.bring_back(nodes, row, self._new_point(nodes)))

    def undo(self) -> None:
        """Take the last change of a point back, moved or marked."""
        nodes, _row = self._current()
        if nodes is not None:
            scene_review.undo(nodes)
            self._changed()

    def write_remarks(self) -> None:
        """Keep annotator and comment with the points."""
        nodes, _row = self._current()
        if nodes is not None:
            annotator, comment = self.ui.annotatorLineEdit.text, self.ui.commentLineEdit.text
            review = review_of(nodes)
            if (review.annotator, review.comment) != (annotator, comment):
                write_review(nodes, replace(review, annotator=annotator, comment=comment))

    def drag_begins(self, nodes: DetectionNodes) -> None:
        """An interaction in a view took hold of a point."""
        self._before_drag = _positions(nodes)
        scene_review.remember(nodes)

    def drag_ends(self, nodes: DetectionNodes) -> None:
        """The point was let go; one that has moved is corrected (which one the event does not say)."""
        for index, (before, now) in enumerate(zip(self._before_drag, _positions(nodes), strict=True)):
            if now is not None and (before is None or np.abs(np.subtract(now, before)).max() > LEAST_MOVE_MM):
                scene_review.set_status(nodes, index, "corrected")
                self._select(index)
        self._changed()

    def _apply(self, change: Callable[[DetectionNodes, int], None]) -> None:
        nodes, row = self._current()
        if nodes is not None and row >= 0:
            change(nodes, row)
            self.write_remarks()
            self._changed()


def _positions(nodes: DetectionNodes) -> list[Any]:
    return [position_lps(nodes, index) for index in range(nodes.points.GetNumberOfControlPoints())]
