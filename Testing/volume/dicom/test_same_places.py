"""Several images at each place in one series: told apart by what surely tells them apart, else refused; never mixed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.volume import Volume, VolumeError, list_series, read_volume
from CarotidLandmarkLib.volume.dicom import Slice, read_slices
from CarotidLandmarkLib.volume.parts import parts
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from ..writers import slice_of

SIZE = 16  # slices of a scan
UNSAID = "ct holds 2 images at each place, and nothing says which belong together; export each phase"
# (scan, slice) -> what its header says beside all that is the same in both scans
Tags = Callable[[int, int], dict[str, object]]
TELLING: dict[str, Tags] = {
    "kVp 0": lambda n, k: {"KVP": str(60 * n)},
    "image type ORIGINAL/PRIMARY/AXIAL/DE_0": lambda n, k: {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", f"DE_{n}"]},
    "slice thickness 1": lambda n, k: {"SliceThickness": str(1 + n)},
    "contrast agent Iomeprol": lambda n, k: {} if n else {"ContrastBolusAgent": "Iomeprol"},
    "description 0": lambda n, k: {"SeriesDescription": str(n)},
    "rescale type HU": lambda n, k: {"RescaleType": "MGML" if n else "HU"},
}
NUMBERS: dict[str, Tags] = {
    "same": lambda n, k: {},
    "none": lambda n, k: {"InstanceNumber": None},
    "random": lambda n, k: {"InstanceNumber": int(hashlib.md5(bytes([7, n, k])).hexdigest()[:6], 16)},
}
ORDERED: dict[str, Tags] = {
    "numbers, one scan after the other": lambda n, k: {"InstanceNumber": SIZE * n + k + 1},
    "numbers, the second scan downwards": lambda n, k: {"InstanceNumber": 2 * SIZE - k if n else k + 1},
    "numbers, place by place": lambda n, k: {"InstanceNumber": 2 * k + n},
    "times of acquisition": lambda n, k: {"AcquisitionTime": f"12{n:02d}{k:02d}.5"},
    "times of content": lambda n, k: {"ContentTime": f"12{n:02d}{k:02d}"},
}


def scans(count: int = 2) -> list[Volume]:
    """Scans of the same places of which every slice differs."""
    first = np.random.default_rng(0).integers(-1000, 900, (SIZE, SIZE, SIZE)).astype(np.int16)
    return [Volume(first + n, np.eye(4)) for n in range(count)]


def write(volumes: list[Volume], folder: Path, tags: Tags, name: Callable[[int, int], str] | None = None) -> Path:
    """Both scans as one series; names of files that say nothing, as archives give them, unless ``name`` does."""
    folder.mkdir()
    for n, volume in enumerate(volumes):
        for k in range(SIZE):
            dataset = slice_of(volume, k, ExplicitVRLittleEndian)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{n}.{k}"
            for tag, value in tags(n, k).items():
                setattr(dataset, tag, value)
            file = name(n, k) if name else hashlib.md5(bytes([n, k])).hexdigest()
            dataset.save_as(folder / file, enforce_file_format=True)
    return folder


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("label", TELLING)
def test_a_tag_that_tells_them_apart_does_whatever_the_image_numbers(tmp_path, label, numbers):
    read = read_volume(write(scans(), tmp_path / "ct", lambda n, k: NUMBERS[numbers](n, k) | TELLING[label](n, k)))
    assert np.array_equal(read.array, scans()[0].array) and f"series 3.1 ({label}, 16 slices) was read" in read.note
    assert np.array_equal(read_volume(tmp_path / "ct", series="3.2").array, scans()[1].array)


@pytest.mark.parametrize("order", ORDERED)
def test_an_order_that_is_sure_tells_them_apart(tmp_path, order):
    read = read_volume(write(scans(), tmp_path / "ct", ORDERED[order]))
    assert np.array_equal(read.array, scans()[0].array) and "series 3.1 (phase 1 of 2, 16 slices) was read" in read.note


def test_so_do_names_of_files_of_which_one_scan_s_come_before_the_other_s(tmp_path):
    folder = write(scans(), tmp_path / "ct", NUMBERS["same"], lambda n, k: f"IM{SIZE * n + k + 1}")
    assert np.array_equal(read_volume(folder).array, scans()[0].array)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_without_any_they_are_refused(tmp_path, numbers):
    folder = write(scans(), tmp_path / "ct", NUMBERS[numbers])
    with pytest.raises(VolumeError, match=UNSAID):
        read_volume(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Slice]:
    """Those of both scans, one scan after the other."""
    folder = write(scans(), tmp_path_factory.mktemp("p") / "ct", NUMBERS["none"])
    read = [one for file in folder.iterdir() for one in read_slices(file, "ct") or []]
    return sorted(read, key=lambda one: [int(part) for part in one.uid.split(".")])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_the_order_they_are_never_mixed(images, data):
    numbers, acquired, made = (data.draw(st.none() | st.permutations(range(2 * SIZE))) for _ in range(3))
    ordered = [
        replace(
            one,
            instance=numbers and numbers[n],
            phase=one.phase
            | {"acquisition time": str(acquired and acquired[n]), "content time": str(made and made[n])},
        )
        for n, one in enumerate(images)
    ]
    for part in parts(ordered):
        assert part.stack is None or len({one.uid.split(".")[3] for one in part.slices}) == 1


def test_voltages_and_phases_in_one_series_are_told_apart_together(tmp_path):
    volumes = scans(4)
    folder = write(volumes, tmp_path / "ct", lambda n, k: {"KVP": str(80 + 60 * (n % 2)), "AcquisitionNumber": n // 2})
    labels = [row.part for row in list_series(folder)]
    assert labels == [f"kVp {kv}, acquisition {number}" for kv in (80, 140) for number in (0, 1)]
    for row, volume in (("3.1", volumes[0]), ("3.3", volumes[1])):
        assert np.array_equal(read_volume(folder, series=row).array, volume.array)


@pytest.mark.parametrize("tags", [TELLING["kVp 0"], ORDERED["numbers, one scan after the other"]])
def test_a_slice_that_one_scan_lacks_is_not_taken_from_the_other(tmp_path, tags):
    folder = write(scans(), tmp_path / "ct", tags, lambda n, k: f"{k}-{n}")
    (folder / "5-0").unlink()
    read = read_volume(folder)
    assert np.array_equal(read.array, scans()[1].array) and "15 slices): lacks 1 of 16 slices" in read.note


def test_a_single_scan_whose_tags_change_from_slice_to_slice_is_one_stack(tmp_path):
    def tags(n: int, k: int) -> dict[str, object]:
        varying = {tag: value for each in TELLING.values() for tag, value in each(k % 2, k).items()}
        return varying | {"XRayTubeCurrent": str(100 + k), "KVP": "120", "RescaleType": "HU"}

    read = read_volume(write(scans(1), tmp_path / "ct", tags))
    assert np.array_equal(read.array, scans()[0].array) and read.notes == ()


@pytest.mark.parametrize(
    ("group", "tag", "values"),
    [
        ("CTXRayDetailsSequence", "KVP", (80, 140)),
        ("CTImageFrameTypeSequence", "FrameType", (["ORIGINAL", "PRIMARY", "DE_1"], ["ORIGINAL", "PRIMARY", "DE_2"])),
        ("CTReconstructionSequence", "ConvolutionKernel", ("B20f", "B60f")),
    ],
)
def test_frames_of_one_file_are_told_apart_by_what_each_says(
    make_volume, write_enhanced_dicom, agree, tmp_path, group, tag, values
):
    def twice(dataset: FileDataset) -> None:
        frames = []
        for value in values:
            for frame in dataset.PerFrameFunctionalGroupsSequence:
                details, copy = Dataset(), Dataset()
                setattr(details, tag, value)
                copy.PlanePositionSequence = frame.PlanePositionSequence
                setattr(copy, group, [details])
                frames.append(copy)
        order = np.random.default_rng(0).permutation(len(frames))
        stored = np.frombuffer(dataset.PixelData, "<u2").reshape(18, 20, 24)
        dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = [frames[n] for n in order], len(frames)
        dataset.PixelData = np.concatenate([stored, stored[:, ::-1]])[order].tobytes()

    read = read_volume(write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=twice))
    assert agree(read, make_volume()) and "holds 2 CT series or parts of series" in read.note
