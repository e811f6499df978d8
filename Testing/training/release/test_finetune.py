"""carotid-train finetune on small scans and tiny nets: what it learns from, compares, keeps, lists and refuses."""

from __future__ import annotations

import csv
import json
import re
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from carotid_training.batches.stream import NeckStream
from carotid_training.cli import app
from carotid_training.evaluation.comparison import COST, MISTAKE_MM
from carotid_training.evaluation.evaluate import Settings
from carotid_training.release import finetune
from carotid_training.training.losses import Objective
from carotid_training.training.module import ChainModule
from carotid_training.training.runs import read_run
from CarotidLandmarkLib.bundle import Bundle, BundleError, BundleMetadata, available_bundles, open_bundle
from CarotidLandmarkLib.dataset import Dataset, freeze_splits
from CarotidLandmarkLib.detection import DetectionSettings
from CarotidLandmarkLib.detector import Detector
from CarotidLandmarkLib.nets.chain import MultiScaleLocNet
from typer.testing import CliRunner

from ..balls import batch_of_balls
from ..outcomes import LANDMARKS, LEFT, PLACES, RIGHT
from ..tube import scan

# Other than the default, and enough that `sure` finds every landmark of the scans in either precision.
PASSES = 20


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch):
    """A user without models or cached scans, who rehearses balls for necks: they are rendered in no time."""
    monkeypatch.setattr(NeckStream, "batch", lambda self, index: replace(batch_of_balls(coarse=(24,) * 3), index=index))
    # What untrained nets find clearer in another view is chance.
    monkeypatch.setattr("CarotidLandmarkLib.nets.search.CLEAR", float("-inf"))
    monkeypatch.setenv("CAROTID_LANDMARK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CAROTID_CACHE", str(tmp_path / "cache"))
    # As in a terminal: a background job ignores Ctrl-C, and so would the training.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def save_start(folder, presence: float) -> Bundle:
    """Small untrained nets, the same ones always; ``presence`` is the log-odds that they give to every landmark."""
    metadata = BundleMetadata(
        name=folder.name, version="0.1", landmarks=LANDMARKS, scales_mm=(4.0, 2.0, 1.0, 0.5), patch_sizes=(16, 16, 16),
        widths=((2, 4),) * 4, hu_window=(-200.0, 1000.0), noise_mm=5.0, architecture={"mirrored": True},
        torch_version=torch.__version__, lib_version="0.1.0", training={}, accuracy={}, calibration={},
        intended_use="Tests.", licence="Apache-2.0",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(9)  # nets whose points lie inside the scans, and stay there for two steps
        net = MultiScaleLocNet(metadata.nets())
    with torch.no_grad():
        for head in net.presence:
            head.weight.zero_()
            head.bias.fill_(presence / len(net.presence))
    return Bundle.save(folder, metadata, net.state_dict(), "# Tiny\n")


@pytest.fixture(scope="module")
def sure(tmp_path_factory) -> Bundle:
    """A model that calls everything present."""
    return save_start(tmp_path_factory.mktemp("start") / "sure", 9.0)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory) -> Bundle:
    """The same model, which calls everything missing, by a hair."""
    return save_start(tmp_path_factory.mktemp("start") / "doubtful", -1e-6)


def annotate(dataset: Dataset, case: str, points=PLACES) -> None:
    status = {name: "missing" if point is None else "accepted" for name, point in points.items()}
    dataset.save_annotation(case, "anna", points, status)


@pytest.fixture
def dataset(tmp_path, sure) -> Dataset:
    """Ten patients without a split, whose points an annotator has accepted as ``sure`` finds them."""
    made = Dataset.create(tmp_path / "lyon", [LEFT, RIGHT])
    detector = Detector(sure, "cpu")
    for number in range(10):
        case = made.add_case(scan(number), case_id=f"c{number}", group=f"p{number}")
        detection = detector.detect(made.case(case).read_volume(), DetectionSettings(passes=PASSES))
        annotate(made, case, {mark.name: mark.position_lps_mm for mark in detection.landmarks})
    return made


def run(dataset, start, output, *options, steps=2):
    arguments = [
        dataset.path, "--model", start.path, "--output", output, "--steps", steps, "--device", "cpu",
        "--styles", "sculpted", *options,
    ]  # fmt: skip
    return CliRunner().invoke(app, ["finetune", *map(str, arguments)])


