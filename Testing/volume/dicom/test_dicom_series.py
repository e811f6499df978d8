"""DICOM folders: the right series, its geometry and its HU; what is no regular CT is refused in one sentence."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest
from CarotidLandmarkLib.volume import Volume, VolumeError, read_volume

ORIENTATIONS = ("LPS", "RAS", "LAS", "LPI", "PSL", "LPS oblique")


class TestGeometryAndValues:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_a_dicom_series_has_the_same_value_at_each_place(
        self, agree, make_volume, write_dicom, tmp_path, orientation
    ):
        volume = make_volume(orientation)
        read = read_volume(write_dicom(volume, tmp_path / "ct"))
        assert agree(read, volume)
        assert read.array.dtype == np.int16

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_an_enhanced_multi_frame_file_has_the_same_value_at_each_place(
        self, agree, make_volume, write_enhanced_dicom, tmp_path, orientation
    ):
        volume = make_volume(orientation)
        assert agree(read_volume(write_enhanced_dicom(volume, tmp_path / "ct.dcm")), volume)

    def test_a_dicom_slope_that_differs_from_slice_to_slice_is_applied(self, make_volume, write_dicom, tmp_path):
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


class TestTiltedGantry:
    def test_slices_moved_by_whole_pixels_keep_every_value_at_its_place(self, make_volume, write_dicom, tmp_path):
        volume = make_volume("LPS oblique")
        read = read_volume(write_dicom(volume, tmp_path / "ct", shift_mm=-1.2))  # two pixels along j
        k, j, i = np.indices(volume.array.shape).reshape(3, -1)
        sheared = volume.affine_lps.copy()
        sheared[:3, 2] -= 1.2 * volume.affine_lps[:3, 1] / volume.spacing_mm[1]
        places = np.stack([i, j, k], axis=1) @ sheared[:3, :3].T + sheared[:3, 3]
        voxels = read.to_voxels(places)
        assert np.abs(voxels - np.rint(voxels)).max() < 1e-3
        assert (read.array[tuple(np.rint(voxels).astype(int).T[::-1])] == volume.array[k, j, i]).all()
        assert (read.size, read.array.dtype) == ((24, 20 + 2 * 17, 18), np.int16)
        assert (read.array == -1024).sum() >= read.array.size - volume.array.size
        assert read.note == "The gantry was tilted by 43.8 degrees; slices were moved to an upright grid."

    def test_a_ball_in_a_tilted_scan_is_where_it_is_in_the_patient(self, write_dicom, tmp_path):
        affine = np.diag([0.8, 0.7, 1.5, 1.0])
        shift_mm, centre = 0.33, np.array([20.0, 24.0, 27.0])
        k, j, i = np.indices((36, 70, 60))
        places = np.stack([i * 0.8, j * 0.7 + k * shift_mm, k * 1.5], axis=-1)  # where the slices will really lie
        inside = np.clip(10.5 - np.linalg.norm(places - centre, axis=-1), 0, 1)  # a ball with a soft edge
        volume = Volume((-1000 + 1300 * inside).astype(np.int16), affine)
        read = read_volume(write_dicom(volume, tmp_path / "ct", shift_mm=shift_mm))
        weight = np.maximum(read.array.astype(float) + 1000, 0)
        voxels = np.stack(np.indices(read.array.shape)[::-1], axis=-1)
        measured = (weight[..., None] * read.to_lps(voxels)).sum(axis=(0, 1, 2)) / weight.sum()
        assert np.abs(measured - centre).max() < 0.05


class TestDicomFolders:
    def test_the_largest_axial_ct_is_taken_and_named(self, agree, make_volume, write_dicom, tmp_path):
        small, large = make_volume(), make_volume("LPS", size=(24, 20, 30))
        sagittal, magnetic = make_volume("PSL", size=(24, 20, 60)), make_volume(size=(24, 20, 60))
        write_dicom(small, tmp_path / "dvd" / "A", SeriesNumber=2)
        write_dicom(large, tmp_path / "dvd" / "B", SeriesNumber=5)
        write_dicom(sagittal, tmp_path / "dvd" / "C", SeriesNumber=6)
        write_dicom(magnetic, tmp_path / "dvd" / "D", SeriesNumber=7, Modality="MR")
        write_dicom(small, tmp_path / "dvd" / "E", SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        read = read_volume(tmp_path / "dvd")
        assert agree(read, large)
        assert read.notes == (
            "dvd holds 3 CT series or parts of series; series 5 (30 slices) was read; "
            "not read: series 2 (18 slices): is smaller, series 6 (60 slices): is not axial.",
        )
        assert agree(read_volume(tmp_path / "dvd", series="2"), small)
        with pytest.raises(VolumeError, match=re.escape("dvd has no series 9; choose one of: 2, 5, 6.")):
            read_volume(tmp_path / "dvd", series="9")
        with pytest.raises(VolumeError, match=r"series 7 \(60 slices\) is MR, not CT"):
            read_volume(tmp_path / "dvd", series="7")

    def test_a_series_is_chosen_by_its_uid(self, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "dvd", SeriesInstanceUID="1.2.3.4")
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "dvd", SeriesInstanceUID="1.2.3.5")
        assert read_volume(tmp_path / "dvd", series="1.2.3.4").size == (24, 20, 18)

    def test_a_slice_across_the_others_is_left_out_and_a_note_says_so(self, agree, make_volume, write_dicom, tmp_path):
        volume = make_volume()
        write_dicom(volume, tmp_path / "ct", SeriesInstanceUID="1.2.3")
        across = make_volume("PSL")
        write_dicom(Volume(across.array[:1], across.affine_lps), tmp_path / "ct", SeriesInstanceUID="1.2.3")
        read = read_volume(tmp_path / "ct")
        assert agree(read, volume)
        assert "not read: series 3.2 (orientation or pixel size 2, 1 slice): holds a single slice." in read.note

    def test_a_slice_stored_twice_counts_once(self, agree, make_volume, write_dicom, tmp_path):
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

    def test_files_that_are_no_images_are_passed_over(self, agree, make_volume, write_dicom, tmp_path):
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


class TestRefusals:
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
                {"Modality": "MR"},
                "ct holds no CT that can be read: series 3 (18 slices) is MR, not CT. Give a folder with one whole CT.",
            ),
            (
                {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
                "ct holds no CT that can be read: series 3 (18 slices) is a localizer. "
                "Give a folder with one whole CT.",
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

    def test_frames_with_a_gap_are_refused(self, make_volume, write_enhanced_dicom, tmp_path):
        def move(dataset):
            for frame in dataset.PerFrameFunctionalGroupsSequence[9:]:
                x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
                frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 5]

        path = write_enhanced_dicom(make_volume(), tmp_path / "ct.dcm", edit=move)
        with pytest.raises(VolumeError, match=re.escape("ct.dcm lacks 4 of 22 slices; export the series again.")):
            read_volume(path)

    def test_slices_without_position_are_refused(self, make_volume, write_dicom, tmp_path):
        folder = write_dicom(make_volume(), tmp_path / "ct")
        for file in folder.iterdir():
            dataset = pydicom.dcmread(file)
            del dataset.ImagePositionPatient
            dataset.save_as(file)
        with pytest.raises(VolumeError, match="ct has slices without position; export the series again"):
            read_volume(folder)

    def test_slices_whose_rows_and_columns_are_parallel_are_refused(self, make_volume, write_dicom, tmp_path, capfd):
        folder = write_dicom(make_volume(), tmp_path / "ct", ImageOrientationPatient=["1", "0", "0", "1", "0", "0"])
        with pytest.raises(VolumeError, match="ct has a degenerate direction matrix; export the series again"):
            read_volume(folder)
        assert capfd.readouterr() == ("", "")

    def test_one_slice_alone_is_refused(self, make_volume, write_dicom, tmp_path):
        file = sorted(write_dicom(make_volume(), tmp_path / "ct").iterdir())[0]
        with pytest.raises(VolumeError, match="holds a single slice; give the folder with all DICOM files of the CT"):
            read_volume(file)


def test_a_slice_whose_header_differs_is_named_where_all_slices_are_there(make_volume, write_dicom, tmp_path):
    """They were said to lack one, and to be exported again."""

    def coarser(dataset, k):
        if k == 9:
            dataset.PixelSpacing = [2.0, 2.0]

    folder = write_dicom(make_volume(), tmp_path / "ct", edit=coarser)
    with pytest.raises(
        VolumeError, match=r"One slice of series .* in ct can not be read with the others: another orient"
    ):
        read_volume(folder)


def test_a_series_number_that_is_none_is_no_fault(agree, make_volume, write_dicom, tmp_path):
    scan = make_volume()
    folder = write_dicom(scan, tmp_path / "ct", SeriesNumber=3)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        element = dataset["SeriesNumber"]
        dataset[element.tag] = pydicom.DataElement(element.tag, "LO", "--5")
        dataset.save_as(file)
    assert agree(read_volume(folder), scan)
