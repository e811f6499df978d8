"""The coarse-to-fine chain of Loc-Nets (Ma, Gupta, Sabuncu, ISBI 2020), trained end to end.

A look is one run of a net on one patch. A mode is a place where a heatmap has weight of its own. Passes are looks of
one net side by side: under noise for the last one, from several starts in the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bundle import Architecture, Bundle, BundleError
from .locnet import LocNet, centre_of_mass, heatmap_covariance, heatmap_weights, lattice_offsets
from .pairs import beside_counterparts
from .pyramid import AIR_HU

# Logits beyond it say nothing more: a peak of e^20 against 56^3 voxels. It bounds the loss of a wrong sure heatmap.
LOGIT_BOUND = 20.0
# Places of the coarsest heatmap that the search looks at: the second is mostly the landmark where the first is not. On
# 42 unseen necks one led to a mean of 2.4 mm, two to 1.0 (half-way in training); a third and fourth added nothing.
SEARCHED_MODES = 2


Guide = Callable[[int, Tensor], Tensor]


class View(Protocol):
    """What the chain looks at: `pyramid.Pyramid` for one scan, or the boxes of a training batch. Air is 0."""

    def whole(self, scale_mm: float) -> tuple[Tensor, Tensor]:
        """[B, 1, k, j, i] on LPS-aligned lattices around the whole scans; their middles [B, 3], LPS mm."""
        ...

    def patches(self, scale_mm: float, centres_lps: Tensor, size: int) -> Tensor:
        """Cubes around centres [B, L, P, 3]: [B, L, P, 1, size, size, size], differentiable in the centres."""
        ...


@dataclass(frozen=True)
class ScaleOutput:
    """What one scale says, for B scans, L landmarks and P passes (P = 1 but for the last scale under noise)."""

    scale_mm: float
    position_lps: Tensor  # [B, L, P, 3] mm
    covariance_mm2: Tensor  # [B, L, P, 3, 3]: the heatmap's own spread, second modes included
    peak: Tensor  # [B, L, P]: the largest logit; of the looks of a search: as `beside_counterparts`
    descriptor: Tensor  # [B, L, P, D]: what the presence head reads
    logits: Tensor  # [B, L, P, k, j, i], mirrored landmarks still mirrored
    centre_lps: Tensor  # [B, L, P, 3]: the middle of the patch

    def surest(self) -> ScaleOutput:
        """The pass with the highest peak before the softmax, for each landmark: P = 1.

        On 42 unseen necks with looks from three places that came to a mean of 0.9 mm, the largest share in one voxel to
        1.3, and always taking the nearest to the truth to 0.8.
        """
        best = self.peak.argmax(dim=2, keepdim=True)

        def take(values: Tensor) -> Tensor:
            index = best.reshape(*best.shape, *[1] * (values.ndim - 3)).expand(-1, -1, -1, *values.shape[3:])
            return values.gather(2, index)

        return ScaleOutput(self.scale_mm, **{name: take(values) for name, values in self._tensors().items()})

    @classmethod
    def joined(cls, parts: Sequence[ScaleOutput]) -> ScaleOutput:
        """The passes of several batches as one output."""
        each = [part._tensors() for part in parts]
        return cls(parts[0].scale_mm, **{name: torch.cat([part[name] for part in each], 2) for name in each[0]})

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if name != "scale_mm"}


class MultiScaleLocNet(nn.Module):
    """Loc-Nets from the coarsest scale to the finest; each crops around what the one before it found.

    `forward` is how it trains; `search`, then the last net under noise, is how it detects (`detector`).
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        self.channel, self.flipped = _channels(architecture)
        channels = max(self.channel) + 1
        self.nets = nn.ModuleList(
            LocNet(widths, channels, architecture.pooling, architecture.convolution, architecture.convolutions)
            for widths in architecture.widths
        )
        # Of the pooled features, the peak and the sharpness: `_locate`.
        self.presence = nn.ModuleList(nn.Linear(widths[0] + 2, 1) for widths in architecture.widths)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @classmethod
    def of(cls, bundle: Bundle) -> MultiScaleLocNet:
        """The net of a bundle, with its weights. Raises BundleError where they are not this program's nets."""
        try:
            net = cls(bundle.metadata.nets())
            net.load_state_dict({name: tensor.float() for name, tensor in bundle.state.items()})
        except RuntimeError as error:
            raise BundleError(
                f"The weights of model bundle {bundle.path.name} do not fit the nets of this version of "
                "CarotidLandmark; get a bundle that was made for it."
            ) from error
        return net

    def forward(
        self, view: View, noise_lps: Tensor | None = None, guide: Guide | None = None, depth: int | None = None
    ) -> list[ScaleOutput]:
        """The chain, coarsest scale first, of all scales or the first ``depth``; one loss trains it end to end.

        noise_lps: [B, L, P, 3] mm, added to the last crop's centre: P passes of the last net alone. guide: in training,
        replaces the crop centre that a scale (its index) was about to use.
        """
        outputs = [self.coarsest(view)]
        for scale in range(1, len(self.nets) if depth is None else depth):
            centre = outputs[-1].position_lps
            if guide is not None:
                centre = guide(scale, centre)
            if scale == len(self.nets) - 1 and noise_lps is not None:
                centre = centre + noise_lps
            outputs.append(self.finer(view, scale, centre))
        return outputs

    def search(self, view: View, plain: Sequence[ScaleOutput] | None = None) -> tuple[list[ScaleOutput], ScaleOutput]:
        """All scales but the last, as they look at test; and every look of the last of them, one per pass.

        That scale begins at what the scales before it found and at the coarsest heatmap's other modes, looks again at
        what it found there, and its surest look, beside its counterpart's, wins: the coarsest net often takes a place
        for the landmark that looks alike at 4 mm and not at 1 mm, with the landmark as its second choice. Without a
        window around modes, as in the paper, it is the plain chain. plain: what the plain chain has seen of this view,
        where it has looked already.
        """
        searching, window_mm = len(self.nets) - 2, self.architecture.mode_window_mm
        depth = searching if self.architecture.searches else searching + 1
        outputs = list(plain[:depth]) if plain else self(view, depth=depth)
        if not self.architecture.searches:
            return outputs, outputs[-1]
        assert window_mm is not None  # or it would not search
        others = self.modes(outputs[0], window_mm)[:, :, 1:]
        looks = self.finer(view, searching, torch.cat([outputs[-1].position_lps, others], dim=2))
        looks = self.finer(view, searching, looks.position_lps)
        peak = beside_counterparts(looks.position_lps, looks.peak, self.architecture.landmarks)
        looks = replace(looks, peak=peak)
        return [*outputs, looks.surest()], looks

    def unperturbed(self, view: View) -> list[ScaleOutput]:
        """All scales as they look at test, the last one in one pass without noise."""
        outputs, _ = self.search(view)
        return [*outputs, self.finer(view, len(self.nets) - 1, outputs[-1].position_lps)]

    def modes(self, output: ScaleOutput, window_mm: float) -> Tensor:
        """The `SEARCHED_MODES` strongest modes of heatmaps of one pass, strongest first: [B, L, modes, 3], LPS mm."""
        places, weights = [output.position_lps], heatmap_weights(output.logits, self.architecture.heatmap)
        for _ in range(SEARCHED_MODES - 1):
            # Beside the window a mode still has its foot.
            weights = weights * (1 - strongest_mode(weights, output.scale_mm, 1.5 * window_mm))
            offset = windowed_centre(weights, output.scale_mm, window_mm)
            places.append(output.centre_lps + offset * self._mirror(self.flipped, offset))
        return torch.cat(places, dim=2)

    def coarsest(self, view: View, landmarks: Sequence[int] | None = None) -> ScaleOutput:
        """The coarsest net over the whole scan, of any extent; for some of the landmarks (their indices) or all."""
        values, centre = view.whole(self.architecture.scales_mm[0])
        wanted = range(len(self.channel)) if landmarks is None else landmarks
        # As it is and, if a landmark is a mirror image, mirrored; in one batch: a CPU's float32 convolutions of small
        # volumes take six times as long in a batch of one (80 and 12 ms for 32 channels of 20 x 28 x 28).
        flips = sorted({self.flipped[n] for n in wanted})
        runs = self._run(0, torch.cat([values.flip(-1) if flip else values for flip in flips]))
        logits, features = (of_flips.unflatten(0, (len(flips), len(values))) for of_flips in runs)
        order = [flips.index(self.flipped[n]) for n in wanted]
        logits = torch.stack([logits[flip, :, self.channel[n]] for flip, n in zip(order, wanted, strict=True)], dim=1)
        features = features.transpose(0, 1)
        if order != list(range(len(flips))):  # copied only if need be: features are the largest there is
            features = features[:, order]
        centres = centre[:, None, None].expand(-1, len(wanted), 1, 3)
        return self._locate(0, logits[:, :, None], features[:, :, None], centres, [self.flipped[n] for n in wanted])

    def finer(self, view: View, scale: int, centre_lps: Tensor) -> ScaleOutput:
        """One finer net (index ``scale``) on patches around ``centre_lps`` [B, L, P, 3]."""
        spacing, size = self.architecture.scales_mm[scale], self.architecture.patch_sizes[scale - 1]
        patches = view.patches(spacing, centre_lps, size)
        patches = torch.stack([p.flip(-1) if f else p for p, f in zip(patches.unbind(1), self.flipped, strict=True)], 1)
        logits, features = self._run(scale, patches.flatten(0, 2))
        logits, features = (t.unflatten(0, patches.shape[:3]) for t in (logits, features))
        own = torch.stack([logits[:, n, :, c] for n, c in enumerate(self.channel)], dim=1)
        return self._locate(scale, own, features, centre_lps, self.flipped)

    def presence_logit(self, outputs: Sequence[ScaleOutput]) -> Tensor:
        """[B, L]: log-odds that the landmark is in the scan, summed over the scales that looked (passes averaged)."""
        evidence = [
            head(output.descriptor.mean(dim=2))[..., 0] for head, output in zip(self.presence, outputs, strict=False)
        ]
        return torch.stack(evidence).sum(dim=0)

    def _run(self, scale: int, patches: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.architecture.hu_window
        windowed = ((patches + (AIR_HU - low)) / (high - low)).clamp(0, 1)  # zero padding is air here, too
        return self.nets[scale](windowed.contiguous(memory_format=torch.channels_last_3d))

    def _locate(
        self, scale: int, logits: Tensor, features: Tensor, centre_lps: Tensor, flipped: Sequence[bool]
    ) -> ScaleOutput:
        """Heatmaps [B, L, P, k, j, i] and features [B, L, P, C, k, j, i] -> positions in patient millimetres."""
        spacing = self.architecture.scales_mm[scale]
        if self.architecture.heatmap == "softmax":
            logits = LOGIT_BOUND * torch.tanh(logits / LOGIT_BOUND)
        weights = heatmap_weights(logits, self.architecture.heatmap)
        offset = windowed_centre(weights, spacing, self.architecture.mode_window_mm)
        covariance = heatmap_covariance(weights.detach(), spacing)
        mirror = self._mirror(flipped, centre_lps)
        # The peak against the mean says how sure the net is; the pooled features say of what. Normalised, for their
        # size grows over a training: a head on the raw ones called the clearest points absent.
        peak = logits.flatten(-3).amax(-1, keepdim=True)
        sharpness = weights.flatten(-3).amax(-1, keepdim=True).clamp(min=1e-12).log()
        # Channels are last in memory: as this product it took a third of einsum's time.
        rows = weights.detach().to(features.dtype).flatten(-3)[..., None, :]
        pooled = (rows @ features.movedim(3, -1).flatten(3, 5))[..., 0, :].float()
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        return ScaleOutput(
            scale_mm=spacing,
            position_lps=centre_lps + offset * mirror,
            covariance_mm2=covariance * (mirror[..., :, None] * mirror[..., None, :]),
            peak=peak[..., 0],
            descriptor=torch.cat([pooled, peak / 10, sharpness / 10], dim=-1),
            logits=logits,
            centre_lps=centre_lps,
        )

    @staticmethod
    def _mirror(flipped: Sequence[bool], like: Tensor) -> Tensor:
        """From a net's own view of each landmark to the patient's: [L, 1, 3]."""
        return like.new_tensor([[-1.0 if flip else 1.0, 1.0, 1.0] for flip in flipped])[:, None]


def windowed_centre(weights: Tensor, spacing_mm: float, window_mm: float | None) -> Tensor:
    """Centre of mass [..., 3] in mm of each heatmap's strongest mode (None: of the whole)."""
    inside = weights if window_mm is None else weights * strongest_mode(weights, spacing_mm, window_mm)
    return centre_of_mass(inside / inside.sum((-3, -2, -1), keepdim=True).clamp(min=1e-12), spacing_mm)


def strongest_mode(weights: Tensor, spacing_mm: float, window_mm: float) -> Tensor:
    """A cube of ``window_mm`` around the heaviest part of each heatmap [..., k, j, i], as 0 and 1.

    Two distant candidates averaged by the centre of mass would be a point between them that is neither.
    """
    flat = weights.detach().flatten(0, -4)
    smooth = F.avg_pool3d(flat[:, None], 3, stride=1, padding=1)[:, 0]
    index = smooth.flatten(1).argmax(dim=1)
    shape = weights.shape[-3:]
    k, j, i = index // (shape[1] * shape[2]), index // shape[2] % shape[1], index % shape[2]
    half = window_mm / 2 / spacing_mm
    x, y, z = lattice_offsets(shape, 1.0, weights.device)
    near = [((axis - axis[at][:, None]).abs() <= half) for axis, at in ((z, k), (y, j), (x, i))]
    mask = near[0][:, :, None, None] & near[1][:, None, :, None] & near[2][:, None, None, :]
    return mask.to(weights.dtype).reshape(weights.shape)


def _channels(architecture: Architecture) -> tuple[list[int], list[bool]]:
    """For each landmark: the heatmap channel that finds it, and whether it looks at mirrored patches.

    Of two landmarks that mirror each other the first has a channel, and the second uses it on the mirrored patch.
    """
    first: dict[str, int] = {}
    channel, flipped = [], []
    for landmark in architecture.landmarks:
        flip = architecture.mirrored and landmark.mirror in first
        channel.append(first[landmark.mirror] if flip else first.setdefault(landmark.name, len(first)))
        flipped.append(flip)
    return channel, flipped
