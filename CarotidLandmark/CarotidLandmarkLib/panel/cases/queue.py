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
        self.asking: dict[str, list[str]] = {}  # who asks a colleague, where anybody does
        self.place = -1  # -1: before the first case
        self.only_unreviewed = self.only_asked = False
        self._annotator = ""

    def make(self, dataset: Dataset | None, order: Order, annotator: str) -> None:
        """Read the dataset anew; without a name anybody's annotation counts. Raises DatasetError."""
        self.case_ids, self.reviewed, self.asking, self.place = [], set(), {}, -1
        self._annotator = annotator
        if dataset is not None:
            self.case_ids = order_cases(dataset, order, annotator=annotator or None)
            for case_id in self.case_ids:
                with suppress(DatasetError):  # damaged since; opening it says so
                    self.read(dataset.case(case_id))

    def read(self, case: Case) -> None:
        """Look again at who has annotated a case, and who asks about it."""
        names, asking = case.annotators(), case.asking()
        self.reviewed.discard(case.id)
        if self._annotator in names if self._annotator else names:
            self.reviewed.add(case.id)
        self.asking.pop(case.id, None)
        if asking:
            self.asking[case.id] = asking

    def words(self, folder: str, shown: str) -> str:
        """Where the annotator is: ``folder`` is the dataset's name, ``shown`` the case shown or ""."""
        counts = {"folder": folder, "all": len(self.case_ids), "done": len(self.reviewed)}
        if shown not in self.case_ids:
            return _("{folder}: {all} cases, {done} reviewed.").format(**counts)
        return _("{folder}: case {n} of {all}, {done} reviewed.").format(n=self.case_ids.index(shown) + 1, **counts)

    def lists(self, case_id: str) -> bool:
        """Whether a case is among those that are asked for."""
        return not (
            (self.only_unreviewed and case_id in self.reviewed) or (self.only_asked and case_id not in self.asking)
        )

    def step(self, step: int, shown: str) -> int | None:
        """The place ``step`` further, round and round, but not that of the case shown; None when it is alone."""
        start = max(self.place, 0 if step < 0 else -1)
        ahead = [start + n * step for n in range(1, len(self.case_ids) + 1)]
        return self._next(ahead, lambda case_id: case_id != shown)

    def next_unreviewed(self) -> int | None:
        """The next place whose case is listed and not reviewed yet, None when there is none."""
        ahead = [self.place + n for n in range(1, len(self.case_ids) + 1)]
        return self._next(ahead, lambda case_id: case_id not in self.reviewed)

    def _next(self, places: list[int], wanted: Callable[[str], bool]) -> int | None:
        round_and_round = [place % len(self.case_ids) for place in places]
        cases = ((place, self.case_ids[place]) for place in round_and_round)
        return next((place for place, case_id in cases if self.lists(case_id) and wanted(case_id)), None)


class CaseList:
    """Shows what a queue lists in a ``QListWidget``; ``chosen(case_id)`` after a click."""

    def __init__(
        self, widget: Any, only_unreviewed: Any, only_asked: Any, queue: ReviewQueue, chosen: Callable[[str], None]
    ) -> None:
        self._widget, self._queue, self._shown = widget, queue, ""
        self._listed: list[tuple[str, str]] = []  # ids and words of the rows
        self._only_unreviewed, self._only_asked = only_unreviewed, only_asked
        widget.itemClicked.connect(lambda item: chosen(item.data(qt.Qt.UserRole)))
        for box in (only_unreviewed, only_asked):
            box.clicked.connect(lambda *_checked: self._choose())

    def show(self, shown: str) -> None:
        """List the queue; the case ``shown`` is the current row, whatever is listed."""
        self._shown, queue = shown, self._queue
        listed = [
            (case_id, self._words(case_id)) for case_id in queue.case_ids if queue.lists(case_id) or case_id == shown
        ]
        if listed != self._listed:
            self._listed = listed
            self._widget.clear()
            for case_id, words in listed:
                item = qt.QListWidgetItem(words)
                item.setData(qt.Qt.UserRole, case_id)
                self._widget.addItem(item)
        row = next((row for row, (case_id, _words) in enumerate(listed) if case_id == shown), -1)
        if row != self._widget.currentRow:
            self._widget.setCurrentRow(row)

    def _choose(self) -> None:
        self._queue.only_unreviewed, self._queue.only_asked = self._only_unreviewed.checked, self._only_asked.checked
        self.show(self._shown)

    def _words(self, case_id: str) -> str:
        notes = [_("reviewed")] if case_id in self._queue.reviewed else []
        notes += [_("{name} asks a colleague").format(name=name) for name in self._queue.asking.get(case_id, [])]
        return _("{case} ({notes})").format(case=case_id, notes=", ".join(notes)) if notes else case_id
