"""The styles of digital necks, by name. A new one is a function that draws its necks and an entry of `STYLES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from CarotidLandmarkLib.errors import UserError

from .. import seeds
from .neck import Neck
from .sculpted.neck import SculptedNeck
from .tissue import painted, recoloured
from .tissue.backgrounds import Backgrounds, background_paths, scan_sha256

BACKGROUND_VARIABLE = "CAROTID_BACKGROUND_CT"


@dataclass(frozen=True)
class Style:
    """``draw(seed, backgrounds, randomised)`` makes a neck. of_tissue: it is made of real, unenhanced CTs.

    like_patients: False where it is domain-randomised by nature, and no patient looks like it.
    """

    draw: Callable[[int, Backgrounds, bool], Neck]
    of_tissue: bool
    like_patients: bool = True


STYLES = {
    "sculpted": Style(lambda seed, _, randomised: SculptedNeck(seed, randomised), of_tissue=False),
    "painted": Style(painted.draw, of_tissue=True),
    "recoloured": Style(lambda seed, tissue, _: recoloured.draw(seed, tissue), of_tissue=True, like_patients=False),
}


class Styles:
    """Draws necks of any available style. ``asked_for``: whether backgrounds were given, and not in the environment."""

    def __init__(self, backgrounds: Sequence[Path | str] = (), unseen: bool = False):
        """``backgrounds``: unenhanced CTs (or prepared ones, .npz; or folders of them) for the styles made of real
        tissue; else what $CAROTID_BACKGROUND_CT names, else none. ``unseen``: only of patients that no training may
        see, and only for the split test; else without them. Raises ValueError: see `background_paths`."""
        given = list(backgrounds)
        self.asked_for = bool(given)
        if not given and os.environ.get(BACKGROUND_VARIABLE):
            given = [os.environ[BACKGROUND_VARIABLE]]
        if unseen and not given:
            raise UserError("Tissue of patients that no training sees is asked for, but no folder of them is given.")
        self.unseen = unseen
        self.paths = background_paths(given, unseen)
        self._backgrounds = Backgrounds(self.paths)

    @property
    def available(self) -> list[str]:
        """Names of the styles that can be drawn here."""
        return [name for name, style in STYLES.items() if self.paths or not style.of_tissue]

    @property
    def patient_like(self) -> list[str]:
        """Names of the available styles that can look like a patient."""
        return [name for name in self.available if STYLES[name].like_patients]

    def check(self, names: Sequence[str], randomised: bool = True) -> None:
        """Raises ValueError where one of the names is no style, needs a background that is not given, or is
        domain-randomised and ``randomised`` is False."""
        for name in names:
            if name not in STYLES:
                raise UserError(f"There is no style {name!r}; use one of {', '.join(STYLES)}.")
            if name not in self.available:
                raise UserError(
                    f"The style {name!r} is made of real tissue: give an unenhanced CT with --background FILE "
                    f"or in the environment variable {BACKGROUND_VARIABLE}."
                )
            if not (STYLES[name].like_patients or randomised):
                raise UserError(f"The style {name!r} looks like no patient: leave it out, or ask for --randomised.")

    def check_splits(self, splits: Sequence[str]) -> None:
        """Raises ValueError where necks of a split may not be made of this tissue."""
        if self.unseen and set(splits) != {"test"}:
            raise UserError("Patients that no training may see are for the split test alone; ask for --splits test.")

    def open(self) -> None:
        """Analyse the CTs now (seconds each), before processes are started that would each do it.

        Raises VolumeError where one can not be used.
        """
        self._backgrounds.open()

    def fingerprint(self) -> list[str]:
        """What tells the backgrounds apart: `scan_sha256` of each."""
        return [scan_sha256(path) for path in self.paths]

    def draw(self, style: str, seed: int, randomised: bool) -> Neck:
        """The neck of a style and seed: as in patients, or, where ``randomised``, for a share of the seeds far wilder.

        Raises ValueError like `check` and `check_splits`, VolumeError like `open`.
        """
        self.check([style], randomised)
        if self.unseen and STYLES[style].of_tissue:
            self.check_splits([seeds.split_of(seed)])
        return STYLES[style].draw(seed, self._backgrounds, randomised)
