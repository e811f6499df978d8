"""Part of the module's panel: the button Detect all and what it shows (Qt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..dataset import Dataset, DatasetError
from .cases import NO_MODEL, CaseInScene, DetectAll, ReviewQueue, landmarks_of
from .install import ensure_dependencies
from .logic import pythonExecutable


class DetectAllPanel:
    """Wires the widgets of Detect all in ``ui``; ``detected`` is called when it has ended and cases were detected."""

    def __init__(
        self,
        ui: Any,
        logic: Any,
        shown: CaseInScene,
        queue: ReviewQueue,
        parameters: Callable[[], Any],
        say: Callable[[str], None],
        detected: Callable[[], None],
    ) -> None:
        self.ui = ui
        self._logic, self._shown, self._queue = logic, shown, queue
        self._parameters, self._say, self._detected = parameters, say, detected
        self._all = DetectAll(self.show, self._end)

    @property
    def running(self) -> bool:
        return self._all.running

    def start_or_cancel(self) -> None:
        """What the button does: begin with the cases that have no prediction, or stop.

        Raises DatasetError, BundleError, DetectionFailed, OSError.
        """
        if self._all.running:
            self._all.cancel()
            return
        dataset, parameters = self._shown.dataset, self._parameters()
        if dataset is None or self._logic.running:
            raise DatasetError(_("A detection is running; wait for it, or cancel it first."))
        settings = self._logic.settings(
            parameters.model, parameters.passes, parameters.level, parameters.seed, parameters.device
        )
        names = landmarks_of(self._logic.bundles)
        dataset.check_landmarks(set(names.get(parameters.model, dataset.landmarks)))
        waiting = [case_id for case_id in self._queue.case_ids if not _is_predicted(dataset, case_id)]
        if not waiting:
            raise DatasetError(_("Every case of {dataset} has a prediction.").format(dataset=dataset.path.name))
        ensure_dependencies()
        self._all.start(dataset, waiting, settings, pythonExecutable())
        self.show()

    def cancel(self) -> None:
        """Stop; what is stored stays."""
        self._all.cancel()

    def release(self) -> None:
        """Stop without a word: the panel ends."""
        self.show = self._detected = lambda: None  # type: ignore[method-assign]
        self._say = lambda words: None
        self._all.cancel()

    def show(self) -> None:
        """Bring the widgets in line."""
        running = self._all.running
        self.ui.detectAllButton.setText(_("Cancel Detect all") if running else _("Detect all"))
        for widget in (self.ui.detectAllProgressBar, self.ui.detectAllLabel):
            widget.setVisible(running and not self.ui.datasetSection.collapsed)
        if running:
            self.ui.detectAllProgressBar.setValue(round(100 * self._all.fraction))
            self.ui.detectAllLabel.setText(self._all.words)

    def _end(self, words: str, case_ids: list[str]) -> None:
        self.show()
        if case_ids:
            self._detected()
        found = self._shown.find()
        if found is not None and found[0].id in case_ids and found[1].detection.model == NO_MODEL:
            open_one = _("The points of {case}, which is open, are there when you open it again.")
            words += " " + open_one.format(case=found[0].id)
        self._say(words)


def _is_predicted(dataset: Dataset, case_id: str) -> bool:
    try:
        return dataset.case(case_id).readable_prediction() is not None
    except DatasetError:  # damaged since the queue was made: to be named with what else goes wrong
        return False
