"""Part of the module's panel: the order in which an annotator goes through a dataset, and the list to click (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..dataset import Dataset, Order, order_cases


class ReviewQueue:
    """Case ids in the order of review, those that ``annotator`` has reviewed, and the place of the case shown."""

    def __init__(self) -> None:
        self.case_ids: list[str] = []
        self.reviewed: set[str] = set()
        self.place = -1  # -1: before the first case

    def make(self, dataset: Dataset | None, order: Order, annotator: str) -> None:
        """Read the dataset anew; without a name anybody's annotation counts. Raises DatasetError."""
        self.case_ids, self.reviewed, self.place = [], set(), -1
        if dataset is not None:
            self.case_ids = order_cases(dataset, order, annotator=annotator or None)
            for case_id in self.case_ids:
                names = dataset.case(case_id).annotators()
                if annotator in names if annotator else names:
                    self.reviewed.add(case_id)

    def step(self, step: int, shown: str) -> int:
        """The place ``step`` further, round and round, but not that of the case shown."""
        place = (max(self.place, 0 if step < 0 else -1) + step) % len(self.case_ids)
        return (place + step) % len(self.case_ids) if self.case_ids[place] == shown else place

    def next_unreviewed(self) -> int | None:
        """The next place whose case is not reviewed yet, None when all are."""
        count = len(self.case_ids)
        ahead = ((self.place + n) % count for n in range(1, count + 1))
        return next((place for place in ahead if self.case_ids[place] not in self.reviewed), None)


class CaseList:
    """Shows a queue in a ``QListWidget``, all of it or what is not reviewed; ``chosen(case_id)`` after a click."""

    def __init__(self, widget: Any, only_unreviewed: Any, chosen: Callable[[str], None]) -> None:
        self._widget, self._only = widget, only_unreviewed
        self._queue, self._shown = ReviewQueue(), ""
        widget.itemClicked.connect(lambda item: chosen(item.data(qt.Qt.UserRole)))
        only_unreviewed.clicked.connect(lambda *_checked: self.show(self._queue, self._shown))

    def show(self, queue: ReviewQueue, shown: str) -> None:
        """List ``queue``; the case ``shown`` is the current row, whatever is listed."""
        self._queue, self._shown = queue, shown
        listed = [
            case_id
            for case_id in queue.case_ids
            if not (self._only.checked and case_id in queue.reviewed) or case_id == shown
        ]
        self._widget.clear()
        for case_id in listed:
            item = qt.QListWidgetItem(
                _("{case} (reviewed)").format(case=case_id) if case_id in queue.reviewed else case_id
            )
            item.setData(qt.Qt.UserRole, case_id)
            self._widget.addItem(item)
        if shown in listed:
            self._widget.setCurrentRow(listed.index(shown))
