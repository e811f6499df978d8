"""A judgement fitted on what a model did: its cases may be chosen for what they lack, and it knows how rare that is."""

import numpy as np
import pytest
import torch
from carotid_training.release import export as export_module
from carotid_training.release.export import export
from carotid_training.release.judging import Answers, answers_on, check_enough, cross_validated, fit, judgement_of
from CarotidLandmarkLib.bundle import Bundle
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.errors import UserError

from ..ball_scans import write_cohort
from ..outcomes import LANDMARKS
from .test_finetune import save_start


def answers(count: int, seed: int, telling: float = 6.0, there: float = 0.3) -> Answers:
    """The second number tells whether an answer is right, the third whether there is a landmark."""
    random = np.random.default_rng(seed)
    present = random.random(count) < there
    right = present & (random.random(count) < 0.7)
    evidence = random.normal(2.0, [1.0, 1.0, 4.0], (count, 3))
    evidence[:, 1] += telling * right / 2
    evidence[:, 2] += telling * present * 2
    off = np.where(right[:, None], [0.0, 3.0, 0.0], [0.0, 0.0, 20.0])
    return Answers(evidence, np.where(present[:, None], off, np.nan), np.arange(count) // 2)


USUAL = answers(4000, 9, there=0.9)


def test_a_judgement_tells_right_from_wrong_in_answers_that_it_has_not_seen():
    unseen = answers(400, 2, there=0.9)
    presence, reliability = fit(answers(400, 1), USUAL).probabilities(unseen.evidence)
    assert ((presence > 0.5) == unseen.present).mean() > 0.9
    assert ((reliability > 0.5) == unseen.right).mean() > 0.9


def test_probabilities_are_those_of_scans_as_they_come():
    nothing = answers(8000, 3, telling=0.0)
    presence, reliability = fit(nothing, USUAL).probabilities(nothing.evidence[:5])
    assert presence == pytest.approx(0.9, abs=0.03) and reliability == pytest.approx(0.63, abs=0.03)


@pytest.mark.parametrize("there", [1.0, 0.0])
def test_answers_that_are_all_alike_teach_nothing(there):
    with pytest.raises(UserError, match="5 landmarks that are absent and 5 others, and has"):
        fit(answers(60, 1, there=there), USUAL)


def test_what_does_not_tell_has_an_area_of_a_half_in_scans_left_out():
    telling, nothing = (cross_validated(answers(2000, 4, tells), USUAL) for tells in (6.0, 0.0))
    areas = [
        [float(word) for word in words.split() if word[0].isdigit() and "." in word] for words in (telling, nothing)
    ]
    assert min(areas[0]) > 0.95 and areas[1] == pytest.approx([0.5, 0.5], abs=0.06)


def test_the_record_says_on_what_a_judgement_was_fit_both():
    _, words = judgement_of(answers(400, 1), USUAL, ["necks", "noise"])
    seen = answers(400, 1)
    absent, wrong = (~seen.present).sum(), (seen.present & ~seen.right).sum()
    assert words.startswith("fitted on the validation cases of necks, noise: of 400 landmarks ")
    assert f" {absent} absent and {wrong} more than 5 mm off (to the left, back and up 0, 0 and 20 mm in the " in words


def lacking(folder, count: int, seed: int = 0) -> Dataset:
    """Scans of two balls; of every second one the annotator says that the left one is not there."""
    dataset = write_cohort(folder, {"validation": count, "train": 1}, seed)
    for case_id in dataset.case_ids()[::2]:
        points = {**dataset.case(case_id).annotation("truth").points, LANDMARKS[0].name: None}
        status = {name: "accepted" if point else "missing" for name, point in points.items()}
        dataset.save_annotation(case_id, "truth", points, status)
    return dataset


def annotated_ids(dataset) -> list[str]:
    """Of the validation cases, in the order in which they are looked at."""
    return [case.id for case in dataset.annotated_cases("validation")]


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Bundle:
    return save_start(tmp_path_factory.mktemp("start") / "start", 0.0)


def test_what_is_judged_is_what_a_detection_sees_on_the_validation_cases(tmp_path, start):
    dataset = lacking(tmp_path / "balls", 4)
    detector = Detector(start, "cpu")
    told = []
    seen = answers_on(detector, [dataset], lambda words, share: told.append(words))
    cases = annotated_ids(dataset)
    assert told == cases and seen.scans.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for number, case in enumerate(map(dataset.case, cases)):
        one = detector.examine(case.read_volume(), DetectionSettings(passes=8))
        points = case.annotation("truth").points
        for n, landmark in enumerate(LANDMARKS):
            row = 2 * number + n
            assert np.array_equal(seen.evidence[row], one.evidence[n])
            truth = points[landmark.name]
            assert seen.present[row] == (truth is not None)
            if truth is not None:
                assert np.allclose(seen.off_lps[row], one.positions_lps[n].mean(axis=0) - truth)


def test_too_few_landmarks_that_lack_are_refused_before_anything_is_looked_at(tmp_path, start):
    dataset = lacking(tmp_path / "balls", 4)
    with pytest.raises(UserError, match="needs 5 landmarks that are absent and 5 others, and has 2 and 6; add cases"):
        check_enough(LANDMARKS, [dataset])
    check_enough(LANDMARKS, [lacking(tmp_path / "more", 12)])


def test_a_bundle_is_judged_and_calibrated_anew_with_the_same_weights(tmp_path, start):
    judging, calibrating = lacking(tmp_path / "judging", 14), lacking(tmp_path / "calibrating", 3, seed=9)
    seen = answers_on(Detector(start, "cpu"), [judging], lambda words, share: None)
    for number, case_id in enumerate(annotated_ids(judging)[:7]):  # as if the model were right there
        annotation = judging.case(case_id).annotation("truth")
        place = np.add(annotation.points[LANDMARKS[1].name], seen.off_lps[2 * number + 1])
        points = {**annotation.points, LANDMARKS[1].name: tuple(place.tolist())}
        judging.save_annotation(case_id, "truth", points, annotation.status)
    new = export(start.path, calibrating.path, tmp_path / "new", "new", "2.0", "cpu", [judging.path])
    assert new.metadata.judgement is not None
    assert "validation cases of judging" in new.metadata.training["judgement"]
    for name, values in start.state.items():
        assert new.state[name].dtype == torch.float16
        assert np.allclose(new.state[name].float(), values.float(), atol=1e-2)
    again = export(new.path, calibrating.path, tmp_path / "again", "again", "3.0", "cpu")
    assert again.metadata.judgement == new.metadata.judgement
    assert again.metadata.weights_sha256 == new.metadata.weights_sha256
    assert again.metadata.training == new.metadata.training


def test_regions_are_calibrated_on_what_the_model_finds_once_its_presence_is(tmp_path, monkeypatch):
    start = save_start(tmp_path / "start", -5.0)  # says of everything that it is missing
    monkeypatch.setattr(export_module, "platt", lambda log_odds, present: (1.0, 10.0))  # on ball scans nothing tells
    calibrating = write_cohort(tmp_path / "calibrating", {"validation": 10, "train": 1})
    new = export(start.path, calibrating.path, tmp_path / "new", "new", "2.0", "cpu")
    assert {row[LANDMARKS[0].name]["n"] for row in new.metadata.calibration.values()} == {10}


def test_cases_that_calibrate_do_not_judge(tmp_path, start):
    dataset = lacking(tmp_path / "balls", 14)
    with pytest.raises(
        UserError, match="validation-0 and validation-0 are one scan, which can not calibrate and judge"
    ):
        export(start.path, dataset.path, tmp_path / "new", "new", "2.0", "cpu", [dataset.path])
    assert not (tmp_path / "new").exists()
