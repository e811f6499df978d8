"""Many tasks, each with a name and an end of its own: one that fails does not stop the others."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import lacks_room, sentence
from .log import Step, part


class Tool(Protocol):
    """How a process opens what its tasks work with, once: a model. Travels to workers, so it is small and hashable."""

    def __hash__(self) -> int: ...

    def open(self) -> Any: ...


class Task(Protocol):
    """A piece of work that leaves its result on the disk, whole or not at all. Travels to workers, so it is small.

    ``key`` names the result: two tasks of one key are one.
    """

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    def is_done(self) -> bool: ...

    def run(self, tool: Any, step: Step) -> tuple[str, ...]:
        """Do it; returns notes, sentences on what was decided for the user."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How a task ended. ``problem``: a sentence for the user, if it failed; ``fault``: the traceback if it is ours."""

    name: str
    problem: str = ""
    fault: str = ""
    notes: tuple[str, ...] = ()


def attempt(task: Task, tool: Any, step: Step) -> Outcome:
    """Do one task, unless it is done. Raises OSError where there is no room for any result."""
    notes: tuple[str, ...] = ()
    try:
        if not task.is_done():
            notes = task.run(tool, step)
    except Exception as error:  # the fault of one scan is told, and the others go on
        if lacks_room(error):
            raise
        if text := sentence(error):
            return Outcome(task.name, text)
        return Outcome(task.name, f"A fault of this program ({type(error).__name__}).", traceback.format_exc())
    return Outcome(task.name, notes=notes)


def run_here(tasks: Sequence[Task], tool: Any, step: Step) -> Iterator[Outcome]:
    """Do tasks in turn with a tool that is open; ``step`` is told the fraction of all. Raises as `attempt` does."""
    for number, task in enumerate(tasks):
        inside = part(step, f"{number + 1} of {len(tasks)}, {task.name}: ", number / len(tasks), 1 / len(tasks))
        inside("starting", 0.0)
        yield attempt(task, tool, inside)
