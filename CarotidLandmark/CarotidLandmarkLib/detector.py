"""Bundle and volume to Detection, step by step: progress, cancel, and a word about every device that failed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from . import __version__, uncertainty
from .bundle import Architecture, Bundle, BundleMetadata, open_bundle
from .detection import DEFAULTS, Detection, DetectionSettings, LandmarkResult, ModelInfo
from .errors import UserError
from .nets import MultiScaleLocNet, Pyramid, ScaleOutput, SearchResult, evidence_of, seek
from .quality import WIDTH_LEVEL, Signals, judge, share_elsewhere
from .volume import Volume, check_volume

Progress = Callable[[str, float], None]

PRESENCE_THRESHOLD = 0.5
CONTRAST_RADIUS_MM = 6.0
# Voxels in a batch of passes: few enough that Cancel answers within a second on two cores.
CPU_VOXELS = 1_800_000
ACCELERATOR_BATCH = 50


class DeviceError(UserError):
    """The device that was asked for is not there. One sentence for the user."""


@dataclass(frozen=True)
class DetectorSpec:
    """What opens the same detector in another process or on another machine (a `work.Tool`): a model by its name or
    folder, as `open_bundle` takes it, which one it is, a device, and the version of this program."""

    reference: str | None
    model: ModelInfo
    device: str
    version: str = __version__

    @classmethod
    def of(cls, reference: str | None, bundle: Bundle, device: str) -> DetectorSpec:
        """Of the bundle that ``reference`` has opened here."""
        if reference is not None and os.path.exists(reference):
            reference = str(bundle.path.absolute())
        return cls(reference, bundle.metadata.info, device)

    def open(self) -> Detector:
        """Raises BundleError, DeviceError; a UserError where this is another version, or the model another one."""
        where = platform.node()
        if self.version != __version__:
            raise UserError(
                f"{where} has CarotidLandmark {__version__}, not {self.version}; install the same everywhere."
            )
        bundle = open_bundle(self.reference)
        if bundle.metadata.info != self.model:
            raise UserError(
                f"The model {self.reference or 'that comes with the program'} is another one on {where}; "
                "install the same everywhere."
            )
        return Detector(bundle, self.device)


@dataclass(frozen=True)
class Examination:
    """What the nets say of L landmarks of a scan after P noise passes and K looks of the search; not judged yet.

    In the patient, LPS millimetres. positions_lps: [L, P, 3], the passes' answers; within_mm2: [L, P, 3, 3], the spread
    of each pass's heatmap; places_lps, peaks: [L, K, 3] and [L, K], where the looks ended and how high they are;
    elsewhere: [L] `share_elsewhere` of them; presence: [L], of the heads; evidence: [L, F] (`nets.evidence_of`);
    brightest_hu: [L], the 90th percentile of HU around the answers; rolled: degrees onto the left side that were
    undone; noise_hu: of a scan that was smoothed for it, else 0; seconds: of each step.
    """

    positions_lps: np.ndarray
    within_mm2: np.ndarray
    places_lps: np.ndarray
    peaks: np.ndarray
    elsewhere: list[float]
    presence: np.ndarray
    evidence: np.ndarray
    brightest_hu: list[float]
    rolled: float
    noise_hu: float
    seconds: dict[str, float]


class Detector:
    """A model, ready on a device.

    ``device`` is auto, cpu, cuda, cuda:N or mps; auto takes CUDA, then MPS, then the CPU. `device` says which it is
    now, and `notes` tells in sentences what the user should know, for example that the CPU took over.
    """

    def __init__(self, bundle: Bundle, device: str = "auto"):
        """Raises DeviceError for an absent device and BundleError for a damaged bundle."""
        self.bundle = bundle
        self.notes: list[str] = []
        self.net = MultiScaleLocNet.of(bundle).eval()
        self.architecture = self.net.architecture
        self._move(choose_device(device))

    @property
    def device(self) -> str:
        """Where the next detection runs: cpu, cuda:0, mps."""
        return str(self._device)

    def detect(
        self,
        volume: Volume,
        settings: DetectionSettings = DEFAULTS,
        progress: Progress = lambda words, share: None,
        load_s: float = 0.0,
    ) -> Detection:
        """Find every landmark of the bundle in one scan.

        ``progress(step, fraction)`` is called between steps; what it raises ends the detection. ``load_s``: how long
        reading the scan took, in seconds, for `Detection.timing_s`. The same scan, bundle, seed and device give the
        same answer. Raises VolumeError for a scan that can not be used, UserError for a level
        above those that the bundle is calibrated for.
        """
        metadata = self.bundle.metadata
        uncertainty.check_level(metadata.calibration, metadata.labels, settings.level)
        started, told = time.perf_counter(), len(self.notes)
        examination = self.examine(volume, settings, progress)
        landmarks, signals = self._results(volume, settings.level, examination)
        timing = {"load": load_s, **examination.seconds, "total": load_s + time.perf_counter() - started}
        constant = bool(volume.array.min() == volume.array.max())
        progress("done", 1.0)
        return Detection(
            volume=volume.info,
            model=metadata.info,
            passes=settings.passes,
            seed=settings.seed,
            device=self.device,
            timing_s={name: round(seconds, 3) for name, seconds in timing.items()},
            landmarks=landmarks,
            quality=judge(self.architecture.landmarks, landmarks, signals, constant),
            notes=(*volume.notes, *self.notes[told:], *_notes_of(examination), *_note_of_regions(metadata, landmarks)),
        )

    def examine(
        self, volume: Volume, settings: DetectionSettings = DEFAULTS, progress: Progress = lambda words, share: None
    ) -> Examination:
        """What a detection rests on, not judged yet; on the CPU, where another device fails. Raises VolumeError."""
        check_volume(volume)
        try:
            return self._examine(volume, settings, progress)
        except (torch.OutOfMemoryError, NotImplementedError, RuntimeError, TypeError) as error:  # MPS lacks types, too
            if self._device.type == "cpu":
                raise
            self.notes.append(f"{self._device} failed ({_first_line(error)}); the CPU took over.")
            self._move(torch.device("cpu"))
            return self._examine(volume, settings, progress)

    @torch.inference_mode()
    def _examine(self, volume: Volume, settings: DetectionSettings, step: Progress) -> Examination:
        """A search, and the last scale ``settings.passes`` times under noise where it ended."""
        clock = [time.perf_counter()]
        step("pyramid", 0.0)
        pyramid = Pyramid(volume, self.architecture.scales_mm, self._device, lambda share: step("pyramid", 0.2 * share))
        clock.append(time.perf_counter())
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bfloat16_is_fast(self._device)):
            result = seek(self.net, pyramid, lambda words, share: step(words, 0.2 + 0.2 * share))
            clock.append(time.perf_counter())
            last = self._noise_passes(result, settings.passes, settings.seed, step)
            logit = self.net.presence_logit([*result.outputs, last]).float()
        clock.append(time.perf_counter())
        seconds = dict(zip(("pyramid", "coarse", "passes"), np.diff(clock).tolist(), strict=True))
        places, peaks = (values[0].cpu().numpy() for values in result.places())
        elsewhere = [share_elsewhere(*of_one) for of_one in zip(places, peaks, strict=True)]
        evidence = evidence_of([*result.outputs, last], logit, elsewhere)
        positions = result.in_patient(last.position_lps)[0]
        nearby = [pyramid.statistics(answers.mean(dim=0), CONTRAST_RADIUS_MM).quantile(0.9) for answers in positions]
        return Examination(
            positions_lps=positions.cpu().double().numpy(),
            within_mm2=result.covariance_in_patient(last.covariance_mm2)[0].cpu().double().numpy(),
            places_lps=places,
            peaks=peaks,
            elsewhere=elsewhere,
            presence=logit[0].sigmoid().cpu().numpy(),
            evidence=evidence,
            brightest_hu=[float(hu) for hu in nearby],
            rolled=result.rolled,
            noise_hu=result.noise_hu,
            seconds=seconds,
        )

    def _noise_passes(self, result: SearchResult, passes: int, seed: int, step: Progress) -> ScaleOutput:
        """The finest net around where the search ended, shifted ``passes`` times, in batches that fit the device."""
        centre = result.outputs[-1].position_lps
        noise = uncertainty.draw_noise(centre.shape[1], passes, self.architecture.noise_mm, seed)
        shifts = torch.from_numpy(noise).to(self._device)[None]
        size = cpu_batch(self.architecture) if self._device.type == "cpu" else ACCELERATOR_BATCH
        parts: list[ScaleOutput] = []
        done = 0
        while done < passes:
            step(f"pass {done + 1} of {passes}", 0.4 + 0.6 * done / passes)
            try:
                shifted = centre + shifts[:, :, done : done + size]
                part = self.net.finer(result.view, len(self.net.nets) - 1, shifted)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                torch.cuda.empty_cache()
                size = max(1, size // 4)
                self.notes.append(f"{self._device} is short of memory: passes run {size} at a time.")
                continue
            parts.append(part)
            done += size
        return ScaleOutput.joined(parts)

    def _results(
        self, volume: Volume, level: float, examination: Examination
    ) -> tuple[tuple[LandmarkResult, ...], list[Signals]]:
        """What is said of each landmark."""
        judgement, calibration = self.bundle.metadata.judgement, self.bundle.metadata.calibration
        presences, reliabilities = examination.presence, None
        if judgement is not None:
            presences, reliabilities = judgement.probabilities(examination.evidence)
        results, signals = [], []
        for n, landmark in enumerate(self.architecture.landmarks):
            samples = examination.positions_lps[n]
            mean, std = samples.mean(axis=0), samples.std(axis=0, ddof=1)
            inside = volume.contains(mean)
            longest_mm = 0.0
            presence = float(presences[n])
            reliability = None if reliabilities is None else float(reliabilities[n])
            result = LandmarkResult(landmark.name, "missing", presence, label=landmark.label, reliability=reliability)
            if presence >= PRESENCE_THRESHOLD and inside:
                covariance = uncertainty.total_covariance(
                    samples, examination.within_mm2[n], examination.places_lps[n], examination.peaks[n]
                )
                if reliability is not None:
                    covariance = uncertainty.doubtful_covariance(covariance, reliability)
                result = replace(
                    result,
                    status="detected",
                    position_lps_mm=tuple(mean.tolist()),
                    std_mm=tuple(std.tolist()),
                    covariance_mm2=tuple(tuple(row) for row in covariance.tolist()),  # type: ignore[arg-type]
                    confidence=uncertainty.confidence_region(covariance, std, landmark.name, level, calibration),
                )
                usual = min(WIDTH_LEVEL, uncertainty.highest_level(calibration, [landmark.name]))
                region = uncertainty.confidence_region(covariance, std, landmark.name, usual, calibration)
                longest_mm = region.semi_axes_mm[0]
            results.append(result)
            signals.append(Signals(examination.elsewhere[n], longest_mm, examination.brightest_hu[n], inside))
        return tuple(results), signals

    def _move(self, device: torch.device) -> None:
        self._device = device
        self.net = self.net.to(device)


def cpu_batch(architecture: Architecture) -> int:
    """Passes of all landmarks that a CPU runs at a time."""
    return max(1, CPU_VOXELS // (len(architecture.landmarks) * architecture.patch_sizes[-1] ** 3))


def choose_device(wanted: str) -> torch.device:
    """auto | cpu | cuda[:N] | mps. Raises DeviceError where the wanted one is absent."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise DeviceError(f"'{wanted}' is not a device; use auto, cpu, cuda, cuda:N or mps.") from None
    here = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not here.get(device.type, False):
        raise DeviceError(f"The device '{wanted}' is not available here; use --device auto or cpu.")
    return torch.device("cuda:0") if wanted == "cuda" else device