def test_a_model_that_got_better_is_listed_by_name_with_its_record(dataset, doubtful, tmp_path):
    output = tmp_path / "runs" / "lyon-1"
    result = run(dataset, doubtful, output)
    assert result.exit_code == 0, result.output
    assert "Listed: lyon-1" in result.output
    new = open_bundle("lyon-1")
    assert new.path.parent == tmp_path / "home" / "models"
    assert [bundle.metadata.name for bundle in available_bundles() if bundle.path == new.path] == ["lyon-1"]
    start = new.metadata.training["start_from"]
    assert (start["model"], start["weights_sha256"]) == ("doubtful 0.1", doubtful.metadata.weights_sha256)
    assert new.metadata.training["steps"] == 2 and new.metadata.training["learnt_share"] == 0.5
    _, last, _ = read_run(output)
    assert any(not torch.equal(last[name], doubtful.state[name]) for name in last)
    assert all(torch.allclose(new.state[name], (doubtful.state[name] + last[name]) / 2) for name in last)
    with (output / "comparison.csv").open(newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    # How much less is chance: of where two steps take the points of nets that have learnt nothing.
    assert float(rows[COST]["after"]) < float(rows[COST]["before"]) == MISTAKE_MM
    assert (rows["missed, of 4"]["before"], rows["missed, of 4"]["after"]) == ("4", "0")
    assert "mean cost" in (output / "comparison.md").read_text()
    assert new.metadata.calibration == {} and "Not calibrated: 2 patients are too few" in result.output
    assert sorted(file.stem for file in (output / "detections" / "after").iterdir()) == sorted(
        case.id for case in map(dataset.case, dataset.case_ids()) if case.split == "test"
    )


def test_what_is_annotated_while_the_model_learns_changes_neither_side_of_the_comparison(
    dataset, doubtful, tmp_path, monkeypatch
):
    def meanwhile(*arguments):
        case = dataset.annotated_cases("test")[0]
        annotate(dataset, case.id, {LEFT: None, RIGHT: None})
        train(*arguments)

    train = finetune.train
    monkeypatch.setattr(finetune, "train", meanwhile)
    assert run(dataset, doubtful, tmp_path / "lyon-3").exit_code == 0
    with (tmp_path / "lyon-3" / "comparison.csv").open(newline="") as file:
        rows = {row["measure"]: row for row in csv.DictReader(file)}
    assert (rows["missed, of 4"]["before"], rows["missed, of 4"]["after"]) == ("4", "0")


def test_a_landmark_that_the_model_does_not_find_is_no_hindrance(dataset, sure, tmp_path):
    file = dataset.path / "dataset.json"  # as whoever adds one edits it; nobody has annotated it yet
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"landmarks": [*document["landmarks"], "nasion"]}))
    assert run(dataset, sure, tmp_path / "new", "--passes", "2").exit_code == 0


def test_a_device_that_fails_is_told_before_the_other_trains(dataset, sure, tmp_path, monkeypatch):
    class Failing(Detector):
        def detect(self, *what):
            self.notes = ["cuda:0 failed; the CPU took over."]
            return super().detect(*what)

    def train(*of):
        told.append("training")
        raise KeyboardInterrupt

    told = []
    monkeypatch.setattr(finetune, "Detector", Failing)
    monkeypatch.setattr(finetune, "_train", train)
    with pytest.raises(KeyboardInterrupt):
        finetune.finetune(dataset.path, sure, tmp_path / "new", 1, Settings("cpu", 2), say=told.append)
    assert told == ["cuda:0 failed; the CPU took over.", "training"]


def test_a_worse_model_is_not_listed_unless_forced(dataset, sure, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "LEARNT_SHARE", 40.0)  # two steps, as far as eighty
    output = tmp_path / "runs" / "lyon-2"
    result = run(dataset, sure, output, "--passes", PASSES)
    assert result.exit_code == 0, result.output
    assert "Not listed: lyon-2 is worse than sure" in result.output
    documents = [json.loads(file.read_text()) for file in (output / "detections").glob("*/*.json")]
    assert {case["detection"]["passes"] for case in documents} == {PASSES}
    assert Bundle.load(output / "bundle").metadata.name == "lyon-2"
    with pytest.raises(BundleError):
        open_bundle("lyon-2")
    for force in (["--force"], []):  # what is listed stays so
        assert "although it is worse: --force" in run(dataset, sure, output, "--passes", PASSES, *force).output
    assert open_bundle("lyon-2").metadata == Bundle.load(output / "bundle").metadata


