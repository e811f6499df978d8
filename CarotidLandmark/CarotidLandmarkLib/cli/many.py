"""Many scans: what `detect` does with several, and how `detect` and `cohort` run, here or on workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..detection import DetectionSettings
from ..errors import UserError
from ..work import Outcome, Task, connect, progress, run_here, run_on_workers
from .common import CANCELLED, FAULT, log_text, say

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..scans import Listing


def check_workers(workers: int | None, scheduler: str | None) -> None:
    """Raises UserError where both are given."""
    if workers is not None and scheduler is not None:
        raise UserError("Give --workers (processes of this machine) or --scheduler (workers elsewhere), not both.")


def run_tasks(
    tasks: Sequence[Task],
    model: str | None,
    bundle: Bundle,
    device: str,
    workers: int | None,
    scheduler: str | None,
    begin: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Do tasks here or on workers, and say each problem when it comes; returns the outcomes that have one.

    ``model`` is how ``bundle`` was asked for. ``begin`` is called when nothing can fail any more before the first task.
    Raises WorkersError, OSError, and what opening the model raises.
    """
    from ..detector import DetectorSpec

    if not tasks:
        begin()
        return []
    spec = DetectorSpec.of(model, bundle, device)
    failed = []
    with ExitStack() as stack:
        step = stack.enter_context(progress())
        outcomes: Iterator[Outcome]
        if workers is None and scheduler is None:
            outcomes = run_here(tasks, spec.open(), step)
        else:
            cluster = stack.enter_context(connect(workers and min(workers, len(tasks)), scheduler))
            cluster.try_out(spec)
            if not cluster.workers:
                say(f"Note: the scheduler at {scheduler} has no workers yet; the work begins when it has.")
            outcomes = run_on_workers(tasks, spec, cluster, step)
        begin()
        for outcome in outcomes:
            for note in outcome.notes:
                say(f"Note: {outcome.name}: {note}")
            if outcome.fault:
                say(f"{outcome.name}: {outcome.problem} The details are in {log_text(outcome.fault)}.")
            elif outcome.problem:
                say(f"{outcome.name}: {outcome.problem}")
            if outcome.problem:
                failed.append(outcome)
    return failed


def detect_many(
    listing: Listing,
    output: Path,
    model: str | None,
    bundle: Bundle,
    settings: DetectionSettings,
    device: str,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """A folder of results for each scan, and one summary."""
    from ..report import SUMMARY_PAGE, SummaryRow, write_summary
    from ..scans import plan_results

    results = plan_results(output, listing.scans, bundle.metadata.info, settings)
    waiting = [task for task in results.tasks if not task.is_done()]

    def begin() -> None:
        for note in listing.notes:
            say(f"Note: {note}")
        results.begin()

    try:
        failed = run_tasks(waiting, model, bundle, device, workers, scheduler, begin)
    except KeyboardInterrupt:
        done = sum(task.is_done() for task in results.tasks)
        say(f"Cancelled: {done} of {len(results.tasks)} scans are done; the same command does the others.")
        raise typer.Exit(CANCELLED) from None
    problems = {outcome.name: outcome.problem for outcome in failed}
    rows = []
    for task in results.all_tasks():
        problem, detection = problems.get(task.name, ""), task.detection()
        if not problem and detection is None:
            problem = "It has no results here; give this scan again, and workers the same paths as here."
        elif not problem and task.has_changed():
            problem = "The scan has changed since it was done; give this scan again."
        rows.append(SummaryRow(task.name, task.scan, None if problem else detection, problem))
    counts = write_summary(output, rows, listing.notes)
    verdicts = ", ".join(f"{counts[word]} {word}" for word in ("ok", "review", "reject", "not done") if word in counts)
    print(f"{len(rows)} scan{'s' * (len(rows) != 1)}: {verdicts}")
    print(output / SUMMARY_PAGE)
    if any(outcome.fault for outcome in failed):
        raise typer.Exit(FAULT)
    if undone := [row for row in rows[: len(results.tasks)] if row.detection is None]:
        raise UserError(f"{len(undone)} of {len(results.tasks)} scans could not be done; {SUMMARY_PAGE} says why.")
