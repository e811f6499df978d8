"""What is known of a scan before it becomes a case: whether it is one already, and whose it is."""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import shutil
import stat
import unicodedata
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.dataset import Dataset, DatasetError, KnownCases, case_of, case_of_file, patient_group
from CarotidLandmarkLib.volume import patient_id, read_volume, write_volume

from ..volume.writers import directory


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_one_word_is_one_patient_and_no_word_is_a_new_one():
    assert patient_group("p07") == patient_group(" p07 ")
    words = ("p07", "p08", "P07", "Müller, Jane", os.fsdecode(b"M\xfcller, Jane"), "half an emoji \ud83d")
    assert len({patient_group(word) for word in words}) == len(words)
    assert patient_group("") != patient_group("")


@pytest.mark.parametrize("word", ["Müller, Jane", "José", "김민수", "Ångström"])
def test_one_name_in_the_ways_that_unicode_and_macos_write_it_is_one_patient(home, word):
    ways = {unicodedata.normalize(form, word) for form in ("NFC", "NFD")}
    assert len(ways) == 2 and len({patient_group(way) for way in ways}) == 1


@pytest.mark.parametrize("word", ["p07", "4711", "Doe^Jane", "Müller, Jane"])
def test_the_group_of_a_word_is_the_one_that_earlier_versions_made(home, word):
    group = patient_group(word)
    digest = hmac.new((home / "patient-key").read_bytes(), word.encode(), hashlib.sha256).hexdigest()
    assert group == f"patient-{digest[:10]}"


def test_the_group_depends_on_a_key_that_only_this_user_can_read(home, monkeypatch, tmp_path):
    mine = patient_group("4711")
    assert stat.S_IMODE((home / "patient-key").stat().st_mode) == 0o600
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "another"))
    assert patient_group("4711") != mine


def test_a_key_is_made_where_files_have_one_name_only(home, monkeypatch):
    """As on a memory stick."""
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "no links here")))
    assert patient_group("4711") == patient_group("4711")
    assert [path.name for path in home.iterdir()] == ["patient-key"]


def test_a_key_that_a_full_disk_has_left_empty_was_none(home):
    home.mkdir()
    (home / "patient-key").touch()
    assert patient_group("4711") == patient_group("4711")
    assert [path.name for path in home.iterdir()] == ["patient-key"]
    assert stat.S_IMODE((home / "patient-key").stat().st_mode) == 0o600


def test_a_case_that_comes_into_a_dataset_which_another_command_has_just_taken_back_makes_it_one_again(
    tmp_path, case_volume
):
    dataset = Dataset.create(tmp_path / "set", ["left", "right"])
    Dataset.open(dataset.path).discard()
    dataset.add_case(case_volume, "c1")
    assert Dataset.open(dataset.path).case_ids() == ["c1"]


def test_a_scan_that_another_command_adds_during_the_copy_does_not_become_two_patients(
    tmp_path, case_volume, monkeypatch
):
    dataset = Dataset.create(tmp_path / "set", ["left", "right"])

    def write_while_somebody_else_is_faster(volume, path):
        monkeypatch.undo()
        monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
        dataset.add_case(case_volume, "c1", group="faster")
        write_volume(volume, path)

    monkeypatch.setattr("CarotidLandmarkLib.dataset.dataset.write_volume", write_while_somebody_else_is_faster)
    with pytest.raises(DatasetError, match="Somebody else has just added this scan, as c1; go on with that case"):
        dataset.add_case(case_volume, case_of=partial(case_of, KnownCases(dataset)))
    assert dataset.case_ids() == ["c1"] and dataset.temporary_files() == []


def test_of_many_scans_each_case_is_read_once_and_those_that_others_add_meanwhile_are_known(
    tmp_path, case_volume, other_volumes
):
    dataset = Dataset.create(tmp_path / "set", ["left", "right"])
    dataset.add_case(case_volume, "c1")
    known = KnownCases(dataset)
    assert case_of(known, case_volume) == "c1"
    (dataset.path / "cases" / "c1" / "case.json").write_text("{")
    Dataset.open(dataset.path).add_case(other := next(other_volumes), "c2")
    assert case_of(known, case_volume) == "c1" and case_of(known, other) == "c2"
    shutil.rmtree(dataset.path / "cases" / "c1")
    assert case_of(known, case_volume) is None