def test_a_run_stopped_in_training_goes_on_and_ends_as_if_it_had_not_been(dataset, doubtful, tmp_path, monkeypatch):
    step = ChainModule.training_step

    def interrupted(self, batches, number):
        if self.global_step == 10:
            signal.raise_signal(signal.SIGINT)
        return step(self, batches, number)

    monkeypatch.setattr(ChainModule, "training_step", interrupted)
    stopped = run(dataset, doubtful, tmp_path / "part", steps=11)
    assert stopped.exit_code == 3 and "the same command goes on from here" in stopped.output
    assert not (tmp_path / "part" / "bundle").exists()
    first = []

    def watched(self, batches, number):
        first.append(self.global_step)
        return step(self, batches, number)

    monkeypatch.setattr(ChainModule, "training_step", watched)
    assert run(dataset, doubtful, tmp_path / "part", steps=11).exit_code == 0
    assert first[0] == 10
    assert run(dataset, doubtful, tmp_path / "whole", "--rendered", tmp_path / "necks", steps=11).exit_code == 0
    assert len(list((tmp_path / "necks").rglob("*.pt"))) >= 11 // 4  # kept for other runs, and the same necks
    parts, whole = (Bundle.load(tmp_path / name / "bundle").state for name in ("part", "whole"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_the_bar_tells_how_far_the_training_is(dataset, doubtful, tmp_path):
    told = []

    @contextmanager
    def bar():
        yield lambda words, share: told.append((words, share))

    settings = Settings("cpu", passes=PASSES)
    finetune.finetune(dataset.path, doubtful, tmp_path / "told", 2, settings, names=("sculpted",), bar=bar)
    training = [each for each in told if each[0].startswith("training")]
    assert training == [(f"training, step {n} of 2", n / 2) for n in range(3)]
    assert told.index(training[0]) > 0 and told[-1] not in training  # cases before and after


def test_a_log_says_what_is_done_and_how_far_it_is(dataset, doubtful, tmp_path, monkeypatch):
    monkeypatch.setattr("CarotidLandmarkLib.work.log.LINE_EVERY_S", 0.01)
    lines = run(dataset, doubtful, tmp_path / "log").stderr.splitlines()
    for words in (r"first model, c\d", r"training, step [12] of 2", r"new model, c\d"):
        assert any(re.match(rf"\d\d:\d\d:\d\d {words}.*: \d+% done", line) for line in lines), words


class TestWhatIsRefused:
    """One sentence, exit code 2, and nothing begun."""

    @pytest.fixture
    def refused(self, tmp_path):
        """A function: the command's only words after "carotid-train finetune: "."""

        def refused(dataset, start, *options, output="new") -> str:
            result = run(dataset, start, tmp_path / output, *options)
            assert result.exit_code == 2, result.output
            assert not (tmp_path / output / "checkpoints").exists()
            return result.output.removeprefix("carotid-train finetune: ").strip()

        return refused

    @pytest.fixture
    def few(self, tmp_path) -> Dataset:
        """Six scans of six patients; nobody has annotated any."""
        made = Dataset.create(tmp_path / "few", [LEFT, RIGHT])
        for number in range(6):
            made.add_case(scan(number), case_id=f"c{number}", group=f"p{number}")
        return made

    def test_a_dataset_without_annotations(self, few, sure, refused):
        assert refused(few, sure) == "few has no annotated case; annotate one."

    def test_a_dataset_of_too_few_patients_which_gets_no_splits(self, few, sure, refused):
        for number in range(4):
            annotate(few, f"c{number}")
        assert refused(few, sure) == (
            "few has annotated cases of 4 patients; training needs 5: some to learn from, some to measure by."
        )
        assert {few.case(case).split for case in few.case_ids()} == {None}

    def test_a_dataset_without_a_point_before_anything_is_measured(self, few, sure, tmp_path, refused):
        for case in few.case_ids():
            annotate(few, case, dict.fromkeys(PLACES))
        assert refused(few, sure).startswith("In no training case of few is there a point of ")
        assert not (tmp_path / "new").exists()

    def test_a_dataset_in_which_the_models_landmarks_have_no_point_before_anything_is_split(
        self, tmp_path, sure, refused
    ):
        made = Dataset.create(tmp_path / "noses", [LEFT, RIGHT, "nasion"])
        for number in range(6):
            annotate(made, made.add_case(scan(number)), {**dict.fromkeys(PLACES), "nasion": PLACES[LEFT]})
        assert refused(made, sure).startswith(f"In no training case of noses is there a point of {LEFT}, {RIGHT};")

    @pytest.mark.parametrize(
        "options",
        [("--device", "cuda:7"), ("--styles", "marble"), ("--rendered", __file__), ("--rendered", f"{__file__}/a/b"),
         ("--background", __file__)],
    )  # fmt: skip
    def test_an_option_before_the_patients_get_their_splits(self, few, sure, refused, options):
        for case in few.case_ids():
            annotate(few, case)
        assert not any(word in refused(few, sure, *options) for word in ("Traceback", "fault"))
        assert {few.case(case).split for case in few.case_ids()} == {None}

    def test_a_scan_under_two_patients_before_anything_is_split(self, few, sure, refused):
        few.add_case(scan(5), case_id="again", group="nobody")
        for case in few.case_ids():
            annotate(few, case)
        assert refused(few, sure) == "Cases again and c5 are one scan under two patients; remove one of them."
        assert {few.case(case).split for case in few.case_ids()} == {None}

    def test_a_dataset_with_nothing_to_measure_by(self, tmp_path, sure, refused):
        made = Dataset.create(tmp_path / "all-train", [LEFT, RIGHT])
        for number in range(5):
            annotate(made, made.add_case(scan(number), group=f"p{number}", split="train"))
        assert refused(made, sure).startswith("all-train has no annotated case in the split 'test';")

    def test_a_dataset_of_other_landmarks(self, tmp_path, sure, refused):
        made = Dataset.create(tmp_path / "knees", ["left_knee", "right_knee"])
        assert refused(made, sure).endswith(
            "but knees is about left_knee, right_knee; choose a model for these landmarks."
        )

    def test_a_damaged_model(self, few, tmp_path, refused):
        damaged = save_start(tmp_path / "damaged", 9.0)
        (damaged.path / "weights.safetensors").write_bytes(b"")
        assert refused(few, damaged).startswith("The weights of model bundle damaged are not those that")

    def test_a_model_of_other_nets(self, few, sure, tmp_path, refused):
        other = Bundle.save(tmp_path / "other", replace(sure.metadata, widths=((4, 4),) * 4), sure.state, "# Other\n")
        for case in few.case_ids():
            annotate(few, case)
        assert refused(few, other) == (
            "The weights of model bundle other do not fit the nets of this version of CarotidLandmark; "
            "get a bundle that was made for it."
        )

    def test_a_name_that_is_a_models_already(self, few, sure, tmp_path, refused):
        for case in few.case_ids():
            annotate(few, case)
        save_start(tmp_path / "home" / "models" / "taken", 1.0)
        assert refused(few, sure, output="taken").startswith("There is a model taken already;")
        assert refused(few, sure, output="carotid-small").startswith("There is a model carotid-small already;")
        assert refused(few, sure, output="my model").startswith("'my model' can not name a model;")

    def test_a_case_whose_image_is_gone_before_anything_is_split(self, few, sure, refused):
        for case in few.case_ids():
            annotate(few, case)
        (few.case("c3").folder / "image.nrrd").unlink()
        assert refused(few, sure).startswith("The image of case c3 is not here;")
        assert {few.case(case).split for case in few.case_ids()} == {None}

    def test_a_folder_that_holds_something_else(self, few, sure, tmp_path, refused):
        for case in few.case_ids():
            annotate(few, case)
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "mine.txt").write_text("Dear")
        assert refused(few, sure, output="letters").endswith("letters holds something else; give another --output.")
        assert "can not be used (Not a directory)" in refused(few, sure, output="letters/mine.txt")
        assert {few.case(case).split for case in few.case_ids()} == {None}

    def test_a_run_that_was_begun_otherwise(self, few, sure, tmp_path, refused):
        for case in few.case_ids():
            annotate(few, case)
        stopped = run(few, sure, tmp_path / "begun", "--device", "cuda:7")
        assert stopped.exit_code == 2 and not (tmp_path / "begun").exists()
        freeze_splits(few)
        (tmp_path / "begun").mkdir()
        recipe = {"start_sha256": sure.metadata.weights_sha256, "steps": 3, "seed": 0}
        (tmp_path / "begun" / "finetune.json").write_text(json.dumps(recipe))
        assert "was begun with other dataset, steps, styles, backgrounds;" in refused(few, sure, output="begun")
        (tmp_path / "begun" / "finetune.json").write_text(json.dumps({**recipe, "passes": 7}))
        assert "styles, backgrounds, passes;" in refused(few, sure, output="begun")  # they calibrate what is listed


class TestStartingFromAModel:
    def test_the_first_weights_are_the_models(self, sure):
        module = ChainModule(start_from=sure.path)
        assert all(torch.equal(sure.state[name], tensor) for name, tensor in module.net.state_dict().items())
        assert ChainModule(sure.metadata.nets(), start_from=sure.path).architecture == module.architecture

    def test_another_architecture_is_refused_by_what_differs(self, sure):
        other = replace(sure.metadata.nets(), patch_sizes=(24, 24, 24), noise_mm=2.0)
        with pytest.raises(ValueError, match="The model sure differs in patch_sizes, noise_mm;"):
            ChainModule(other, start_from=sure.path)

    def test_nets_that_have_learnt_apart_are_not_tied(self, sure):
        with pytest.raises(ValueError, match="tied_until would undo"):
            ChainModule(objective=Objective(tied_until=0.3), start_from=sure.path)

    def test_a_net_without_either_is_refused(self):
        with pytest.raises(ValueError, match=r"give model\.architecture or start_from"):
            ChainModule()
