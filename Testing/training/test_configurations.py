"""Every configuration that comes with the program is one: fit makes trainer, nets and data of it, table1 a protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from carotid_training import cli
from carotid_training.batches.datamodule import NecksData
from carotid_training.reproduction.protocol import read_protocol
from carotid_training.training import fit, precision
from carotid_training.training.fit import RunCheckpoint, prepared
from carotid_training.training.module import ChainModule
from carotid_training.training.reading import configuration
from CarotidLandmarkLib.bundle import Architecture, default_bundle
from CarotidLandmarkLib.errors import UserError
from CarotidLandmarkLib.landmarks import CAROTID_BIFURCATIONS

CONFIGS = Path(__file__).parents[2] / "Training" / "configs"
ALL = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))
PROTOCOLS = [name for name in ALL if name.startswith("table1/")]
TRAININGS = [name for name in ALL if name not in PROTOCOLS]
GOES_ON = {"finetune.yaml", "shipped/2-cpu.yaml"}  # from a model that another run has made


@pytest.fixture
def background(tmp_path) -> Path:
    """Stands for tissue: it is opened when the first neck is drawn."""
    (tmp_path / "ct.npz").touch()
    return tmp_path / "ct.npz"


@pytest.mark.parametrize("name", TRAININGS)
def test_fit_makes_trainer_nets_and_data_of_every_training(name, background, tmp_path):
    options = {
        "config": CONFIGS / name,
        "trainer.accelerator": "cpu",  # one of them asks for a GPU
        "trainer.default_root_dir": tmp_path,
        "data.dataset": tmp_path,
        "data.cases_per_step": 1,
    }
    document = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    if document["data"]["necks_per_step"]:
        options["data.backgrounds"] = f"[{background}]"
    if name in GOES_ON:
        options["model.start_from"] = default_bundle().path
    made = prepared([f"--{key}={value}" for key, value in options.items()])
    assert isinstance(made.model, ChainModule)
    assert made.model.learning_rate == float(document["model"]["learning_rate"])
    assert made.trainer.max_steps == document["trainer"]["max_steps"]
    assert made.datamodule.landmarks == made.model.architecture.landmarks
    assert made.datamodule.necks_per_step == document["data"]["necks_per_step"]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_keeps_its_checkpoints_in_its_own_run_folder(name):
    document = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    folder = document["trainer"]["default_root_dir"]
    assert folder == f"runs/{name.removesuffix('.yaml')}" or name.startswith("shipped/")
    callbacks = document["trainer"]["callbacks"]
    given = [each["init_args"].get("dirpath") for each in callbacks]
    assert all(path.startswith(f"{folder}/") for path in given if path)
    # It follows the run's folder: with --trainer.default_root_dir a fixed path mixed checkpoints with another run's.
    assert f"{RunCheckpoint.__module__}.{RunCheckpoint.__name__}" in [each["class_path"] for each in callbacks]


@pytest.mark.parametrize("callbacks", ["[]", "null", "[{class_path: lightning.pytorch.callbacks.ModelSummary}]"])
def test_a_run_without_a_callback_that_saves_keeps_its_last_checkpoint(tmp_path, monkeypatch, callbacks):
    monkeypatch.setattr(fit.LightningCLI, "_run_subcommand", lambda cli, name: None)
    where = f"--trainer.default_root_dir={tmp_path}"
    made = fit._command(["fit", f"--config={CONFIGS / 'smoke.yaml'}", where, f"--trainer.callbacks={callbacks}"], [])
    assert [type(each) for each in made.trainer.checkpoint_callbacks] == [RunCheckpoint]


@pytest.mark.parametrize("name", TRAININGS)
def test_the_command_in_a_trainings_head_names_its_own_file(name):
    text = (CONFIGS / name).read_text(encoding="utf-8")
    assert re.findall(r"^# +carotid-train fit --config (\S+)", text, re.MULTILINE) == [f"Training/configs/{name}"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_table1_reads_every_protocol_by_its_name(name):
    protocol = read_protocol(Path(name).stem)
    document = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    assert {key: document[key] for key in ("cases", "minutes", "steps") if key in document}.items() <= vars(
        protocol
    ).items()
    assert read_protocol(str(CONFIGS / name)) == protocol


def test_a_configuration_of_the_program_is_named_by_its_place():
    assert configuration("shipped/1-gpu") == CONFIGS / "shipped" / "1-gpu.yaml"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("warmup_steps", "warmup_step"), "does not accept option 'model.warmup_step'"),
        (("mirror: right", "mirror: wrong"), "mirror of left_vertebral_origin is no landmark of the set"),
        (("label: L vertebral, ", ""), "label is missing"),
        (("label: L vertebral", "label: 5"), "label is not text"),
        (("label: L vertebral", "label: L, side: left"), "a landmark has no side"),
        (("label: L vertebral", "label: L, label: M"), "label is there already; leave one of them out"),
        (("\ntrainer:", "\nmodel: {}\ntrainer:"), "model is there already; leave one of them out"),
        (("widths: [[", "widths: [[["), "while parsing"),
    ],
    ids=[
        "unknown key",
        "misspelt mirror",
        "no label",
        "a number for a label",
        "a key too many",
        "a key twice",
        "a part twice",
        "no YAML",
    ],
)
def test_a_configuration_that_can_not_be_used_is_refused_in_a_line(tmp_path, capsys, change, says):
    text = (CONFIGS / "other-landmarks.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "other.yaml").write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", f"--config={tmp_path / 'other.yaml'}", f"--data.dataset={tmp_path}"])
    said = capsys.readouterr().err.splitlines()
    lines = [line for line in said if not line.startswith("Seed set to") and precision.NOTE not in line]
    assert (end.value.code, len(lines)) == (2, 1)
    assert says in lines[0] and len(lines[0]) < 600


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("data.workers=-1", "data.workers"),
        ("data.cases_per_step=-1", "data.cases_per_step"),
        ("data.reuse=0", "data.reuse"),
        ("data.validation_necks=few", "data.validation_necks"),
        ("data.styles={sculpted: -1}", "data.styles"),
        ("data.neck_depth=5", "data.neck_depth is how many of the 4 scales"),
        ("data.necks_per_step=0 --data.coarse_per_step=1 --data.neck_depth=1", "leave it out where there are none"),
        ("data.necks_per_step=0 --data.cases_per_step=1 --data.dataset=x", "nothing looks at data.styles; leave that"),
        ("data.render_device=tpu", "'tpu' is not a device"),
        ("model.hours=0", "model.hours"),
        ("model.learning_rate=-1", "model.learning_rate"),
        ("model.objective.teacher_until=3", "teacher_until"),
        ("model.augmentation.mirror_share=2", "mirror_share"),
        ("model.architecture.scales_mm=[8, 4, 2, 1]", "Training shows the whole scan at 4 mm"),
        ("model.architecture.widths=[[8], [8], [0], [8]]", "widths must be 1 to 4096"),
        ("model.architecture.patch_sizes=[1, 1, 1]", "patch_sizes must be 8 to 256"),
        ("model.architecture.hu_window=[-.inf, 100]", "model.architecture.hu_window can not be -inf"),
        ("model.learning_rate=inf", "model.learning_rate can not be inf"),
        ("model.augmentation.shift_mm=inf", "model.augmentation.shift_mm can not be inf"),
        ("model.augmentation.scale=40", "The augmentation's scale is 1 at most, and not 40"),
        ("model.objective.heatmap_weight=inf", "model.objective.heatmap_weight can not be inf"),
        ("data.styles={sculpted: .inf}", "data.styles.sculpted can not be inf"),
        ("model.seed=100000000000000000000", "model.seed can not be 1e+20"),
        ("model.architecture.heatmap=sigmoid", "heatmap must be softmax or relu"),
        ("model.architecture.landmarks=[]", "landmarks must be one at least"),
        ("model.objective.tied_until=0.5", "give them equal widths"),
        ("trainer.max_steps=0", "give trainer.max_steps above zero, or model.hours"),
        ("trainer.gradient_clip_val=-1", "Gradients are clipped by each net's norm"),
        ("trainer.gradient_clip_algorithm=value", "Gradients are clipped by each net's norm"),
        ("trainer.accelerator=tpux", "lightning refuses the options under trainer: You selected an invalid acc"),
        ("trainer.devices=two", "lightning refuses the options under trainer: `devices` selected"),
        ("trainer.devices=0", "lightning refuses the options under trainer"),
        ("seed_everything=-3", "seed_everything: -3 is not in bounds"),
        ("data.dataset=", "a path is empty"),
        ("trainer.default_root_dir=", "trainer.default_root_dir is empty"),
        ("data.rendered=~/necks", "a path begins with ~"),
        ("trainer.default_root_dir=~/runs", "trainer.default_root_dir begins with ~"),
        ("ckpt_path=", "ckpt_path is empty"),
        ("ckpt_path=nowhere.ckpt", "nowhere.ckpt can not be used (No such file or directory)"),
    ],
)
def test_a_value_that_nothing_can_be_trained_with_is_refused_in_a_line_and_leaves_no_checkpoint(
    tmp_path, capsys, option, says
):
    widths = ["--model.architecture.widths=[[4], [4], [4], [8]]"] if "tied_until" in option else []
    config, folder = CONFIGS / "smoke.yaml", f"--trainer.default_root_dir={tmp_path}"
    with pytest.raises(SystemExit) as end:
        cli.main(
            [
                "fit",
                f"--config={config}",
                folder,
                "--trainer.callbacks=[]",
                *widths,
                *f"--{option}".replace(" --", "\n--").split("\n"),
            ]
        )
    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and says in lines[-1] and lines[-1].startswith("carotid-train fit: ")
    assert not any("Traceback" in line for line in lines) and not list(tmp_path.rglob("*.ckpt"))


def test_a_seed_for_everything_is_that_of_nets_and_data_that_have_none_of_their_own():
    def seeds(*options):
        made = prepared(["fit", f"--config={CONFIGS / 'smoke.yaml'}", *options][1:])
        return made.model.seed, made.datamodule.seed, next(made.model.net.parameters()).flatten()[0].item()

    plain, other, own = seeds(), seeds("--seed_everything=7"), seeds("--seed_everything=7", "--model.seed=3")
    assert (plain[:2], other[:2], own[:2]) == ((0, 0), (7, 7), (3, 7))
    assert len({weight for *_, weight in (plain, other, own)}) == 3


@pytest.mark.parametrize("name", ["smoke.yaml", "other-landmarks.yaml"])
def test_what_print_config_prints_is_a_configuration(tmp_path, capsys, name):
    def printed(config: Path) -> str:
        with pytest.raises(SystemExit):
            cli.main(["fit", f"--config={config}", f"--data.dataset={tmp_path}", "--print_config"])
        return capsys.readouterr().out

    first = printed(CONFIGS / name)
    (tmp_path / "printed.yaml").write_text(first, encoding="utf-8")
    assert printed(tmp_path / "printed.yaml") == first and "landmarks:\n    - name:" in first


OTHER_LANDMARKS = """
model:
  architecture:
    landmarks:
      - {name: left_vertebral_origin, label: L vertebral, mirror: right_vertebral_origin}
      - {name: right_vertebral_origin, label: R vertebral, mirror: left_vertebral_origin}
