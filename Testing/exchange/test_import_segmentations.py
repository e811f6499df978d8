"""Segmented vessels become drafts of the annotator ``segmentation``, of the case they fit; nothing else is written."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from CarotidLandmarkLib.dataset import Dataset, read_draft
from CarotidLandmarkLib.volume import Volume, from_array

from ..vessels.phantoms import VOXEL_MM, apex, fork, geometry
from ..volume.writers import nifti
from .conftest import LEFT, RIGHT, block

X = {LEFT: 22.0, RIGHT: -22.0}


def body_dataset(path, centred: bool = False) -> Dataset:
    """Case ``neck``: a body around both sides; ``centred``: its middle is at the scanner's zero."""
    grid = geometry()
    if centred:
        grid.affine_lps[:3, 3] -= grid.centre_lps
    array = np.full(grid.size[::-1], -1000, np.int16)
    array[:, 4:-4, 4:-4] = np.random.default_rng(0).normal(40, 200, array[:, 4:-4, 4:-4].shape)
    made = Dataset.create(path, (LEFT, RIGHT))
    made.add_case(from_array(array, grid.affine_lps), "neck")
    made.add_case(block((-80, 20, 5000)), "other")
    return made


def mask(path, array, origin=None):
    grid = geometry()
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetOrigin(grid.affine_lps[:3, 3].tolist() if origin is None else origin)
    sitk.WriteImage(image, str(path), True)
    return path


def test_a_mask_becomes_a_draft_of_the_annotator_segmentation(run, tmp_path):
    dataset = body_dataset(tmp_path / "set")
    file = mask(tmp_path / "vessels.nii.gz", (fork(22.0) + fork(-22.0)) > 0)
    code, out, err = run("import", dataset.path, file, "--segmentation")
    assert (code, out) == (0, "neck: vessels.nii.gz, a draft to be looked at\n")
    assert err == ["Note: neck: matched by its place alone: look whether it is this scan."]
    case = dataset.case("neck")
    assert case.annotators() == []
    draft = read_draft(case, "segmentation")
    for name, (status, point) in draft.landmarks.items():
        assert status == "corrected" and np.abs(np.array(point) - apex(X[name])).max() <= VOXEL_MM
    assert (
        run("import", dataset.path, file, "--segmentation")[1] == "neck: vessels.nii.gz was there already, as a draft\n"
    )


def test_doubts_are_said_and_a_side_without_a_fork_is_not_called_missing(run, tmp_path):
    dataset = body_dataset(tmp_path / "set")
    array = (fork(22.0) + fork(-22.0, high=24)) > 0
    array[round(10 / VOXEL_MM) : round(13 / VOXEL_MM), :, array.shape[2] // 2 :] = False
    code, out, err = run(
        "import", dataset.path, mask(tmp_path / "neck.nrrd", array), "--segmentation", "--annotator", "tool"
    )
    assert code == 0 and out == f"neck: neck.nrrd, a draft to be looked at; nothing is said of {RIGHT}\n"
    assert [line for line in err if "left: the lumen has a gap" in line]
    assert [line for line in err if "right: no lumen becomes two" in line]
    assert set(read_draft(dataset.case("neck"), "tool").landmarks) == {LEFT}


def test_a_segmentation_of_another_geometry_is_refused_and_nothing_is_written(run, tmp_path):
    dataset = body_dataset(tmp_path / "set")
    before = sorted(dataset.path.rglob("*"))
    array = (fork(22.0) + fork(-22.0)) > 0
    named = mask(tmp_path / "neck.nrrd", array, [500.0, 0.0, 0.0])
    code, out, err = run("import", dataset.path, named, "--segmentation")
    assert (code, out) == (2, "") and "has another geometry than case neck: labels lie outside its image" in err[0]
    far = mask(tmp_path / "far.nrrd", array, [500.0, 0.0, 0.0])
    code, out, err = run("import", dataset.path, far, "--segmentation")
    assert (code, out) == (2, "") and "No case of set matches far.nrrd" in err[0]
    empty = mask(tmp_path / "neck.nii.gz", np.zeros_like(array))
    code, out, err = run("import", dataset.path, empty, "--segmentation")
    assert (code, out) == (2, "") and "is empty: no voxel has a label" in err[0]
    assert sorted(dataset.path.rglob("*")) == before


FRAMES = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "LAS": (1, -1, 1)}


