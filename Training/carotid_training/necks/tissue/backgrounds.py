"""Many backgrounds, each read when it is first drawn, of which a bounded number stays in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from CarotidLandmarkLib.volume import read_volume

from .background import Background
from .patients import PREPARED

# Of prepared backgrounds that stay in memory: about 30 bytes a voxel with what is derived from them, 480 MB.
_KEPT_VOXELS = 16_000_000


class Backgrounds(Sequence[Background]):
    """Backgrounds by number. A CT is analysed once and stays; a prepared one (.npz) may be read again later."""

    def __init__(self, paths: Sequence[Path]):
        self.paths = list(paths)
        self._analysed: dict[int, Background] = {}
        self._kept: OrderedDict[int, Background] = OrderedDict()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number):
        """Raises VolumeError where the file can not be used."""
        path = self.paths[number]
        if path.suffix.lower() != PREPARED:
            if number not in self._analysed:
                self._analysed[number] = Background.prepare(read_volume(path))
            return self._analysed[number]
        if number not in self._kept:
            self._kept[number] = Background.load(path)
        self._kept.move_to_end(number)
        while len(self._kept) > 1 and sum(each.hu.size for each in self._kept.values()) > _KEPT_VOXELS:
            self._kept.popitem(last=False)
        return self._kept[number]

    def open(self) -> None:
        """Analyse the CTs among them, and see that the others are prepared backgrounds. Raises VolumeError."""
        for number, path in enumerate(self.paths):
            if path.suffix.lower() == PREPARED:
                Background.check(path)
            else:
                self[number]

    def __getstate__(self) -> dict:
        """For another process: what is quickly read again stays behind."""
        return {**vars(self), "_kept": OrderedDict()}
