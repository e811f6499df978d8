"""Nothing in a dataset identifies a patient: DICOM files full of identifiers go in, every byte on disk is searched."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib import cli
from CarotidLandmarkLib.dataset import Dataset, DatasetError, check_dataset, write_draft
from CarotidLandmarkLib.job import worker
from CarotidLandmarkLib.report.agreement import write_agreement
from CarotidLandmarkLib.volume import read_volume, write_volume
from pydicom.datadict import DicomDictionary
from pydicom.sequence import Sequence

from ..volume.writers import metaimage, nifti, nrrd

LEFT, RIGHT = NAMES = ("left_carotid_bifurcation", "right_carotid_bifurcation")

# What each kind of text element is filled with; every one of these is searched for.
TEXT, PERSON, ROOT = "ZX9LEAK", "ZX9LEAK^Jane", "1.2.826.99.4711"
DATE, TIME, WEIGHT = "19551231", "031415.926535", "81.4711"
FILLING = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), TEXT),
    "PN": PERSON,
    "DA": DATE,
    "TM": TIME,
    "DT": DATE + TIME,
    "UI": f"{ROOT}.1",
}
IDENTIFIERS = (TEXT, ROOT, DATE, TIME, WEIGHT)
# How the voxels are stored: to fill these with words would make another image, or none.
NEEDED = {"SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet", "Modality", "ImageType", "PhotometricInterpretation"}
FAMILY = "ZX9LEAK^Jane_19551231"


def fill(path: Path) -> int:
    """Write identifiers into every text element that a DICOM file can have; returns how many elements that are."""
    dataset = pydicom.dcmread(path)
    filled = 0
    for tag, (kind, _, _, _, keyword) in DicomDictionary.items():
        if kind in FILLING and keyword and keyword not in NEEDED and tag >> 16 not in (0x0000, 0x0002, 0x0004):
            dataset.add_new(tag, kind, FILLING[kind])
            filled += 1
    dataset.PatientWeight = WEIGHT
    private = dataset.private_block(0x0009, "ZX9LEAK CREATOR", create=True)
    private.add_new(0x01, "LO", TEXT)
    private.add_new(0x02, "UN", TEXT.encode())
    nested = pydicom.Dataset()
    nested.PatientID, nested.ReferringPhysicianName, nested.StudyInstanceUID = TEXT, PERSON, f"{ROOT}.2"
    dataset.RequestAttributesSequence = dataset.OtherPatientIDsSequence = Sequence([nested])
    dataset.file_meta.SourceApplicationEntityTitle = TEXT
    dataset.preamble = TEXT.encode().ljust(128, b" ")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
        f"{ROOT}.9.{dataset.get('InstanceNumber', 1)}"
    )
    dataset.save_as(path, enforce_file_format=True)
    return filled


def leaks(folder: Path) -> Iterator[str]:
    """Every place below ``folder`` where an identifier stands: names, bytes, and what is packed in them."""
    for path in sorted(folder.rglob("*")):
        texts = {"its name": path.name.encode()}
        if path.is_file():
            texts["its bytes"] = raw = path.read_bytes()
            texts |= dict(unpacked(raw))
        for where, text in texts.items():
            for identifier in IDENTIFIERS:
                forms = (identifier.encode(encoding).lower() for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
                if any(form in text.lower() for form in forms):
                    yield f"{identifier} in {where}: {path.relative_to(folder)}"


def unpacked(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Every gzip stream and every run of base64 in a file."""
    for match in re.finditer(rb"\x1f\x8b\x08", raw):
        with suppress(zlib.error):  # three bytes that only look like gzip
            yield f"gzip at {match.start()}", zlib.decompressobj(wbits=31).decompress(raw[match.start() :])
    for match in re.finditer(rb"[A-Za-z0-9+/]{12,}", raw):
        whole = match[0][: len(match[0]) // 4 * 4]
        yield f"base64 at {match.start()}", base64.b64decode(whole)


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    assert left.value.code == 0


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(folder))
    return folder


@pytest.fixture
def series(tmp_path, make_volume, write_dicom) -> Path:
    """A folder of slices in a folder, both named after the patient as are the files."""
    folder = write_dicom(make_volume(), tmp_path / FAMILY / f"{ROOT}.5")
    for path in sorted(folder.iterdir()):
        assert fill(path) > 1500
        path.rename(path.with_name(f"{TEXT}-{path.name}"))
    return folder


