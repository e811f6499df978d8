"""Which scans a command means: files, DICOM folders, folders of scans."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.scans import list_scans
from CarotidLandmarkLib.volume import VolumeError, read_volume, write_volume
from pydicom.uid import generate_uid

from ..rights import not_root


@pytest.fixture
def study(write_dicom, make_volume):
    """A function that writes a series of a study of its own, or of ``uid``, into a folder."""

    def write(folder, uid=None, patient="0"):
        return write_dicom(make_volume(), folder, StudyInstanceUID=uid or generate_uid(), PatientID=patient)

    return write


def names(listing):
    return [scan.name for scan in listing.scans]


def test_a_file_is_one_scan_and_a_folder_of_files_is_many(tmp_path, make_volume):
    for name in ("b.nrrd", "a.nii.gz", ".hidden.nrrd"):
        write_volume(make_volume(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a scan")
    (tmp_path / "@eaDir").mkdir()
    write_volume(make_volume(), tmp_path / "@eaDir" / "thumbnail.nrrd")
    one = list_scans([tmp_path / "b.nrrd"], tmp_path / "out")
    assert (names(one), one.many, one.notes) == (["b"], False, ())
    many = list_scans([tmp_path], tmp_path / "out")
    assert (names(many), many.many) == (["a", "b"], True)
    assert len(many.notes) == 1 and "folder of 2 scans (2 files)" in many.notes[0]


def test_a_study_is_one_scan_however_deep_its_series_lie_and_nothing_is_noted(tmp_path, study):
    uid = generate_uid()
    study(tmp_path / "study" / "series1", uid)
    study(tmp_path / "study" / "series2" / "images", uid)
    for folder in (tmp_path / "study", tmp_path, tmp_path / "study" / "series1"):
        listing = list_scans([folder], tmp_path / "out")
        assert [scan.path for scan in listing.scans] == [folder]
        assert (listing.many, listing.notes, listing.scans[0].notes) == (False, (), ())


def test_folders_of_several_studies_are_many_scans_each_study_once(tmp_path, study):
    uid = generate_uid()
    study(tmp_path / "anna" / "before" / "thin", uid)
    study(tmp_path / "anna" / "before" / "thick", uid)
    study(tmp_path / "anna" / "after")
    study(tmp_path / "bert")
    listing = list_scans([tmp_path], tmp_path / "out")
    assert (names(listing), listing.many) == (["anna/after", "anna/before", "bert"], True)
    assert "3 DICOM folders" in listing.notes[0]


def test_patients_without_study_uids_of_their_own_are_still_two(tmp_path, study):
    for patient in ("1", "2"):
        study(tmp_path / patient, "1.2.3", patient)
    assert names(list_scans([tmp_path], tmp_path / "out")) == ["1", "2"]


def test_a_folder_with_dicom_images_in_it_is_one_scan_and_what_is_not_read_is_noted(tmp_path, study, make_volume):
    study(tmp_path / "scan")
    write_volume(make_volume(), tmp_path / "scan" / "copy.nrrd")
    listing = list_scans([tmp_path / "scan"], tmp_path / "out")
    assert (names(listing), listing.many) == (["scan"], False)
    (note,) = listing.scans[0].notes
    assert "copy.nrrd" in note


def test_images_beside_a_study_make_a_folder_of_scans(tmp_path, study, make_volume):
    study(tmp_path / "dicom")
    write_volume(make_volume(), tmp_path / "image.nrrd")
    listing = list_scans([tmp_path], tmp_path / "out")
    assert names(listing) == ["image", "dicom"]
    assert "1 file and 1 DICOM folder" in listing.notes[0]


def test_a_scan_is_done_once_however_often_it_is_named(tmp_path, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    (tmp_path / "link.nrrd").symlink_to(tmp_path / "a.nrrd")
    listing = list_scans([tmp_path / "a.nrrd", tmp_path / "a.nrrd", tmp_path / "link.nrrd"], tmp_path / "out")
    assert (names(listing), listing.many) == (["a"], True)
    assert len(listing.notes) == 2 and all("twice" in note for note in listing.notes)


def test_the_folder_of_results_is_not_looked_into(tmp_path, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    (tmp_path / "out").mkdir()
    shutil.copy(tmp_path / "a.nrrd", tmp_path / "out" / "b.nrrd")
    assert names(list_scans([tmp_path], tmp_path / "out")) == ["a"]
    assert names(list_scans([tmp_path], tmp_path / "elsewhere")) == ["a", "out/b"]


def test_a_loop_of_links_ends(tmp_path, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert names(list_scans([tmp_path], tmp_path.parent / "out")) == ["a"]


def test_a_link_to_itself_is_named_and_the_others_are_listed(tmp_path, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    (tmp_path / "self").symlink_to("self")
    listing = list_scans([tmp_path], tmp_path / "out")
    assert names(listing) == ["a"] and "Other files are left out: self." in listing.notes[0]
    (tmp_path / "self.nrrd").symlink_to("self.nrrd")
    assert names(list_scans([tmp_path], tmp_path / "out")) == ["a", "self"]  # reading it says why not


def test_what_is_not_there_or_empty_is_left_to_the_reader_and_a_dataset_to_cohort(tmp_path):
    (tmp_path / "empty").mkdir()
    listing = list_scans([tmp_path / "empty", tmp_path / "nowhere.nrrd"], tmp_path / "out")
    assert names(listing) == ["empty", "nowhere"]
    (tmp_path / "empty" / "dataset.json").write_text('{"schema_version": 2, "landmarks": ["nasion"]}')
    with pytest.raises(UserError, match="carotid-landmark cohort"):
        list_scans([tmp_path / "empty"], tmp_path / "out")


def test_the_dataset_of_another_program_is_a_folder_of_scans(tmp_path, make_volume):
    """nnU-Net and the Decathlon have a dataset.json, too."""
    (tmp_path / "imagesTr").mkdir()
    write_volume(make_volume(), tmp_path / "imagesTr" / "a.nii.gz")
    document = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "numTraining": 1, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    assert names(list_scans([tmp_path], tmp_path / "out")) == ["imagesTr/a"]


def test_what_is_no_scan_in_a_folder_of_scans_is_named(tmp_path, study, make_volume):
    write_volume(make_volume(), tmp_path / "a.nrrd")
    study(tmp_path / "dicom")
    (tmp_path / "dicom" / "notes.txt").write_text("of a DICOM folder, which is read whole")
    for name in ("b.nrrd.gz", "c.tar.gz"):
        (tmp_path / name).write_bytes(b"packed")
    (note,) = list_scans([tmp_path], tmp_path / "out").notes
    assert note.endswith("Other files are left out: b.nrrd.gz, c.tar.gz.")


@pytest.mark.skipif(os.name != "posix", reason="rights are others there")
def test_a_folder_that_may_not_be_looked_into_is_a_scan_whose_reading_says_why(make_volume):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_volume(make_volume(), folder / "a.nrrd")
        (folder / "locked").mkdir(mode=0)
        with not_root():
            assert names(list_scans([folder], folder / "out")) == ["a", "locked"]
            with pytest.raises(VolumeError, match="locked can not be opened; check its read permission"):
                read_volume(folder / "locked")
