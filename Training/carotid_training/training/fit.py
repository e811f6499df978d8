"""carotid-train fit: lightning's command line over `ChainModule` and `NecksData`."""

from __future__ import annotations

import json
import logging
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import CarotidLandmarkLib
import lightning
import torch
import yaml
from CarotidLandmarkLib.bundle import Architecture
from CarotidLandmarkLib.detector import choose_device
from CarotidLandmarkLib.errors import UserError, some_of
from CarotidLandmarkLib.files import check_path
from CarotidLandmarkLib.work import Step, progress
from jsonargparse import ArgumentError
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from ..batches.datamodule import NecksData
from ..records import read_record, write_record
from ..seeds import GENERATOR
from .alone import Alone
from .checkpoint import Checkpoints
from .module import ChainModule
from .precision import NOTE, is_slow
from .reading import check_numbers
from .runs import last_checkpoint

# What a record says of the data that a run was trained on.
DATA = ("generator", "seed", "styles", "dataset_sha256")


class RunRecord(Callback):
    """Writes run.json beside the checkpoints: versions, device, seeds, data, so that a run directory says all."""

    def __init__(self, arguments: Sequence[str]):
        self.arguments = list(arguments)

    def on_fit_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        record = {
            "lib_version": CarotidLandmarkLib.__version__,
            "torch_version": torch.__version__,
            "lightning_version": lightning.__version__,
            "python_version": platform.python_version(),
            "device": str(module.device),
            "precision": str(trainer.precision),
            "processes": trainer.world_size,
            "command": " ".join(["carotid-train", "fit", *map(_without_folders, self.arguments)]),
            "start_from": module.origin,
            "generator": GENERATOR if data.draws_necks else None,
            "model_seed": getattr(module, "seed", None),
            "seed": data.seed,
            "styles": data.weights if data.draws_necks else None,
            "dataset_sha256": data.dataset_hash(),
        }
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = trainer.ckpt_path and Path(trainer.ckpt_path)
        file = (folder if not checkpoint or _lies_in(checkpoint, folder) else checkpoint.parent.parent) / "run.json"
        if checkpoint and file.exists():  # on other data than it was begun with: both made the weights
            begun = read_record(file)
            if any(begun.get(name) != record[name] for name in DATA):
                record["before"] = begun
            elif "before" in begun:
                record["before"] = begun["before"]
        write_record(folder / "run.json", record)


