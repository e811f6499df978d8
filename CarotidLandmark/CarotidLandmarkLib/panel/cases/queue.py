"""Part of the module's panel: the order in which an annotator goes through a dataset, and the list to click (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import qt
from slicer.i18n import tr as _

from ...dataset import Case, Dataset, DatasetError, Order, order_cases


class ReviewQueue:
    """Case ids in the order of review, what is known of each, and the place of the case shown.

    ``only_unreviewed`` and ``only_asked`` leave cases out of what is listed and stepped through.
    """

    def __init__(self) -> None:
        self.case_ids: list[str] = []
        self.reviewed: set[str] = set()  # by the annotator
        self.asking: dict[str, list[str]] = {}  # who asks a colleague
        self.place = -1  # -1: before the first case
        self.only_unreviewed = self.only_asked = False
        self.annotator = ""  # whose queue it is

    def make(self, dataset: Dataset | None, order: Order, annotator: str) -> None:
        """Read the dataset anew; without a name anybody's annotation counts.

        Raises DatasetError, OSError; the queue is as it was when the dataset is out of reach.
        """
        case_ids: list[str] = []
        if dataset is not None:
            Dataset.open(dataset.path)
            case_ids = order_cases(dataset, order, annotator=annotator or None)
        self.case_ids, self.reviewed, self.asking, self.place = case_ids, set(), {}, -1
        self.annotator = annotator
        if dataset is not None:
            for case_id in self.case_ids:
                with suppress(DatasetError):  # damaged since; opening it says so
                    self.read(dataset.case(case_id))

    def read(self, case: Case) -> None:
        """Look again at who has annotated a case, and who asks about it."""
        names = case.annotators()
        self.reviewed.discard(case.id)
        if self.annotator in names if self.annotator else names:
            self.reviewed.add(case.id)
        self.asking[case.id] = case.asking()

    def words(self, folder: str, shown: str) -> str:
        """Where the annotator is: ``folder`` is the dataset's name, ``shown`` the case shown or ""."""
        counts = {"folder": folder, "all": len(self.case_ids), "done": len(self.reviewed)}
        if shown not in self.case_ids:
            return _("{folder}: {all} cases, {done} reviewed.").format(**counts)
        return _("{folder}: case {n} of {all}, {done} reviewed.").format(n=self.case_ids.index(shown) + 1, **counts)

    def lists(self, case_id: str) -> bool:
        """Whether a case is among those that are asked for."""
        left_out = (self.only_unreviewed and case_id in self.reviewed) or (
            self.only_asked and not self.asking.get(case_id)
        )
        return not left_out

    def step(self, step: int, shown: str) -> int | None:
        """The place ``step`` further, round and round, but not that of the case shown; None when it is alone."""
        return self._next(max(self.place, 0 if step < 0 else -1), step, lambda case_id: case_id != shown)

    def next_unreviewed(self) -> int | None:
        """The next place whose case is listed and not reviewed yet, None when there is none."""
        return self._next(self.place, 1, lambda case_id: case_id not in self.reviewed)

    def _next(self, start: int, step: int, wanted: Callable[[str], bool]) -> int | None:
        places = [(start + n * step) % len(self.case_ids) for n in range(1, len(self.case_ids) + 1)]
        listed = ((place, self.case_ids[place]) for place in places)
        return next((place for place, case_id in listed if self.lists(case_id) and wanted(case_id)), None)


class CaseList:
    """Shows what a queue lists in the ``QListWidget`` of ``ui``; ``chosen(case_id)`` after a click or Return."""

    def __init__(self, ui: Any, queue: ReviewQueue, chosen: Callable[[str], None]) -> None:
        self._ui, self._queue, self._shown = ui, queue, ""
        self._listed: list[tuple[str, str]] = []  # ids and words of the rows
        for signal in (ui.caseList.itemClicked, ui.caseList.itemActivated):  # by mouse, by key
            signal.connect(lambda item: chosen(item.data(qt.Qt.UserRole)))
        for box in (ui.onlyUnreviewedCheckBox, ui.onlyAskedCheckBox):
            box.clicked.connect(lambda *_checked: self._choose())

    def show(self, shown: str) -> None:
        """List the queue; the case ``shown`` is the current row, whatever is listed."""
        self._shown, widget = shown, self._ui.caseList
        case_ids = [each for each in self._queue.case_ids if self._queue.lists(each) or each == shown]
        listed = [(case_id, self._words(case_id)) for case_id in case_ids]
        if listed != self._listed:
            self._listed = listed
            widget.clear()
            for case_id, words in listed:
                item = qt.QListWidgetItem(words)
                item.setData(qt.Qt.UserRole, case_id)
                widget.addItem(item)
        row = case_ids.index(shown) if shown in case_ids else -1
        if row != widget.currentRow:
            widget.setCurrentRow(row)

    def _choose(self) -> None:
        self._queue.only_unreviewed = self._ui.onlyUnreviewedCheckBox.checked
        self._queue.only_asked = self._ui.onlyAskedCheckBox.checked
        self.show(self._shown)

    def _words(self, case_id: str) -> str:
        notes = [_("reviewed")] if case_id in self._queue.reviewed else []
        notes += [_("{name} asks a colleague").format(name=name) for name in self._queue.asking.get(case_id, [])]
        return _("{case} ({notes})").format(case=case_id, notes=", ".join(notes)) if notes else case_id
