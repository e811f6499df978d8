"""Part of the module's panel: the button Detect all, a detection in every case of a dataset that has none (Qt)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..dataset import Dataset, DatasetError
from ..detection import Detection
from ..job import DetectionFailed, DetectionJob, JobSettings
from .cases import NO_MODEL, CaseInScene, ReviewQueue
from .install import ensure_dependencies
from .logic import POLL_MS, pythonExecutable
from .results import progress_words
from .words import timer

MOST_NAMED = 3  # a sentence holds no more cases that failed; the application's log has all


class DetectAll:
    """Detects in case after case, each in a child process, and stores what is found. The scene is left alone.

    Wires the widgets of Detect all in ``module``; ``detected`` is called when it has ended and cases were detected.
    """

    def __init__(self, module: Any, shown: CaseInScene, queue: ReviewQueue, detected: Callable[[], None]) -> None:
        self._module, self._shown, self._queue, self._detected = module, shown, queue, detected
        self._dataset: Dataset | None = None
        self._settings: JobSettings | None = None
        self._waiting: list[str] = []
        self._done: list[str] = []
        self._failures: dict[str, str] = {}
        self._job: DetectionJob | None = None
        self._timer = timer(self._poll, POLL_MS)

    @property
    def running(self) -> bool:
        return self._dataset is not None

    def start_or_cancel(self) -> None:
        """What the button does: begin with the cases that have no prediction, or stop.

        Raises DatasetError, BundleError, DetectionFailed, OSError.
        """
        if self.running:
            self.cancel()
            return
        dataset, logic = self._shown.dataset, self._module.logic
        if dataset is None or logic.running:
            raise DatasetError(_("A detection is running; wait for it, or cancel it first."))
        settings = self._module.settings()
        names = logic.landmarks()
        dataset.check_landmarks(set(names.get(self._module.parameters.model, dataset.landmarks)))
        waiting = [case_id for case_id in self._queue.case_ids if not _is_predicted(dataset, case_id)]
        if not waiting:
            words = _(
                "Every case of {dataset} has a prediction. Detect looks at the one that is shown again, and "
                "carotid-landmark cohort {dataset} --predict --model NAME at all of them."
            )
            raise DatasetError(words.format(dataset=dataset.path.name))
        ensure_dependencies()
        self._dataset, self._settings = dataset, settings
        self._waiting, self._done, self._failures = waiting, [], {}
        self._timer.start()
        self._next()
        self.show()

    def cancel(self) -> None:
        """Stop, if it runs; what is stored stays."""
        if self.running:
            words = _("Detect all was stopped after {n} of {all} cases; press it again to go on.")
            self._end(words.format(n=len(self._done), all=self._total))

    def show(self) -> None:
        """Bring the widgets in line."""
        ui = self._module.ui
        ui.detectAllButton.setText(_("Cancel Detect all") if self.running else _("Detect all"))
        for widget in (ui.detectAllProgressBar, ui.detectAllLabel):
            widget.setVisible(self.running and not ui.datasetSection.collapsed)
        if self.running:
            through = len(self._done) + len(self._failures)
            fraction = self._job.progress.fraction if self._job else 0.0
            step = progress_words(self._job.progress) if self._job else _("starting")
            words = _("{case} ({n} of {all}): {step}")
            ui.detectAllProgressBar.setValue(round(100 * (through + fraction) / self._total))
            ui.detectAllLabel.setText(words.format(case=self._case_id, n=through + 1, all=self._total, step=step))

    @property
    def _case_id(self) -> str:
        return self._waiting[0]

    @property
    def _total(self) -> int:
        return len(self._done) + len(self._failures) + len(self._waiting)

    def _next(self) -> None:
        assert self._dataset is not None and self._settings is not None
        while self._waiting and self._job is None:
            try:
                case = self._dataset.case(self._case_id)
                if case.readable_prediction() is None:
                    image, digest = case.image_path, case.image_sha256
                    self._job = DetectionJob.of_file(image, digest, case.id, self._settings, pythonExecutable())
                else:
                    self._done.append(self._waiting.pop(0))  # somebody else was quicker
            except (DatasetError, DetectionFailed, OSError) as error:
                self._fail(error)
        if self._job is None:
            words = [_("Detected in {n} of {all} cases.").format(n=len(self._done), all=self._total)]
            words += [f"{case_id}: {reason}" for case_id, reason in list(self._failures.items())[:MOST_NAMED]]
            if len(self._failures) > MOST_NAMED:
                words.append(_("and {n} more, see the log.").format(n=len(self._failures) - MOST_NAMED))
            self._end(" ".join(words))

    def _poll(self) -> None:
        job = self._job
        if job is None or slicer.mrmlScene.IsBatchProcessing():  # which case is shown is not known then
            return
        before, detection = job.progress, None
        try:
            detection = job.poll()
        except DetectionFailed as error:
            self._job = None
            self._fail(error)
            self._next()
        if detection is not None:
            self._job = None
            self._store(detection)
        if self.running and (self._job is not job or job.progress != before):
            self.show()

    def _store(self, detection: Detection) -> None:
        assert self._dataset is not None
        try:
            if self._dataset.case(self._case_id).readable_prediction() is None:
                self._dataset.save_prediction(self._case_id, detection)
            self._done.append(self._waiting.pop(0))
        except DatasetError as error:
            self._fail(error)
        except OSError as error:  # so it would be with all that follow
            words = _("Detect all was stopped after {n} of {all} cases: the dataset can not be written ({reason}).")
            reason = error.strerror or error
            self._end(words.format(n=len(self._done), all=self._total, reason=reason))
            return
        self._next()

    def _fail(self, error: Exception) -> None:
        case_id = self._waiting.pop(0)
        self._failures[case_id] = str(error)
        logging.getLogger(__name__).warning("Detect all, %s: %s", case_id, error)

    def _end(self, words: str) -> None:
        self._timer.stop()
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
        self._dataset = None
        if self._module.ended:
            return
        self.show()
        if self._done:
            self._detected()
        shown = self._shown.find()
        if shown is not None and shown[0].id in self._done and shown[1].detection.model == NO_MODEL:
            open_one = _("The points of {case}, which is open, are there when you open it again.")
            words += " " + open_one.format(case=shown[0].id)
        self._module.say(words)


def _is_predicted(dataset: Dataset, case_id: str) -> bool:
    try:
        return dataset.case(case_id).readable_prediction() is not None
    except DatasetError:  # damaged since the queue was made: to be named with what else goes wrong
        return False
