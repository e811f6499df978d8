"""Ours beside the usual ways to look at a whole scan: seconds, memory, and what each gives, on one scan in one run.

    pip install -c constraints.txt '.[peers]'
    python -m benchmarks.cost.peers table

Beside a CPU build of torch, torchvision (of timm, and needed by none of these nets) must be one, too, or be removed.

A scan of 512 x 512 x 500 voxels of 0.5 x 0.5 x 0.6 mm, in memory. The peers' nets are untrained: weights change neither
time nor memory. nnU-Net's is the net that its planner makes for windows of 128 voxels (PlainConvUNet, 3d_fullres), run
by MONAI's sliding window with overlap a half and Gaussian weights, without mirroring, as TotalSegmentator runs it. The
landmark net is MONAI's UNet over the whole field, a heatmap per landmark. Each is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from carotid_training.reproduction.predict import now, resident_mb
from CarotidLandmarkLib.bundle import open_bundle
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.volume import Volume
from torch import Tensor, nn

from ..tables import RESULTS, Output, Row, Table, measured_apart, run
from .memory import phantom

SIZE, SPACING_MM = (512, 512, 500), (0.5, 0.5, 0.6)
WINDOW, OVERLAP = 128, 0.5
CLASSES = 3  # background, left, right
LANDMARKS = 2

app = typer.Typer(add_completion=False)
TABLE = Table(
    "peers", "What do a sliding window and a heatmap net cost beside ours?",
    "How right the peers would be: their nets are untrained, and a class of every voxel is not yet a point.",
)  # fmt: skip


class Stopwatch(nn.Module):
    """A net that runs on the first ``limit`` inputs and gives its last output again for the others; all if None."""

    def __init__(self, net: nn.Module, limit: int | None):
        super().__init__()
        self.net, self.limit = net, limit
        self.seconds: list[float] = []
        self.calls = 0

    def forward(self, values: Tensor) -> Tensor:
        if self.limit is None or self.calls < self.limit:
            start = now(values.device)
            self.output = self.net(values)
            self.seconds.append(now(values.device) - start)
        self.calls += 1
        return self.output

    @property
    def seconds_not_run(self) -> float:
        """What the other inputs would have taken, each as long as the mean of those that ran."""
        return (self.calls - len(self.seconds)) * sum(self.seconds) / len(self.seconds)


def resampled(scan: Volume, spacing_mm: float, device: str) -> Tensor:
    """The scan at an isotropic spacing, linear, about zero and one: [1, 1, k, j, i]."""
    size = [round(n * step / spacing_mm) for n, step in zip(reversed(SIZE), reversed(SPACING_MM), strict=True)]
    values = torch.as_tensor(scan.array, device=device)[None, None].float()
    return F.interpolate(values, size, mode="trilinear").div_(500)


def nnunet(device: str) -> nn.Module:
    """The net of nnU-Net's planner for windows of 128 voxels: six stages, 32 to 320 features, two convolutions each."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        1, 6, [32, 64, 128, 256, 320, 320], nn.Conv3d, 3, [1, 2, 2, 2, 2, 2], 2, CLASSES, 2, conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True}, deep_supervision=False,
    ).to(device).eval()  # fmt: skip


def sliding_window(scan: Volume, device: str, limit: int | None, spacing_mm: float) -> Row:
    """Segmentation in windows: a class of every voxel."""
    from monai.inferers import sliding_window_inference

    timed = Stopwatch(nnunet(device), limit)
    timed.net(torch.zeros(1, 1, *[WINDOW] * 3, device=device))  # the first call makes plans of its own
    start = now(device)
    values = resampled(scan, spacing_mm, device)
    logits: Any = sliding_window_inference(values, [WINDOW] * 3, 1, timed, overlap=OVERLAP, mode="gaussian")
    logits.argmax(1).byte()  # the labels
    seconds = now(device) - start + timed.seconds_not_run
    return {"seconds": seconds, "windows": timed.calls, "windows run": len(timed.seconds)}


