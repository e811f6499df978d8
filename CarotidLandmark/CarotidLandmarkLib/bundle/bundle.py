"""A model on disk: a folder with ``metadata.json``, ``weights.safetensors``, ``MODEL_CARD.md``. Never unpickles."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..documents import DocumentError, parse
from ..files import atomic_path, is_left_by_others, name_to_be, staged_folder, temporary_in, write_text
from .metadata import FORMAT_VERSION, BundleError, BundleMetadata

if TYPE_CHECKING:
    from torch import Tensor

METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "MODEL_CARD.md"
FILES = (METADATA_FILE, WEIGHTS_FILE, CARD_FILE)


@dataclass(frozen=True)
class Bundle:
    """A model bundle, checked. ``state`` is read from the disk when first used."""

    path: Path
    metadata: BundleMetadata

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open and check the bundle in folder ``path``. Raises BundleError: missing, damaged, too new, hash differs."""
        path = Path(path)
        if not path.is_dir():
            raise BundleError(
                f"There is no model bundle at {path}; give a folder that holds {METADATA_FILE}, or a name that "
                "carotid-landmark info lists."
            )
        for name in FILES:
            if not (path / name).is_file():
                raise BundleError(f"The model bundle {path.name} has no {name}; get the whole bundle again.")
        metadata = read_metadata(path)
        if _sha256((path / WEIGHTS_FILE).read_bytes()) != metadata.weights_sha256:
            raise BundleError(
                f"The weights of model bundle {path.name} are not those that {METADATA_FILE} names (sha256 differs); "
                "get the bundle again."
            )
        return cls(path, metadata)

    @classmethod
    def save(
        cls,
        path: str | os.PathLike[str],
        metadata: BundleMetadata,
        state: Mapping[str, Tensor],
        card: str,
    ) -> Bundle:
        """Write a bundle to folder ``path``, whole or not at all, and return it. ``card`` is the model card's text.

        An older bundle there is replaced; hidden files in its folder stay. Raises BundleError when ``path`` holds
        something else, OSError.
        """
        from safetensors.torch import save

        path = Path(path)
        check_place(path)
        bring_back(path.parent)
        weights = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
        metadata = replace(metadata, weights_sha256=_sha256(weights), format_version=FORMAT_VERSION)
        with staged_folder(path, replace=True) as folder:
            with atomic_path(folder / WEIGHTS_FILE) as file:
                file.write_bytes(weights)
            write_text(folder / METADATA_FILE, metadata.to_json())
            write_text(folder / CARD_FILE, card)
            for hidden in filter(Path.is_file, path.glob(".*")):
                with suppress(OSError):
                    shutil.copy2(hidden, folder)
        return cls(path, metadata)

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The network's tensors by name, on the CPU.

        Raises BundleError when the file is not safetensors, or another one than when the bundle was opened.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            weights = (self.path / WEIGHTS_FILE).read_bytes()  # a mapped file can not be removed on Windows
            if _sha256(weights) != self.metadata.weights_sha256:
                raise BundleError(f"The model {self.path.name} was exchanged while it was in use; begin again.")
            return load(weights)
        except (SafetensorError, OSError) as error:
            raise BundleError(
                f"The weights of model bundle {self.path.name} are damaged; get the bundle again."
            ) from error

    @property
    def card(self) -> str:
        """The text of the model card (Markdown)."""
        return (self.path / CARD_FILE).read_text(encoding="utf-8")


def check_place(path: Path) -> None:
    """Raises BundleError where something else than a bundle is there, which saving one would replace."""
    if path.exists() and not (path.is_dir() and all(map(_may_lie_in_bundle, path.iterdir()))):
        raise BundleError(f"{path} exists and is not a model bundle; choose another folder.")


def _may_lie_in_bundle(path: Path) -> bool:
    hidden_folder = path.name.startswith(".") and path.is_dir()  # .git
    return path.name in FILES or (is_left_by_others(path.name) and not hidden_folder)


def bring_back(folder: Path) -> None:
    """Have the bundles again that killed programs had just taken away to put newer ones in their places."""
    for old in temporary_in(folder):
        path = folder / name_to_be(old).removesuffix("-old")
        if old.name.endswith("-old") and not path.exists():
            with suppress(BundleError, OSError):
                os.replace(Bundle.load(old).path, path)


def read_metadata(path: Path) -> BundleMetadata:
    try:
        text = (path / METADATA_FILE).read_bytes()
        version = parse(text).get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise BundleError(
                f"The model bundle {path.name} has format version {version}, newer than this program reads "
                f"({FORMAT_VERSION}); update CarotidLandmark."
            )
        return BundleMetadata.from_json(text)
    except DocumentError as error:
        what = f"{METADATA_FILE} of model bundle {path.name}"
        raise BundleError(f"{what} is damaged ({error}); get the bundle again.") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
