"""What a chain of Loc-Nets is made of, as bundles and configurations say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..landmarks import CAROTID_BIFURCATIONS, LandmarkSpec


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the chain; stored in a model bundle.

    Args:
        landmarks: What is found: name, label, and the name of the mirror, the counterpart on the other side.
        scales_mm: Voxel sizes that the nets see, from coarse to fine, mm.
        widths: Channels per level of each scale's Loc-Net.
        patch_sizes: Voxels along an axis at every scale but the coarsest, which sees all.
        hu_window: Intensities that become 0 and 1, HU.
        noise_mm: The last crop's shift per axis is up to so much, mm.
        mirrored: Whether a landmark and its mirror share a channel, the second seeing the patch mirrored.
        pooling: blur, or the paper's max.
        convolution: standardised (with a leaky rectifier), or the paper's plain.
        convolutions: How many per level going down.
        heatmap: How it becomes weights: softmax, or the paper's relu.
        mode_window_mm: The centre of mass is that of the strongest mode, in a cube of this side, mm; null, as in the
            paper: of the whole heatmap.
    """

    landmarks: tuple[LandmarkSpec, ...] = CAROTID_BIFURCATIONS
    scales_mm: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    widths: tuple[tuple[int, ...], ...] = ((32, 64, 96, 128), (16, 32, 64, 96), (16, 32, 64, 96), (16, 32, 64, 96))
    patch_sizes: tuple[int, ...] = (40, 40, 32)
    hu_window: tuple[float, float] = (-200.0, 1000.0)
    noise_mm: float = 5.0
    mirrored: bool = True
    pooling: str = "blur"
    convolution: str = "standardised"
    convolutions: int = 2
    heatmap: str = "softmax"
    mode_window_mm: float | None = 16.0

    def __post_init__(self) -> None:
        """Raises UserError where an option is none, or scales, widths, patches and landmarks do not fit together."""
        if not len(self.scales_mm) == len(self.widths) == len(self.patch_sizes) + 1:
            raise UserError("Give widths for every scale of scales_mm, and patch_sizes for every one but the coarsest.")
        falling, window = sorted(set(self.scales_mm), reverse=True), self.mode_window_mm
        channels = [width for widths in self.widths for width in widths or (0,)]
        rules = {
            "landmarks must be one at least": self.landmarks,
            "scales_mm must be two or more, from coarse to fine, between 50 and 0.05": (
                len(falling) > 1 and list(self.scales_mm) == falling and falling[0] <= 50 and falling[-1] >= 0.05
            ),
            "widths must be 1 to 4096": all(1 <= width <= 4096 for width in channels),
            "patch_sizes must be 8 to 256": all(8 <= size <= 256 for size in self.patch_sizes),
            "convolutions must be 1 to 16": 1 <= self.convolutions <= 16,
            "hu_window must be two HU, the lower first": -1e5 <= self.hu_window[0] < self.hu_window[1] <= 1e5,
            "noise_mm must be 0 to 100": 0 <= self.noise_mm <= 100,
            "pooling must be blur or max": self.pooling in ("blur", "max"),
            "convolution must be standardised or plain": self.convolution in ("standardised", "plain"),
            "heatmap must be softmax or relu": self.heatmap in ("softmax", "relu"),
            "mode_window_mm must be a length, up to 1000, or null": window is None or 0 < window <= 1000,
        }
        for rule, holds in rules.items():
            if not holds:
                raise UserError(f"No nets can be made of this architecture: {rule}.")
        _check(self.landmarks)

    @property
    def searches(self) -> bool:
        """Whether a scale between the coarsest and the last can look again, and there are modes to look at."""
        return len(self.scales_mm) > 2 and self.mode_window_mm is not None


def _check(landmarks: Sequence[LandmarkSpec]) -> None:
    """Raises UserError where two have one name, or a mirror is not mutual."""
    names = [landmark.name for landmark in landmarks]
    if len(set(names)) < len(names):
        raise UserError(f"Two landmarks have the same name; these were given: {', '.join(names)}.")
    for landmark in landmarks:
        if landmark.mirror not in names:
            raise UserError(
                f"The mirror of {landmark.name} is no landmark of the set: {landmark.mirror}. Name its counterpart "
                "on the other side, or itself where it has none."
            )
    mirrors = {landmark.name: landmark.mirror for landmark in landmarks}
    if one_sided := [name for name in names if mirrors[mirrors[name]] != name]:
        raise UserError(
            f"The mirror of {one_sided[0]} is {mirrors[one_sided[0]]}, whose own mirror is another landmark: "
            f"{mirrors[mirrors[one_sided[0]]]}. Name each as the other's counterpart."
        )
