"""Reading scans: the same patient space and the same values from every format and orientation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.geometry import Geometry
from CarotidLandmarkLib.volume import Volume, from_array, read_volume, write_volume
from hypothesis import given, settings
from hypothesis import strategies as st

from ..full_disk import assert_all_or_nothing

FORMATS = (".nrrd", ".nii", ".nii.gz", ".mha")
ORIENTATIONS = ("LPS", "RAS", "LAS", "PSL", "LPS oblique")


class TestGeometry:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_file_read_back_has_the_same_value_at_each_place(self, agree, make_volume, tmp_path, suffix, orientation):
        volume = make_volume(orientation)
        write_volume(volume, tmp_path / f"scan{suffix}")
        read = read_volume(tmp_path / f"scan{suffix}")
        assert agree(read, volume)
        assert (read.array.dtype, read.geometry.orientation, read.size) == (np.int16, orientation, volume.size)
        assert read.note == ""

    def test_a_detached_header_is_read(self, agree, make_volume, tmp_path):
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
        assert Geometry(affine, (1, 1, 1)).orientation == "PSR"
        angle = np.radians(3)
        affine[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]]
        assert Geometry(affine, (1, 1, 1)).orientation == "LPI oblique"

    def test_the_facts_for_the_report_name_no_folder(self, make_volume, tmp_path):
        write_volume(make_volume("RAS"), tmp_path / "neck.nrrd")
        info = read_volume(tmp_path / "neck.nrrd").info
        assert (info.path, info.size, info.orientation) == ("neck.nrrd", (24, 20, 18), "RAS")
        assert json.loads(json.dumps(info.spacing_mm)) == pytest.approx([0.5, 0.6, 1.25])

    def test_a_scan_is_known_by_its_slices_in_every_format_and_number_type_and_another_one_in_its_place_is_not_it(
        self, make_volume, tmp_path
    ):
        volume = make_volume(size=(16, 16, 70))
        for suffix in FORMATS:
            write_volume(volume, tmp_path / f"scan{suffix}")
            assert volume.info.difference(read_volume(tmp_path / f"scan{suffix}").info) == ""
        floats = Volume(volume.array.astype(np.float32), volume.affine_lps)
        assert volume.info.difference(floats.info) == ""
        noise = np.random.default_rng(1).integers(0, 2, volume.array.shape, dtype=np.int16)
        another = Volume(volume.array + noise, volume.affine_lps)
        assert "other voxels" in volume.info.difference(another.info)


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


class TestWriting:
    """ITK said nothing of NIfTI files that a full disk had cut anywhere, and of the last 4 kB of NRRD files."""

    @pytest.fixture(scope="class")
    def noise(self):
        values = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
        return Volume(values, np.eye(4), "noise")

    @pytest.mark.parametrize("suffix", FORMATS)
    @pytest.mark.parametrize("before", [None, b"the scan before"])
    def test_a_scan_is_written_whole_or_not_at_all(self, noise, tmp_path, suffix, before):
        path = tmp_path / f"scan{suffix}"
        assert_all_or_nothing(lambda: write_volume(noise, path), path, before)
        assert np.array_equal(read_volume(path).array, noise.array)

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_scan_of_fractions_is_written_as_it_is(self, noise, tmp_path, suffix):
        fractions = Volume(noise.array * np.float32(0.99), noise.affine_lps, "fractions")
        write_volume(fractions, tmp_path / f"scan{suffix}")
        assert np.array_equal(read_volume(tmp_path / f"scan{suffix}").array, fractions.array)


class TestMemory:
    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
    def test_a_512_x_512_x_700_scan_is_read_below_1_gigabyte(self, tmp_path):
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            "ElementSpacing = 0.5 0.5 0.6\nDimSize = 512 512 700\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        one_slice = (np.random.default_rng(1).integers(-1500, 500, (512, 512)).astype(np.int16)).tobytes()
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
