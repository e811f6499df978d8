"""What was found in a scan: plain data, and its JSON form (``detection.json``, schema version 1)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from . import landmarks as names
from .documents import DocumentError, build, parse, write
from .errors import UserError
from .landmarks import FARTHEST_MM, is_place

SCHEMA_VERSION = 1
SAME_MM, SAME_PLACE_MM = 1e-3, 0.1  # headers round

CSV_COLUMNS = (
    "volume", "landmark", "status", "presence", "x_lps_mm", "y_lps_mm", "z_lps_mm", "std_x_mm", "std_y_mm", "std_z_mm",
    "level", "region_volume_mm3", "longest_semi_axis_mm", "verdict", "model", "seed", "reliability",
)  # fmt: skip

Verdict = Literal["ok", "review", "reject"]
Status = Literal["detected", "missing"]
Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]


@dataclass(frozen=True)
class DetectionSettings:
    """How to detect: noise passes, confidence level of the regions, seed of the noise."""

    passes: int = 50  # as in Ma et al. (ISBI 2020)
    level: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UserError."""
        if self.passes < 2:
            raise UserError(f"At least 2 passes are needed to measure uncertainty, not {self.passes}.")
        check_confidence(self.level)
        if self.seed < 0:
            raise UserError(f"A seed is zero or more, not {self.seed}.")


def check_confidence(level: float) -> None:
    """Raises UserError on what is no confidence level."""
    if not 0 < level < 1:
        raise UserError(f"A confidence level lies between 0 and 1, for example 0.9; not at {level:g}.")


def percent(level: float) -> str:
    """The number in percent of a confidence level, never rounded to another one: 0.945 is "94.5"."""
    return f"{100 * level:.10g}"


DEFAULTS = DetectionSettings()


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
    semi_axes_mm: Triple
    axes_lps: Matrix

    def __post_init__(self) -> None:
        """Raises ValueError where this is no ellipsoid."""
        if not 0 < self.level < 1:
            raise ValueError("level is not between 0 and 1")
        if not 0 < min(self.semi_axes_mm) <= max(self.semi_axes_mm) <= FARTHEST_MM:
            raise ValueError("semi_axes_mm are not three lengths")
        if not (0 <= self.volume_mm3 < math.inf and 0 <= self.paper_volume_mm3 < math.inf):
            raise ValueError("volume_mm3 or paper_volume_mm3 is not a volume")
        for n, axis in enumerate(self.axes_lps):
            products = [sum(a * b for a, b in zip(axis, other, strict=True)) for other in self.axes_lps]
            if any(abs(product - (n == m)) > 1e-3 for m, product in enumerate(products)):
                raise ValueError("axes_lps are not three unit vectors at right angles")

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
    """One landmark. A missing one has a presence probability and nothing else. ``label`` is what is shown for it.

    ``reliability``: the probability that it is in the scan and the point within 5 mm of it; None where no model says.
    """

    name: str
    status: Status
    presence: float
    position_lps_mm: Triple | None = None
    std_mm: Triple | None = None
    covariance_mm2: Matrix | None = None
    confidence: ConfidenceRegion | None = None
    label: str = ""
    reliability: float | None = None

    def __post_init__(self) -> None:
        """A label from the name where none is given. Raises ValueError on values that contradict each other."""
        if not self.label:
            object.__setattr__(self, "label", names.label(self.name))
        if not self.name:
            raise ValueError("name is empty")
        if not 0 <= self.presence <= 1:
            raise ValueError("presence is not a probability")
        if self.reliability is not None and not 0 <= self.reliability <= 1:
            raise ValueError("reliability is not a probability")
        if (self.position_lps_mm is None) != (self.status == "missing"):
            raise ValueError("position_lps_mm does not fit the status")
        if self.position_lps_mm is None and self.confidence is not None:
            raise ValueError("confidence is there without a position")
        if self.position_lps_mm is not None and not is_place(self.position_lps_mm):
            raise ValueError("position_lps_mm is not a place in a scanner")