def _lies_in(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _without_folders(argument: str) -> str:
    """An argument with nothing but the last parts of its paths: the record ends in published models."""
    return re.sub(r"""(?<!\w)(?:[A-Za-z]:|\\\\)?(?:[\\/]+[^,\]"'\\/]+)+[\\/]+""", "", argument)


class ProgressCallback(Callback):
    """Tells ``step`` how far the training is, with its last loss and validation error."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._measured = ""

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._tell("training", trainer, module)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_what: Any) -> None:
        often = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if often and trainer.global_step % often == 0:  # not always: an accelerator has to be waited for
            metrics = trainer.progress_bar_metrics
            words = {"loss": ", loss {:.3g}", "val/error": ", validation {:.1f} mm"}
            self._measured = "".join(form.format(metrics[name]) for name, form in words.items() if name in metrics)
        self._tell("training", trainer, module)

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._tell("validating", trainer, module)

    def _tell(self, doing: str, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        done, end, hours = trainer.global_step, trainer.max_steps, getattr(module, "hours", None)
        if hours is not None:
            of, share = f", of {hours:g} hours", float(module.share)  # type: ignore[arg-type]
        elif end > 0:
            of, share = f" of {end}", done / end
        else:
            of, share = "", trainer.current_epoch / max(1, trainer.max_epochs or 1)
        self.step(f"{doing}, step {done}{of}{self._measured}", share)


class RunCheckpoint(ModelCheckpoint):
    """Keeps RUN/checkpoints/last.ckpt: every ``every_n_train_steps`` steps, after every validation, and at the end.

    With ``--ckpt_path last`` a run goes on from there, or begins where there is none. Before a validation it is not
    written: lightning takes that for done when it goes on from there.
    """

    def __init__(self, every_n_train_steps: int = 100):
        super().__init__(
            save_last=True,
            save_top_k=0,
            every_n_train_steps=every_n_train_steps,
            enable_version_counter=False,  # or a run that was copied would have two last ones
        )

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self.dirpath = self._folder(trainer)
        super().setup(trainer, pl_module, stage)

    def _find_last_checkpoints(self, trainer: lightning.Trainer) -> set[str]:
        self.dirpath = self._folder(trainer)  # lightning looks for the last checkpoint before it sets callbacks up
        return super()._find_last_checkpoints(trainer)

    @staticmethod
    def _folder(trainer: lightning.Trainer) -> str:
        return str(Path(trainer.default_root_dir) / "checkpoints")

    def on_train_batch_end(self, trainer: lightning.Trainer, *what: Any) -> None:
        loop = trainer.fit_loop
        if not loop.epoch_loop._should_check_val_fx(loop._data_fetcher):  # type: ignore[arg-type]
            super().on_train_batch_end(trainer, *what)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save_now(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The end: batches are endless. Later, averaging callbacks have put their weights in place of the trained."""
        self._save_now(trainer)

    def _save_now(self, trainer: lightning.Trainer) -> None:
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class _Command(LightningCLI):
    def _parse_ckpt_path(self) -> None:
        """Lightning reads a checkpoint here for options in it. Ours has none, and `Checkpoints` reads it later."""

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise UserError(f"seed_everything: {error}; give another seed.") from error

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand] if self.subcommand else self.config
        check_numbers(config)
        for part in (config.model, config.data):  # what is drawn here is drawn by these: lightning's own moves nothing
            part.seed = part.seed or int(config.seed_everything)
        for place in ("trainer.default_root_dir", "ckpt_path"):  # lightning takes an empty one for none
            check_path(str(config.get(place)), place)
        if self.save_config_callback is None:  # of `prepared`: what is measured is measured as it is asked for
            return
        trainer = config.trainer
        device = choose_device("cpu" if trainer.accelerator == "cpu" else "auto")
        if is_slow(trainer.precision, device):
            trainer.precision = "32-true"
            rank_zero_only(print)(f"carotid-train fit: {NOTE}", file=sys.stderr)

    def instantiate_trainer(self, **options: Any) -> lightning.Trainer:
        """With a callback that keeps the last checkpoint. Raises UserError where lightning can make none of the
        options."""
        asked = (self.config_init[self.subcommand] if self.subcommand else self.config_init).trainer
        given = asked.callbacks if isinstance(asked.callbacks, list) else [asked.callbacks]
        keeps = any(getattr(each, "save_last", None) for each in given) or asked.enable_checkpointing is False
        if self.save_config_callback is not None and not keeps:  # or a run of hours would leave nothing behind
            options["callbacks"] = [*filter(None, given), RunCheckpoint()]
        try:
            return super().instantiate_trainer(**options)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise UserError(f"lightning refuses the options under trainer: {error}") from error

    def before_fit(self) -> None:
        """Raises UserError where another run would be begun, or gone on with, over one that is there."""
        folder, checkpoint = Path(self.trainer.default_root_dir), self.config.fit.ckpt_path
        begun = (folder / "run.json").exists() and last_checkpoint(folder / "checkpoints")
        others = checkpoint and Path(checkpoint).is_file() and not _lies_in(Path(checkpoint), folder)
        if begun and (others or not checkpoint):
            raise UserError(
                f"{folder} holds a run already: go on with it by --ckpt_path last, or begin another one in another "
                "--trainer.default_root_dir."
            )
        if (names := self.model.one_sided) and self.model.augmentation is not None:
            words = f"Scans are not mirrored in training: {some_of(names, 3)} has a side, and no counterpart."
            rank_zero_only(print)(f"carotid-train fit: {words}", file=sys.stderr)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("model", "data.architecture", architecture_of, "instantiate")


def architecture_of(model: ChainModule) -> Architecture:
    """What the data must fit; --help names this function."""
    return model.architecture