def bfloat16_is_fast(device: torch.device) -> bool:
    """Where bfloat16 pays: CUDA from Ampere on, and CPUs that multiply it, with AMX or AVX-512 BF16.

    On other CPUs it is slower than float32. benchmarks/cost/throughput.py compares the two.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    asked = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return device.type == "cpu" and any(supported is not None and supported() for supported in asked)


def _notes_of(examination: Examination) -> list[str]:
    """What the search decided for the user."""
    notes = []
    if examination.rolled:
        side = "left" if examination.rolled > 0 else "right"
        words = f"The patient lies rolled by {abs(examination.rolled):.0f} degrees onto the {side} side"
        notes.append(f"{words}: the search saw the scan turned upright.")
    if examination.noise_hu:
        notes.append(f"The scan is noisy ({examination.noise_hu:.0f} HU): the search saw it smoothed.")
    return notes


def _note_of_regions(metadata: BundleMetadata, landmarks: Sequence[LandmarkResult]) -> list[str]:
    """That nobody has measured how often the regions hold the landmark, where there are such."""
    if metadata.calibration or all(landmark.confidence is None for landmark in landmarks):
        return []
    return [
        "The confidence regions of this model are not calibrated and may be too small: do not rely on their size; to "
        "calibrate them, export or finetune the model with more annotated patients."
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
