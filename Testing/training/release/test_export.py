"""What a bundle says of itself: calibration over what one net finds, and the card."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from carotid_training.release.card import model_card
from carotid_training.release.export import accuracy_of, calibration_of, check_apart, export, metadata_of, pooled
from CarotidLandmarkLib.bundle import Architecture, LandmarkSpec
from CarotidLandmarkLib.dataset.cases import read_case, write_case
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.uncertainty import check_level

from .. import outcomes
from ..ball_scans import write_cohort
from .test_judging import save_start

LANDMARKS = (LandmarkSpec("left", "L", "right"), LandmarkSpec("right", "R", "left"), LandmarkSpec("chin", "C", "chin"))


@pytest.mark.parametrize("mirrored", [True, False])
def test_landmarks_that_one_net_finds_share_their_scores(mirrored):
    scores = {"left": [("a", 1.0), ("b", 2.0)], "right": [("a", 3.0)], "chin": [("a", 4.0)]}
    shared, both = pooled(scores, Architecture(LANDMARKS, mirrored=mirrored)), [("a", 1.0), ("b", 2.0), ("a", 3.0)]
    assert shared == ({"left": both, "right": both, "chin": [("a", 4.0)]} if mirrored else scores)


def test_the_card_shows_what_was_measured_beyond_training_and_nothing_where_nothing_was():
    metadata = metadata_of(Architecture(LANDMARKS), "tiny", "1.0", {"seed": 7})
    rows = [{"scans": "usual", "mean (mm)": "1.2"}, {"scans": "noise", "mean (mm)": "3.4"}]
    measured = {"dataset": "unseen", "mean_mm": 1.0, "shifts": {"text": "On two necks.", "rows": rows}}
    card = model_card(replace(metadata, accuracy=measured), date(2026, 1, 2))
    assert "On two necks.\n\n| scans | mean (mm) |\n|---|---|\n| usual | 1.2 |\n| noise | 3.4 |\n\n" in card
    assert "shifts" not in card and "| mean_mm | 1.0 |" in card
    without = model_card(replace(metadata, accuracy={"dataset": "unseen", "mean_mm": 1.0}), date(2026, 1, 2))
    assert "import" not in card and "\n\n## Training\n" in card
    assert "Beyond" not in without and "| mean_mm | 1.0 |\n\n## Calibration" in without


def test_what_can_not_be_written_is_refused_before_a_run_is_read_and_calibrated(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("Dear")
    with pytest.raises(UserError, match="letters exists and is not a model bundle; choose another folder"):
        export(tmp_path / "run", tmp_path / "cases", tmp_path / "letters", "carotid", "1.0.0")
    with pytest.raises(UserError, match="'my model' can not name a model; give a --name of letters"):
        export(tmp_path / "run", tmp_path / "cases", tmp_path / "new", "my model", "1.0.0")
    with pytest.raises(UserError, match="run holds no checkpoint"):
        export(tmp_path / "run", tmp_path / "cases", tmp_path / "new", "carotid", "1.0.0")
    for version in ("", "final"):
        with pytest.raises(UserError, match=f"'{version}' is no version of a model; give a --version such as 1.0.0"):
            export(tmp_path / "run", tmp_path / "cases", tmp_path / "new", "carotid", version)


@pytest.mark.parametrize("judge", [False, True])
@pytest.mark.parametrize("what", ["scan", "patient"])
def test_one_scan_or_patient_does_not_calibrate_and_measure_or_judge(tmp_path, what, judge):
    """Of two datasets: in one a scan belongs to one patient, and a patient to one split."""
    ours = write_cohort(tmp_path / "ours", {"validation": 2})
    split = "validation" if judge else "test"
    theirs = write_cohort(tmp_path / "theirs", {split: 2}, seed=9 if what == "patient" else 0)
    for dataset, case_id in ((ours, "validation-0"), (theirs, f"{split}-0")) if what == "patient" else ():
        document = replace(read_case(dataset.case(case_id).folder), group="patient-1")
        write_case(dataset.case(case_id).folder, document)
    how = {"judge": [theirs.path]} if judge else {"measure_on": theirs.path}
    both = "calibrate and " + ("judge" if judge else "measure")
    with pytest.raises(UserError, match=f"validation-0 and {split}-0 are one {what}, which can not {both}"):
        export(Path("carotid-small"), ours.path, tmp_path / "new", version="9.0", **how)
    assert not (tmp_path / "new").exists()


def test_a_copy_of_a_scan_is_that_scan(tmp_path):
    """The file of a copy is another, its voxels are not."""
    (case,) = map(write_cohort(tmp_path / "ours", {"validation": 1}).case, ["validation-0"])
    copy = replace(case, id="copy", group="another", image_sha256="0" * 64)
    with pytest.raises(UserError, match="validation-0 and copy are one scan"):
        check_apart([case], [copy], "calibrate and measure")


def test_a_bundle_that_is_made_anew_keeps_its_name_and_has_a_version_of_its_own(tmp_path):
    start = save_start(tmp_path / "start", 0.0)
    cases = write_cohort(tmp_path / "balls", {"validation": 2, "train": 1})
    with pytest.raises(UserError, match=r"There is a start 0\.1 already; give the new model a --version"):
        export(start.path, cases.path, tmp_path / "anew")
    anew = export(start.path, cases.path, tmp_path / "anew", version="0.2", device="cpu").metadata
    assert (anew.name, anew.version) == ("start", "0.2")


def test_the_card_tells_of_the_search_and_of_shared_factors_only_where_there_are_such():
    def card(architecture: Architecture, **more) -> str:
        return model_card(replace(metadata_of(architecture, "tiny", "1.0", {}), **more), date(2026, 1, 2))

    searching = card(Architecture())
    assert "looks from two places" in searching and "landmark's counterpart" in searching
    plain = card(Architecture(mode_window_mm=None))  # as in the paper
    assert "second mode" not in plain and "turned upright" not in plain
    assert "landmark's counterpart" not in card(Architecture(LANDMARKS))  # nobody knows how these usually lie
    factors = {"0.9": {each.name: {"factor": 1.5, "n": 40} for each in LANDMARKS}}
    assert "share a factor" in card(Architecture(LANDMARKS), calibration=factors)
    assert "share a factor" not in card(Architecture(LANDMARKS, mirrored=False), calibration=factors)


@pytest.mark.parametrize("cases", [0, 1, 5, 8, 9, 30])
def test_a_model_answers_at_the_usual_level_however_few_cases_calibrate_it(cases):
    """Regions calibrated up to 60 % alone would refuse every detection that asks for 90."""
    answers = [outcomes.outcome(f"c{n}", name, (n + 1.0, 0, 0)) for n in range(cases) for name in outcomes.PLACES]
    calibration, words = calibration_of(answers, Architecture(outcomes.LANDMARKS))
    check_level(calibration, outcomes.PLACES, 0.9)
    assert ("0.9" in calibration) is (cases >= 9)
    assert words.startswith("Calibrated on " if cases >= 9 else f"Not calibrated: {cases} patients are too few")


def test_a_level_is_calibrated_where_the_cases_of_each_side_suffice_for_it():
    answers = [outcomes.outcome(f"c{n}", name, (n + 1.0, 0, 0)) for n in range(10) for name in outcomes.PLACES]
    calibration, _ = calibration_of(answers, Architecture(outcomes.LANDMARKS))
    assert max(map(float, calibration)) == 0.9  # 19 patients for 95 %, however many landmarks they have
    assert {row["n"] for row in calibration["0.9"].values()} == {10}


def test_many_scans_of_few_patients_calibrate_nothing():
    one, places = outcomes.outcome, outcomes.PLACES
    answers = [one(f"c{n}", name, (n + 1.0, 0, 0), group=f"p{n % 8}") for n in range(40) for name in places]
    calibration, words = calibration_of(answers, Architecture(outcomes.LANDMARKS))
    assert calibration == {} and words.startswith("Not calibrated: 8 patients are too few for a 90% region; 9 are")


def test_false_alarms_are_counted_where_no_scan_holds_a_landmark():
    answers = [outcomes.outcome(f"c{n}", present=False, error=error) for n, error in enumerate([(1.0, 0, 0), None])]
    accuracy = accuracy_of(answers, "empty")
    assert accuracy["absent"] == 2 and accuracy["absent_called_missing"] == 1
    assert accuracy["summary"] == "no scan holds a landmark"


def test_a_model_is_not_calibrated_where_one_side_has_too_few_cases():
    sides = [outcomes.LEFT] * 30 + [outcomes.RIGHT] * 8
    answers = [outcomes.outcome(f"c{n}", name, (n + 1.0, 0, 0)) for n, name in enumerate(sides)]
    calibration, words = calibration_of(answers, Architecture(outcomes.LANDMARKS))
    assert calibration == {} and words.startswith("Not calibrated: 8 patients are too few")
