"""How far long work is: a bar on a terminal, a line every minute in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 60.0

Step = Callable[[str, float], None]


@contextmanager
def progress(lines: bool = True) -> Iterator[Step]:
    """Yields ``step(words, fraction)``, to be told what is being done and how much of all is done, 0 to 1.

    On stderr: a bar where that is a terminal; elsewhere a line every `LINE_EVERY_S` with what, how far, and the time
    left, or nothing without ``lines``.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn("{task.description:<18}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda words, fraction: bar.update(task, description=words, completed=fraction)
    elif lines:
        log = _Log()
        thread = threading.Thread(target=log.write, args=(LINE_EVERY_S,), daemon=True)
        thread.start()
        try:
            yield log.step
        finally:
            log.over.set()
            thread.join()
    else:
        yield lambda words, fraction: None


def part(step: Step, title: str = "", start: float = 0.0, share: float = 1.0) -> Step:
    """To be told of a part of the work, which has a title and is ``share`` of all from ``start`` on."""
    return lambda words, fraction: step(title + words, start + share * fraction)


class _Log:
    """A line now and then from a thread of its own, so that work which tells nothing for long is seen, too."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._began: tuple[float, float] | None = None  # seconds, fraction: work that goes on does not begin at 0
        self._last = ("starting", 0.0)

    def step(self, words: str, fraction: float) -> None:
        if self._began is None:
            self._began = (time.monotonic(), fraction)
        self._last = (words, fraction)

    def write(self, every_s: float) -> None:
        while not self.over.wait(every_s):
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        words, fraction = self._last
        left = "" if self._began is None else remaining_words(*self._began, time.monotonic(), fraction)
        return f"{time.strftime('%H:%M:%S')} {words}: {fraction:.0%} done{left and f', {left} left'}"


def remaining_words(began_s: float, began: float, now_s: float, fraction: float) -> str:
    """The time that the rest needs at the speed so far, in words; empty where nothing is done yet, or all is."""
    if not began < fraction < 1.0:
        return ""
    return duration((now_s - began_s) * (1.0 - fraction) / (fraction - began))


def duration(seconds: float) -> str:
    """About how long, in words: 40 s, 12 min, 3 h 20 min, 2 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