@dataclass(frozen=True)
class VolumeInfo:
    """The scan, named without its folder: ``path`` is a file or folder name only. ``size`` is (i, j, k).

    ``centre_lps_mm``: where its middle lies; None in an older document. ``slices_sha256``: of some of its slices, so
    that another series in the same place is known as such; "" in an older document.
    """

    path: str
    size: tuple[int, int, int]
    spacing_mm: Triple
    orientation: str
    centre_lps_mm: Triple | None = None
    slices_sha256: str = ""

    def difference(self, other: VolumeInfo) -> str:
        """How the other scan differs, in words that follow "has"; empty where it may be the same, whatever its name."""
        if self.size != other.size:
            sizes = [" x ".join(map(str, each.size)) for each in (other, self)]
            return f"{sizes[0]} voxels, not {sizes[1]}"
        if math.dist(self.spacing_mm, other.spacing_mm) > SAME_MM or self.orientation != other.orientation:
            return "another voxel size or orientation"
        here, there = self.centre_lps_mm, other.centre_lps_mm
        if here is not None and there is not None and math.dist(here, there) > SAME_PLACE_MM:
            return f"its middle {math.dist(here, there):.1f} mm away"
        if self.slices_sha256 and other.slices_sha256 not in ("", self.slices_sha256):
            return "other voxels in the same place, as another series of a study has"
        return ""

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if min(self.size) < 1 or min(self.spacing_mm) <= 0:
            raise ValueError("size or spacing_mm is not positive")


@dataclass(frozen=True)
class ModelInfo:
    """Which model: ``sha256`` is that of its weights, which another version may judge and calibrate anew."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Quality:
    """``ok``: use it; ``review``: look first; ``reject``: do not use it. Reasons are sentences for a radiologist.

    ``about`` has for each reason the names of the landmarks that it speaks of; none where it speaks of the whole scan.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    about: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        """Reasons that say nothing of landmarks are about all. Raises ValueError."""
        if not self.about:
            object.__setattr__(self, "about", ((),) * len(self.reasons))
        if len(self.about) != len(self.reasons):
            raise ValueError("about does not have one entry for each reason")

    def verdict_on(self, name: str) -> Verdict:
        """The verdict on one landmark: that on the scan, unless it is to review for other landmarks alone."""
        concerned = any(not those or name in those for those in self.about)
        return "ok" if self.verdict == "review" and not concerned else self.verdict


@dataclass(frozen=True)
class Detection:
    """One run of the detector on one volume. ``timing_s`` in seconds: load, pyramid, coarse, passes, total.

    ``notes`` are sentences about what the program decided for the user: which series, a tilted gantry, another device.
    """

    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)
    volume: VolumeInfo
    model: ModelInfo
    passes: int
    seed: int
    device: str
    timing_s: dict[str, float]
    landmarks: tuple[LandmarkResult, ...]
    quality: Quality
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where a landmark is there twice."""
        if len(self.labels) != len(self.landmarks):
            raise ValueError("landmarks has one twice")

    def __getitem__(self, name: str) -> LandmarkResult:
        """The landmark of that name. Raises KeyError."""
        return {landmark.name: landmark for landmark in self.landmarks}[name]

    def made_by(self, model: ModelInfo, settings: DetectionSettings) -> bool:
        """Whether this model made it with these settings: then the same again would be the same."""
        same = (self.model, self.passes, self.seed) == (model, settings.passes, settings.seed)
        return same and self.level in (None, settings.level)

    @property
    def level(self) -> float | None:
        """The level of its confidence regions; None where there are none."""
        levels = {landmark.confidence.level for landmark in self.landmarks if landmark.confidence is not None}
        return max(levels, default=None)

    def to_json(self) -> str:
        """The text of ``detection.json``."""
        return write(asdict(self))

    @property
    def labels(self) -> dict[str, str]:
        """Name -> what is shown."""
        return {landmark.name: landmark.label for landmark in self.landmarks}

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
                "" if landmark.reliability is None else landmark.reliability,
            )
            rows.append(dict(zip(CSV_COLUMNS, values, strict=True)))
        return rows

    @classmethod
    def from_json(cls, text: str | bytes) -> Detection:
        """Read back what `to_json` wrote. Raises DocumentError, one sentence, on another version or damaged text."""
        try:
            document = parse(text)
            if document.get("schema_version") not in (SCHEMA_VERSION, None):
                raise DocumentError(f"its schema version is not {SCHEMA_VERSION}, which this program reads")
            return build(cls, {"schema_version": None, **document})
        except DocumentError as error:
            raise DocumentError(f"This is not a detection.json: {error}.") from error
