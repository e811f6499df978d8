"""Scans for the tests: one small synthetic volume in any orientation, and real DICOM files of it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from CarotidLandmarkLib import cli
from CarotidLandmarkLib.detection import ConfidenceRegion, Detection, LandmarkResult, ModelInfo, Quality, VolumeInfo
from CarotidLandmarkLib.volume import Volume, from_array
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

# PySide6 and slicer-core drop a reference to None too many here and there, 400 per detection that is shown: the suite's
# hundreds end in "deallocating None". From Python 3.12 on, as in Slicer, None is immortal.
if sys.version_info < (3, 12):
    ctypes.c_ssize_t.from_address(id(None)).value += 10_000_000

_OBLIQUE = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]]) @ np.array(
    [[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]]
)
STUDY, FRAME = generate_uid(), generate_uid()
AXES = {  # columns: where i, j and k lead, LPS
    "LPS": np.eye(3),
    "RAS": np.diag([-1.0, -1.0, 1.0]),
    "LAS": np.diag([1.0, -1.0, 1.0]),
    "LPI": np.diag([1.0, 1.0, -1.0]),
    "PSL": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "LPS oblique": _OBLIQUE,
}


@pytest.fixture(autouse=True, scope="session")
def nobodys_home(tmp_path_factory):
    """Whoever runs the tests has no models of their own, and gets none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def make_volume() -> Callable[..., Volume]:
    """A function: an int16 scan of random HU (-1024 to 1500), 24 x 20 x 18 voxels, in a named orientation."""

    def make(orientation: str = "LPS", name: str = "scan", size: tuple[int, int, int] = (24, 20, 18)) -> Volume:
        array = np.random.default_rng(0).integers(-1024, 1500, size[::-1]).astype(np.int16)
        affine = np.eye(4)
        affine[:3, :3] = AXES[orientation] * np.array([0.5, 0.6, 1.25])
        affine[:3, 3] = [11.0, -22.0, 33.0]
        return from_array(array, affine, name)

    return make


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """A function that writes a volume as a CT series (one file per slice), with any tags changed by keyword."""

    def write(
        volume: Volume,
        folder: Path,
        *,
        skip: tuple[int, ...] = (),
        shift_mm: float = 0.0,
        edit: Callable[[Dataset, int], None] | None = None,
        **tags: object,
    ) -> Path:
        """``skip``: slices left out. ``shift_mm``: every slice is moved by this along j, as a tilted gantry does.

        ``edit`` changes the data set of slice k.
        """
        folder.mkdir(parents=True, exist_ok=True)
        series = str(tags.pop("SeriesInstanceUID", generate_uid()))
        j_axis = volume.affine_lps[:3, 1] / volume.spacing_mm[1]
        for k, pixels in enumerate(volume.array):
            if k in skip:
                continue
            dataset = _image(CTImageStorage, series, volume)
            dataset.ImagePositionPatient = _decimals(volume.to_lps((0, 0, k)) + k * shift_mm * j_axis)
            dataset.ImageOrientationPatient = _orientation(volume)
            dataset.PixelSpacing = _decimals(volume.spacing_mm[[1, 0]])
            dataset.RescaleIntercept, dataset.RescaleSlope = "-1024", "1"
            dataset.InstanceNumber = k + 1
            dataset.PixelData = (pixels.astype(np.int32) + 1024).astype("<u2").tobytes()
            for tag, value in tags.items():
                setattr(dataset, tag, value)
            if edit is not None:
                edit(dataset, k)
            # file names in no order: only positions count
            number = len(list(folder.iterdir()))
            dataset.save_as(folder / f"{(number * 7) % 1009:04d}.dcm", enforce_file_format=True)
        return folder

    return write


