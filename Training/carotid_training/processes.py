"""Processes of this machine that do work side by side, and end with the one that has started them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def pool(processes: int, threads: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes of ``threads`` of torch each; after an error in the block nothing is begun any more."""
    if sys.platform == "win32":
        processes = min(processes, 61)  # more can not be waited for there
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin, (threads,)) as workers:
        try:
            yield workers
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise


def _begin(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # killed, it tells nobody, and a pool's processes would go on with what is waiting
    os._exit(1)
