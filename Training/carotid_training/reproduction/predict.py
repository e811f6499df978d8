"""A row's answers on the cases of a split, with their time and memory, as one CSV file."""

from __future__ import annotations

import csv
import ctypes
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from CarotidLandmarkLib import uncertainty
from CarotidLandmarkLib.dataset import Case, Dataset
from CarotidLandmarkLib.detection import LandmarkResult
from CarotidLandmarkLib.detector import cpu_batch
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.files import write_text
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS, is_place
from CarotidLandmarkLib.memory import keep_freed_memory
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet, ScaleOutput
from CarotidLandmarkLib.nets.locnet import heatmap_weights
from CarotidLandmarkLib.nets.pyramid import Pyramid
from CarotidLandmarkLib.volume import Volume

from ..evaluation.outcomes import Outcome
from ..pages import csv_of
from ..processes import pool
from .maps import PLANES, Heatmap, Shown
from .methods import net_of
from .nets import FieldNet, cut_field
from .protocol import METHODS, Protocol

NAMES = tuple(landmark.name for landmark in CAROTID_BIFURCATIONS)
AXES = "xyz"
UPPER = tuple((row, column) for row in range(3) for column in range(row, 3))
COLUMNS = (
    "case", "group", "landmark", *(f"scan_{a}_lps_mm" for a in AXES), *(f"true_{a}_lps_mm" for a in AXES),
    *(f"found_{a}_lps_mm" for a in AXES), "error_mm", "presence", *(f"std_{a}_mm" for a in AXES),
    *(f"covariance_{AXES[row]}{AXES[column]}_mm2" for row, column in UPPER), "seconds_resampling", "seconds_net",
    "seconds_search", "seconds_passes", "peak_mb",
)  # fmt: skip


DIGITS = 7  # of a number: of a place at 1000 mm a ten-thousandth is left


@dataclass(frozen=True)
class Answers:
    """One scan: a result per landmark; seconds to resample the scan, of one pass through every net, of the search that
    ours adds, and of the noise passes.

    maps: per landmark what its place was read from.
    """

    landmarks: tuple[LandmarkResult, ...]
    seconds: tuple[float, float, float, float]
    maps: tuple[Heatmap, ...]


@dataclass(frozen=True)
class Scan:
    """The answers on one scan as they are on disk.

    peak_mb: the largest resident set while it was asked, above what it was before any scan was read.
    """

    outcomes: tuple[Outcome, ...]
    seconds: tuple[float, float, float, float]
    peak_mb: float


def ask_field(net: FieldNet, voxels: int, volume: Volume, device: str) -> Answers:
    """A single-scale method on one scan."""
    begin = now(device)
    values, middle = cut_field(volume, voxels, device)
    cut = now(device)
    answer = net.locate(values)
    places = (middle[:, None] + answer.offset_mm)[0].cpu().double().numpy()
    seconds = (cut - begin, now(device) - cut, 0.0, 0.0)
    centre = middle[0].cpu().double().numpy()
    maps = tuple(Heatmap(each.float().cpu().numpy(), answer.spacing_mm, centre) for each in answer.heatmap[0])
    return Answers(_detected(places), seconds, maps)


def ask_constant(offsets_mm: np.ndarray, volume: Volume) -> Answers:
    """The scan's middle plus a fixed vector per landmark, [L, 3] LPS mm."""
    return Answers(_detected(np.asarray(volume.centre_lps) + offsets_mm), (0.0, 0.0, 0.0, 0.0), ())


def _detected(places: np.ndarray) -> tuple[LandmarkResult, ...]:
    """Landmarks at places [L, 3], LPS mm, of which nothing else is known."""
    return tuple(_result(name, 1.0, place) for name, place in zip(NAMES, places, strict=True))


def _result(name: str, presence: float, place: np.ndarray, **spread: Any) -> LandmarkResult:
    """A landmark at a place; a net that has diverged says NaN, and so does the mean of no place: that is none."""
    if not is_place(place.tolist()) or not math.isfinite(presence):
        return LandmarkResult(name, "missing", 0.0)
    return LandmarkResult(name, "detected", presence, tuple(place.tolist()), **spread)


