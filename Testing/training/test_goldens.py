"""What seeds stand for: necks of each style, samples, an acquisition and a batch, as they were when they were stored.

Bit for bit on one machine; other processors add up in another order, so the stored numbers may differ by a little.
A change that moves them needs another `seeds.GENERATOR`; then store them anew:

    PYTHONPATH=Testing python -c "from training.test_goldens import write; write()"
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from carotid_training import seeds
from carotid_training.batches.stream import NeckStream
from carotid_training.necks.neck import Grid
from carotid_training.necks.sculpted import neck as sculpted
from carotid_training.necks.styles import Styles
from carotid_training.necks.tissue import painted, recoloured
from carotid_training.necks.tissue.background import Background
from carotid_training.scans.acquisition import Acquisition
from carotid_training.scans.sample import Sample
from torch import Tensor

from .necks.drawn_ct import UP, synthetic_ct
from .stand_in_neck import StandInNeck

STORED = Path(__file__).parent / "goldens.json"
NECK_SEEDS = (1, 2, 3)


@cache
def background() -> Background:
    return Background.prepare(synthetic_ct())


class StandInStyles:
    available = ("stand-in",)

    def check(self, names):
        pass

    def draw(self, style, seed, randomised):
        return StandInNeck(seed)


def tones(values: Tensor) -> list[float]:
    """The mean of each eighth of a picture [k, j, i], and its spread."""
    eighths = [part for k in values.chunk(2) for j in k.chunk(2, 1) for part in j.chunk(2, 2)]
    return [float(part.double().mean()) for part in eighths] + [float(values.double().std())]


def neck(draw, seed: int) -> dict[str, Any]:
    drawn = draw(seed)
    forks = drawn.bifurcations(UP)
    whole, fork = drawn.render(
        [Grid.aligned([0, -10, 0], 4.0, (40, 36, 36)), Grid.aligned(forks[0], 1.0, (16, 20, 20))]
    )
    return {
        "bifurcations": forks.flatten().tolist(),
        "present": drawn.present.tolist(),
        "facts": list(drawn.facts.items()),
        "metal": drawn.metal.flatten().tolist(),
        "tones": tones(whole),
        "fork": tones(fork),
    }


def sample(seed: int) -> dict[str, Any]:
    drawn = Sample.draw(seeds.neck_seed("test", 0, seed), Styles(), {"sculpted": 1.0}, randomised=False)
    return drawn.facts()


def acquisition(seed: int) -> dict[str, Any]:
    return vars(Acquisition.draw(seeds.generator(seed, "scan")))


def batch(number: int) -> dict[str, Any]:
    made = NeckStream(2, styles=StandInStyles(), box_sizes={2.0: 24, 0.5: 32}).batch(number)
    return {
        "coarse": tones(made.coarse[0, 0].float()),
        "fine": tones(made.boxes[0.5][1, 0, 0].float()),
        "origins": made.box_origins_lps[2.0].flatten().tolist(),
        "landmarks": made.landmarks_lps.nan_to_num(0.0).flatten().tolist(),
    }


GOLDENS = {
    "sculpted": (lambda seed: neck(sculpted.SculptedNeck, seed), NECK_SEEDS),
    "painted": (lambda seed: neck(lambda s: painted.draw(s, [background()]), seed), NECK_SEEDS),
    "recoloured": (lambda seed: neck(lambda s: recoloured.draw(s, [background()]), seed), NECK_SEEDS),
    "sample": (sample, (0, 1)),
    "acquisition": (acquisition, (0, 1, 2)),
    "batch": (batch, (0, 1)),
}


def rounded(value: Any) -> Any:
    """For JSON: numbers to four decimals, tuples as lists."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


def check(now: Any, stored: Any, where: str) -> None:
    if isinstance(stored, (dict, list)):
        assert len(now) == len(stored), where
        for key in stored if isinstance(stored, dict) else range(len(stored)):
            check(now[key], stored[key], f"{where}, {key}")
    else:
        assert now == (pytest.approx(stored, rel=1e-3, abs=0.05) if isinstance(stored, float) else stored), where


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, (_, all_of) in GOLDENS.items() for seed in all_of])
def test_a_seed_stands_for_what_it_stood_for(kind, seed):
    stored = json.loads(STORED.read_text(encoding="utf-8"))[kind][str(seed)]
    check(rounded(GOLDENS[kind][0](seed)), stored, f"{kind} {seed}")


def write() -> None:
    made = {kind: {seed: rounded(draw(seed)) for seed in all_of} for kind, (draw, all_of) in GOLDENS.items()}
    rows = (f'"{kind}": ' + json.dumps(own).replace('}, "', '},\n "') for kind, own in made.items())
    STORED.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
