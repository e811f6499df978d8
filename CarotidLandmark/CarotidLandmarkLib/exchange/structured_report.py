"""A detection as a DICOM structured report: TID 1500, 3-D coordinates in the frame of reference of the source.

Concepts for which DICOM has no code have one of the scheme `SCHEME`, with its meaning written out.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset as Header
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DA, TM

from .. import __version__
from .. import landmarks as names
from ..detection import Detection, LandmarkResult
from ..errors import UserError
from ..files import atomic_path

SCHEME = "99CAROTID"
MANUFACTURER = "CarotidLandmark"
LONGEST_TEXT = 64  # of a name (LO), and of a code's meaning
# of patient and study: what has to be there, if only empty, and what is taken over beside it
TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
TYPE_3 = "IssuerOfPatientID", "StudyDescription"
UIDS = {  # and why there is no report without
    "StudyInstanceUID": "a report joins a study",
    **dict.fromkeys(("SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"), "a report names the images it is about"),
    "FrameOfReferenceUID": "coordinates are in a frame of reference",
}


def one_name(text: str) -> str:
    """Raises ValueError where a backslash makes several names of it."""
    if "\\" in text:
        raise ValueError(text)
    return text


RULES: dict[str, Callable[[str], Any]] = {
    "PatientName": one_name,
    "ReferringPhysicianName": one_name,
    "PatientBirthDate": DA,
    "StudyDate": DA,
    "StudyTime": TM,
    "PatientSex": lambda text: {"": "", "F": "F", "M": "M", "O": "O"}[text],
}
UTF_8 = "ISO_IR 192"


def write_report(path: Path, detection: Detection, source: Sequence[Header]) -> None:
    """Write a report of a detection on a DICOM scan, atomically: it joins the patient and study of ``source``.

    ``source``: the headers of the scan's files, `volume.series_headers`. A name, date, time or sex that breaks DICOM's
    rules is left empty. Raises UserError, OSError.
    """
    for tag, why in UIDS.items():
        if any(not _text(header, tag) for header in source):
            raise UserError(f"{detection.volume.path} has no {tag}, without which there is no report: {why}.")
    for tag in ("PatientID", *UIDS):
        if any("\\" in _text(header, tag) for header in source):
            raise UserError(
                f"{detection.volume.path} has a backslash in its {tag}, which makes several of it, and a report joins "
                "one; have it corrected in the scan's DICOM files."
            )
    with warnings.catch_warnings():  # pydicom comments on what a scanner has written, and is taken over as it is
        warnings.simplefilter("ignore")
        evidence = [_patient_and_study(source[0]), *source[1:]]
        _save(path, _document(detection, evidence, str(evidence[0].FrameOfReferenceUID)))


def write_anonymous_report(path: Path, detection: Detection, patient: str) -> None:
    """Write a report of a detection on a scan that has left its patient behind, atomically.

    ``patient``: what stands for the patient (a case's group). No source images are named; its UIDs follow from case and
    patient. Raises OSError.
    """
    key = hashlib.sha256(f"{patient} {detection.volume.path}".encode()).hexdigest()
    header = Header()
    for tag in TYPE_2:
        setattr(header, tag, "")
    header.PatientID = patient
    header.StudyInstanceUID = generate_uid(entropy_srcs=[key, "study"])
    header.SeriesInstanceUID = generate_uid(entropy_srcs=[key, "series"])
    header.SOPInstanceUID = generate_uid(entropy_srcs=[key, "scan"])
    header.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    report = _document(detection, [header], str(generate_uid(entropy_srcs=[key, "frame"])))
    del report.CurrentRequestedProcedureEvidenceSequence  # there is no such image
    report.PatientIdentityRemoved = "YES"
    report.DeidentificationMethod = "no header of the source was kept"
    _save(path, report)


def _patient_and_study(header: Header) -> Header:
    """What a report takes from a source, in UTF-8: sources may have any character set, and values that are none."""
    report = Header()
    report.SpecificCharacterSet = UTF_8
    for tag in (*UIDS, *TYPE_2, *(tag for tag in TYPE_3 if tag in header)):
        text = _text(header, tag)
        try:
            RULES.get(tag, str)(text)
        except (ValueError, KeyError):
            text = ""
        setattr(report, tag, text)
    return report


def _text(header: Header, tag: str) -> str:
    """A value as it is stored: a backslash is between several."""
    value = header.get(tag)
    parts = value if isinstance(value, MultiValue) else [value]
    return "\\".join("" if part is None else str(part) for part in parts)


def _save(path: Path, report: Header) -> None:
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report.save_as(temporary, enforce_file_format=True)


def _document(detection: Detection, evidence: Sequence[Header], frame: str) -> Header:
    import highdicom

    sr = highdicom.sr
    uid = generate_uid(entropy_srcs=[detection.model.sha256, detection.to_json(), frame])
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[MANUFACTURER, __version__]),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=detection.model.name[:LONGEST_TEXT],
        ),
    )
    with warnings.catch_warnings():  # on names and values that break a rule: they are the source's
        warnings.simplefilter("ignore")
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=device),
            procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=[_group(detection, mark, frame) for mark in detection.landmarks],
            title=codes.DCM.ImagingMeasurementReport,
        )
        report = sr.Comprehensive3DSR(
            evidence=evidence,
            content=content,
            series_instance_uid=generate_uid(entropy_srcs=[str(uid), "series"]),
            series_number=1,
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=detection.model.name[:LONGEST_TEXT],
            software_versions=__version__,
            device_serial_number=detection.model.sha256[:LONGEST_TEXT],
            is_complete=True,
            series_description="Landmarks, not for clinical use",
        )
    now = datetime.now()
    report.SeriesDate, report.SeriesTime = DA(now.date()), TM(now.time())
    return report


def _group(detection: Detection, mark: LandmarkResult, frame: str):
    import highdicom

    sr = highdicom.sr
    region, units = mark.confidence, codes.UCUM
    numbers = [("presence", "Probability that the landmark is in the scan", mark.presence, units.NoUnits)]
    if mark.reliability is not None:
        meaning = "Probability that the point is within 5 mm"
        numbers.append(("reliability", meaning, mark.reliability, units.NoUnits))
    if region is not None:
        numbers.append(("level", "Confidence level of the region", 100 * region.level, units.Percent))
        for n, (which, length) in enumerate(zip(("Longest", "Middle", "Shortest"), region.semi_axes_mm, strict=True)):
            meaning = f"{which} semi-axis of the confidence region"
            numbers.append((f"semi-axis-{n + 1}", meaning, length, units.Millimeter))
        meaning = "Volume of the confidence region"
        numbers.append(("region-volume", meaning, region.volume_mm3, units.CubicMillimeter))
    verdict = detection.quality.verdict_on(mark.name)
    answers = [
        ("status", "Whether the landmark is in the scan",
         codes.SCT.Absent if mark.position_lps_mm is None else codes.SCT.Present),
        ("verdict", "Verdict on the answer", _concept(verdict, VERDICTS[verdict])),
    ]  # fmt: skip
    kind = names.kind(mark.name) or mark.name  # of a landmark that is called just left, nothing else is known
    site = (
        codes.SCT.CarotidBifurcation if kind == "carotid_bifurcation" else _concept(_code_of(kind), names.title(kind))
    )
    laterality = {"left": codes.SCT.Left, "right": codes.SCT.Right}.get(names.side(mark.name))
    how = {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=generate_uid(entropy_srcs=[detection.to_json(), frame, mark.name]), identifier=mark.name
        ),
        "finding_type": site,
        "algorithm_id": sr.AlgorithmIdentification(
            name=detection.model.name,
            version=detection.model.version,
            parameters=[
                f"noise passes {detection.passes}", f"seed {detection.seed}", f"weights sha256 {detection.model.sha256}"
            ],
        ),
        "finding_sites": [sr.FindingSite(anatomic_location=site, laterality=laterality)],
        "measurements": [
            sr.Measurement(name=_concept(value, meaning), value=float(f"{amount:.10g}"), unit=unit)
            for value, meaning, amount, unit in numbers
        ],
        "qualitative_evaluations": [
            sr.QualitativeEvaluation(name=_concept(value, meaning), value=answer) for value, meaning, answer in answers
        ],
    }  # fmt: skip
    if mark.position_lps_mm is None:
        return sr.MeasurementsAndQualitativeEvaluations(**how)
    point = sr.ImageRegion3D(
        graphic_type=sr.GraphicTypeValues3D.POINT,
        graphic_data=np.array([mark.position_lps_mm]),
        frame_of_reference_uid=frame,
    )
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=point, **how)


VERDICTS = {"ok": "Use it", "review": "Look at it first", "reject": "Do not use it"}


def _code_of(kind: str) -> str:
    """A code of at most 16 characters: what is longer, and cut, would be one with another."""
    return kind if len(kind) <= 16 else f"{kind[:8]}{hashlib.sha256(kind.encode()).hexdigest()[:8]}"


def _concept(value: str, meaning: str):
    import highdicom

    return highdicom.sr.CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning[:LONGEST_TEXT])
