"""How one of many tasks ends, and which ends stop the others."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.work import run_here


@dataclass
class Note:
    """A task that writes its name into a file, or fails with what it is given."""

    name: str
    folder: Path
    error: Exception | None = None
    runs: list[str] = field(default_factory=list)
    key = property(lambda self: self.name)

    def is_done(self) -> bool:
        return (self.folder / self.name).exists()

    def run(self, tool: Any, step: Any) -> tuple[str, ...]:
        step("writing", 0.5)
        self.runs.append(self.name)
        if self.error is not None:
            raise self.error
        (self.folder / self.name).write_text(tool)
        return (f"written with {tool}",)


def test_each_task_is_told_of_and_done_once_and_one_that_fails_stops_no_other(tmp_path):
    tasks = [
        Note("a", tmp_path),
        Note("b", tmp_path, UserError("b is damaged; mend it.")),
        Note("c", tmp_path, ZeroDivisionError("a fault")),
        Note("d", tmp_path, PermissionError(errno.EACCES, "Permission denied", "/scans/d")),
        Note("e", tmp_path),
    ]
    told: list[tuple[str, float]] = []
    a, b, c, d, e = run_here(tasks, "a pen", lambda words, fraction: told.append((words, fraction)))
    assert a.notes == e.notes == ("written with a pen",) and not (a.problem or e.problem)
    assert (b.problem, b.fault) == ("b is damaged; mend it.", "")
    assert "ZeroDivisionError" in c.problem and "a fault" in c.fault and "Traceback" in c.fault
    assert d.problem == "/scans/d can not be used (Permission denied); check the path and the disk."
    assert ("5 of 5, e: writing", 0.9) in told
    assert [fraction for _, fraction in told] == sorted(fraction for _, fraction in told)
    list(run_here(tasks, "a pen", lambda words, fraction: None))
    assert tasks[0].runs == ["a"] and tasks[1].runs == ["b", "b"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_more_stops_them_all(tmp_path, number):
    full = OSError(number, "no room", str(tmp_path))
    tasks = [Note("a", tmp_path), Note("b", tmp_path, full), Note("c", tmp_path)]
    with pytest.raises(OSError, match="no room"):
        list(run_here(tasks, "a pen", lambda words, fraction: None))
    assert (tasks[0].runs, tasks[2].runs) == (["a"], [])