@pytest.fixture
def frames(tmp_path, make_volume, write_enhanced_dicom) -> Path:
    """One multi-frame file: the DICOM that can be referred to instead of copied."""

    def noted(dataset: pydicom.Dataset) -> None:
        dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleType = TEXT

    (tmp_path / FAMILY).mkdir(exist_ok=True)
    path = write_enhanced_dicom(make_volume(), tmp_path / FAMILY / f"{TEXT}.dcm", edit=noted)
    fill(path)
    return path


@pytest.fixture
def archive(tmp_path, make_volume, write_dicom) -> Path:
    """A zip file of which notes tell headers and names in it: two phases, told apart by a time, and a damaged file."""
    inside = tmp_path / "inside" / FAMILY
    for time in (TIME, f"0{float(TIME) + 1}"):
        write_dicom(
            make_volume(), inside, SeriesInstanceUID=f"{ROOT}.5", AcquisitionTime=time, RescaleType=TEXT, PatientID=TEXT
        )
    (inside / f"{TEXT}.dcm").write_bytes(bytes(500))
    (tmp_path / FAMILY).mkdir()
    return Path(shutil.make_archive(str(tmp_path / FAMILY / TEXT), "zip", inside.parent))


@pytest.fixture
def source(request, tmp_path, make_volume) -> Path:
    """The scan of a kind: a file or folder named after the patient; of a NRRD, NIfTI or MetaImage one with a note."""
    if request.param in ("series", "frames", "archive"):
        return request.getfixturevalue(request.param)
    (tmp_path / FAMILY).mkdir()
    path, volume, more = tmp_path / FAMILY / TEXT, make_volume(), f"PatientName:={PERSON}"
    if request.param == "nrrd":
        return nrrd(volume, path.with_suffix(".nrrd"), "spacings: 0.5 0.6 1.25", more, space=None)
    if request.param == "nifti":
        return nifti(volume, path.with_suffix(".nii"), pixdim=[1, 9, 9, 9, 0, 0, 0, 0])
    return metaimage(volume, path.with_suffix(".mha"), f"Comment = {PERSON}", leave_out=("Offset",))


@pytest.mark.parametrize("what", ["name", "text", "UTF-16", "base64", "compressed", "folder"])
def test_the_search_finds_an_identifier_wherever_it_stands(tmp_path, what):
    plant = {
        "text": b"... zx9leak ...",
        "UTF-16": "... 19551231 ...".encode("utf-16"),
        "base64": base64.b64encode(b"name: " + PERSON.encode()),
        "compressed": b"NRRD0004\n\n" + gzip.compress(b"voxels 1.2.826.99.4711.3 voxels"),
    }
    if what == "folder":
        (tmp_path / FAMILY).mkdir()
    (tmp_path / ("ZX9LEAK.nrrd" if what == "name" else "image.nrrd")).write_bytes(plant.get(what, b"nothing"))
    assert list(leaks(tmp_path))


def test_the_files_that_go_in_are_full_of_identifiers(series, frames):
    """Or the tests below would pass on anything."""
    for path in (next(series.iterdir()), frames):
        raw = path.read_bytes()
        for identifier in IDENTIFIERS:
            assert identifier.encode() in raw, identifier


@pytest.mark.parametrize(
    ("source", "copy"),
    [
        ("series", True),
        *((kind, False) for kind in ("frames", "archive", "nrrd", "nifti", "metaimage")),
        ("frames", True),
    ],
    indirect=["source"],
)
def test_no_byte_of_a_dataset_identifies_the_patient(source, copy, tmp_path, make_volume, make_detection, capsys):
    dataset = Dataset.create(tmp_path / "set", NAMES)
    case_id = dataset.add_case(source, copy=copy)
    case = dataset.case(case_id)
    volume = case.read_volume()
    assert volume.array.shape == make_volume().array.shape  # it is the scan that came in
    in_panel = worker.scan({"image": str(case.image_path), "sha256": case.image_sha256, "name": case_id}, tmp_path)
    assert in_panel.notes == volume.notes
    if not copy:  # these notes are kept
        assert TEXT in read_volume(source).note and volume.note
    dataset.save_prediction(case_id, replace(make_detection(path=str(source)), notes=volume.notes))
    points = {LEFT: (12.0, -20.0, 40.0), RIGHT: None}
    for who in ("anna", "ben"):
        dataset.save_annotation(case_id, who, points, {LEFT: "corrected", RIGHT: "missing"})
    write_draft(dataset.case(case_id), "cleo", {LEFT: ("corrected", (12.0, -20.0, 40.0))}, "")
    run("queue", dataset.path)
    run("cohort", dataset.path, "--csv", dataset.path / "cohort.csv")
    write_agreement(dataset, dataset.path / "agreement", limit_mm=1.0)
    printed = capsys.readouterr()
    (tmp_path / "printed").mkdir()
    (tmp_path / "printed" / "text").write_text(printed.out + printed.err)
    findings = "\n".join(map(str, check_dataset(dataset)))
    (tmp_path / "printed" / "check").write_text(findings)
    assert case_id in printed.out
    assert list(leaks(dataset.path)) == []
    assert list(leaks(tmp_path / "printed")) == []


