"""Segmented vessels become drafts of the annotator ``segmentation``, of the case they fit; nothing else is written."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from CarotidLandmarkLib.dataset import Dataset, read_draft
from CarotidLandmarkLib.volume import from_array

from ..vessels.phantoms import VOXEL_MM, apex, fork, geometry
from .conftest import LEFT, RIGHT, block

X = {LEFT: 22.0, RIGHT: -22.0}


def body_dataset(path) -> Dataset:
    """Case ``neck``: a body around both sides."""
    grid = geometry()
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


def test_a_dataset_of_other_landmarks_has_no_use_for_carotids(run, tmp_path):
    body_dataset(tmp_path / "first")
    dataset = Dataset.create(tmp_path / "set", ("nasion",))
    grid = geometry()
    array = np.random.default_rng(0).normal(40, 200, grid.size[::-1]).astype(np.int16)
    dataset.add_case(from_array(array, grid.affine_lps), "neck")
    file = mask(tmp_path / "neck.nrrd", (fork(22.0) + fork(-22.0)) > 0)
    code, _, err = run("import", dataset.path, file, "--segmentation")
    assert code == 2 and "this dataset is about nasion" in err[0]
