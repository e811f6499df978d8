"""Tasks on the workers of a dask cluster: processes of this machine, or a scheduler's anywhere.

Each worker opens the tool (a model) once and does one task at a time. A result is whole on the disk before it counts,
so whatever ends in between (a worker, the scheduler, this process) costs the tasks under way and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, sentence
from ..memory import keep_freed_memory
from .log import Step
from .tasks import Outcome, Task, Tool, attempt

if TYPE_CHECKING:
    from distributed import Client

IN_FLIGHT = 1000  # tasks that the scheduler knows of at once: with a million it would need gigabytes
CONNECT_S = 10.0
RECONNECT_S = 120.0  # for a scheduler that is being restarted

# What workers run first where signals can not be blocked for them, see `_without_ctrl_c`.
_IGNORE_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"

_one_at_a_time = threading.Lock()  # workers may have several threads, and there is one model


class WorkersError(UserError):
    """The workers can not be used. The message is one sentence for the user."""


@contextmanager
def connect(workers: int | None = None, scheduler: str | None = None) -> Iterator[Cluster]:
    """A cluster of ``workers`` processes on this machine, ended with the block; or the one of a scheduler's address.

    Raises WorkersError where dask.distributed is not installed or no scheduler answers.
    """
    try:
        import dask
        import distributed
        from dask.system import CPU_COUNT
    except ImportError as error:
        raise WorkersError(
            "Workers need dask.distributed, which is not installed; install it: pip install 'dask[distributed]'."
        ) from error
    for name in logging.root.manager.loggerDict:
        if name.split(".")[0] == "distributed":  # what the user should know is said by us
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        where: Any = scheduler
        if scheduler is None:
            threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, CPU_COUNT // (workers or 1)))
            # one task for each process, and none waiting there: a process that dies takes one task along
            with _without_ctrl_c(), dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
                where = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=None,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                    env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                    preload=_IGNORE_CTRL_C,
                )
                stack.callback(where.close, timeout=CONNECT_S)
        yield stack.enter_context(closing(Cluster(where, scheduler or "this machine")))


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes and threads that are started inside never see it: a terminal sends it to the workers, too, which would
    die complaining; they end with this process, which sees it after the block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # where it is started first, it unblocks SIGINT for the processes after it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Cluster:
    """A connection to workers. ``where``: an address, or a cluster of this process; ``name``: for the user."""

    def __init__(self, where: Any, name: str) -> None:
        """Raises WorkersError where no scheduler answers."""
        self.where, self.name = where, name
        self.client = self._connected()

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self.client.nthreads())

    def try_out(self, tool: Tool) -> None:
        """Let a worker open the tool, if there is one yet. Raises what that raises, and WorkersError."""
        if self.workers:
            future = self.client.submit(_try_out, tool, pure=False)
            try:
                future.result()
            except Exception as error:
                raise _told(error) from error

    def reconnect(self) -> None:
        """Wait for a scheduler that has gone. Raises WorkersError where it does not come back."""
        self.close()
        end = time.monotonic() + RECONNECT_S
        while True:
            try:
                self.client = self._connected()
                return
            except WorkersError as error:
                if time.monotonic() > end:
                    raise WorkersError(
                        f"The scheduler at {self.name} has gone; start it again: the same command goes on."
                    ) from error

    def close(self) -> None:
        """Leave. What runs for us there is given up; what is done is on the disk."""
        with suppress(Exception):  # a scheduler that has gone needs no goodbye
            self.client.close(timeout=CONNECT_S)

    def _connected(self) -> Client:
        import distributed

        where = self.where
        try:
            if isinstance(where, str):
                where = json.loads(Path(where).read_text())["address"] if os.path.isfile(where) else where
                asyncio.run(_greet(where))
            return distributed.Client(where, timeout=CONNECT_S, set_as_default=False)
        except Exception as error:  # of any class: what is no address, who is no scheduler, who does not answer
            raise WorkersError(
                f"No dask scheduler answers at {self.name}; check the address, and start one with: dask scheduler."
            ) from error


async def _greet(address: str) -> None:
    """Raises an error of any class where no scheduler answers: a client that fails to connect would complain later."""
    import distributed

    async with distributed.rpc(address, timeout=CONNECT_S) as scheduler:
        identity = await asyncio.wait_for(scheduler.identity(), CONNECT_S)
    if identity["type"] != "Scheduler":
        raise ValueError("not a scheduler")


def run_on_workers(tasks: Sequence[Task], tool: Tool, cluster: Cluster, step: Step) -> Iterator[Outcome]:
    """Do tasks on workers; outcomes come as they end. ``step`` is told the fraction of all.

    A task whose worker dies is done by another; one that has ended several workers has a problem. Raises WorkersError,
    and what `attempt` and opening the tool raise.
    """
    from distributed import as_completed

    todo, ended = deque(tasks), 0
    active: dict[Any, Task] = {}
    futures = as_completed(loop=cluster.client.loop)
    step(f"0 of {len(tasks)} done", 0.0)
    while todo or active:
        while todo and len(active) < IN_FLIGHT and cluster.client.status != "closed":
            task = todo.popleft()
            # one key for one result: a second command that wants the same waits for the first one's
            future = cluster.client.submit(_attempt_here, task, tool, key=f"carotid-{task.key}")
            active[future.key] = task
            futures.add(future)
        outcome = None
        if active:
            future = next(futures)
            outcome = _outcome(future, active[future.key])
        if outcome is None:
            todo.extend(active.values())
            active.clear()
            step(f"{ended} of {len(tasks)} done, waiting for the scheduler", ended / len(tasks))
            cluster.reconnect()
            futures = as_completed(loop=cluster.client.loop)
            continue
        task = active.pop(future.key)
        ended += 1
        step(f"{ended} of {len(tasks)} done, the last {task.name}", ended / len(tasks))
        yield outcome


def _outcome(future: Any, task: Task) -> Outcome | None:
    """Of a future that has ended; None where the scheduler was lost. Raises what is no outcome of a task."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        words = "The workers that tried it ended, most often for lack of memory; do it by itself, or crop the scan."
        return Outcome(task.name, words)
    except Exception as error:  # of the task's opening, or of any class where the connection broke
        if future.status == "error":
            raise _told(error) from error
        return None


def _attempt_here(task: Task, tool: Tool) -> Outcome:
    """What a worker does."""
    with _one_at_a_time:
        return attempt(task, _opened(tool), lambda words, fraction: None)


def _try_out(tool: Tool) -> None:
    with _one_at_a_time:
        _opened(tool)


def _told(error: BaseException) -> BaseException:
    """What the user is told of an error that a worker could not answer for."""
    if sentence(error) and not (isinstance(error, OSError) and error.filename is None):
        return error
    if isinstance(error, OSError):
        return WorkersError("The connection to the workers broke; the same command goes on from here.")
    return WorkersError(
        f"The scheduler or a worker can not run this program ({type(error).__name__}: {error}); "
        "install the same CarotidLandmark where they are."
    )


@lru_cache(maxsize=1)
def _opened(tool: Tool) -> Any:
    keep_freed_memory()
    return tool.open()
