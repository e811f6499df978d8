"""Reading scans: the same patient space from every format and orientation, and one sentence for what is no scan."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.volume import (
    Volume,
    VolumeError,
    check_volume,
    from_array,
    orientation_name,
    read_volume,
    write_volume,
)
from hypothesis import given, settings
from hypothesis import strategies as st

FORMATS = (".nrrd", ".nii", ".nii.gz", ".mha")
ORIENTATIONS = ("LPS", "RAS", "LAS", "PSL", "LPS oblique")


def agree(read: Volume, written: Volume) -> bool:
    """Whether every voxel of ``written`` has the same value at the same place of the patient in ``read``."""
    voxels = np.stack(np.meshgrid(*map(np.arange, written.size), indexing="ij"), axis=-1).reshape(-1, 3)
    found = read.to_voxels(written.to_lps(voxels))
    nearest = np.rint(found).astype(int)
    if np.abs(found - nearest).max() > 1e-3 or nearest.min() < 0 or (nearest >= read.size).any():
        return False
    return bool((read.array[tuple(nearest.T[::-1])] == written.array[tuple(voxels.T[::-1])]).all())


class TestGeometry:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_file_read_back_has_the_same_value_at_each_place(self, make_volume, tmp_path, suffix, orientation):
        volume = make_volume(orientation)
        write_volume(volume, tmp_path / f"scan{suffix}")
        read = read_volume(tmp_path / f"scan{suffix}")
        assert agree(read, volume)
        assert (read.array.dtype, read.orientation, read.size) == (np.int16, orientation, volume.size)

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_a_dicom_series_has_the_same_value_at_each_place(self, make_volume, write_dicom, tmp_path, orientation):
        volume = make_volume(orientation)
        read = read_volume(write_dicom(volume, tmp_path / "ct"))
        assert agree(read, volume)
        assert read.array.dtype == np.int16

    @pytest.mark.parametrize("orientation", ["LPS", "LPS oblique"])
    def test_an_enhanced_multi_frame_file_has_the_same_value_at_each_place(
        self, make_volume, write_enhanced_dicom, tmp_path, orientation
    ):
        volume = make_volume(orientation)
        assert agree(read_volume(write_enhanced_dicom(volume, tmp_path / "ct.dcm")), volume)

    def test_a_detached_header_is_read(self, make_volume, tmp_path):
        volume = make_volume("LAS")
        write_volume(volume, tmp_path / "scan.mha")
        for suffix in (".mhd", ".nhdr"):
            sitk.WriteImage(sitk.ReadImage(str(tmp_path / "scan.mha")), str(tmp_path / f"scan{suffix}"))
            assert agree(read_volume(tmp_path / f"scan{suffix}"), volume)

    @settings(max_examples=60, deadline=None)
    @given(
        quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
        flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
        spacing=st.tuples(*[st.floats(0.05, 10)] * 3),
        origin=st.tuples(*[st.floats(-1000, 1000)] * 3),
    )
    def test_any_affine_survives_each_format(self, tmp_path_factory, quaternion, flips, spacing, origin):
        affine = np.eye(4)
        affine[:3, :3] = rotation(quaternion) * flips * np.array(spacing)
        affine[:3, 3] = origin
        volume = from_array(np.arange(-4096, 0, dtype=np.int16).reshape(16, 16, 16) // 2, affine)
        corners = np.array([(i, j, k) for i in (0, 15) for j in (0, 15) for k in (0, 15)])
        folder = tmp_path_factory.mktemp("affine")
        for suffix in (".nrrd", ".nii", ".mha"):
            write_volume(volume, folder / f"a{suffix}")
            read = read_volume(folder / f"a{suffix}")
            assert np.abs(read.to_lps(corners) - volume.to_lps(corners)).max() < 5e-3
            assert (read.array == volume.array).all()

    @given(
        quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1),
        spacing=st.tuples(*[st.floats(0.05, 10)] * 3),
        point=st.tuples(*[st.floats(-1000, 1000)] * 3),
    )
    def test_a_point_goes_to_voxels_and_back(self, quaternion, spacing, point):
        affine = np.eye(4)
        affine[:3, :3] = rotation(quaternion) * np.array(spacing)
        affine[:3, 3] = [5.0, -7.0, 400.0]
        volume = Volume(np.zeros((16, 17, 18), np.int16), affine)
        assert np.allclose(volume.to_lps(volume.to_voxels(point)), point, atol=1e-6)
        assert np.allclose(volume.spacing_mm, spacing)

    def test_voxel_centres_and_edges_belong_to_the_scan_and_the_next_voxel_does_not(self, make_volume):
        volume = make_volume("LPS oblique")
        last = np.array(volume.size) - 1
        assert volume.contains(volume.to_lps(last + 0.49)) and volume.contains(volume.to_lps((0, 0, 0)))
        assert not volume.contains(volume.to_lps(last + 0.51)) and not volume.contains(volume.to_lps((-0.51, 0, 0)))
        assert np.allclose(volume.to_voxels(volume.centre_lps), last / 2)

    def test_the_orientation_is_named_after_where_the_axes_lead(self):
        affine = np.eye(4)
        affine[:3, :3] = np.array([[0, 0, -2.0], [0.5, 0, 0], [0, 0.7, 0]])
        assert orientation_name(affine) == "PSR"
        angle = np.radians(3)
        affine[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]]
        assert orientation_name(affine) == "LPI oblique"

    def test_the_facts_for_the_report_name_no_folder(self, make_volume, tmp_path):
        write_volume(make_volume("RAS"), tmp_path / "neck.nrrd")
        info = read_volume(tmp_path / "neck.nrrd").info
        assert (info.path, info.size, info.orientation) == ("neck.nrrd", (24, 20, 18), "RAS")
        assert json.loads(json.dumps(info.spacing_mm)) == pytest.approx([0.5, 0.6, 1.25])


def rotation(quaternion) -> np.ndarray:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


class TestValues:
    def test_integers_in_a_float_file_become_int16(self, make_volume, tmp_path):
        volume = make_volume()
        image = sitk.GetImageFromArray(volume.array.astype(np.float64))
        sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
        read = read_volume(tmp_path / "a.nrrd")
        assert read.array.dtype == np.int16 and (read.array == volume.array).all()

    def test_fractions_stay_float32(self, make_volume, tmp_path):
        values = make_volume().array / 3
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.nrrd"))
        read = read_volume(tmp_path / "a.nrrd")
        assert read.array.dtype == np.float32 and np.array_equal(read.array, values.astype(np.float32))

    def test_values_beyond_16_bit_stay_exact(self, make_volume, tmp_path):
        values = make_volume().array.astype(np.int32)
        values[17, 3, 4] = 40_000  # metal on an extended scale, met after 17 slices of int16
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.mha"))
        read = read_volume(tmp_path / "a.mha")
        assert read.array.dtype == np.float32 and (read.array == values).all()

    def test_a_nifti_slope_and_intercept_are_applied(self, make_volume, tmp_path):
        volume = make_volume()
        image = sitk.GetImageFromArray((volume.array + 1024).astype(np.int16))
        sitk.WriteImage(image, str(tmp_path / "a.nii"))
        content = bytearray((tmp_path / "a.nii").read_bytes())
        content[112:120] = np.array([1, -1024], "<f4").tobytes()
        (tmp_path / "a.nii").write_bytes(content)
        read = read_volume(tmp_path / "a.nii")
        assert read.array.dtype == np.int16 and (read.array == volume.array).all()

    def test_a_dicom_slope_that_differs_from_slice_to_slice_is_applied(self, make_volume, write_dicom, tmp_path):
        import pydicom

        volume = make_volume()
        folder = write_dicom(volume, tmp_path / "ct")
        file = next(path for path in sorted(folder.iterdir()) if pydicom.dcmread(path).InstanceNumber == 5)
        dataset = pydicom.dcmread(file)
        dataset.RescaleIntercept, dataset.RescaleSlope = "-512", "0.5"
        dataset.save_as(file)
        read = read_volume(folder)
        expected = volume.array.astype(np.float32)
        expected[4] = (expected[4] + 1024) / 2 - 512
        assert read.array.dtype == np.float32 and (read.array == expected).all()

    @pytest.mark.parametrize("padding", [-2000, -3024, -32768])
    def test_padding_becomes_air(self, make_volume, padding, tmp_path):
        values = make_volume().array.copy()
        values[:, 0] = padding
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "a.nrrd"))
        read = read_volume(tmp_path / "a.nrrd")
        assert read.array.dtype == np.int16
        assert (read.array[:, 0] == -1024).all() and (read.array[:, 1:] == values[:, 1:]).all()

    def test_an_array_with_padding_is_not_changed_in_place(self):
        values = np.full((16, 16, 16), -2000, np.int16)
        values[8] = 100
        volume = from_array(values, np.eye(4))
        assert volume.array.min() == -1024 and values.min() == -2000

    def test_a_clean_array_is_shared(self):
        values = np.full((16, 16, 16), -1000, np.int16)
        assert np.shares_memory(from_array(values, np.eye(4)).array, values)

    def test_the_array_read_can_be_written_to(self, make_volume, tmp_path):
        write_volume(make_volume(), tmp_path / "a.nrrd")
        assert read_volume(tmp_path / "a.nrrd").array.flags.writeable

    def test_a_constant_volume_is_readable(self, tmp_path):
        write_volume(Volume(np.zeros((16, 16, 16), np.int16), np.eye(4)), tmp_path / "a.nrrd")
        assert np.ptp(read_volume(tmp_path / "a.nrrd").array) == 0


class TestDicomFolders:
    def test_the_largest_axial_ct_is_taken_and_named(self, make_volume, write_dicom, tmp_path):
        small, large = make_volume(), make_volume("LPS", size=(24, 20, 30))
        sagittal, magnetic = make_volume("PSL", size=(24, 20, 60)), make_volume(size=(24, 20, 60))
        write_dicom(small, tmp_path / "dvd" / "A", SeriesNumber=2)
        write_dicom(large, tmp_path / "dvd" / "B", SeriesNumber=5)
        write_dicom(sagittal, tmp_path / "dvd" / "C", SeriesNumber=6)
        write_dicom(magnetic, tmp_path / "dvd" / "D", SeriesNumber=7, Modality="MR")
        write_dicom(small, tmp_path / "dvd" / "E", SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        read = read_volume(tmp_path / "dvd")
        assert agree(read, large)
        assert read.note == "dvd holds 3 CT series; series 5 (30 slices), the largest axial one, was read."
        assert agree(read_volume(tmp_path / "dvd", series="2"), small)
        with pytest.raises(VolumeError, match=re.escape("dvd has no series 9; choose one of: 2, 5, 6.")):
            read_volume(tmp_path / "dvd", series="9")
        with pytest.raises(VolumeError, match=re.escape("series 7 (60 slices) in dvd is not a CT volume; choose a CT")):
            read_volume(tmp_path / "dvd", series="7")

    def test_a_series_is_chosen_by_its_uid(self, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "dvd", SeriesInstanceUID="1.2.3.4")
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "dvd", SeriesInstanceUID="1.2.3.5")
        assert read_volume(tmp_path / "dvd", series="1.2.3.4").size == (24, 20, 18)

    def test_a_localizer_inside_the_series_is_left_out(self, make_volume, write_dicom, tmp_path):
        volume = make_volume()
        write_dicom(volume, tmp_path / "ct", SeriesInstanceUID="1.2.3")
        across = make_volume("PSL")
        write_dicom(Volume(across.array[:1], across.affine_lps), tmp_path / "ct", SeriesInstanceUID="1.2.3")
        read = read_volume(tmp_path / "ct")
        assert agree(read, volume) and read.note == ""

    def test_a_slice_stored_twice_counts_once(self, make_volume, write_dicom, tmp_path):
        volume = make_volume()
        folder = write_dicom(volume, tmp_path / "ct")
        first = sorted(folder.iterdir())[0]
        (folder / "copy.dcm").write_bytes(first.read_bytes())
        assert agree(read_volume(folder), volume)

    def test_phases_in_one_series_are_told_apart_by_acquisition(self, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "ct", SeriesInstanceUID="1.2.3", AcquisitionNumber=1)
        folder = write_dicom(make_volume(), tmp_path / "ct2", SeriesInstanceUID="1.2.3", AcquisitionNumber=2)
        folder.rename(tmp_path / "ct" / "second")
        assert read_volume(tmp_path / "ct").size == (24, 20, 18)

    def test_files_that_are_no_images_are_passed_over(self, make_volume, write_dicom, tmp_path):
        volume = make_volume()
        folder = write_dicom(volume, tmp_path / "ct")
        (folder / "readme.txt").write_text("not DICOM")
        (folder / "report.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 50)
        assert agree(read_volume(folder), volume)

    def test_progress_runs_from_0_to_1_and_an_exception_in_it_ends_reading(self, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        seen: list[float] = []
        read_volume(folder, progress=seen.append)
        assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1 and len(seen) > 18

        def cancel(fraction: float) -> None:
            if fraction > 0.5:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            read_volume(folder, progress=cancel)


def save(array: np.ndarray, path: Path, spacing=(1.0, 1.0, 1.0), vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    if len(spacing) == image.GetDimension():
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def hu(size=(20, 20, 20)) -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 1000, size).astype(np.int16)


def nrrd(path: Path, directions: str) -> Path:
    header = (
        "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 20 20 20\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + hu().tobytes())
    return path


def with_value(value: float) -> np.ndarray:
    array = hu().astype(np.float32)
    array[3, 4, 5] = value
    return array


HU_SENTENCE = (
    "which can not be Hounsfield units of a neck (air -1000, water 0, bone above 300); "
    "give the scan before any normalisation or conversion to grey levels."
)
FINITE_SENTENCE = "holds NaN or infinite values; export it again, with -1024 outside the field of view."
DAMAGED_SENTENCE = "is damaged or incomplete; copy or export it again."
DETACHED = b"NRRD0005\ntype: short\ndimension: 3\nsizes: 20 20 20\nencoding: raw\nendian: little\ndata file: gone.raw\n"
BAD_FILES = {
    "2-D": (lambda p: save(hu((20, 20)), p / "a.mha"), "a.mha has 2 dimensions; give one three-dimensional CT volume."),
    "4-D": (
        lambda p: save(hu((3, 20, 20, 20)), p / "a.nii"),
        "a.nii has 4 dimensions; give one three-dimensional CT volume.",
    ),
    "vectors": (
        lambda p: save(hu((20, 20, 20, 3)), p / "a.nrrd", vector=True),
        "a.nrrd does not hold one number per voxel; give a scalar CT volume in HU.",
    ),
    "NaN": (lambda p: save(with_value(np.nan), p / "a.nrrd"), f"a.nrrd {FINITE_SENTENCE}"),
    "infinity": (lambda p: save(with_value(np.inf), p / "a.nii"), f"a.nii {FINITE_SENTENCE}"),
    "minus infinity": (lambda p: save(with_value(-np.inf), p / "a.mha"), f"a.mha {FINITE_SENTENCE}"),
    "spacing too small": (
        lambda p: save(hu(), p / "a.nrrd", (0.04, 1.0, 1.0)),
        "a.nrrd has a voxel size of 0.04 x 1 x 1 mm, outside 0.05 to 10 mm; correct the spacing in its header.",
    ),
    "spacing too large": (
        lambda p: save(hu(), p / "a.mha", (1.0, 1.0, 12.0)),
        "a.mha has a voxel size of 1 x 1 x 12 mm, outside 0.05 to 10 mm; correct the spacing in its header.",
    ),
    "degenerate direction": (
        lambda p: nrrd(p / "a.nrrd", "(1,0,0) (1,0,0) (0,0,1)"),
        "a.nrrd has a degenerate direction matrix; export it again with its orientation.",
    ),
    "sheared direction": (
        lambda p: nrrd(p / "a.nrrd", "(1,0,0) (0.002,1,0) (0,0,1)"),
        "a.nrrd has axes that are not at right angles; resample it onto an orthogonal grid.",
    ),
    "0 to 1": (
        lambda p: save(np.random.default_rng(0).random((20, 20, 20), np.float32).round(2), p / "a.nrrd"),
        f"a.nrrd has values from 0 to 1, {HU_SENTENCE}",
    ),
    "0 to 255": (
        lambda p: save((hu() % 256).astype(np.uint8), p / "a.mha"),
        f"a.mha has values from 0 to 255, {HU_SENTENCE}",
    ),
    "-128 to 127": (
        lambda p: save((hu() % 256 - 128).astype(np.int8), p / "a.mha"),
        f"a.mha has values from -128 to 127, {HU_SENTENCE}",
    ),
    "stored values": (
        lambda p: save((hu().astype(np.int32) + 1024).astype(np.uint16), p / "a.nrrd"),
        f"a.nrrd has values from 0 to 2023, {HU_SENTENCE}",
    ),
    "float garbage": (
        lambda p: save(with_value(1e30), p / "a.nrrd"),
        f"a.nrrd has values from -1024 to 1e+30, {HU_SENTENCE}",
    ),
    "too few voxels": (
        lambda p: save(hu((15, 20, 30)), p / "a.nrrd"),
        "a.nrrd has 30 x 20 x 15 voxels; give a volume with at least 16 along every axis.",
    ),
    "missing path": (lambda p: p / "a.nrrd", "a.nrrd does not exist; check the path."),
    "unknown extension": (
        lambda p: save(hu((20, 20)).astype(np.uint8), p / "a.png"),
        "a.png is of an unknown type; give NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) "
        "or a DICOM folder.",
    ),
    "no content": (lambda p: written(p / "a.nrrd", b""), f"a.nrrd {DAMAGED_SENTENCE}"),
    "another content": (lambda p: written(p / "a.nii.gz", b"no scan at all" * 99), f"a.nii.gz {DAMAGED_SENTENCE}"),
    "header without data": (lambda p: written(p / "a.nhdr", DETACHED), f"a.nhdr {DAMAGED_SENTENCE}"),
    "NIfTI without orientation": (
        lambda p: without_codes(p / "a.nii"),
        "a.nii does not say which side is left (no qform, no sform); convert it again from DICOM.",
    ),
    "sheared NIfTI": (
        lambda p: sheared_nifti(p / "a.nii"),
        "a.nii has axes that are not at right angles; resample it onto an orthogonal grid.",
    ),
    "zero spacing": (
        lambda p: written(p / "a.nrrd", DETACHED.replace(b"encoding", b"spacings: 1 0 1\nencoding")),
        "a.nrrd has a voxel size of zero or less; correct the spacing in its header.",
    ),
    "empty folder": (
        lambda p: folder(p / "a"),
        "a is an empty folder; give a folder with the DICOM files of one CT.",
    ),
    "folder without DICOM": (
        lambda p: written(folder(p / "a") / "notes.txt", b"hello").parent,
        "a holds no DICOM images; give a folder with the DICOM files of one CT.",
    ),
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def without_codes(path: Path) -> Path:
    content = bytearray(save(hu(), path).read_bytes())
    content[252:256] = bytes(4)
    return written(path, content)


def sheared_nifti(path: Path) -> Path:
    content = bytearray(save(hu(), path).read_bytes())
    content[252:256] = np.array([0, 1], "<i2").tobytes()
    content[280:328] = np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "<f4").tobytes()
    return written(path, content)


@contextmanager
def not_root() -> Iterator[None]:
    """Permissions do not bind root: act as nobody for a while where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestRefusals:
    @pytest.mark.parametrize("kind", BAD_FILES)
    def test_a_bad_input_gives_its_one_sentence_and_prints_nothing(self, tmp_path, capfd, kind):
        make, sentence = BAD_FILES[kind]
        path = make(tmp_path)
        capfd.readouterr()
        with pytest.raises(VolumeError) as refusal:
            read_volume(path)
        assert str(refusal.value) == sentence
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
    def test_a_truncated_file_is_refused_in_silence(self, tmp_path, capfd, suffix, compressed, kept):
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(hu()), str(path), compressed)
        data = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
        data.write_bytes(data.read_bytes()[: int(data.stat().st_size * kept)])
        with pytest.raises(VolumeError) as refusal:
            read_volume(path)
        assert str(refusal.value) == f"a{suffix} {DAMAGED_SENTENCE}"
        assert capfd.readouterr() == ("", "")

    def test_a_gzip_file_with_one_wrong_byte_is_refused(self, tmp_path):
        path = save(hu(), tmp_path / "a.nii.gz")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(VolumeError, match="is damaged or incomplete"):
            read_volume(path)

    def test_a_gzip_file_in_several_members_is_read(self, tmp_path):
        content = gzip.decompress(save(hu(), tmp_path / "a.nii.gz").read_bytes())
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
        assert (read_volume(tmp_path / "a.nii.gz").array == hu()).all()

    def test_a_file_without_read_permission_is_refused(self):
        with tempfile.TemporaryDirectory() as name:
            os.chmod(name, 0o755)
            path = written(Path(name) / "a.nrrd", b"secret")
            os.chmod(path, 0)
            with (
                not_root(),
                pytest.raises(VolumeError, match=re.escape("a.nrrd can not be opened; check its read permission.")),
            ):
                read_volume(path)

    @pytest.mark.parametrize("cut", [1, 300, 1100])
    def test_a_dicom_slice_that_ends_early_is_refused(self, make_volume, write_dicom, tmp_path, capfd, cut):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        file = sorted(folder.iterdir())[0]  # the first slice: no gap would tell
        file.write_bytes(file.read_bytes()[:-cut])
        with pytest.raises(
            VolumeError, match=re.escape(f"{file.name} in ct is damaged or incomplete; export the series")
        ):
            read_volume(folder)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"skip": (4, 9)}, "ct lacks 2 of 18 slices; export the series again."),
            (
                {"shift_mm": 0.2},
                "ct was acquired with the gantry tilted by 9.1 degrees; resample it onto an orthogonal grid, for "
                "example by loading it in 3D Slicer and hardening its transform.",
            ),
            ({"Modality": "MR"}, "ct holds no CT volume (only MR); give the folder of a CT."),
            (
                {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
                "ct holds no CT volume (only CT localizer); give the folder of a CT.",
            ),
        ],
    )
    def test_a_series_that_is_no_regular_ct_is_refused(
        self, make_volume, write_dicom, tmp_path, capfd, change, sentence
    ):
        folder = write_dicom(make_volume(), tmp_path / "ct", **change)
        with pytest.raises(VolumeError) as refusal:
            read_volume(folder)
        assert str(refusal.value) == sentence
        assert capfd.readouterr() == ("", "")

    def test_slices_at_uneven_distances_are_refused(self, make_volume, write_dicom, tmp_path):
        import pydicom

        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            x, y, z = dataset.ImagePositionPatient
            if dataset.InstanceNumber > 9:
                dataset.ImagePositionPatient = [x, y, z + (dataset.InstanceNumber - 9) * 0.5]
                dataset.save_as(file)
        sentence = "ct has slices 1.25 to 1.75 mm apart; give an evenly spaced series."
        with pytest.raises(VolumeError, match=re.escape(sentence)):
            read_volume(folder)

    def test_slices_at_the_same_position_are_refused(self, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "ct", SeriesInstanceUID="1.2.3")
        write_dicom(make_volume(), tmp_path / "second", SeriesInstanceUID="1.2.3").rename(tmp_path / "ct" / "second")
        with pytest.raises(
            VolumeError, match="ct has several slices at the same position; give a folder with one phase"
        ):
            read_volume(tmp_path / "ct")

    def test_slices_without_position_are_refused(self, make_volume, write_dicom, tmp_path):
        import pydicom

        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            del dataset.ImagePositionPatient
            dataset.save_as(file)
        with pytest.raises(
            VolumeError, match="slices without position, orientation or pixel spacing; export the series"
        ):
            read_volume(folder)

    def test_one_slice_alone_is_refused(self, make_volume, write_dicom, tmp_path):
        file = sorted(write_dicom(make_volume(), tmp_path / "ct").iterdir())[0]
        with pytest.raises(VolumeError, match="holds a single slice; give the folder with all DICOM files of the CT"):
            read_volume(file)

    @pytest.mark.parametrize(
        ("array", "sentence"),
        [
            (np.zeros((20, 20)), "volume has 2 dimensions; give one three-dimensional CT volume."),
            (
                np.zeros((20, 20, 20), bool),
                "volume does not hold one number per voxel (bool); give a scalar CT volume in HU.",
            ),
            (with_value(np.nan), f"volume {FINITE_SENTENCE}"),
        ],
    )
    def test_a_bad_array_gives_the_same_sentences(self, array, sentence):
        with pytest.raises(VolumeError) as refusal:
            from_array(array, np.eye(4))
        assert str(refusal.value) == sentence

    def test_an_affine_that_is_none_is_refused(self):
        for affine in (np.eye(3), np.full((4, 4), np.nan)):
            with pytest.raises(VolumeError, match="volume has a degenerate direction matrix"):
                check_volume(Volume(hu(), affine))

    def test_a_name_that_can_not_be_written_is_refused_and_leaves_nothing(self, make_volume, tmp_path):
        with pytest.raises(VolumeError, match=r"a\.png can not be written; choose a name that ends in"):
            write_volume(make_volume(), tmp_path / "a.png")
        with pytest.raises(OSError):
            write_volume(make_volume(), tmp_path / "gone" / "a.nrrd")
        assert list(tmp_path.iterdir()) == []


class TestMemory:
    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
    def test_a_512_x_512_x_700_scan_is_read_below_1_gigabyte(self, tmp_path):
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "ElementSpacing = 0.5 0.5 0.6\nDimSize = 512 512 700\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        one_slice = (hu((512, 512)) - 500).tobytes()
        with (tmp_path / "a.mha").open("wb") as stream:
            stream.write(header.encode())
            for _ in range(700):
                stream.write(one_slice)
        script = (
            "import re, sys; from CarotidLandmarkLib.volume import read_volume\n"
            "volume = read_volume(sys.argv[1])\n"
            "peak_kb = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]\n"
            "print(volume.array.dtype, volume.array.min(), int(peak_kb) // 1024)"
        )
        result = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "a.mha")], capture_output=True, text=True, check=True
        )
        dtype, lowest, peak_mb = result.stdout.split()
        assert (dtype, lowest) == ("int16", "-1024")
        assert int(peak_mb) < 1000

    def test_importing_needs_no_simpleitk(self):
        script = "import sys; import CarotidLandmarkLib.volume; assert 'SimpleITK' not in sys.modules"
        subprocess.run([sys.executable, "-c", script], check=True)
