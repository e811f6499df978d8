"""Another set of landmarks, two pairs and a single one, needs no other code: detect, report, scene, dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from CarotidLandmarkLib import cli
from CarotidLandmarkLib.bundle import Architecture, Bundle, BundleMetadata, LandmarkSpec
from CarotidLandmarkLib.dataset import Dataset, check_dataset, order_cases
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.markups import read_markups
from CarotidLandmarkLib.nets import MultiScaleLocNet
from CarotidLandmarkLib.volume import read_volume, write_volume

SPECS = (
    LandmarkSpec("left_orbit", "L eye", "right_orbit"),
    LandmarkSpec("right_orbit", "R eye", "left_orbit"),
    LandmarkSpec("nasion", "Root of the nose", "nasion"),
    LandmarkSpec("left_mastoid", "L mastoid tip", "right_mastoid"),
    LandmarkSpec("right_mastoid", "R mastoid tip", "left_mastoid"),
)
LABELS = {spec.name: spec.label for spec in SPECS}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a model, a scan, and what the command says of it in ``results``."""
    folder = tmp_path_factory.mktemp("heads")
    sys.path.insert(0, str(Path(__file__).parents[1] / "scene"))
    from scene_cases import neck_volume

    torch.manual_seed(3)
    net = MultiScaleLocNet(Architecture(SPECS, widths=((4, 8),) * 4, patch_sizes=(16, 16, 16)))
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(1.0)
    metadata = BundleMetadata(
        name="head",
        version="1.0",
        landmarks=SPECS,
        scales_mm=(4.0, 2.0, 1.0, 0.5),
        patch_sizes=(16, 16, 16),
        widths=((4, 8),) * 4,
        hu_window=(-200.0, 1000.0),
        noise_mm=5.0,
        architecture={},
        torch_version=torch.__version__,
        lib_version="0",
        training={},
        accuracy={},
        calibration={},
        intended_use="Tests.",
        licence="Apache-2.0",
    )
    Bundle.save(folder / "model", metadata, net.state_dict(), "# Head\n")
    write_volume(neck_volume(4.0), folder / "head.nrrd")
    run("detect", folder / "head.nrrd", "-o", folder / "results", "--model", folder / "model", "--passes", 2)
    return folder


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main([str(argument) for argument in arguments])
    assert ending.value.code == 0


def test_every_file_has_all_five_by_the_model_s_labels(made):
    detection = Detection.from_json((made / "results/detection.json").read_text())
    assert detection.labels == LABELS
    assert read_markups(made / "results/landmarks.mrk.json", LABELS).keys() == LABELS.keys()
    page = (made / "results/report.html").read_text()
    assert all(title in page for title in ("Left orbit", "Right mastoid", "Nasion"))


def test_the_scene_shows_the_model_s_labels_and_a_colour_for_each(made):
    pytest.importorskip("slicer")
    from CarotidLandmarkLib import scene
    from CarotidLandmarkLib.scene import offscreen

    detection = Detection.from_json((made / "results/detection.json").read_text())
    with offscreen.quiet_vtk():
        stage = offscreen.Stage()
        nodes = scene.add_detection(scene.add_volume(stage.scene, read_volume(made / "head.nrrd")), detection)
    assert [nodes.points.GetNthControlPointLabel(n) for n in range(5)] == list(LABELS.values())
    colours = {model.GetDisplayNode().GetColor() for model in nodes.ellipsoids.values()}
    assert len(colours) == 5


def test_a_dataset_of_them_is_predicted_annotated_queued_and_checked(made, tmp_path):
    dataset = Dataset.create(tmp_path / "heads", list(LABELS))
    dataset.add_case(made / "head.nrrd", "one")
    run("cohort", dataset.path, "--predict", "--model", made / "model", "--passes", 2)
    centre = dataset.case("one").geometry.centre_lps
    points = {name: tuple(centre.tolist()) for name in LABELS}
    points["left_mastoid"] = (*(centre - (9.0, 0.0, 0.0))[:1].tolist(), *centre[1:].tolist())
    points["nasion"] = None
    status = {name: "missing" if point is None else "corrected" for name, point in points.items()}
    dataset.save_annotation("one", "anna", points, status)
    assert order_cases(dataset) == ["one"]
    messages = [finding.message for finding in check_dataset(dataset) if "annotations" in finding.file]
    assert messages == [
        "left_orbit and right_orbit are swapped: left lies to the right of right.",
        "left_mastoid and right_mastoid are swapped: left lies to the right of right.",
    ]
    assert json.loads((dataset.path / "cases/one/prediction.json").read_text())["landmarks"][2]["label"] == (
        "Root of the nose"
    )
