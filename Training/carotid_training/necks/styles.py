"""The styles of digital necks, by name."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from .. import seeds
from .backgrounds import Backgrounds
from .neck import Neck
from .patients import background_paths

# Style -> whether it is made from a real, unenhanced CT.
STYLES = {"sculpted": False, "painted": True, "recoloured": True}
# Styles that are domain-randomised by nature: no patient looks like them.
RANDOMISED = ("recoloured",)
BACKGROUND_VARIABLE = "CAROTID_BACKGROUND_CT"


class Styles:
    """Draws necks of any available style."""

    def __init__(self, backgrounds: Sequence[Path | str] = (), unseen: bool = False):
        """``backgrounds``: unenhanced CTs (or prepared ones, .npz; or folders of them) for the styles made of real
        tissue; else what $CAROTID_BACKGROUND_CT names, else none. ``unseen``: only of patients that no training may
        see, and only for the split test; else without them. Raises ValueError: see `background_paths`."""
        given = list(backgrounds)
        if not given and os.environ.get(BACKGROUND_VARIABLE):
            given = [os.environ[BACKGROUND_VARIABLE]]
        if unseen and not given:
            raise ValueError("Tissue of patients that no training sees is asked for, but no folder of them is given.")
        self.unseen = unseen
        self.paths = background_paths(given, unseen)
        self._backgrounds = Backgrounds(self.paths)

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

    def check_splits(self, splits: Sequence[str]) -> None:
        """Raises ValueError where necks of a split may not be made of this tissue."""
        if self.unseen and set(splits) != {"test"}:
            raise ValueError("Patients that no training may see are for the split test alone; ask for --splits test.")

    def open(self) -> None:
        """Analyse the CTs now (seconds each), before processes are started that would each do it.

        Raises VolumeError where one can not be used.
        """
        self._backgrounds.open()

    def fingerprint(self) -> list[str]:
        """What tells the backgrounds apart: the sha256 of each file (of its name, where it is a DICOM folder)."""
        contents = (path.read_bytes() if path.is_file() else path.name.encode() for path in self.paths)
        return [hashlib.sha256(content).hexdigest() for content in contents]

    def draw(self, style: str, seed: int, randomised: bool) -> Neck:
        """The neck of a style and seed: as in patients, or, where ``randomised``, for a share of the seeds far wilder.

        Raises ValueError like `check` and `check_splits`, VolumeError like `open`.
        """
        self.check([style], randomised)
        module = importlib.import_module(f".{style}", __package__)
        if not STYLES[style]:
            return module.draw(seed, randomised)
        if self.unseen:
            self.check_splits([seeds.split_of(seed)])
        if style in RANDOMISED:
            return module.draw(seed, self._backgrounds)
        return module.draw(seed, self._backgrounds, randomised)
