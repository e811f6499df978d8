"""What was found in a scan: plain data, and its JSON form (``detection.json``, schema version 1)."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

CSV_COLUMNS = (
    "volume",
    "landmark",
    "status",
    "presence",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "std_x_mm",
    "std_y_mm",
    "std_z_mm",
    "level",
    "region_volume_mm3",
    "longest_semi_axis_mm",
    "verdict",
    "model",
    "seed",
)

Verdict = Literal["ok", "review", "reject"]
Status = Literal["detected", "missing"]


@dataclass(frozen=True)
class ConfidenceRegion:
    """A calibrated ellipsoid around a landmark, in patient space.

    ``axes_lps`` holds three unit row vectors (LPS), ``semi_axes_mm`` their lengths, longest first.
    ``paper_volume_mm3`` is the volume that Ma et al. (ISBI 2020) report: a Gaussian with uncorrelated axes, not
    calibrated.
    """

    level: float
    volume_mm3: float
    paper_volume_mm3: float
    semi_axes_mm: tuple[float, float, float]
    axes_lps: tuple[tuple[float, float, float], ...]

    @property
    def reach_mm(self) -> tuple[float, float, float]:
        """How far the ellipsoid reaches to either side of the point along the patient's axes (x, y, z)."""
        x, y, z = (
            math.hypot(*(semi * axis[n] for semi, axis in zip(self.semi_axes_mm, self.axes_lps, strict=True)))
            for n in range(3)
        )
        return x, y, z


@dataclass(frozen=True)
class LandmarkResult:
    """One landmark. A missing one has a presence probability and nothing else."""

    name: str
    status: Status
    presence: float
    position_lps_mm: tuple[float, float, float] | None = None
    std_mm: tuple[float, float, float] | None = None
    covariance_mm2: tuple[tuple[float, float, float], ...] | None = None
    confidence: ConfidenceRegion | None = None


@dataclass(frozen=True)
class VolumeInfo:
    """The scan, named without its folder: ``path`` is a file or folder name only. ``size`` is (i, j, k)."""

    path: str
    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str


@dataclass(frozen=True)
class ModelInfo:
    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Quality:
    """``ok``: use it; ``review``: look first; ``reject``: do not use it. Reasons are sentences for a radiologist."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detection:
    """One run of the detector on one volume. ``timing_s`` in seconds: load, pyramid, coarse, passes, total."""

    volume: VolumeInfo
    model: ModelInfo
    passes: int
    seed: int
    device: str
    timing_s: dict[str, float]
    landmarks: tuple[LandmarkResult, ...]
    quality: Quality
    schema_version: int = field(default=SCHEMA_VERSION)

    def __getitem__(self, name: str) -> LandmarkResult:
        """The landmark of that name. Raises KeyError."""
        for landmark in self.landmarks:
            if landmark.name == name:
                return landmark
        raise KeyError(name)

    @property
    def level(self) -> float | None:
        """The level of its confidence regions; None where there are none."""
        levels = {landmark.confidence.level for landmark in self.landmarks if landmark.confidence is not None}
        return max(levels, default=None)

    def to_json(self) -> str:
        """The text of ``detection.json``."""
        document = asdict(self)
        return (
            json.dumps({"schema_version": document.pop("schema_version"), **document}, indent=2, allow_nan=False) + "\n"
        )

    def to_csv_rows(self) -> list[dict[str, Any]]:
        """One row per landmark with the columns `CSV_COLUMNS`; what a missing landmark lacks is an empty cell."""
        rows = []
        for landmark in self.landmarks:
            region = landmark.confidence
            values = (
                self.volume.path,
                landmark.name,
                landmark.status,
                landmark.presence,
                *(landmark.position_lps_mm or ("",) * 3),
                *(landmark.std_mm or ("",) * 3),
                *(("",) * 3 if region is None else (region.level, region.volume_mm3, region.semi_axes_mm[0])),
                self.quality.verdict,
                f"{self.model.name} {self.model.version}",
                self.seed,
            )
            rows.append(dict(zip(CSV_COLUMNS, values, strict=True)))
        return rows

    @classmethod
    def from_json(cls, text: str) -> Detection:
        """Read back what `to_json` wrote. Raises ValueError on another schema version or damaged text."""
        try:
            document: dict[str, Any] = json.loads(text)
            if document["schema_version"] != SCHEMA_VERSION:
                raise ValueError(
                    f"It has schema version {document['schema_version']}; this program reads {SCHEMA_VERSION}."
                )
            return cls(
                volume=VolumeInfo(**_tuples(document["volume"])),
                model=ModelInfo(**document["model"]),
                passes=document["passes"],
                seed=document["seed"],
                device=document["device"],
                timing_s=document["timing_s"],
                landmarks=tuple(_landmark(entry) for entry in document["landmarks"]),
                quality=Quality(**_tuples(document["quality"])),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"This is not a detection.json: {error}.") from error


def _landmark(entry: dict[str, Any]) -> LandmarkResult:
    values = _tuples(entry)
    region = values.pop("confidence", None)
    return LandmarkResult(**values, confidence=None if region is None else ConfidenceRegion(**region))


def _tuples(value: Any) -> Any:
    """Lists (JSON has no tuples) become tuples, at any depth."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