@pytest.fixture
def write_enhanced_dicom() -> Callable[..., Path]:
    """A function that writes a volume as one enhanced multi-frame CT file."""

    def write(
        volume: Volume, path: Path, series: str | None = None, edit: Callable[[Dataset], None] | None = None
    ) -> Path:
        dataset = _image(EnhancedCTImageStorage, series or generate_uid(), volume)
        dataset.NumberOfFrames = len(volume.array)
        orientation, measures, transformation = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = _orientation(volume)
        measures.PixelSpacing = _decimals(volume.spacing_mm[[1, 0]])
        measures.SliceThickness = _decimals(volume.spacing_mm[2:])[0]
        transformation.RescaleIntercept, transformation.RescaleSlope, transformation.RescaleType = "-1024", "1", "HU"
        shared = Dataset()
        shared.PlaneOrientationSequence = [orientation]
        shared.PixelMeasuresSequence = [measures]
        shared.PixelValueTransformationSequence = [transformation]
        dataset.SharedFunctionalGroupsSequence = [shared]
        frames = []
        for k in range(len(volume.array)):
            position, frame = Dataset(), Dataset()
            position.ImagePositionPatient = _decimals(volume.to_lps((0, 0, k)))
            frame.PlanePositionSequence = [position]
            frames.append(frame)
        dataset.PerFrameFunctionalGroupsSequence = frames
        dataset.PixelData = (volume.array.astype(np.int32) + 1024).astype("<u2").tobytes()
        if edit is not None:
            edit(dataset)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


def _image(sop_class: str, series: str, volume: Volume) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = pydicom.uid.UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Test^Phantom", "0"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SeriesNumber = STUDY, series, 3
    dataset.FrameOfReferenceUID = FRAME
    dataset.Columns, dataset.Rows, _ = volume.size
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    return dataset


def _orientation(volume: Volume) -> list[str]:
    axes = volume.affine_lps[:3, :2] / volume.spacing_mm[:2]
    return _decimals(axes.T.ravel())


def _decimals(values: np.ndarray) -> list[str]:
    """DICOM decimal strings have 16 characters at most."""
    return [f"{value:.10f}"[:16] for value in values]


@pytest.fixture
def make_detection() -> Callable[..., Detection]:
    """A function: a result with two plausible points in the scan of `case_volume`."""

    def make(
        volume_mm3: float = 30.0, presence: float = 0.9, verdict: str = "ok", path: str = "scan.nrrd"
    ) -> Detection:
        unit = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        region = ConfidenceRegion(0.9, volume_mm3, volume_mm3, (2.0, 2.0, 2.0), unit)
        landmarks = (
            LandmarkResult("left_carotid_bifurcation", "detected", presence, (30.0, 0.0, 0.0), confidence=region),
            LandmarkResult("right_carotid_bifurcation", "detected", 0.95, (-30.0, 0.0, 0.0), confidence=region),
        )
        return Detection(
            volume=VolumeInfo(path, (32, 32, 32), (4.0, 4.0, 4.0), "LPS"),
            model=ModelInfo("carotid", "1.0", "0" * 64),
            passes=50,
            seed=0,
            device="cpu",
            timing_s={"total": 1.0},
            landmarks=landmarks,
            quality=Quality(verdict),
        )

    return make


@pytest.fixture
def case_volume() -> Volume:
    """A scan of 32 x 32 x 32 random voxels of 4 mm, with its middle at the origin."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -62.0
    return from_array(np.random.default_rng(3).integers(-1024, 1500, (32, 32, 32)).astype(np.int16), affine)


@pytest.fixture
def other_volumes(case_volume: Volume) -> Iterator[Volume]:
    """Scans like `case_volume` of which none is there twice: they differ in a voxel."""

    def other(number: int) -> Volume:
        array = case_volume.array.copy()
        array[0, 0, 0] = number
        return from_array(array, case_volume.affine_lps)

    return map(other, range(1000))


@pytest.fixture
def agree() -> Callable[[Volume, Volume], bool]:
    """Whether every voxel of ``written`` has the same value at the same place of the patient in ``read``."""

    def agree(read: Volume, written: Volume) -> bool:
        voxels = np.stack(np.meshgrid(*map(np.arange, written.size), indexing="ij"), axis=-1).reshape(-1, 3)
        places = read.to_voxels(written.to_lps(voxels))
        nearest = np.rint(places).astype(int)
        if np.abs(places - nearest).max() > 1e-3 or nearest.min() < 0 or (nearest >= read.size).any():
            return False
        return bool((read.array[tuple(nearest.T[::-1])] == written.array[tuple(voxels.T[::-1])]).all())

    return agree


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (exit code, stdout, stderr lines)."""

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        with pytest.raises(SystemExit) as leaving:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return leaving.value.code, captured.out, captured.err.splitlines()

    return run