def ask_chain(net: MultiScaleLocNet, passes: int, seed: int, volume: Volume, device: str) -> Answers:
    """The chain on one scan: one pass without noise or, where there are ``passes``, the mean of so many with it.

    Every landmark gets a place, however unlikely its presence: the other methods have no word for its absence.
    """
    begin = now(device)
    pyramid = Pyramid(volume, net.architecture.scales_mm, device)
    ready = now(device)
    plain = net(pyramid)
    once = now(device)
    outputs, looks = net.search(pyramid, plain)
    searches, before = net.architecture.searches, outputs[-1].position_lps
    outputs.append(net.finer(pyramid, len(net.nets) - 1, before) if searches else plain[-1])
    last = outputs[-1]
    samples = last.position_lps[0].cpu().double().numpy()
    searched = now(device)
    if passes > 1:
        last = _noise_passes(net, pyramid, outputs[-2].position_lps, passes, seed)
        samples = last.position_lps[0].cpu().double().numpy()
    seconds = (ready - begin, once - ready, searched - once, now(device) - searched)
    presence = net.presence_logit(outputs).sigmoid()[0].tolist()
    within = last.covariance_mm2[0].cpu().double().numpy()
    places, peaks = (values[0].cpu().double().numpy() for values in (looks.position_lps, looks.peak))
    landmarks = []
    for n, name in enumerate(NAMES):
        spread: dict[str, Any] = {}
        if passes > 1:
            total = uncertainty.total_covariance(samples[n], within[n], places[n], peaks[n])
            spread = {
                "std_mm": tuple(samples[n].std(axis=0, ddof=1).tolist()),
                "covariance_mm2": tuple(map(tuple, total.tolist())),
            }
        landmarks.append(_result(name, presence[n], samples[n].mean(axis=0), **spread))
    return Answers(tuple(landmarks), seconds, tuple(_map(net, outputs[-1], n) for n in range(len(NAMES))))


def _noise_passes(
    net: MultiScaleLocNet, pyramid: Pyramid, centre_lps: torch.Tensor, passes: int, seed: int
) -> ScaleOutput:
    noise = uncertainty.draw_noise(len(NAMES), passes, net.architecture.noise_mm, seed)
    shifts = torch.from_numpy(noise).to(centre_lps.device)[None]
    last = len(net.nets) - 1
    batches = shifts.split(cpu_batch(net.architecture), dim=2)
    return ScaleOutput.joined([net.finer(pyramid, last, centre_lps + batch) for batch in batches])


def _map(net: MultiScaleLocNet, output: ScaleOutput, landmark: int) -> Heatmap:
    """The finest heatmap of one landmark, turned back where the net looked at a mirrored patch."""
    weights = heatmap_weights(output.logits[0, landmark, 0], net.architecture.heatmap)
    weights = weights.flip(-1) if net.flipped[landmark] else weights
    centre = output.centre_lps[0, landmark, 0].cpu().double().numpy()
    return Heatmap(weights.float().cpu().numpy(), output.scale_mm, centre)


def mean_offsets(dataset: Dataset) -> np.ndarray:
    """Mean place of each landmark from the scan's middle over the training cases, [L, 3]. Raises ValueError."""
    rows = []
    for case in dataset.annotated_cases("train"):
        points = case.consensus(NAMES).values()
        rows.append([np.subtract(point or [math.nan] * 3, case.geometry.centre_lps) for point in points])
    return np.nanmean(np.array(rows, dtype=float), axis=0)


@dataclass(frozen=True)
class Work:
    """What `predict` needs to know, also in a process of its own. ``figure``: where its row of Figure 3 goes."""

    key: str
    protocol: Protocol
    checkpoint: Path | None
    dataset: Path
    split: str
    device: str
    threads: int
    figure: Path | None = None


def predict(work: Work, output: Path) -> None:
    """Ask a row about every annotated case of a split and write ``output``; in a process whose memory is measured.

    Raises ValueError (DatasetError, VolumeError, BundleError) and OSError.
    """
    with pool(1) as workers:
        text = workers.submit(_predicted, work).result()
    write_text(output, text)


def _predicted(work: Work) -> str:
    """The child process of `predict`: the text of the file."""
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(work.threads)
    dataset = Dataset.open(work.dataset)
    ask = _asker(work, dataset)
    start = resident_mb("VmRSS")
    rows = []
    cases = dataset.annotated_cases(work.split)
    for case in cases:
        volume = case.read_volume()
        forget_peak()  # reading a compressed scan needs more for a moment than a chain does
        with torch.inference_mode():
            answers = ask(volume)
        peak = max(resident_mb("VmHWM") - start, _gpu_mb())
        rows += list(_rows(dataset, case, answers, peak))
    if work.figure is not None:  # after all else: its memory is not the method's
        with torch.inference_mode():
            _write_shown(work.figure, cases, ask)
    return csv_of([dict(zip(COLUMNS, row, strict=True)) for row in rows], DIGITS)


