"""Where models lie: those that came with the program, and the user's own."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from ..errors import UserError
from ..files import is_temporary, user_directory
from .bundle import METADATA_FILE, Bundle, bring_back, read_metadata
from .metadata import BundleError


def resources_directory() -> Path:
    """The extension's resources (Models, SampleData): beside the module in Slicer, in a source checkout, or in a wheel.

    Raises BundleError when there are none.
    """
    for folder in Path(__file__).resolve().parents[:4]:
        if (folder / "Resources" / "Models").is_dir():
            return folder / "Resources"
    raise BundleError("The folder Resources/Models is missing; install CarotidLandmark again.")


def models_directory() -> Path:
    """Where a user's own models lie, for example those of ``carotid-train finetune``; one folder each."""
    return user_directory() / "models"


_PLACES = (lambda: resources_directory() / "Models", models_directory)


def available_bundles() -> list[Bundle]:
    """The bundles that came with the program, and the user's own.

    One that can not be used is left out, and so is a folder of them that nobody can name; the log says why.
    """
    log, folders, bundles = logging.getLogger(__name__), [], []
    for place in _PLACES:
        try:
            folders.append(place())
            bring_back(folders[-1])
        except UserError as error:
            log.warning("%s", error)
    for path in _bundle_paths(*folders):
        try:
            bundles.append(Bundle.load(path))
        except BundleError as error:
            log.warning("%s", error)
    return bundles


def default_bundle() -> Bundle:
    """The newest bundle that came with the program. Raises BundleError when there is none or it is damaged."""
    paths = _bundle_paths(resources_directory() / "Models")
    if not paths:
        raise BundleError(
            "No model came with this installation; give one with --model, or install CarotidLandmark again."
        )
    return Bundle.load(max(paths, key=lambda path: [*map(int, re.findall(r"\d+", read_metadata(path).version))]))


def open_bundle(reference: str | os.PathLike[str] | None = None) -> Bundle:
    """A bundle by its folder, or by the folder's name among the models that came with the program and the user's own.

    None is `default_bundle`. Raises BundleError, and UserError where nobody can say where the user's own lie.
    """
    if reference is None:
        return default_bundle()
    if os.path.basename(reference) == str(reference) and not (Path(reference) / METADATA_FILE).is_file():
        folders = [place() for place in _PLACES]
        bring_back(folders[-1])
        for path in _bundle_paths(*folders):
            if str(reference) == path.name:
                return Bundle.load(path)
    return Bundle.load(reference)


def _bundle_paths(*roots: Path) -> list[Path]:
    paths: list[Path] = []
    for root in (Path(root).resolve() for root in roots):
        is_bundle = (root / METADATA_FILE).is_file()
        paths += [root] if is_bundle else sorted(path.parent for path in root.glob(f"*/{METADATA_FILE}"))
    return [path for path in paths if not is_temporary(path)]
