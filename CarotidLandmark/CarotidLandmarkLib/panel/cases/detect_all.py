"""Part of the module's panel: a detection in every case of a dataset that has none, one after another (Qt)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import qt
from slicer.i18n import tr as _

from ...dataset import Dataset, DatasetError
from ...detection import Detection
from ...job import DetectionFailed, DetectionJob, JobSettings
from ..results import progress_words

POLL_MS = 50
MOST_NAMED = 3  # a sentence holds no more cases that failed; the application's log has all


class DetectAll:
    """Detects in case after case, each in a child process, and stores what is found. The scene is left alone.

    ``changed`` is called at every step, ``ended(sentence, case_ids)`` once, with the cases that have a prediction now.
    """

    def __init__(self, changed: Callable[[], None], ended: Callable[[str, list[str]], None]) -> None:
        self._changed, self._ended = changed, ended
        self._dataset: Dataset | None = None
        self._settings: JobSettings | None = None
        self._python = ""
        self._waiting: list[str] = []
        self._done: list[str] = []
        self._failures: dict[str, str] = {}
        self._total = 0
        self._case_id = ""
        self._job: DetectionJob | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def running(self) -> bool:
        return self._dataset is not None

    @property
    def fraction(self) -> float:
        """Share of the cases that are through."""
        through = len(self._done) + len(self._failures) + (self._job.progress.fraction if self._job else 0.0)
        return through / self._total if self._total else 0.0

    @property
    def words(self) -> str:
        """Which case it is at, and how far."""
        number = len(self._done) + len(self._failures) + 1
        step = progress_words(self._job.progress) if self._job else _("starting")
        return _("{case} ({n} of {all}): {step}").format(case=self._case_id, n=number, all=self._total, step=step)

    def start(self, dataset: Dataset, case_ids: Sequence[str], settings: JobSettings, python: str) -> None:
        """Begin with the first of ``case_ids`` and return."""
        self._dataset, self._settings, self._python = dataset, settings, python
        self._waiting, self._done, self._failures = list(case_ids), [], {}
        self._total = len(self._waiting)
        self._timer.start()
        self._next()

    def cancel(self) -> None:
        """Stop, if it runs; what is stored stays."""
        if self.running:
            self._end(
                _("Detect all was stopped after {n} of {all} cases; press it again to go on.").format(
                    n=len(self._done), all=self._total
                )
            )

    def _next(self) -> None:
        assert self._dataset is not None and self._settings is not None
        while self._waiting and self._job is None:
            self._case_id = self._waiting.pop(0)
            try:
                case = self._dataset.case(self._case_id)
                if case.readable_prediction() is None:
                    image, digest = case.image_path, case.image_sha256
                    self._job = DetectionJob.of_file(image, digest, case.id, self._settings, self._python)
                else:
                    self._done.append(self._case_id)  # somebody else was quicker
            except (DatasetError, DetectionFailed, OSError) as error:
                self._fail(error)
        if self._job is None:
            self._end(self._summary())

    def _poll(self) -> None:
        job = self._job
        if job is None:
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
            self._changed()

    def _store(self, detection: Detection) -> None:
        assert self._dataset is not None
        try:
            if self._dataset.case(self._case_id).readable_prediction() is None:
                self._dataset.save_prediction(self._case_id, detection)
            self._done.append(self._case_id)
        except DatasetError as error:
            self._fail(error)
        except OSError as error:  # so it would be with all that follow
            words = _("Detect all was stopped after {n} of {all} cases: the dataset can not be written ({reason}).")
            reason = error.strerror or error
            self._end(words.format(n=len(self._done), all=self._total, reason=reason))
            return
        self._next()

    def _fail(self, error: Exception) -> None:
        self._failures[self._case_id] = str(error)
        logging.getLogger(__name__).warning("Detect all, %s: %s", self._case_id, error)

    def _summary(self) -> str:
        words = _("Detected in {n} of {all} cases.").format(n=len(self._done), all=self._total)
        named = [f"{case_id}: {reason}" for case_id, reason in list(self._failures.items())[:MOST_NAMED]]
        if len(self._failures) > MOST_NAMED:
            named.append(_("and {n} more, see the log.").format(n=len(self._failures) - MOST_NAMED))
        return " ".join([words, *named])

    def _end(self, words: str) -> None:
        self._timer.stop()
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
        self._dataset, self._waiting = None, []
        self._ended(words, list(self._done))
