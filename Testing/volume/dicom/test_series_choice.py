"""Which CT of a folder is read: the scan before what was computed from it, one phase of several, and a note."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from CarotidLandmarkLib.volume import Volume, VolumeError, from_array, list_series, patient_id, read_volume

from .study import write_study

DERIVED = {
    "a MIP": ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, "is derived"),
    "an iodine map": ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "IODINE"]}, "is derived"),
    "a monoenergetic series": ({"SeriesDescription": "MonoE 40 keV"}, "its description speaks of MONO"),
    "a reformat": ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "is derived"),
    "a virtual plain series": ({"SeriesDescription": "VNC"}, "its description speaks of VNC"),
}


def other(volume: Volume) -> Volume:
    """Another scan of the same places."""
    return from_array(volume.array[:, ::-1, ::-1].copy(), volume.affine_lps)


def moved(volume: Volume, millimetres: float) -> Volume:
    affine = volume.affine_lps.copy()
    affine[:3, 3] += millimetres * affine[:3, 2] / volume.spacing_mm[2]
    return Volume(volume.array, affine)


class TestChoice:
    @pytest.mark.parametrize("kind", DERIVED)
    def test_the_scan_comes_before_what_is_computed_from_it(self, agree, make_volume, write_dicom, tmp_path, kind):
        scan = make_volume()
        write_dicom(scan, tmp_path / "cd", SeriesNumber=9)
        tags, reason = DERIVED[kind]
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2, **tags)
        read = read_volume(tmp_path / "cd")
        assert agree(read, scan)
        assert f"series 9 (18 slices) was read; not read: series 2 (40 slices): {reason}." in read.note

    def test_what_is_computed_is_read_where_there_is_nothing_else_and_a_note_says_so(
        self, agree, make_volume, write_dicom, tmp_path
    ):
        write_dicom(make_volume(), tmp_path / "cd", ImageType=["DERIVED", "SECONDARY", "AXIAL"])
        read = read_volume(tmp_path / "cd")
        assert agree(read, make_volume())
        assert read.notes == ("Series 3 (18 slices) may be computed, not scanned (DERIVED/SECONDARY/AXIAL).",)

    def test_captures_without_place_and_colour_pictures_are_left_aside(self, agree, make_volume, write_dicom, tmp_path):
        def capture(dataset, k):
            del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing

        scan = make_volume()
        write_dicom(scan, tmp_path / "cd", SeriesNumber=1)
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2, edit=capture)
        write_dicom(make_volume(size=(24, 20, 60)), tmp_path / "cd", SeriesNumber=3, SamplesPerPixel=3)
        read = read_volume(tmp_path / "cd")
        assert agree(read, scan)
        assert "series 2 (40 slices): has slices without position" in read.note
        assert "series 3 (60 slices): holds colour pictures" in read.note

    @pytest.mark.parametrize("tag", [{"ContrastBolusAgent": "Iomeprol"}, {"SeriesDescription": "CTA 0.6"}])
    def test_a_scan_with_contrast_agent_comes_before_a_larger_one_without(
        self, agree, make_volume, write_dicom, tmp_path, tag
    ):
        scan = make_volume()
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2)
        write_dicom(scan, tmp_path / "cd", SeriesNumber=3, **tag)
        read = read_volume(tmp_path / "cd")
        assert agree(read, scan) and "series 2 (40 slices): says nothing of contrast" in read.note

    @pytest.mark.parametrize(
        "tag",
        [
            {"SeriesDescription": "NECK WITHOUT CONTRAST"},
            {"SeriesDescription": "NON-CONTRAST NECK", "ContrastBolusAgent": "Iomeprol"},
            {"SeriesDescription": "CTA_NECK W/O CONTRAST"},
            {"SeriesDescription": "PRE CONTRAST"},
            {"SeriesDescription": "Hals ohne Kontrast"},
            {"SeriesDescription": "CTA nativ"},
            {"SeriesDescription": "CTA NECK UNENHANCED"},
            {"ContrastBolusAgent": "NONE"},
            {"SeriesDescription": "NECK W/O 0.625", "ContrastBolusAgent": "OMNIPAQUE 350"},
            {"SeriesDescription": "NON CON", "ContrastBolusAgent": "Iomeprol"},
            {"SeriesDescription": "C- HALS", "ContrastBolusAgent": "Iomeprol"},
            {"SeriesDescription": "Neck plain 1.0", "ContrastBolusAgent": "Iomeprol"},
            {"SeriesDescription": "cou sans injection", "ContrastBolusAgent": "Iomeprol"},
            {"ContrastBolusAgent": "NO CONTRAST"},
            {"ContrastBolusAgent": "No IV contrast"},
            {"ContrastBolusAgent": "0 ML"},
            {"ContrastBolusAgent": "Iomeprol"},  # of the examination, in each of its series
        ],
        ids=lambda tag: " ".join(tag.values()),
    )
    def test_a_header_that_says_there_was_no_contrast_agent_is_believed(
        self, agree, make_volume, write_dicom, tmp_path, tag
    ):
        scan = make_volume()
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2, **tag)
        write_dicom(scan, tmp_path / "cd", SeriesNumber=3, SeriesDescription="CTA 0.6")
        assert agree(read_volume(tmp_path / "cd"), scan)

    @pytest.mark.parametrize(
        "words",
        [
            "CT NECK W WO CONTRAST",
            "with and without contrast",
            "CTA CAROTIDS",
            "NECK W/O & W CONTRAST",
            "CONTRAST C-SPINE",
        ],
    )
    def test_a_header_that_says_with_and_without_speaks_of_a_contrast_agent(
        self, agree, make_volume, write_dicom, tmp_path, words
    ):
        scan = make_volume()
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=2)
        write_dicom(scan, tmp_path / "cd", SeriesNumber=3, SeriesDescription=words)
        assert agree(read_volume(tmp_path / "cd"), scan)

    def test_texts_of_a_cd_beside_images_without_suffix_are_not_called_damaged(
        self, make_volume, write_dicom, tmp_path
    ):
        write_dicom(make_volume(), tmp_path / "cd")
        for number, image in enumerate(sorted((tmp_path / "cd").rglob("*.dcm"))):
            image.rename(image.with_name(f"IM{number}"))
        (tmp_path / "cd" / "VERSION").write_text("3.1\n")
        (tmp_path / "cd" / "LIESMICH").write_bytes("Für Ärzte\n".encode("latin-1"))
        assert "could not be read" not in read_volume(tmp_path / "cd").note
        (tmp_path / "cd" / "IM900").write_bytes(b"\x01\x00half")
        assert "IM900" in read_volume(tmp_path / "cd").note

    def test_of_equals_the_first_is_read_and_the_note_names_the_others(self, agree, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(other(scan), tmp_path / "cd", SeriesNumber=12)
        write_dicom(scan, tmp_path / "cd", SeriesNumber=2)
        read = read_volume(tmp_path / "cd")
        assert agree(read, scan) and "not read: series 12 (18 slices): fits as well." in read.note

    def test_a_series_that_lacks_slices_is_named_beside_the_one_that_is_read(
        self, agree, make_volume, write_dicom, tmp_path
    ):
        scan = make_volume()
        write_dicom(scan, tmp_path / "cd", SeriesNumber=2)
        write_dicom(make_volume(size=(24, 20, 40)), tmp_path / "cd", SeriesNumber=3, skip=(7,))
        read = read_volume(tmp_path / "cd")
        assert agree(read, scan) and "series 3 (39 slices): lacks 1 of 40 slices" in read.note

    def test_when_nothing_fits_each_series_has_its_reason(self, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(scan, tmp_path / "cd", SeriesNumber=1, skip=(3, 9))
        write_dicom(Volume(scan.array[:9], scan.affine_lps), tmp_path / "cd", SeriesNumber=2)
        write_dicom(make_volume(), tmp_path / "cd", SeriesNumber=4, PixelSpacing=["0", "0"])
        with pytest.raises(VolumeError) as refusal:
            read_volume(tmp_path / "cd")
        assert str(refusal.value) == (
            "cd holds no CT that can be read: series 1 (16 slices) lacks 2 of 18 slices; "
            "series 2 (9 slices) has only 24 x 20 x 9 voxels; "
            "series 4 (18 slices) has no voxel size (Pixel Spacing of 0 or less). Give a folder with one whole CT."
        )

    def test_the_patient_is_that_of_the_part_that_is_read(self, make_volume, write_dicom, tmp_path):
        write_dicom(
            make_volume(), tmp_path / "cd", SeriesNumber=1, PatientID="M\xfcller", SpecificCharacterSet="ISO_IR 100"
        )
        write_dicom(make_volume(), tmp_path / "cd", SeriesNumber=2, PatientID="B")
        assert (patient_id(tmp_path / "cd"), patient_id(tmp_path / "cd", "2")) == ("M\xfcller", "B")


PHASES = {
    "acquisition": lambda n: {"AcquisitionNumber": n},
    "temporal position": lambda n: {"TemporalPositionIdentifier": n},
    "cardiac phase": lambda n: {"NominalPercentageOfCardiacPhase": 30 * n},
    "acquisition time": lambda n: {"AcquisitionTime": f"1200{n:02d}"},
}


def test_of_a_whole_study_the_angiography_is_read_and_the_note_names_the_rest(tmp_path):
    meant = write_study(tmp_path, 200, 16)
    read = read_volume(tmp_path)
    assert len(read.array) == meant == 60
    (note,) = read.notes
    assert f"series 5 ({meant} slices) was read" in note
    assert "series 2 (25 slices): says nothing of contrast" in note and "series 7 (65 slices): is derived" in note


class TestPhasesOfOneSeries:
    @pytest.mark.parametrize("count", [2, 3])
    @pytest.mark.parametrize("offset", ["same places", "between"])
    @pytest.mark.parametrize("way", PHASES)
    def test_that_a_tag_tells_apart_are_never_mixed(
        self, agree, make_volume, write_dicom, tmp_path, way, offset, count
    ):
        volumes = []
        for n in range(count):
            volume = from_array(np.roll(make_volume().array, n, 1), make_volume().affine_lps)
            volumes.append(moved(volume, 1.25 * n / count if offset == "between" else 0))
            write_dicom(volumes[n], tmp_path / "ct", SeriesInstanceUID="1.2.3", **PHASES[way](n + 1))
        read = read_volume(tmp_path / "ct")
        assert agree(read, volumes[0])
        assert f"ct holds {count} CT series or parts of series; series 3.1 ({way} " in read.note
        for n in range(count):
            assert agree(read_volume(tmp_path / "ct", series=f"3.{n + 1}"), volumes[n])

    @pytest.mark.parametrize("count", [2, 3])
    def test_that_only_their_order_tells_apart_are_never_mixed(self, agree, make_volume, write_dicom, tmp_path, count):
        volumes = []
        for n in range(count):
            volumes.append(moved(make_volume(), 1.25 * n / count))

            def number(dataset, k, n=n):
                dataset.InstanceNumber = n * 18 + k + 1

            write_dicom(volumes[n], tmp_path / "ct", SeriesInstanceUID="1.2.3", edit=number)
        read = read_volume(tmp_path / "ct")
        assert agree(read, volumes[0]) and f"series 3.1 (phase 1 of {count}, 18 slices) was read" in read.note

    def test_with_the_same_numbers_are_never_mixed(self, agree, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(scan, tmp_path / "ct", SeriesInstanceUID="1.2.3")
        write_dicom(moved(other(scan), 0.6), tmp_path / "ct", SeriesInstanceUID="1.2.3")
        read = read_volume(tmp_path / "ct")
        assert agree(read, scan) and "phase 1 of 2" in read.note

    def test_at_the_same_places_without_any_tag_are_never_mixed(self, agree, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(scan, tmp_path / "ct", SeriesInstanceUID="1.2.3")
        write_dicom(other(scan), tmp_path / "ct", SeriesInstanceUID="1.2.3")
        read = read_volume(tmp_path / "ct")
        assert agree(read, scan) and "phase" in read.note
        assert agree(read_volume(tmp_path / "ct", series="3.2"), other(scan))
        assert len(list_series(tmp_path / "ct")) == 2

    @pytest.mark.parametrize("phases", [2, 3, 4])
    def test_that_take_turns_without_any_tag_are_refused(self, make_volume, write_dicom, tmp_path, phases):
        k, j, i = np.indices((40, 40, 40))
        body = np.where(np.hypot(i - 20, j - 20) < 15, 40 + k, -1000)
        body = np.where(np.hypot(i - 20, j - 20) < 6, np.array([60, 320, 180, 120])[k % phases], body)
        body = np.kron(body, np.ones((1, 6, 6))) + np.random.default_rng(0).normal(0, 10, (40, 240, 240))
        volume = from_array(body.astype(np.int16), np.diag([0.5, 0.5, 0.5, 1]))
        folder = write_dicom(volume, tmp_path / "ct", InstanceNumber=None)
        with pytest.raises(VolumeError, match=f"ct holds {phases} phases slice by slice in turn"):
            read_volume(folder)

    def test_acquisitions_one_after_the_other_are_one_stack(self, agree, make_volume, write_dicom, tmp_path):
        def number(dataset, k):
            dataset.AcquisitionNumber = 1 + k // 5

        read = read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=number))
        assert agree(read, make_volume()) and read.notes == ()

    @pytest.mark.parametrize("shared", [1, 2, 4])
    def test_acquisitions_that_share_slices_give_the_whole_and_a_note(
        self, agree, make_volume, write_dicom, tmp_path, shared
    ):
        whole = make_volume(size=(24, 20, 44))
        first = Volume(whole.array[:22], whole.affine_lps)
        begin = 22 - shared
        second_affine = whole.affine_lps.copy()
        second_affine[:3, 3] += begin * whole.affine_lps[:3, 2]
        second = whole.array[begin:].copy()
        second[:shared] += 7  # another pass over the same place
        write_dicom(first, tmp_path / "ct", SeriesInstanceUID="1.2.3", AcquisitionNumber=1)

        def number(dataset, k):
            dataset.InstanceNumber = 23 + k

        write_dicom(
            Volume(second, second_affine), tmp_path / "ct", SeriesInstanceUID="1.2.3", AcquisitionNumber=2, edit=number
        )
        read = read_volume(tmp_path / "ct")
        assert agree(read, whole) and f"phase 2 of 2, {shared} slice" in read.note

    def test_acquisitions_with_a_gap_between_give_the_larger_and_a_note(
        self, agree, make_volume, write_dicom, tmp_path
    ):
        large, small = make_volume(size=(24, 20, 30)), moved(make_volume(), 100)
        write_dicom(large, tmp_path / "ct", SeriesInstanceUID="1.2.3", AcquisitionNumber=1)
        write_dicom(small, tmp_path / "ct", SeriesInstanceUID="1.2.3", AcquisitionNumber=2)
        read = read_volume(tmp_path / "ct")
        assert agree(read, large) and "acquisition 2, 18 slices" in read.note


class TestUids:
    def test_slices_with_a_series_of_their_own_are_one_series(self, agree, make_volume, write_dicom, tmp_path):
        def uid(dataset, k):
            dataset.SeriesInstanceUID = f"1.2.3.{k}"

        read = read_volume(write_dicom(make_volume(), tmp_path / "ct", edit=uid))
        assert agree(read, make_volume()) and "have series UIDs of their own" in read.note

    @pytest.mark.parametrize(
        "tag", ["SeriesInstanceUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesNumber", "InstanceNumber"]
    )
    def test_a_missing_one_does_not_matter(self, agree, make_volume, write_dicom, tmp_path, tag):
        def leave_out(dataset, k):
            if tag in dataset:
                delattr(dataset, tag)

        folder = write_dicom(make_volume(), tmp_path / "ct")
        import pydicom

        for file in folder.iterdir():  # the file meta keeps its own copy
            dataset = pydicom.dcmread(file)
            leave_out(dataset, 0)
            dataset.save_as(file)
        assert agree(read_volume(folder), make_volume())

    def test_the_same_instance_uid_for_every_slice_does_not_lose_slices(
        self, agree, make_volume, write_dicom, tmp_path
    ):
        read = read_volume(write_dicom(make_volume(), tmp_path / "ct", SOPInstanceUID="1.2.3"))
        assert agree(read, make_volume()) and read.notes == ()

    def test_one_series_uid_for_two_series_does_not_mix_them(self, agree, make_volume, write_dicom, tmp_path):
        scan = make_volume()
        write_dicom(scan, tmp_path / "ct", SeriesInstanceUID="1.2.3", SeriesNumber=2)
        write_dicom(moved(other(scan), 0.6), tmp_path / "ct", SeriesInstanceUID="1.2.3", SeriesNumber=3)
        assert agree(read_volume(tmp_path / "ct"), scan)

    def test_an_export_made_twice_with_pictures_counts_once(self, agree, make_volume, write_dicom, tmp_path):
        write_dicom(make_volume(), tmp_path / "ct" / "a", SeriesInstanceUID="1.2.3")
        for position in (None, ["0", "0", "0"]):
            write_dicom(
                make_volume(), tmp_path / "ct" / "a", skip=tuple(range(1, 18)), SeriesNumber=501, SamplesPerPixel=3,
                PhotometricInterpretation="RGB", ImagePositionPatient=position, Modality="OT",
            )  # fmt: skip
        shutil.copytree(tmp_path / "ct" / "a", tmp_path / "ct" / "b")
        read = read_volume(tmp_path / "ct")
        assert agree(read, make_volume()) and read.notes == ()

    def test_copies_with_other_uids_count_once(self, agree, make_volume, write_dicom, tmp_path):
        for folder in ("a", "b"):
            write_dicom(make_volume(), tmp_path / "ct" / folder, SeriesInstanceUID="1.2.3")
        read = read_volume(tmp_path / "ct")
        assert agree(read, make_volume()) and read.notes == ()


class TestList:
    @pytest.fixture
    def study(self, make_volume, write_dicom, tmp_path):
        folder = tmp_path / "cd"
        write_dicom(make_volume(), folder, SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        write_dicom(
            make_volume(),
            folder,
            SeriesNumber=2,
            SeriesDescription="CTA [0.6]",
            SeriesInstanceUID="1.2",
            AcquisitionNumber=1,
        )
        write_dicom(
            other(make_volume()),
            folder,
            SeriesNumber=2,
            SeriesDescription="CTA [0.6]",
            SeriesInstanceUID="1.2",
            AcquisitionNumber=2,
        )
        write_dicom(make_volume(), folder, SeriesNumber=7, Modality="MR")
        return folder

    def test_every_part_has_a_number_that_chooses_it_and_a_reason(self, study):
        rows = list_series(study)
        assert [(row.number, row.part, row.chosen, row.reason) for row in rows] == [
            ("1", "", False, "is a localizer"),
            ("2.1", "acquisition 1", True, "is read: axial, original, enhanced"),
            ("2.2", "acquisition 2", False, "fits as well"),
            ("7", "", False, "is MR, not CT"),
        ]
        assert [row.slices for row in rows] == [18] * 4
        assert rows[1].spacing_mm == pytest.approx((0.5, 0.6, 1.25))
        assert rows[0].spacing_mm is None

    def test_the_command_prints_it_and_nothing_else(self, study):
        done = subprocess.run(
            [sys.executable, "-m", "CarotidLandmarkLib.cli", "series", str(study)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert any(
            line.startswith("2.1 │ CTA [0.6] │ ORIGINAL/PRIMARY/AXIAL │ 18 │ 0.5 x 0.6 x 1.25") for line in lines
        )

    def test_the_command_refuses_a_folder_without_images_in_one_line(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "CarotidLandmarkLib.cli", "series", str(tmp_path)], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("is an empty folder; give a folder with the DICOM files of one CT.\n")
