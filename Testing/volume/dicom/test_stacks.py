"""Slices that are split, shuffled, doubled, lost, rounded, shaken or tilted: the same volume, a note, or a refusal."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pydicom
import pytest
from CarotidLandmarkLib.volume import Volume, VolumeError, from_array, read_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from ..writers import slice_of

SLICES = 22


@pytest.fixture(scope="module")
def scan() -> Volume:
    affine = np.diag([0.5, 0.6, 1.25, 1.0])
    affine[:3, 3] = [11, -22, 33]
    return from_array(np.random.default_rng(0).integers(-1000, 1500, (SLICES, 16, 17)).astype(np.int16), affine, "ct")


def at_same_places(read: Volume, written: Volume) -> bool:
    """Whether what was read is a part of what was written."""
    begin = written.to_voxels(read.to_lps((0, 0, 0)))
    first = np.rint(begin).astype(int)
    k = first[2]
    same = np.allclose(read.affine_lps[:3, :3], written.affine_lps[:3, :3], atol=1e-5)
    return bool(
        same
        and np.abs(begin - first).max() < 1e-3
        and tuple(first[:2]) == (0, 0)
        and np.array_equal(read.array, written.array[k : k + len(read.array)])
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sets(st.integers(0, SLICES - 1), max_size=5),
    st.lists(st.integers(0, SLICES - 1), max_size=5),
    st.integers(1, 3),
    st.booleans(),
)
def test_any_split_shuffle_doubling_and_loss_gives_the_volume_a_note_or_a_refusal(
    scan, write_stack, tmp_path_factory, seed, lost, doubled, folders, new_uids
):
    chance, folder = random.Random(seed), tmp_path_factory.mktemp("stack") / "ct"
    sources = sorted(write_stack.iterdir())
    wanted = [file for k, file in enumerate(sources) if k not in lost]
    copies = [sources[k] for k in doubled if k not in lost]
    names = list(range(len(wanted) + len(copies)))
    chance.shuffle(names)
    for name, file in zip(names, wanted + copies, strict=True):
        target = folder / str(chance.randrange(folders)) / f"{name}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        if new_uids and name >= len(wanted):
            dataset = pydicom.dcmread(target)
            dataset.SOPInstanceUID = f"1.2.{name}"
            dataset.save_as(target)
    remaining = sorted(set(range(SLICES)) - lost)
    gaps = remaining[-1] - remaining[0] + 1 - len(remaining)
    if gaps:
        with pytest.raises(VolumeError, match=f"ct lacks {gaps} of {gaps + len(remaining)} slices|has slices 1.25 to"):
            read_volume(folder)
    else:
        read = read_volume(folder)
        assert len(read.array) == len(remaining) and at_same_places(read, scan)
        assert bool(read.notes) == (remaining[0] > 0)  # nothing tells that the last ones are absent


@pytest.fixture(scope="module")
def write_stack(scan, tmp_path_factory):
    """A folder with the slices of `scan` in order, one a file."""
    folder = tmp_path_factory.mktemp("source")
    for k in range(SLICES):
        dataset = slice_of(scan, k, "1.2.840.10008.1.2.1")
        dataset.ImagePositionPatient = scan.to_lps((0, 0, k)).tolist()
        dataset.PixelSpacing = [0.6, 0.5]
        dataset.save_as(folder / f"{k:02d}.dcm", enforce_file_format=True)
    return folder


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.lists(st.booleans(), min_size=SLICES, max_size=SLICES))
def test_positions_and_orientations_that_differ_in_a_late_decimal_are_one_stack(
    scan, write_stack, tmp_path_factory, decimal, which
):
    folder = tmp_path_factory.mktemp("late")
    for file, change in zip(sorted(write_stack.iterdir()), which, strict=True):
        dataset = pydicom.dcmread(file)
        if change:
            little = 10.0**-decimal
            turn = min(little, 1e-3)
            dataset.ImageOrientationPatient = [1, -turn, 0, turn, 1, 0]
            dataset.PixelSpacing = [0.6 + min(little, 3e-4), 0.5]
            dataset.ImagePositionPatient = [
                str(round(v + little / 2, decimal))[:16] for v in dataset.ImagePositionPatient
            ]
        dataset.save_as(folder / file.name)
    read = read_volume(folder)
    assert np.array_equal(read.array, scan.array)
    assert np.abs(read.to_lps((8, 8, 11)) - scan.to_lps((8, 8, 11))).max() < 0.03


@pytest.mark.parametrize(
    ("spacing", "decimals"), [(0.625, 1), (0.3, 1), (0.75, 1), (0.9, 1), (1.25, 1), (0.625, 2), (3, 0)]
)
def test_rounded_positions_are_read_with_the_spacing_that_they_are_rounded_from(
    make_volume, write_dicom, tmp_path, spacing, decimals
):
    def rounded(dataset, k):
        dataset.ImagePositionPatient = ["11", "-22", f"{33.04 + spacing * k:.{decimals}f}"]

    volume = make_volume(size=(24, 20, 60))
    read = read_volume(write_dicom(volume, tmp_path / "ct", edit=rounded))
    assert read.notes == () and np.array_equal(read.array, volume.array)
    assert read.spacing_mm[2] == pytest.approx(spacing, abs=2e-3)
    assert abs(read.affine_lps[2, 3] - 33.04) < 0.6 * 10.0**-decimals


def test_positions_too_coarse_for_their_spacing_are_refused(make_volume, write_dicom, tmp_path):
    def rounded(dataset, k):
        dataset.ImagePositionPatient = ["11", "-22", f"{0.625 * k:.0f}"]

    with pytest.raises(VolumeError, match=r"same position|apart"):
        read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=rounded))


def test_slices_of_a_shaken_table_are_moved_to_where_they_were(write_dicom, tmp_path):
    """A straight rod in the patient stays straight, though each slice was stored beside the others."""
    affine, chance = np.diag([0.5, 0.5, 1.0, 1.0]), np.random.default_rng(1)
    shifts = chance.uniform(-0.2, 0.2, 40)
    j, i = np.indices((60, 60))
    array = [-1000 + 1300 * np.clip(8.5 - np.hypot(i - 30 + s / 0.5, j - 30), 0, 1) for s in shifts]

    def shake(dataset, k):
        dataset.ImagePositionPatient = [f"{shifts[k]:.6f}", "0", str(k)]

    folder = write_dicom(Volume(np.rint(array).astype(np.int16), affine), tmp_path / "ct", edit=shake)
    read = read_volume(folder)
    weight = np.maximum(read.array.astype(float) + 1000, 0)
    middle = read.to_lps(np.stack(np.indices(read.array.shape)[::-1], axis=-1))[..., 0]
    places = (weight * middle).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    assert np.ptp(places) < 0.03
    assert read.notes == (
        f"Slices lie up to {np.abs(shifts - shifts.mean()).max():.1f} mm beside their line; "
        "they were moved within their planes.",
    )


@pytest.mark.parametrize("lost", [(0,), (0, 1), (17,), (0, 17)])
def test_slices_lost_at_the_ends_are_noted_where_their_count_is_known(make_volume, write_dicom, tmp_path, lost):
    read = read_volume(write_dicom(make_volume(), tmp_path / "ct", skip=lost, ImagesInAcquisition=18))
    assert read.notes == (
        f"Series 3 ({18 - len(lost)} slices) is to have 18 images (Images in Acquisition); the others are absent.",
    )


def test_slices_in_several_frames_of_reference_are_noted(agree, make_volume, write_dicom, tmp_path):
    def moved(dataset, k):
        dataset.FrameOfReferenceUID = "1.2.3" if k < 9 else "1.2.4"

    read = read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=moved))
    assert agree(read, make_volume())
    assert (
        read.note == "Slices of series 3 (18 slices) have frames of reference of their own; they were placed as in one."
    )


def test_image_numbers_that_are_all_the_same_say_nothing_of_what_is_absent(make_volume, write_dicom, tmp_path):
    assert read_volume(write_dicom(make_volume(), tmp_path / "ct", InstanceNumber=5)).notes == ()


def test_a_table_that_was_moved_once_is_no_tilt(make_volume, write_dicom, tmp_path):
    def move(dataset, k):
        dataset.ImagePositionPatient = ["11.3" if k > 8 else "11", "-22", f"{1.25 * k}"]

    read = read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=move))
    assert read.notes == ("Slices lie up to 0.2 mm beside their line; they were moved within their planes.",)


@pytest.mark.parametrize("tilt", [0.02, 0.1, 0.4])
def test_a_tilted_gantry_and_a_shaken_table_are_both_made_good(write_dicom, tmp_path, tilt):
    """A straight rod in the patient stays straight."""
    affine, chance = np.diag([0.5, 0.5, 2.0, 1.0]), np.random.default_rng(1)
    shake = chance.uniform(-2.0, 2.0, 100)
    beside = shake + tilt * 2 * np.arange(100)
    j, i = np.indices((30, 220))
    array = [-1000 + 1300 * np.clip(8.5 - np.hypot(i - 110 + (s - beside.mean()) / 0.5, j - 15), 0, 1) for s in beside]

    def moved(dataset, k):
        dataset.ImagePositionPatient = [f"{beside[k]:.6f}", "0", f"{2 * k}"]

    read = read_volume(write_dicom(Volume(np.rint(array).astype(np.int16), affine), tmp_path / "ct", edit=moved))
    weight = np.maximum(read.array.astype(float) + 1000, 0)
    middle = read.to_lps(np.stack(np.indices(read.array.shape)[::-1], axis=-1))[..., 0]
    assert np.ptp((weight * middle).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))) < 0.03
    tilted, shaken = read.notes
    assert tilted.startswith("The gantry was tilted by ") and "beside their line" in shaken


def test_slices_far_beside_one_another_are_refused(make_volume, write_dicom, tmp_path):
    def away(dataset, k):
        dataset.ImagePositionPatient = [str(20 * (k % 2)), "0", str(k)]

    with pytest.raises(VolumeError, match="ct has slices that do not lie above one another; give a series of one scan"):
        read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=away))


def test_a_spacing_that_the_positions_contradict_is_noted(agree, make_volume, write_dicom, tmp_path):
    read = read_volume(write_dicom(make_volume(), tmp_path / "ct", SpacingBetweenSlices="2.5"))
    assert agree(read, make_volume())
    assert read.note == (
        "Slices are said to be 2.50 mm apart (Spacing Between Slices) and lie 1.25 mm apart; "
        "their positions were followed."
    )


@settings(max_examples=20, deadline=None)
@given(st.floats(-20, 20))
def test_any_tilt_is_made_upright_and_noted(scan, write_stack, tmp_path_factory, degrees):
    folder = tmp_path_factory.mktemp("tilt")
    shift = 1.25 * np.tan(np.radians(degrees))
    for k, file in enumerate(sorted(write_stack.iterdir())):
        dataset = pydicom.dcmread(file)
        dataset.ImagePositionPatient = [str(v)[:16] for v in scan.to_lps((0, 0, k)) + np.array([0, shift * k, 0])]
        dataset.save_as(folder / file.name)
    read = read_volume(folder)
    axes = read.affine_lps[:3, :3] / read.spacing_mm
    assert np.abs(axes.T @ axes - np.eye(3)).max() < 2.1e-3
    tilted = abs(np.tan(np.radians(degrees))) > 2e-3
    if tilted:
        (note,) = read.notes
        assert note.startswith("The gantry was tilted by ") and note.endswith("; slices were moved to an upright grid.")
        assert abs(float(note.split()[5]) - abs(degrees)) < 0.051  # a tenth, rounded either way
    else:
        assert read.notes == ()
    i, j, k = read.to_voxels(scan.to_lps((8, 8, 11)) + np.array([0, shift * 11, 0]))  # where a pixel really lies
    assert np.allclose((i, k), (8, 11), atol=1e-3)
    if tilted:  # there, the moved slice is a mean of the pixel and its neighbours
        below = int(np.floor(j + 1e-6))
        value = read.array[11, below, 8] + (j - below) * (
            float(read.array[11, below + 1, 8]) - read.array[11, below, 8]
        )
        neighbours = scan.array[11, 7:10, 8]
        assert neighbours.min() - 1 <= value <= neighbours.max() + 1
    else:
        assert np.isclose(j, 8, atol=0.05) and read.array[11, 8, 8] == scan.array[11, 8, 8]
