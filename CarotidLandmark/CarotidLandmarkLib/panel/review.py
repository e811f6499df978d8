"""Part of the module's panel: the annotator's buttons, keys and drags (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import qt
from slicer.i18n import tr as _

from ..job import DetectionCancelled
from ..scene import DetectionNodes, Review, position_lps, review_of, write_review
from ..scene import review as scene_review
from .words import ask


def keep_reviewed(nodes: DetectionNodes | None) -> bool:
    """Whether points that somebody has reviewed stay in a new detection; asks when there are any.

    Raises DetectionCancelled when the user would rather not detect.
    """
    if nodes is None:
        return True
    scene_review.settle(nodes)  # a point moved in another module counts
    review = review_of(nodes)
    if not review.reviewed:
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
        self._remarked: DetectionNodes | None = None  # whose comment the field has
        self.busy: Callable[[], bool] = lambda: False  # while it is, no button or key does anything
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
            self._wire(button, action)
        for line in (ui.annotatorLineEdit, ui.commentLineEdit):
            line.returnPressed.connect(lambda line=line: line.clearFocus())  # the next key is meant for the review
        ui.annotatorLineEdit.editingFinished.connect(self._name_typed)
        ui.commentLineEdit.editingFinished.connect(self.write_remarks)

    def add_action(self, key: str, button: Any, action: Callable[[], None]) -> None:
        """Give a button of another part of the panel a key beside those of the review."""
        self._wire(button, action)
        self._actions += ((key, button, action),)

    def _wire(self, button: Any, action: Callable[[], None]) -> None:
        button.clicked.connect(lambda *_checked: None if self.busy() else action())

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
        nodes, row = self._current()
        count = 0 if nodes is None else len(nodes.detection.landmarks)
        chosen = 0 <= row < count
        for button in (self.ui.acceptButton, self.ui.missingButton, self.ui.resetButton):
            button.setEnabled(chosen)
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
        self.ui.reviewLabel.setText(
            _("{done} of {all} points reviewed.").format(done=len(review.reviewed), all=len(review.status))
        )

    def step_landmark(self, step: int) -> None:
        """Select the next (or previous) row, round and round."""
        nodes, row = self._current()
        if nodes is not None:
            count = len(nodes.detection.landmarks)
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
        """Keep the comment with the points that it was typed for."""
        if self._remarked is not None:
            self._write_remarks(self._remarked)

    def _write_remarks(self, nodes: DetectionNodes) -> None:
        if nodes.points.GetScene() is not None and nodes.volume.GetScene() is not None:
            review = review_of(nodes)
            if review.comment != self.ui.commentLineEdit.text:
                write_review(nodes, replace(self._signed(review), comment=self.ui.commentLineEdit.text))

    def _signed(self, review: Review) -> Review:
        """The review under the name of the one who sits here: whoever did something last."""
        return replace(review, annotator=self.ui.annotatorLineEdit.text)

    def _name_typed(self) -> None:
        """A review that was begun without a name gets it; one of somebody else stays theirs until it is changed."""
        nodes, _row = self._current()
        if nodes is not None and not review_of(nodes).annotator:
            write_review(nodes, self._signed(review_of(nodes)))
        self._changed()

    def moved(self, nodes: DetectionNodes, landmarks: list[int]) -> None:
        """Points were moved, by a hand in a view or elsewhere: the last of those shown is selected."""
        shown, _row = self._current()
        if landmarks:
            write_review(nodes, self._signed(review_of(nodes)))
        if shown is not None and shown.points is nodes.points and landmarks:
            self._select(landmarks[-1])
        self._changed()

    def _apply(self, change: Callable[[DetectionNodes, int], None]) -> None:
        nodes, row = self._current()
        if nodes is not None and row >= 0:
            change(nodes, row)
            write_review(nodes, self._signed(review_of(nodes)))
            self.write_remarks()
            self._changed()