def main(arguments: Sequence[str]) -> None:
    """Train, or go on with --ckpt_path RUN/checkpoints/last.ckpt; ``arguments``: of the command line, after `fit`."""
    if getattr(rank_zero_only, "rank", 0):  # the first of several processes says how far they are
        _command(["fit", *arguments], [RunRecord(arguments)])
        return
    with progress() as step:
        _command(["fit", *arguments], [RunRecord(arguments), ProgressCallback(step)])


def train(
    config: Path, options: Mapping[str, Any], callbacks: Sequence[Callback] = (), checkpoint: Path | None = None
) -> None:
    """As `main`, from Python: ``config`` with ``options`` ("data.seed" -> 3) in place of its own; from ``checkpoint``
    where it is one, which our own trainer has written."""
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    for name, value in options.items():
        *parts, last = name.split(".")
        inner = document
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    words = [f"--config={config}", *(f"--{name}={_word(value)}" for name, value in options.items())]
    command = _command(document, [RunRecord(words), *callbacks], run=False)
    more: dict[str, Any] = {"ckpt_path": checkpoint, "weights_only": False} if checkpoint else {}
    with interruptible():
        command.trainer.fit(command.model, command.datamodule, **more)  # type: ignore[attr-defined]


def prepared(arguments: Sequence[str]) -> LightningCLI:
    """Trainer (``trainer``), module (``model``) and data (``datamodule``) of a configuration, made but not started.

    Nothing is recorded or saved: for measurements.
    """
    command = _command(list(arguments), None, run=False)
    callbacks = command.trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
    return command


def _command(args: Any, callbacks: list[Callback] | None, run: bool = True) -> LightningCLI:
    """Lightning's command line over our module and data; without ``callbacks`` it leaves nothing behind.

    ``run``: ``args`` begin with `fit`, which runs.
    """
    parser: dict[str, Any] = {"default_env": False, "exit_on_error": False}
    warnings.filterwarnings("ignore", "LightningCLI's args parameter")  # not sys.argv: there `fit` is among others
    warnings.filterwarnings("ignore", ".*LeafSpec")  # lightning's use of torch, nothing of the user's
    # It advertises places on the net to upload a training to.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in str(record.msg))
    # Every process validates on all cases: split among them, each would have other styles to average.
    # Lightning's bar begins anew in a run that goes on, and says nothing in a log.
    defaults: dict[str, Any] = {"use_distributed_sampler": False, "enable_progress_bar": False}
    defaults["plugins"] = {"class_path": f"{Checkpoints.__module__}.{Checkpoints.__name__}"}
    options: dict[str, Any] = {"run": run, "parser_kwargs": {"exit_on_error": False, "fit": parser} if run else parser}
    if callbacks is None:
        defaults["logger"] = False
        options["save_config_callback"] = None
    else:
        defaults["callbacks"] = [Alone(), *callbacks]
    try:
        with interruptible():
            return _Command(
                ChainModule,
                NecksData,
                args=args,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                trainer_defaults=defaults,
                auto_configure_optimizers=False,
                **options,
            )
    except ArgumentError as error:
        raise UserError(_plain(str(error))) from error
    except MisconfigurationException as error:
        raise UserError(f"lightning refuses the options under trainer: {error}") from error
    except UserError:
        raise
    except ValueError as error:  # jsonargparse's, about what one of our classes has said
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """Lightning ends the program after Ctrl-C, and after SIGTERM as if all were done: here both are a
    KeyboardInterrupt, for the caller to tell."""
    try:
        yield
    except SystemExit as ending:
        if ending.code != 1 and not isinstance(ending, SIGTERMException):
            raise
        raise KeyboardInterrupt from ending


def _plain(refusal: str) -> str:
    """What jsonargparse says, without the list of types that a value may have, and without all that was given."""
    words = " ".join(refusal.partition("Given value")[0].split())
    words = re.sub(r"Does not validate against any of the Union subtypes Subtypes: .*?\] Errors: - ", "", words)
    return words.removesuffix(" - Expected a <class 'NoneType'>")


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advice on things that are settled here stays unsaid."""
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
