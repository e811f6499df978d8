"""Rendered necks used several times, far apart; kept in memory, or on disk, where the next run finds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from random import Random

from torch.utils.data import IterableDataset, get_worker_info

from ..tensors import load_or_make
from .batch import SampleBatch, joined
from .stream import NeckStream

# Rendered necks that a worker keeps for another turn: 5 MB each with boxes, so 4 GB where memory holds them.
POOL = 768
# It starts with so many, rendered when they are first drawn: the first steps see necks as various as the last.
POOL_START = 63

# What a batch depends on beside the necks themselves.
SOURCES = ("seeds.py", "necks/**/*.py", "scans/*.py", "batches/batch.py", "batches/stream.py")
# How a stream is gone through, which changes no batch.
TRAVERSAL = ("styles", "device", "start", "rank", "world_size")


class Pool(IterableDataset):
    """Batches of ``batch_size`` necks out of a pool in which every neck is used ``times`` times on average.

    Rendering a neck costs a CPU several times a training step, so augmentation makes the difference between its uses.
    Every ``times``-th neck of the batches is a new one, and the others are drawn at random from the last ``size``:
    necks come back far apart, and in other company. (Sixteen at a time, eight turns each, were learnt by heart: the
    loss jumped at every fresh sixteen.) Batch n is a function of n alone. The pool is in memory, or in the folder
    ``folder`` on disk, where the next run finds it.
    """

    def __init__(
        self,
        stream: NeckStream,
        batch_size: int,
        times: int,
        size: int = POOL,
        first: int = POOL_START,
        folder: Path | None = None,
    ):
        """``stream``: of single necks. ``first``: how many necks the pool begins with."""
        super().__init__()
        assert stream.batch_size == 1
        self.stream, self.batch_size, self.times, self.size, self.first = stream, batch_size, times, size, first
        self.folder = folder

    def __iter__(self) -> Iterator[SampleBatch]:
        stream, worker = self.stream, get_worker_info()
        workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        rendered = stream.batch
        if self.folder is not None:
            rendered = RenderedBatches(stream, self.folder).batch
        elif self.times > 1:
            rendered = lru_cache(maxsize=self.size)(stream.batch)
        # start, rank and world size count training steps; every workers-th step of each process has a pool of its own.
        for step in count(stream.start // stream.world_size + worker_id, workers):
            turn, pool = divmod(step, workers)
            uses = range(turn * self.batch_size, (turn + 1) * self.batch_size)
            numbers = [pool_number(use, self.times, self.size, self.first) for use in uses]
            own = [(number * workers + pool) * stream.world_size + stream.rank for number in numbers]
            yield joined([rendered(number) for number in own], step)


def pool_number(turn: int, times: int, size: int, first: int) -> int:
    """Which neck of a worker's pool the ``turn``-th place in its batches is filled with."""
    if times == 1:
        return turn
    newest = turn // times + first
    if turn % times == 0:
        return newest
    return newest - Random(turn).randrange(min(newest + 1, size))


class RenderedBatches:
    """The batches of a stream, each rendered once and then read from ``folder``/KEY/NUMBER.pt.

    KEY is a hash of what the batches depend on: the stream's options, the background CTs and the generator's code.
    Several processes may share a folder: a file appears whole or not at all, and who needs a batch first renders it.
    Nothing is ever deleted: a batch of one neck takes some 6 MB with its boxes, as one of four coarse views does.
    """

    def __init__(self, stream: NeckStream, folder: Path):
        """Raises OSError where the folder can not be made."""
        self.stream, self.folder = stream, folder / _key(stream)
        self.folder.mkdir(parents=True, exist_ok=True)

    def batch(self, index: int) -> SampleBatch:
        """Batch number ``index`` of the stream, on the stream's device. Raises OSError."""
        path = self.folder / f"{index:08d}.pt"
        return SampleBatch(**load_or_make(path, lambda: vars(self.stream.batch(index)), self.stream.device))


def _key(stream: NeckStream) -> str:
    own = {name: value for name, value in vars(stream).items() if name not in TRAVERSAL}
    digest = hashlib.sha256(repr(sorted(own.items())).encode())
    for background in stream.styles.fingerprint():
        digest.update(background.encode())
    package = Path(__file__).parents[1]
    for source in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
