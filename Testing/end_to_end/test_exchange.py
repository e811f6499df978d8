"""From the command line: a DICOM report beside the results, and none for a scan that is not DICOM."""

from __future__ import annotations

import numpy as np
import pydicom
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.volume import write_volume
from pydicom.uid import generate_uid

from ..exchange.reports import read_report
from .commands import LEFT, RIGHT, scan_volume


def test_detect_writes_a_report_that_joins_the_scan_s_patient_and_study(run, model, tmp_path, write_dicom):
    tags = {
        "PatientName": "Doe^Jane",
        "PatientID": "77",
        "StudyInstanceUID": "1.2.840.3",
        "FrameOfReferenceUID": "1.2.840.4",
    }
    series = write_dicom(scan_volume(), tmp_path / "ct", **tags)
    output = tmp_path / "out"
    code, out, err = run("detect", series, "--output", output, "--model", model, "--passes", 2, "--sr")
    assert code == 0, err
    assert str(output / "landmarks.dcm") in out
    detection = Detection.from_json((output / "detection.json").read_text())
    points = read_report(output / "landmarks.dcm")
    for name in (LEFT, RIGHT):
        assert np.allclose(points[name], detection[name].position_lps_mm, atol=1e-3)
    report = pydicom.dcmread(output / "landmarks.dcm")
    assert {tag: str(report[tag].value) for tag in tags if tag in report} == {
        tag: value for tag, value in tags.items() if tag != "FrameOfReferenceUID"
    }


def test_a_report_of_a_scan_without_dicom_is_refused_before_anything_is_computed(run, model, scan, tmp_path):
    code, out, err = run("detect", scan, "--output", tmp_path / "out", "--model", model, "--sr")
    assert (code, out) == (2, "")
    assert err == [
        "scan.nrrd is not DICOM, and has no patient, study or frame of reference for a DICOM report; "
        "give the DICOM scan."
    ]
    assert not (tmp_path / "out").exists()


def test_of_many_scans_each_has_its_report_and_one_that_can_have_none_is_named(run, write_dicom, model, tmp_path):
    for name in ("anna", "bert", "carl"):
        write_dicom(scan_volume(), tmp_path / "ct" / name, PatientID=name, StudyInstanceUID=generate_uid())
    write_volume(scan_volume(), tmp_path / "ct" / "plain.nrrd")
    out, reports = tmp_path / "out", ("--format", "sr", "--output")
    code, _, err = run("detect", tmp_path / "ct", "--output", out, "--model", model, "--passes", 2, "--sr")
    assert code == 2 and "the command export makes reports of their results" in err[0]
    assert run("detect", tmp_path / "ct", "--output", out, "--model", model, "--passes", 2)[0] == 0
    (file, *_), (other, *_) = ((tmp_path / "ct" / name).iterdir() for name in ("carl", "bert"))
    file.write_bytes(other.read_bytes())  # another patient's under the same name
    code, told, err = run("export", out, *reports, tmp_path / "sr")
    assert (code, told.strip()) == (2, f"{tmp_path / 'sr'}: reports of 2 of 4 detections")
    assert [line.split(":")[0] for line in err] == ["carl", "plain", "2 of 4 have no report; the lines above say why."]
    assert "has changed since it was done" in err[0] and "plain.nrrd is not DICOM" in err[1]
    patients = {path.name: str(pydicom.dcmread(path).PatientID) for path in (tmp_path / "sr").iterdir()}
    assert patients == {"anna.dcm": "anna", "bert.dcm": "bert"}
    code, _, err = run("export", out, *reports, tmp_path / "x", "--scan", tmp_path / "ct" / "anna")
    assert code == 2 and "--scan is one scan, and here are 4 detections" in err[0]
    (tmp_path / "ct" / "anna").rename(tmp_path / "away")
    code, _, err = run("export", out / "anna", *reports, tmp_path / "x")  # a folder of many, by itself
    assert code == 2 and "give its DICOM scan with --scan" in err[0] and not (tmp_path / "x").exists()