def unsaid(path, array, scan, frame):
    """A mask on the voxels of a scan as programs write it that say nothing of the frame that they count in."""
    affine = np.diag([*FRAMES[frame], 1]) @ scan.affine_lps
    vectors = [f"({','.join(map(repr, map(float, column[:3])))})" for column in affine.T]
    if path.suffix == ".nrrd":
        fields = [f"space directions: {' '.join(vectors[:3])}", f"space origin: {vectors[3]}", "type: uint8"]
        fields += ["dimension: 3", f"sizes: {' '.join(map(str, scan.size))}", "encoding: raw", "", ""]
        start = "NRRD0005\n" + "\n".join(fields)
    else:
        start = f"NDims = 3\nDimSize = {' '.join(map(str, scan.size))}\nElementSpacing = 0.6 0.6 0.6\n"
        start += f"Offset = {' '.join(map(repr, map(float, affine[:3, 3])))}\nElementType = MET_UCHAR\n"
        start += "ElementDataFile = LOCAL\n"
    path.write_bytes(start.encode() + array.astype(np.uint8).tobytes())
    return path


@pytest.mark.parametrize(("name", "frame"), [*((f"neck{way}.nrrd", way) for way in FRAMES), ("neck-LPS.mha", "LPS")])
def test_a_mask_that_does_not_say_its_sides_has_those_of_the_scan_whose_voxels_it_has(run, tmp_path, name, frame):
    dataset = body_dataset(tmp_path / "set", centred=True)  # of which turned voxels lie in the scan, too
    scan = dataset.case("neck").geometry
    array = (fork(22.0, y=20.0) + fork(-22.0, y=35.0)) > 0
    mask_file = unsaid(tmp_path / name, array, scan, frame)
    code, _, err = run("import", dataset.path, mask_file, "--segmentation")
    words = f"{name} does not say which side is left; its voxels were taken as those of the scan, with which its"
    assert code == 0 and any(words in line for line in err)
    moved = scan.affine_lps[:3, 3] - geometry().affine_lps[:3, 3]
    for landmark, (_, point) in read_draft(dataset.case("neck"), "segmentation").landmarks.items():
        truth = apex(X[landmark], y=20.0 if landmark == LEFT else 35.0) + moved
        assert np.abs(np.array(point) - truth).max() <= VOXEL_MM


def test_a_mask_of_other_voxels_that_leaves_sides_or_place_unsaid_is_refused_and_nothing_is_written(run, tmp_path):
    dataset = body_dataset(tmp_path / "set", centred=True)
    before = sorted(dataset.path.rglob("*"))
    scan = dataset.case("neck").geometry
    array = (fork(22.0, y=20.0) + fork(-22.0, y=35.0)) > 0
    path = unsaid(tmp_path / "neck.nrrd", array, scan, "LPS")
    start, _, voxels = path.read_bytes().partition(b"\n\n")
    i, j, k = scan.size
    for header, data, words in (
        (start.replace(b"%d %d %d" % (i, j, k), b"%d %d %d" % (i, j, k - 1)), voxels[: -i * j], "which side is left"),
        (start.replace(b"space origin", b"#"), voxels, "which side is left and where it lies (space origin)"),
        (start.replace(b"space origin", b"space: LPS\n#"), voxels, "where it lies (space origin)"),
    ):
        path.write_bytes(header + b"\n\n" + data)
        code, out, err = run("import", dataset.path, path, "--segmentation")
        assert (code, out) == (2, "")
        assert f"neck.nrrd does not say {words}, and its voxels are not those of case neck; export it again" in err[0]
    assert sorted(dataset.path.rglob("*")) == before


def test_what_was_decided_about_the_place_of_a_mask_is_said(run, tmp_path):
    dataset = body_dataset(tmp_path / "set")
    array = ((fork(22.0) + fork(-22.0)) > 0).astype(np.int16)
    scan = dataset.case("neck").geometry
    file = nifti(Volume(array, scan.affine_lps), tmp_path / "neck.nii", pixdim=[1, 2, 2, 2, 0, 0, 0, 0])
    code, _, err = run("import", dataset.path, file, "--segmentation")
    assert code == 0 and [line for line in err if line.endswith("(sform); the sform was followed.")]


def test_a_dataset_of_other_landmarks_has_no_use_for_carotids(run, tmp_path):
    body_dataset(tmp_path / "first")
    dataset = Dataset.create(tmp_path / "set", ("nasion",))
    grid = geometry()
    array = np.random.default_rng(0).normal(40, 200, grid.size[::-1]).astype(np.int16)
    dataset.add_case(from_array(array, grid.affine_lps), "neck")
    file = mask(tmp_path / "neck.nrrd", (fork(22.0) + fork(-22.0)) > 0)
    code, _, err = run("import", dataset.path, file, "--segmentation")
    assert code == 2 and "this dataset is about nasion" in err[0]
