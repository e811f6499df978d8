"""What a model says of itself: ``metadata.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..detection import ModelInfo
from ..documents import DocumentError, build, parse, write
from ..errors import UserError
from ..files import is_device
from ..landmarks import LandmarkSpec
from ..uncertainty import Judgement
from .architecture import Architecture

# 2: patch_sizes, one for each scale but the coarsest, in place of one patch_size; weights in half precision.
FORMAT_VERSION = 2

_PLAIN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class BundleError(UserError):
    """The bundle can not be used. The message is one sentence for the user: what is wrong and what to do."""


@dataclass(frozen=True)
class BundleMetadata:
    """What ``metadata.json`` says. Millimetres and HU throughout.

    ``scales_mm`` runs from coarse to fine; ``widths`` has one list of channel counts per scale, ``patch_sizes`` the
    voxels along an axis of every scale's patches but the coarsest's, which sees the whole scan; ``architecture`` is
    what the network's constructor needs; ``calibration`` maps a level ("0.9") to a factor per landmark with the number
    of patients behind it (up to carotid-small 0.7.1: of points); ``judgement`` tells right answers from wrong ones
    (None: the presence heads alone do).
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
        Architecture(self.landmarks, self.scales_mm, self.widths, self.patch_sizes, self.hu_window, self.noise_mm)
        rules = {
            "name is not a plain word": _PLAIN_WORD.fullmatch(self.name) is not None,
            "format_version is not positive": self.format_version > 0,
            "calibration has no factor for a level and landmark": _is_calibration(self.calibration, list(self.labels)),
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

    def nets(self) -> Architecture:
        """What the nets are made of. Raises BundleError where that is more than this program knows of."""
        document = parse(self.to_json())
        own = {each.name for each in fields(Architecture)}
        document = {**{name: document[name] for name in own & document.keys()}, **self.architecture}
        try:
            if unknown := document.keys() - own:
                raise DocumentError(f"nets have no {', '.join(sorted(unknown))}")
            return build(Architecture, document)
        except DocumentError as error:
            raise BundleError(
                f"The model bundle {self.name} is none that this version of CarotidLandmark can use ({error}); "
                "get a bundle that was made for it."
            ) from error

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


def is_name(name: str) -> bool:
    """Whether a new model can be called so: a plain word, which is also a folder's name everywhere."""
    return bool(_PLAIN_WORD.fullmatch(name)) and not name.endswith(".") and not is_device(name)


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
