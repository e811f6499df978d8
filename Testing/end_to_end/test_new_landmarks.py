"""From scans to a model of landmarks that nobody has taught before, by commands and one configuration alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from carotid_training import cli as training
from CarotidLandmarkLib import cli
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detection import Detection
from CarotidLandmarkLib.volume import write_volume

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from ball_scans import PLACES, scan_of_balls

NAMES = ("left_vertebral_origin", "right_vertebral_origin")
CONFIG = Path(__file__).parents[2] / "Training" / "configs" / "other-landmarks.yaml"
PATIENTS = 5


def run(main, *words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Scans, and ``heads``: a dataset of them with an annotation each, begun by the command."""
    folder = tmp_path_factory.mktemp("vertebral")
    draw = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAROTID_LANDMARK_HOME", str(folder / "home"))
        patch.setenv("CAROTID_CACHE", str(folder / "cache"))
        places = PLACES + draw.uniform(-4, 4, (PATIENTS, 2, 3))
        scans = [folder / f"{n}.nrrd" for n in range(PATIENTS)]
        for scan, points in zip(scans, places, strict=True):
            write_volume(scan_of_balls(points), scan)
        landmarks = [word for name in NAMES for word in ("--landmark", name)]
        assert run(cli.main, "add", folder / "heads", *scans, *landmarks) == 0
        dataset = Dataset.open(folder / "heads")
        for case_id, points in zip(dataset.case_ids(), places, strict=True):
            answer = dict(zip(NAMES, map(tuple, points.tolist()), strict=True))
            dataset.save_annotation(case_id, "anna", answer, dict.fromkeys(NAMES, "accepted"))
        yield folder


def configuration(folder: Path, name: str, **landmarks: str) -> Path:
    """The program's, but for tiny nets and two steps; ``landmarks``: words of it that are replaced."""
    text = CONFIG.read_text(encoding="utf-8")
    for old, new in landmarks.items():
        text = text.replace(old, new)
    document = yaml.safe_load(text)
    document["model"]["architecture"] |= {"widths": [[4, 8]] * 4, "patch_sizes": [16] * 3}
    document["data"]["workers"] = 0
    document["trainer"] |= {"max_steps": 2, "val_check_interval": 2, "accelerator": "cpu"}
    document["trainer"]["default_root_dir"] = str(folder / name)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(folder) -> Path:
    """``vertebral``: a model of them, trained and exported."""
    config, heads, bundle = configuration(folder, "run"), folder / "heads", folder / "vertebral"
    assert run(training.main, "fit", f"--config={config}", f"--data.dataset={heads}") == 0
    assert run(training.main, "export", folder / "run", "--calibrate", heads, "--output", bundle) == 0
    return bundle


def test_a_model_of_new_landmarks_is_trained_exported_and_detects(folder, bundle):
    splits = [case.split for case in Dataset.open(folder / "heads").cases()]
    assert sorted(splits) == ["test", "train", "train", "train", "validation"]
    assert run(cli.main, "detect", folder / "0.nrrd", "-o", folder / "found", "--model", bundle, "--passes", 2) == 0
    detection = Detection.from_json((folder / "found" / "detection.json").read_text())
    assert detection.labels == {NAMES[0]: "L vertebral", NAMES[1]: "R vertebral"}


def test_later_cases_teach_the_model_of_new_landmarks_without_digital_necks(folder, bundle, capsys):
    heads, output = folder / "heads", folder / "vertebral-2"
    words = ("finetune", heads, "--model", bundle, "--output", output, "--steps", 2, "--passes", 2, "--device", "cpu")
    assert run(training.main, *words, "--rendered", folder / "rendered") == 2
    assert "know the two carotid bifurcations alone" in capsys.readouterr().err
    assert not output.exists()
    assert run(training.main, *words, "--force") == 0
    record = json.loads((output / "bundle" / "metadata.json").read_text())
    assert [landmark["name"] for landmark in record["landmarks"]] == list(NAMES)
    assert json.loads((output / "finetune.json").read_text())["styles"] == []


def test_a_name_that_the_dataset_does_not_have_is_refused_before_anything_is_learnt(folder, capsys):
    config = configuration(folder, "typo", vertebral_origin="vertebral_orign")
    assert run(training.main, "fit", f"--config={config}", f"--data.dataset={folder / 'heads'}") == 2
    assert "heads is about left_vertebral_origin, right_vertebral_origin, not about" in capsys.readouterr().err
    assert not (folder / "typo" / "checkpoints" / "last.ckpt").exists()


def test_a_damaged_case_is_named_by_the_sentence_about_it_and_not_by_its_cause(folder, capsys):
    heads = Dataset.create(folder / "damaged", NAMES)
    case = heads.case(heads.add_case(folder / "0.nrrd", "one"))
    (case.folder / "case.json").write_text("{")
    config = configuration(folder, "damaged-run")
    assert run(training.main, "fit", f"--config={config}", f"--data.dataset={heads.path}") == 2
    assert "case.json of case one is damaged (it is not JSON); restore it" in capsys.readouterr().err


def test_too_few_patients_are_refused_and_get_no_split(folder, capsys, monkeypatch):
    heads = Dataset.create(folder / "few", NAMES)
    case = heads.add_case(folder / "0.nrrd", "one")
    heads.save_annotation(case, "anna", dict.fromkeys(NAMES), dict.fromkeys(NAMES, "missing"))
    config = configuration(folder, "few-run")
    assert run(training.main, "fit", f"--config={config}", f"--data.dataset={heads.path}") == 2
    assert "few has annotated cases of 1 patient; training needs 5: some to learn from" in capsys.readouterr().err
    assert heads.case(case).split is None