trainer: {accelerator: cpu}
"""


@pytest.mark.parametrize("fast", [True, False])
def test_a_processor_that_does_not_multiply_bfloat16_trains_in_float32_and_says_so(tmp_path, capsys, monkeypatch, fast):
    monkeypatch.setattr(precision, "bfloat16_is_fast", lambda device: fast)
    monkeypatch.setattr(fit.LightningCLI, "instantiate_classes", lambda cli: None)
    monkeypatch.setattr(fit.LightningCLI, "_run_subcommand", lambda cli, name: None)
    asked = fit._command(["fit", f"--config={CONFIGS / 'small.yaml'}"], []).config.fit.trainer.precision
    assert asked == ("bf16-mixed" if fast else "32-true")
    assert (precision.NOTE in capsys.readouterr().err) is not fast
    measured = fit._command([f"--config={CONFIGS / 'small.yaml'}"], None, run=False)  # as it is asked for
    assert measured.config.trainer.precision == "bf16-mixed"


def test_other_landmarks_are_trained_from_cases_and_not_from_digital_necks(tmp_path):
    config = tmp_path / "other.yaml"
    config.write_text(OTHER_LANDMARKS)
    with pytest.raises(UserError, match="Digital necks know the two carotid bifurcations alone"):
        prepared([f"--config={config}"])
    left, right = CAROTID_BIFURCATIONS
    with pytest.raises(UserError, match="alone, left first"):  # or each would be taught on the other side
        NecksData(Architecture((right, left)))
    assert NecksData(Architecture((left, right))).draws_necks
    config.write_text(OTHER_LANDMARKS + f"data: {{dataset: {tmp_path}, necks_per_step: 0, cases_per_step: 1}}\n")
    made = prepared([f"--config={config}"])
    assert [landmark.name for landmark in made.datamodule.landmarks] == [
        "left_vertebral_origin",
        "right_vertebral_origin",
    ]
