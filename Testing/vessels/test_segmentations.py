"""Segmentations of every kind of file and every name: the same forks, or the reason why there are none."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.vessels import SegmentationError, carotid_forks, carotid_masks, read_segmentation
from CarotidLandmarkLib.volume import Volume, VolumeError
from pydicom.sr.codedict import codes

from .phantoms import COMMON, EXTERNAL, INTERNAL, VOXEL_MM, apex, fork, geometry

LEFT_X, RIGHT_X = 22.0, -22.0
LANDMARKS = ("left_carotid_bifurcation", "right_carotid_bifurcation")
NAMES = {COMMON: "common_carotid_artery", INTERNAL: "internal_carotid_artery", EXTERNAL: "external_carotid_artery"}


@pytest.fixture(scope="module")
def sides() -> dict[str, np.ndarray]:
    return {"left": fork(LEFT_X), "right": fork(RIGHT_X)}


@pytest.fixture(scope="module")
def scan() -> Volume:
    """A body around both sides, in air."""
    grid = geometry()
    array = np.full(grid.size[::-1], -1000, np.int16)
    array[:, 4:-4, 4:-4] = 40
    return Volume(array, grid.affine_lps, "c1")


def image(array: np.ndarray) -> sitk.Image:
    grid = geometry()
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(grid.spacing_mm.tolist())
    made.SetOrigin(grid.affine_lps[:3, 3].tolist())
    return made


def write(array: np.ndarray, path: Path, **fields: str) -> Path:
    made = image(array)
    for key, value in fields.items():
        made.SetMetaData(key, value)
    sitk.WriteImage(made, str(path), True)
    return path


def points_of(path: Path, scan: Volume, *labels: str) -> dict:
    segmentation = read_segmentation(path)
    points, _ = carotid_forks(
        carotid_masks(segmentation, dict(text.split("=") for text in labels)), segmentation, LANDMARKS, scan
    )
    return points


def check(points: dict) -> None:
    for name, x in zip(LANDMARKS, (LEFT_X, RIGHT_X), strict=True):
        assert np.abs(points[name] - apex(x)).max() <= VOXEL_MM


@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz", "mha"])
def test_one_label_for_every_lumen_gives_both_sides_told_by_the_body(sides, scan, tmp_path, suffix):
    check(points_of(write(((sides["left"] + sides["right"]) > 0).astype(np.uint8), tmp_path / f"m.{suffix}"), scan))


def test_numbers_of_vessels_can_be_said(sides, scan, tmp_path):
    file = write(sides["left"] + sides["right"], tmp_path / "m.nii.gz")
    with pytest.raises(SegmentationError, match="of which none names a carotid; say with --label"):
        points_of(file, scan)
    check(points_of(file, scan, "1=common", "2=internal", "3=external"))
    with pytest.raises(SegmentationError, match="has no label '7'; it has 1, 2, 3"):
        points_of(file, scan, "7=common")


def test_a_seg_nrrd_of_slicer_has_names_and_layers(sides, scan, tmp_path):
    layers = np.stack([sides["left"], sides["right"]], axis=-1)
    grid = geometry()
    header = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior",
        f"sizes: 2 {' '.join(map(str, grid.size))}",
        "space directions: none " + " ".join(f"({','.join(map(str, axis))})" for axis in grid.affine_lps[:3, :3].T),
        "kinds: list domain domain domain", "encoding: raw",
        f"space origin: ({','.join(map(str, grid.affine_lps[:3, 3]))})",
    ]  # fmt: skip
    n = 0
    for layer, side in enumerate(("left", "right")):
        for label, name in NAMES.items():
            header += [
                f"Segment{n}_Name:={side} {name}",
                f"Segment{n}_LabelValue:={label}",
                f"Segment{n}_Layer:={layer}",
            ]
            n += 1
    (tmp_path / "s.seg.nrrd").write_bytes("\n".join([*header, "", ""]).encode() + layers.tobytes())
    check(points_of(tmp_path / "s.seg.nrrd", scan))


def test_a_folder_of_masks_and_the_names_in_a_nifti_are_those_of_totalsegmentator(sides, scan, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for side, labels in sides.items():
        for label, name in NAMES.items():
            write((labels == label).astype(np.uint8), folder / f"{name}_{side}.nii.gz")
    write(np.ones_like(sides["left"]), folder / "brain.nii.gz")
    check(points_of(folder, scan))
    write(np.zeros_like(sides["left"]), folder / "common_carotid_artery_third.nii.gz")  # of a vessel that is not there
    check(points_of(folder, scan))
    write(0.97 * (sides["left"] == 1), folder / "common_carotid_artery_fourth.nii.gz")
    with pytest.raises(SegmentationError, match=r"fourth.* are no labels"):
        points_of(folder, scan)
    (folder / "common_carotid_artery_fourth.nii.gz").unlink()
    for side in sides:
        (folder / f"external_carotid_artery_{side}.nii.gz").unlink()
    with pytest.raises(SegmentationError, match=r"has no external carotid .* \(TotalSegmentator does not"):
        points_of(folder, scan)


def test_the_names_in_the_header_of_a_nifti_of_totalsegmentator_are_known(sides, scan, tmp_path):
    file = write(sides["left"] + sides["right"], tmp_path / "plain.nii")
    rows = "".join(f'<Label Key="{label}" Red="1"><![CDATA[{name}]]></Label>' for label, name in NAMES.items())
    text = f"<CaretExtension><LabelTable>{rows}</LabelTable></CaretExtension>".encode()
    text += b" " * (-(len(text) + 8) % 16)
    raw = bytearray(file.read_bytes())
    start = int(struct.unpack_from("<f", raw, 108)[0])
    struct.pack_into("<f", raw, 108, 352 + 8 + len(text))
    extension = b"\1\0\0\0" + struct.pack("<ii", 8 + len(text), 0) + text
    (tmp_path / "ml.nii.gz").write_bytes(gzip.compress(bytes(raw[:348]) + extension + bytes(raw[start:])))
    check(points_of(tmp_path / "ml.nii.gz", scan))


def dicom_seg(path: Path, masks: dict[str, np.ndarray], write_dicom, tmp_path: Path) -> Path:
    import pydicom

    grid = geometry()
    series = write_dicom(Volume(np.zeros(grid.size[::-1], np.int16), grid.affine_lps, "ct"), tmp_path / "ct")
    sources = sorted((pydicom.dcmread(file) for file in series.iterdir()), key=lambda one: one.InstanceNumber)
    for source in sources:
        for tag in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            setattr(source, tag, "")
        source.SliceThickness = VOXEL_MM
        source.StudyInstanceUID = sources[0].StudyInstanceUID
        source.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=n, segment_label=name, segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.CarotidArtery,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in enumerate(masks, start=1)
    ]  # fmt: skip
    seg = highdicom.seg.Segmentation(
        source_images=sources, pixel_array=np.stack(list(masks.values()), axis=-1),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY, segment_descriptions=described,
        series_instance_uid=highdicom.UID(), series_number=9, sop_instance_uid=highdicom.UID(), instance_number=1,
        manufacturer="test", manufacturer_model_name="test", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    seg.save_as(path)
    return path


def test_a_dicom_seg_is_read_where_its_frames_lie(sides, scan, tmp_path, write_dicom):
    masks = {"carotid lumen": (sides["left"] + sides["right"]) > 0}
    check(points_of(dicom_seg(tmp_path / "seg.dcm", masks, write_dicom, tmp_path), scan))


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (ValueError("frames"), VolumeError("seg.dcm is a DICOM segmentation that can not be read; export it again.")),
        (OSError(5, "Input/output error"), OSError(5, "Input/output error")),
        (MemoryError("Unable to allocate"), MemoryError("Unable to allocate")),
    ],
)
def test_a_dicom_seg_is_bad_only_where_neither_the_disk_nor_memory_refused(
    sides, tmp_path, write_dicom, monkeypatch, refusal, told
):
    path = dicom_seg(tmp_path / "seg.dcm", {"carotid lumen": sides["left"] > 0}, write_dicom, tmp_path)

    def refuse(*_arguments):
        raise refusal

    monkeypatch.setattr(highdicom.seg, "segread", refuse)
    with pytest.raises(type(told)) as raised:
        read_segmentation(path)
    assert str(raised.value) == str(told)


def test_labels_on_the_wrong_side_of_the_body_are_refused(sides, scan, tmp_path):
    swapped = sides["left"] + np.where(sides["right"] > 0, sides["right"] + 3, 0)
    labels = [f"{n}=right_{v}" for n, v in ((1, "common"), (2, "internal"), (3, "external"))]
    labels += [f"{n}=left_{v}" for n, v in ((4, "common"), (5, "internal"), (6, "external"))]
    with pytest.raises(SegmentationError, match=r"labelled .* lies on the patient's .*; correct the labels"):
        points_of(write(swapped.astype(np.uint8), tmp_path / "m.nrrd"), scan, *labels)


@pytest.mark.parametrize("named", [False, True])
def test_a_scan_that_shows_more_of_one_half_of_the_body_does_not_move_the_sides(sides, scan, tmp_path, named):
    array = scan.array.copy()
    array[:, :, 55:] = -1000  # the middle of what is left lies beyond the right fork
    half = Volume(array, scan.affine_lps, "c1")
    masks = sides["right"] + np.where(sides["left"] > 0, sides["left"] + 3, 0)
    labels = [f"{n}=right_{v}" for n, v in ((1, "common"), (2, "internal"), (3, "external"))]
    labels += [f"{n}=left_{v}" for n, v in ((4, "common"), (5, "internal"), (6, "external"))]
    array = masks if named else masks > 0
    check(points_of(write(array.astype(np.uint8), tmp_path / "m.nrrd"), half, *(labels if named else ())))


def test_one_side_alone_is_found_and_the_other_is_said_not_to_be(sides, scan, tmp_path):
    segmentation = read_segmentation(write((sides["left"] > 0).astype(np.uint8), tmp_path / "m.nrrd"))
    points, notes = carotid_forks(carotid_masks(segmentation, {}), segmentation, LANDMARKS, scan)
    assert set(points) == {LANDMARKS[0]}
    assert notes == (
        "right: no lumen becomes two that go on; it may end below the fork, have a gap, or not be segmented",
    )


def test_what_is_no_segmentation_is_refused_in_a_sentence(sides, scan, tmp_path):
    for array, error, words in (
        (np.zeros_like(sides["left"]), SegmentationError, "is empty: no voxel has a label"),
        (np.random.default_rng(0).normal(0, 1, sides["left"].shape).astype(np.float32), SegmentationError, "no labels"),
        ((fork(LEFT_X, high=25) > 0).astype(np.uint8), SegmentationError, "has no fork"),
    ):
        with pytest.raises(error, match=words):
            points_of(write(array, tmp_path / "m.nrrd"), scan)
    (tmp_path / "m.nrrd").write_bytes((tmp_path / "m.nrrd").read_bytes()[:300])
    for path, words in ((tmp_path / "m.nrrd", "damaged"), (tmp_path / "none.nrrd", "does not exist")):
        with pytest.raises(VolumeError, match=words):
            read_segmentation(path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(SegmentationError, match="holds no mask of a carotid"):
        read_segmentation(tmp_path / "nothing")