def heatmaps(scan: Volume, device: str, limit: int | None) -> Row:
    """A heatmap per landmark at 1 mm, and the place of its largest value."""
    from monai.networks.nets import UNet

    net = UNet(3, 1, LANDMARKS, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2).to(device).eval()
    rounds = []
    for _ in range(2):
        start = now(device)
        values = resampled(scan, 1.0, device)
        halvings = 2**4
        margin = [extra for n in reversed(values.shape[2:]) for extra in (0, -n % halvings)]
        net(F.pad(values, margin)).flatten(2).argmax(-1).tolist()
        rounds.append(now(device) - start)
    return {"seconds": rounds[-1], "windows": 1, "windows run": 1}


def ours(scan: Volume, device: str, limit: int | None) -> Row:
    """The shipped model: the second and later detections, as in `detection_time.py`."""
    detector = Detector(open_bundle(), device)
    timings = [detector.detect(scan, DetectionSettings()).timing_s["total"] for _ in range(4)]
    return {"seconds": median(timings[1:]), "windows": "", "windows run": ""}


METHODS: dict[str, tuple[str, Callable[..., Row], str, str, str]] = {
    "ours": ("ours, 50 passes", ours, "a region for each point", "said of each point", "named"),
    "heatmaps": ("MONAI UNet, heatmaps, 1 mm", heatmaps, "none", "a threshold to choose", "a channel each"),
    "windows-1.5": ("nnU-Net's net, windows, 1.5 mm", partial(sliding_window, spacing_mm=1.5),
                    "none", "an empty mask", "a class each; the point is still to be found in the mask"),
    "windows-1": ("nnU-Net's net, windows, 1 mm", partial(sliding_window, spacing_mm=1.0),
                  "none", "an empty mask", "a class each; the point is still to be found in the mask"),
}  # fmt: skip


@app.command(hidden=True)
def measure(method: str, device: str, limit: int) -> None:
    """One method, in this process: a line of JSON."""
    scan = phantom(SIZE, SPACING_MM)
    loaded = resident_mb("VmHWM")
    with torch.inference_mode():
        row = METHODS[method][1](scan, device, limit or None)
    gpu = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else ""
    peak = resident_mb("VmHWM")
    print(json.dumps({**row, "peak MB": peak, "above the scan MB": peak - loaded, "GPU peak MB": gpu}))


@app.command()
def table(
    windows: Annotated[int, typer.Option(min=0, help="Windows that are run; the others are multiplied. 0: all.")] = 6,
    output: Output = RESULTS,
) -> None:
    """Table of seconds, memory and what each method gives, with the multiples of ours."""
    rows: list[Row] = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        costs: dict[str, dict[str, float]] = {}
        for key, (title, _, uncertainty, absent, sides) in METHODS.items():
            cost = costs[key] = measured_apart("benchmarks.cost.peers", "measure", key, device, str(windows))
            multiples = {f"times our {name}": cost[of] / costs["ours"][of] for name, of in
                         (("seconds", "seconds"), ("memory", "above the scan MB"))}  # fmt: skip
            gives = {"uncertainty": uncertainty, "a landmark that is absent": absent, "sides": sides}
            rows.append({"method": title, "device": device, **cost, **multiples, **gives})
            print(rows[-1], flush=True)
    size, spacing = (" x ".join(map(str, what)) for what in (SIZE, SPACING_MM))
    text = (
        f"One scan of {size} voxels of {spacing} mm, int16, in memory; {os.cpu_count()} cores. Resampling is counted, "
        "reading a file and loading a model are not. Ours computes in bfloat16 where the machine multiplies it, as it "
        "does for everyone, the others in float32. "
        f"Windows of {WINDOW} voxels, overlap a half, no mirroring; where fewer were run than there "
        "are, the others count as long as the mean of those. Peak: of the process; above the scan: less the libraries "
        "and the scan."
    )
    TABLE.write(output, text, rows)


if __name__ == "__main__":
    run(app)