def test_what_file_managers_and_servers_leave_among_the_cases_is_no_case(tmp_path, case_volume):
    dataset = Dataset.create(tmp_path / "set", ["left", "right"])
    dataset.add_case(case_volume, "c1")
    for name in ("Thumbs.db", "desktop.ini"):
        (dataset.path / "cases" / name).touch()
    for name in ("@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"):
        (dataset.path / "cases" / name).mkdir()
    if os.name == "posix":
        (dataset.path / "cases" / "Icon\r").touch()
    assert dataset.damaged() == {} and dataset.case_ids() == ["c1"]


def test_a_dataset_begins_where_a_server_or_a_system_has_put_folders_of_its_own(tmp_path):
    for name in ("@eaDir", "#recycle", "lost+found", "$RECYCLE.BIN", "System Volume Information"):
        (tmp_path / name).mkdir()
    assert Dataset.create(tmp_path, ["left", "right"]).case_ids() == []
    with pytest.raises(DatasetError):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "dataset.json").unlink()
        Dataset.create(tmp_path, ["left", "right"])


def test_a_damaged_key_is_named_and_not_replaced(home):
    patient_group("4711")
    (home / "patient-key").write_bytes(b"short")
    with pytest.raises(DatasetError, match="patient-key is damaged; restore it"):
        patient_group("4711")
    assert (home / "patient-key").read_bytes() == b"short"


def test_a_scan_is_known_by_every_voxel_and_its_place(tmp_path, case_volume):
    dataset = Dataset.create(tmp_path / "set", ("left", "right"))
    dataset.add_case(case_volume, "gone")
    dataset.add_case(case_volume, "first")
    (dataset.case("gone").folder / "image.nrrd").unlink()
    assert case_of(dataset, replace(case_volume, name="another name")) == "first"
    array = case_volume.array.copy()
    array[3, 4, 5] += 1
    assert case_of(dataset, replace(case_volume, array=array)) is None
    moved = case_volume.affine_lps.copy()
    moved[0, 3] += 1.0
    assert case_of(dataset, replace(case_volume, affine_lps=moved)) is None


@pytest.mark.parametrize("order", ["RAS", "PIR", "LSA"])
def test_a_scan_that_is_stored_in_another_order_of_its_axes_is_the_same_scan(tmp_path, case_volume, order):
    dataset = Dataset.create(tmp_path / "set", ("left", "right"))
    dataset.add_case(case_volume, "first")
    write_volume(case_volume, tmp_path / "a.nrrd")
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(tmp_path / "a.nrrd"), order), tmp_path / "b.nii.gz")
    stored = read_volume(tmp_path / "b.nii.gz")
    assert not np.array_equal(stored.array, case_volume.array)
    assert case_of(dataset, stored) == "first"
    array = stored.array.copy()
    array[3, 4, 5] += 1
    assert case_of(dataset, replace(stored, array=array)) is None


def test_a_dicomdir_is_not_referred_to_and_one_that_is_stands_for_nothing_around_it(
    tmp_path, make_volume, write_dicom, monkeypatch
):
    volume, dataset = make_volume(), Dataset.create(tmp_path / "set", ("left", "right"))
    file = directory(write_dicom(volume, tmp_path / "cd"))
    with pytest.raises(DatasetError, match="Only an image in one file can be referred to; copy this one instead"):
        dataset.add_case(file, copy=False)
    assert dataset.case_ids() == []
    with monkeypatch.context() as earlier_version:
        earlier_version.setattr("CarotidLandmarkLib.dataset.dataset.files_of", lambda path: [path])
        case = dataset.case(dataset.add_case(file, copy=False))
    assert case_of_file(dataset, file) is None and case_of(dataset, read_volume(file)) == case.id
    moved = volume.affine_lps.copy()
    moved[2, 3] += 100.0
    shutil.rmtree(file.parent)
    directory(write_dicom(replace(volume, affine_lps=moved), file.parent))
    with pytest.raises(DatasetError, match=f"image of case {case.id} has another size or place than when it was added"):
        case.read_volume()


def test_the_patient_of_a_folder_is_that_of_the_series_that_is_read(tmp_path, make_volume, write_dicom):
    write_dicom(make_volume(), tmp_path / "cd", PatientID="small ", SeriesNumber=1)
    write_dicom(make_volume(size=(24, 20, 30)), tmp_path / "cd", PatientID="large", SeriesNumber=2)
    assert patient_id(tmp_path / "cd") == "large"
    assert patient_id(tmp_path / "cd", "1") == "small"
    assert patient_id(write_dicom(make_volume(), tmp_path / "nobody", PatientID="")) == ""