def _asker(work: Work, dataset: Dataset) -> Callable[[Volume], Answers]:
    if work.key == "constant":
        offsets = mean_offsets(dataset)
        return lambda volume: ask_constant(offsets, volume)
    net = net_of(work.key, work.protocol, work.checkpoint).to(work.device)
    if isinstance(net, MultiScaleLocNet):
        passes = METHODS[work.key].passes
        return lambda volume: ask_chain(net, passes, work.protocol.seed, volume, work.device)
    assert isinstance(net, FieldNet)
    return lambda volume: ask_field(net, work.protocol.field_voxels, volume, work.device)


def _rows(dataset: Dataset, case: Case, answers: Answers, peak: float) -> Iterator[list[Any]]:
    truth = case.consensus(NAMES)
    for result in answers.landmarks:
        true, place = truth[result.name], result.position_lps_mm
        covariance = result.covariance_mm2
        yield [
            case.id, case.group, result.name, *case.geometry.centre_lps.tolist(), *(true or [""] * 3),
            *(place or [""] * 3), "" if true is None or place is None else math.dist(true, place), result.presence,
            *(result.std_mm or [""] * 3),
            *([covariance[row][column] for row, column in UPPER] if covariance else [""] * len(UPPER)),
            *answers.seconds, peak,
        ]  # fmt: skip


def read_predictions(path: Path) -> list[Scan]:
    """The scans of a file that `predict` wrote, in order. Raises OSError, ValueError where it is damaged."""
    scans: dict[str, list[dict[str, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                scans.setdefault(row["case"], []).append(row)
        return [_scan(rows) for rows in scans.values()]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged; delete it, and the same command makes it again.") from error


def _scan(rows: Sequence[dict[str, str]]) -> Scan:
    def numbers(row: dict[str, str], before: str, after: str) -> Any:
        values = [float(row[f"{before}_{axis}_{after}"] or math.nan) for axis in AXES]
        return tuple(values) if np.isfinite(values).all() else None

    outcomes = []
    for row in rows:
        covariance: Any = None
        if row["covariance_xx_mm2"]:
            matrix = np.zeros((3, 3))
            for r, c in UPPER:
                matrix[r, c] = matrix[c, r] = float(row[f"covariance_{AXES[r]}{AXES[c]}_mm2"])
            covariance = tuple(map(tuple, matrix.tolist()))
        place, presence = numbers(row, "found", "lps_mm"), float(row["presence"])
        result = LandmarkResult(row["landmark"], "missing", presence)
        if place is not None:
            result = LandmarkResult(row["landmark"], "detected", presence, place, numbers(row, "std", "mm"), covariance)
        middle, truth = numbers(row, "scan", "lps_mm"), numbers(row, "true", "lps_mm")
        outcomes.append(Outcome(row["case"], row["group"], middle, row["landmark"], truth, result, "ok"))
    first = rows[0]
    seconds = tuple(float(first[f"seconds_{name}"]) for name in ("resampling", "net", "search", "passes"))
    return Scan(tuple(outcomes), seconds, float(first["peak_mb"]))  # type: ignore[arg-type]


def shown(cases: Sequence[Case]) -> tuple[Case, int, np.ndarray]:
    """What Figure 3 shows: the first scan with a landmark in it, that landmark's number in `NAMES`, its place (LPS mm).

    Raises StopIteration where no scan has one.
    """
    return next(
        (case, n, np.array(place))
        for case in cases
        for n, place in enumerate(case.consensus(NAMES).values())
        if place is not None
    )  # fmt: skip


def _write_shown(path: Path, cases: Sequence[Case], ask: Callable[[Volume], Answers]) -> None:
    case, n, place = shown(cases)
    answers = ask(case.read_volume())
    layers = tuple(answers.maps[n].layer(place, plane) for plane in PLANES)
    Shown(np.array(answers.landmarks[n].position_lps_mm or [math.nan] * 3), layers).write(path)


def resident_mb(which: str) -> float:
    """VmRSS or VmHWM of this process, MB; NaN where the system does not tell (only Linux does)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return int(lines[which].split()[0]) * 1024 / 1e6


def forget_peak() -> None:
    """Let VmHWM begin again at what is in use (Linux): freed memory that was kept goes back to the system first."""
    with suppress(OSError, AttributeError, TypeError):  # no /proc, no glibc, Windows
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def now(device: torch.device | str) -> float:
    """Seconds on a clock, when all that was begun on a device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _gpu_mb() -> float:
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
