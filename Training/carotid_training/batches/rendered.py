"""Rendered batches kept on disk: a run that is begun again, or another run beside it, does not render them again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from CarotidLandmarkLib.files import atomic_path

from .batch import SampleBatch
from .stream import NeckStream

# What a batch depends on beside the necks themselves.
SOURCES = ("seeds.py", "necks/**/*.py", "scans/*.py", "batches/batch.py", "batches/stream.py")
# How a stream is gone through, which changes no batch.
TRAVERSAL = ("styles", "device", "start", "rank", "world_size")


class RenderedBatches:
    """The batches of a stream, each rendered once and then read from ``folder``/KEY/NUMBER.pt.

    KEY is a hash of what the batches depend on: the stream's options, the background CTs and the generator's code.
    Several processes may share a folder: a file appears whole or not at all, and who needs a batch first renders it.
    Nothing is ever deleted: a batch of one neck takes 9 MB with its boxes, of four coarse views 6 MB.
    """

    def __init__(self, stream: NeckStream, folder: Path):
        """Raises OSError where the folder can not be made."""
        self.stream, self.folder = stream, folder / _key(stream)
        self.folder.mkdir(parents=True, exist_ok=True)

    def batch(self, index: int) -> SampleBatch:
        """Batch number ``index`` of the stream, on the stream's device. Raises OSError."""
        path = self.folder / f"{index:08d}.pt"
        if not path.exists():
            with atomic_path(path) as temporary:
                torch.save(vars(self.stream.batch(index)), temporary)
        return SampleBatch(**torch.load(path, map_location=self.stream.device, weights_only=True))


def _key(stream: NeckStream) -> str:
    own = {name: value for name, value in vars(stream).items() if name not in TRAVERSAL}
    digest = hashlib.sha256(repr(sorted(own.items())).encode())
    for background in stream.styles.fingerprint():
        digest.update(background.encode())
    package = Path(__file__).parents[1]
    for source in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
