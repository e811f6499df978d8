"""The styles of digital necks, by name."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from CarotidLandmarkLib.volume import read_volume

from .neck import Neck

if TYPE_CHECKING:
    from .background import Background

# Style -> whether it is made from a real, unenhanced CT.
STYLES = {"sculpted": False, "painted": True, "recoloured": True}
# Styles that are domain-randomised by nature: no patient looks like them.
RANDOMISED = ("recoloured",)
BACKGROUND_VARIABLE = "CAROTID_BACKGROUND_CT"


class Styles:
    """Draws necks of any available style."""

    def __init__(self, backgrounds: Sequence[Path | str] = ()):
        """``backgrounds``: unenhanced CTs (or prepared ones, .npz) for the styles made of real tissue; else the file
        that $CAROTID_BACKGROUND_CT names, else none. Raises ValueError where a file does not exist."""
        paths = [Path(b) for b in backgrounds]
        if not paths and os.environ.get(BACKGROUND_VARIABLE):
            paths = [Path(os.environ[BACKGROUND_VARIABLE])]
        for path in paths:
            if not path.exists():
                raise ValueError(f"The background CT {path.name} does not exist; give a file that does.")
        self.paths = paths
        self._backgrounds: list[Background] = []

    @property
    def available(self) -> list[str]:
        """Names of the styles that can be drawn here."""
        return [name for name, needs_background in STYLES.items() if self.paths or not needs_background]

    @property
    def patient_like(self) -> list[str]:
        """Names of the available styles that can look like a patient."""
        return [name for name in self.available if name not in RANDOMISED]

    def check(self, names: Sequence[str], randomised: bool = True) -> None:
        """Raises ValueError where one of the names is no style, needs a background that is not given, or is
        domain-randomised and ``randomised`` is False."""
        for name in names:
            if name not in STYLES:
                raise ValueError(f"There is no style {name!r}; use one of {', '.join(STYLES)}.")
            if name not in self.available:
                raise ValueError(
                    f"The style {name!r} is made of real tissue: give an unenhanced CT with --background FILE "
                    f"or in the environment variable {BACKGROUND_VARIABLE}."
                )
            if name in RANDOMISED and not randomised:
                raise ValueError(f"The style {name!r} looks like no patient: leave it out, or ask for --randomised.")

    def open(self) -> None:
        """Read and analyse the backgrounds now (seconds each), before processes are started that would each do it.

        Raises VolumeError where one can not be used.
        """
        if not self._backgrounds:
            from .background import Background

            self._backgrounds = [
                Background.load(path) if path.suffix == ".npz" else Background.prepare(read_volume(path))
                for path in self.paths
            ]

    def fingerprint(self) -> list[str]:
        """What tells the backgrounds apart: the sha256 of each file (of its name, where it is a DICOM folder)."""
        contents = (path.read_bytes() if path.is_file() else path.name.encode() for path in self.paths)
        return [hashlib.sha256(content).hexdigest() for content in contents]

    def draw(self, style: str, seed: int, randomised: bool) -> Neck:
        """The neck of a style and seed: as in patients, or, where ``randomised``, for a share of the seeds far wilder.

        Raises ValueError like `check`, VolumeError like `open`.
        """
        self.check([style], randomised)
        module = importlib.import_module(f".{style}", __package__)
        if not STYLES[style]:
            return module.draw(seed, randomised)
        self.open()
        if style in RANDOMISED:
            return module.draw(seed, self._backgrounds)
        return module.draw(seed, self._backgrounds, randomised)
