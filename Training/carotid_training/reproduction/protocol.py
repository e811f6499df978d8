"""What a run of Table 1 is: its methods, and the cohort, budget and widths, one YAML file for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from CarotidLandmarkLib.errors import UserError
from jsonargparse import ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt
from yaml import YAMLError

from ..training.augment import Augmentation
from ..training.reading import check_numbers, configuration

Widths = tuple[int, ...]
PASSES = 50


@dataclass(frozen=True)
class Method:
    """A row. ``paper_mm``: mean and sd of the error in Table 1 of Ma et al. (ISBI 2020), None where it is not there.

    trained: whether the row's training is a part of the run. passes: noise passes whose mean is the answer; 1: none.
    """

    title: str
    paper_mm: tuple[float, float] | None = None
    trained: bool = True
    passes: int = 1


METHODS: dict[str, Method] = {
    "constant": Method("mean place of the training cases (no net)", trained=False),
    "heatmap": Method("U-Net, Gaussian heatmaps, 1 mm", (6.45, 9.18)),
    "single": Method("single-scale Loc-Net, 1 mm", (5.52, 5.69)),
    "patches": Method("patch regression + classification", (4.35, 4.33)),
    "steps": Method("multi-scale Loc-Net, in steps", (3.72, 4.20)),
    "end_to_end": Method("multi-scale Loc-Net, end to end", (3.61, 3.17)),
    "noise": Method("multi-scale Loc-Net, end to end + noise", (2.81, 2.37), passes=PASSES),
    "taught": Method("end to end + noise, crops near the truth at first", passes=PASSES),
    "ours": Method("ours, same cases and budget", passes=PASSES),
    "shipped": Method("ours, as shipped (other training)", trained=False, passes=PASSES),
}


@dataclass(frozen=True)
class Protocol:
    """The whole table. Lengths in mm.

    seeds: a training of every method for each, so that the spread between trainings is known; the first is also that of
    noise and bootstrap. once: methods that are trained with the first seed alone.

    cases, cohort_seed, length_mm: the cohort of digital necks (`carotid_training.cohorts.synthesize`). methods: keys of
    `METHODS`, in the table's order. minutes or steps, one of them: the training of every method. ``minutes`` become
    steps by the seconds that a step of the method takes on the machine. validations: so many in the course of a
    training, on all validation cases; the best of them is what is measured. precision: lightning's.

    field_voxels: side of the single-scale methods' field at 1 mm. single_widths (one level more than the
    chain), patch_widths, chain_widths (of each of the chain's nets; the paper's architecture), our_widths (ours).
    patch_size, our_patch_size: voxels that a finer net sees per axis, in the paper's architecture and in ours.
    patch_voxels, patch_count: crops that the patch-based method is trained on. heatmap: what the centre of mass is
    taken of, in all rows that have one. augmentation: the same in all rows; null for none. batch_size: scans per step.
    bundle: the model of the row "shipped".
    """

    cases: int
    minutes: float | None = None
    steps: int | None = None
    methods: tuple[str, ...] = tuple(METHODS)
    cohort_seed: int = 8
    length_mm: tuple[float, float] = (180.0, 224.0)
    seeds: tuple[int, ...] = (0,)
    once: tuple[str, ...] = ()
    validations: int = 10
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    batch_size: PositiveInt = 1
    workers: NonNegativeInt = 1
    learning_rate: float = 5e-4
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    heatmap: Literal["softmax", "relu"] = "softmax"
    field_voxels: int = 224
    single_widths: Widths = (16, 32, 64, 128, 128)
    patch_widths: Widths = (32, 32, 64, 64)
    patch_voxels: int = 72
    patch_count: PositiveInt = 4
    chain_widths: Widths = (16, 32, 64, 128)
    our_widths: tuple[Widths, Widths] = ((16, 32, 64, 96), (16, 32, 64, 64))
    patch_size: int = 56
    our_patch_size: int = 32
    bundle: str = "carotid-small"

    def __post_init__(self) -> None:
        """Raises ValueError where the numbers do not make a table."""
        if (self.minutes is None) == (self.steps is None):
            raise UserError("A protocol has a budget of minutes or of steps: give one of the two.")
        amounts = self.cases, self.minutes or self.steps or 0, self.validations, self.learning_rate
        shortest, longest = self.length_mm
        named, seeds = (*self.methods, *self.once), (*self.seeds, self.cohort_seed)
        widths = self.single_widths, self.patch_widths, self.chain_widths, *self.our_widths
        sizes = self.field_voxels, self.patch_voxels, self.patch_size, self.our_patch_size
        if unknown := [name for name in named if name not in METHODS]:
            raise UserError(f"There is no method {', '.join(unknown)}; choose of {', '.join(METHODS)}.")
        rules = {
            "cases, minutes or steps, validations and learning_rate are numbers above zero": all(
                0 < amount < math.inf for amount in amounts
            ),
            "length_mm is two lengths, the shorter first": 0 < shortest <= longest < math.inf,
            "seeds are one or more, each of them once": 0 < len(self.seeds) == len(set(self.seeds)),
            "methods are one or more, each of them once": 0 < len(self.methods) == len(set(self.methods)),
            "seeds and cohort_seed are 0 to 255": all(0 <= seed <= 255 for seed in seeds),
            "widths are one or more, each 1 to 4096": all(
                each and 1 <= min(each) <= max(each) <= 4096 for each in widths
            ),
            "patch_widths are four": len(self.patch_widths) == 4,
            "field_voxels, patch_voxels and patch sizes are 8 to 512": all(8 <= size <= 512 for size in sizes),
        }
        for rule, holds in rules.items():
            if not holds:
                raise UserError(f"This makes no Table 1; of a protocol {rule}.")
        halved = {
            "field_voxels": len(self.single_widths) - 1,
            "patch_voxels": 3,
            "patch_size": len(self.chain_widths) - 1,
            "our_patch_size": len(self.our_widths[1]) - 1,
        }
        for name, multiple in ((name, 2**times) for name, times in halved.items()):
            if getattr(self, name) % multiple:
                raise UserError(f"{name} must be a multiple of {multiple}, for the net halves it so often.")
        if self.field_voxels % 8 or self.patch_voxels > self.field_voxels:
            raise UserError("field_voxels must be a multiple of 8, and patch_voxels no larger.")

    @property
    def seed(self) -> int:
        return self.seeds[0]

    def trainings(self, key: str) -> list[Protocol]:
        """A protocol of one seed for every training of a method; one for a method that is not trained."""
        several = METHODS[key].trained and key not in self.once
        return [replace(self, seeds=(seed,)) for seed in (self.seeds if several else self.seeds[:1])]


def read_protocol(name: str) -> Protocol:
    """A protocol by its file, or by the name of one that comes with the program. Raises ValueError with a sentence."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else configuration(f"table1/{name}")
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in configuration("table1/table1").parent.glob("table1*.yaml")))
        raise UserError(f"There is no protocol {name}; give a YAML file that is there, or one of {known}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Protocol)
    try:
        config = parser.parse_path(path)
        check_numbers(config)
        return Protocol(**vars(parser.instantiate(config)))
    except (Exception, YAMLError) as error:
        raise UserError(f"{path.name} is not a protocol: {' '.join(str(error).split())}") from error
