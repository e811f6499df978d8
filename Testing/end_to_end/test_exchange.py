"""From the command line: a DICOM report beside the results, and none for a scan that is not DICOM."""

from __future__ import annotations

import numpy as np
import pydicom
from CarotidLandmarkLib.detection import Detection

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
