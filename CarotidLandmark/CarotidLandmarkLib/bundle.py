"""A model on disk: a folder with ``metadata.json``, ``weights.safetensors``, ``MODEL_CARD.md``. Never unpickles."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .detection import ModelInfo
from .documents import DocumentError, build, parse, write
from .errors import UserError
from .files import is_temporary, name_to_be, staged_folder, temporary_in, user_directory
from .landmarks import LandmarkSpec
from .uncertainty import Judgement

if TYPE_CHECKING:
    from torch import Tensor

# 2: patch_sizes, one for each scale but the coarsest, in place of one patch_size; weights in half precision.
FORMAT_VERSION = 2
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "MODEL_CARD.md"
FILES = (METADATA_FILE, WEIGHTS_FILE, CARD_FILE)


class BundleError(UserError):
    """The bundle can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True)
class BundleMetadata:
    """What ``metadata.json`` says. Millimetres and HU throughout.

    ``scales_mm`` runs from coarse to fine; ``widths`` has one list of channel counts per scale, ``patch_sizes`` the
    voxels along an axis of every scale's patches but the coarsest's, which sees the whole scan; ``architecture`` is
    what the network's constructor needs; ``calibration`` maps a level ("0.9") to a factor per landmark with the number
    of scans behind it; ``judgement`` tells right answers from wrong ones (None: the presence heads alone do).
    ``weights_sha256``, ``format_version`` are filled in by `Bundle.save`.
    """

    format_version: int = field(default=FORMAT_VERSION, kw_only=True)
    name: str
    version: str
    landmarks: tuple[LandmarkSpec, ...]
    scales_mm: tuple[float, ...]
    patch_sizes: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]
    hu_window: tuple[float, float]
    noise_mm: float
    architecture: dict[str, Any]
    torch_version: str
    lib_version: str
    training: dict[str, Any]
    accuracy: dict[str, Any]
    calibration: dict[str, Any]
    intended_use: str
    licence: str
    weights_sha256: str = ""
    judgement: Judgement | None = None

    def __post_init__(self) -> None:
        """Raises ValueError on values that contradict each other."""
        names = [landmark.name for landmark in self.landmarks]
        rules = {
            "name is not a plain word": is_name(self.name),
            "landmarks are none, or have a name twice": names and len(set(names)) == len(names),
            "a landmark's mirror is not a landmark": all(landmark.mirror in names for landmark in self.landmarks),
            "a landmark's mirror has another one": all(
                spec.name == other.mirror
                for spec in self.landmarks
                for other in self.landmarks
                if other.name == spec.mirror
            ),
            "scales_mm do not go from coarse to fine": self.scales_mm
            and min(self.scales_mm) > 0
            and list(self.scales_mm) == sorted(set(self.scales_mm), reverse=True),
            "widths are not one list of positive numbers per scale": len(self.widths) == len(self.scales_mm)
            and all(widths and min(widths) > 0 for widths in self.widths),
            "patch_sizes are not one positive number per scale but the coarsest": (
                len(self.patch_sizes) == len(self.scales_mm) - 1 and all(size > 0 for size in self.patch_sizes)
            ),
            "hu_window is not (low, high)": len(self.hu_window) == 2 and self.hu_window[0] < self.hu_window[1],
            "format_version is not positive": self.format_version > 0,
            "noise_mm is not a length": math.isfinite(self.noise_mm) and self.noise_mm >= 0,
            "calibration has no factor for a level and landmark": _is_calibration(self.calibration, names),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(rule)

    @property
    def labels(self) -> dict[str, str]:
        """Name -> label shown."""
        return {landmark.name: landmark.label for landmark in self.landmarks}

    @property
    def info(self) -> ModelInfo:
        """What a detection says of its model."""
        return ModelInfo(self.name, self.version, self.weights_sha256)

    def to_json(self) -> str:
        """The text of ``metadata.json``."""
        return write(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> BundleMetadata:
        """Read back what `to_json` wrote, of any version up to ours. Raises DocumentError on anything else."""
        document = {"format_version": None, "weights_sha256": None, **parse(text)}
        if document["format_version"] == 1:  # one patch_size for all scales but the coarsest
            scales = build(tuple[float, ...], document.get("scales_mm"), "scales_mm")
            document["patch_sizes"] = [document.get("patch_size")] * max(0, len(scales) - 1)
        return build(cls, document)


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
        metadata = _read_metadata(path)
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

        An older bundle there is replaced. Raises BundleError when ``path`` holds something else, OSError.
        """
        from safetensors.torch import save

        path = Path(path)
        check_place(path)
        _bring_back(path.parent)
        weights = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})
        metadata = replace(metadata, weights_sha256=_sha256(weights), format_version=FORMAT_VERSION)
        with staged_folder(path, replace=True) as folder:
            (folder / WEIGHTS_FILE).write_bytes(weights)
            (folder / METADATA_FILE).write_text(metadata.to_json(), encoding="utf-8")
            (folder / CARD_FILE).write_text(card, encoding="utf-8")
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


def is_name(name: str) -> bool:
    """Whether a model can be called so: a plain word, which is also a folder's name everywhere."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def check_place(path: Path) -> None:
    """Raises BundleError where something else than a bundle is there, which saving one would replace."""
    if path.exists() and not (path.is_dir() and {item.name for item in path.iterdir()} <= set(FILES)):
        raise BundleError(f"{path} exists and is not a model bundle; choose another folder.")


def resources_directory() -> Path:
    """The extension's resources (Models, SampleData): beside the module in Slicer, in a source checkout, or in a wheel.

    Raises BundleError when there are none.
    """
    for folder in Path(__file__).resolve().parents[:3]:
        if (folder / "Resources" / "Models").is_dir():
            return folder / "Resources"
    raise BundleError("The folder Resources/Models is missing; install CarotidLandmark again.")


def models_directory() -> Path:
    """Where a user's own models lie, for example those of ``carotid-train finetune``; one folder each."""
    return user_directory() / "models"


def available_bundles() -> list[Bundle]:
    """The bundles that came with the program, and the user's own.

    One that can not be used is left out, and the log says why.
    """
    log, bundles = logging.getLogger(__name__), []
    try:
        folders = _model_folders()
    except BundleError as error:
        log.warning("%s", error)
        folders = (models_directory(),)
    _bring_back(models_directory())
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
    return Bundle.load(max(paths, key=lambda path: [*map(int, re.findall(r"\d+", _read_metadata(path).version))]))


def open_bundle(reference: str | os.PathLike[str] | None = None) -> Bundle:
    """A bundle by its folder, or by the folder's name among the models that came with the program and the user's own.

    None is `default_bundle`. Raises BundleError.
    """
    if reference is None:
        return default_bundle()
    if os.path.basename(reference) == str(reference) and not (Path(reference) / METADATA_FILE).is_file():
        _bring_back(models_directory())
        for path in _bundle_paths(*_model_folders()):
            if str(reference) == path.name:
                return Bundle.load(path)
    return Bundle.load(reference)


def _model_folders() -> tuple[Path, ...]:
    return resources_directory() / "Models", models_directory()


def _bundle_paths(*roots: Path) -> list[Path]:
    paths: list[Path] = []
    for root in (Path(root).resolve() for root in roots):
        is_bundle = (root / METADATA_FILE).is_file()
        paths += [root] if is_bundle else sorted(path.parent for path in root.glob(f"*/{METADATA_FILE}"))
    return [path for path in paths if not is_temporary(path)]


def _bring_back(folder: Path) -> None:
    """Have the bundles again that killed programs had just taken away to put newer ones in their places."""
    for old in temporary_in(folder):
        path = folder / name_to_be(old).removesuffix("-old")
        if old.name.endswith("-old") and not path.exists():
            with suppress(BundleError, OSError):
                os.replace(Bundle.load(old).path, path)


def _read_metadata(path: Path) -> BundleMetadata:
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


@dataclass(frozen=True)
class _Factor:
    """Of a level and landmark in `BundleMetadata.calibration`."""

    factor: float
    n: int

    def __post_init__(self) -> None:
        if self.factor <= 0 or self.n < 1:
            raise ValueError("factor and n are not above zero")


def _is_calibration(calibration: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether it maps levels between 0 and 1, as text, to a factor for each of the landmarks."""
    try:
        rows = build(dict[str, dict[str, _Factor]], calibration)
        return all(0 < float(level) < 1 and set(row) == set(names) for level, row in rows.items())
    except ValueError:
        return False


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