@pytest.mark.parametrize("source", ["nrrd", "nifti", "metaimage"], indirect=True)
def test_the_case_is_named_in_notes_on_a_scan_that_was_read_under_its_own_name(source, tmp_path, make_detection):
    dataset = Dataset.create(tmp_path / "set", NAMES)
    case_id = dataset.add_case(source)
    read = read_volume(source)
    dataset.save_prediction(case_id, replace(make_detection(path=read.name), notes=read.notes))
    assert dataset.case(case_id).prediction().notes == tuple(note.replace(read.name, case_id) for note in read.notes)
    assert list(leaks(dataset.path)) == []
    noisy = "The scan is noisy."
    dataset.save_prediction(case_id, replace(make_detection(path="s"), notes=(noisy,)))
    assert dataset.case(case_id).prediction().notes == (noisy,)


@pytest.mark.parametrize("copy", [True, False])
def test_the_header_and_the_name_of_a_file_are_not_kept(copy, tmp_path, make_volume):
    volume = make_volume()
    write_volume(volume, tmp_path / "plain.nrrd")
    image = sitk.ReadImage(str(tmp_path / "plain.nrrd"))
    image.SetMetaData("PatientName", PERSON)
    (tmp_path / FAMILY).mkdir()
    source = tmp_path / FAMILY / f"{TEXT}.nrrd"
    sitk.WriteImage(image, str(source))
    assert PERSON.encode() in source.read_bytes()
    dataset = Dataset.create(tmp_path / "set", NAMES)
    case_id = dataset.add_case(source, copy=copy)
    assert (dataset.case(case_id).read_volume().array == volume.array).all()
    assert list(leaks(dataset.path)) == []


def test_two_scans_of_a_dicom_patient_share_a_group_that_nobody_without_the_key_can_make(
    series, tmp_path, home, monkeypatch
):
    again = shutil.copytree(series, tmp_path / "again")
    top = max(again.iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    top.unlink()  # one slice less: another scan
    groups = {}
    for user in ("anna", "ben"):
        monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(home / user))
        run("add", tmp_path / user, series)
        run("add", tmp_path / user, again)
        dataset = Dataset.open(tmp_path / user)
        groups[user] = [dataset.case(case_id).group for case_id in dataset.case_ids()]
        assert len(groups[user]) == 2 and len(set(groups[user])) == 1
        assert list(leaks(dataset.path)) == [] and list(leaks(home)) == []
    assert groups["anna"] != groups["ben"]


def test_a_source_that_is_gone_is_not_named(frames, tmp_path):
    dataset = Dataset.create(tmp_path / "set", NAMES)
    case_id = dataset.add_case(frames, copy=False)
    frames.unlink()
    with pytest.raises(DatasetError) as error:
        dataset.case(case_id).read_volume()
    assert TEXT not in str(error.value) and [TEXT in str(finding) for finding in check_dataset(dataset)] == [False]


def test_a_series_that_can_not_be_referred_to_leaves_nothing(series, tmp_path):
    dataset = Dataset.create(tmp_path / "set", NAMES)
    with pytest.raises(DatasetError, match="copy this one instead"):
        dataset.add_case(series, copy=False)
    assert dataset.case_ids() == [] and list(leaks(dataset.path)) == []


def test_a_broken_series_leaves_nothing(series, tmp_path):
    for path in sorted(series.iterdir())[3:5]:
        path.unlink()
    dataset = Dataset.create(tmp_path / "set", NAMES)
    with pytest.raises(ValueError, match="slices"):
        dataset.add_case(series)
    assert list((dataset.path / "cases").iterdir()) == []
    shutil.rmtree(series)
    assert list(leaks(dataset.path)) == []
