"""Two evaluations side by side: the page has the numbers that the evaluations have written."""

import csv
import functools
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from carotid_training.evaluation import evaluate, metrics

from benchmarks.accuracy import release

from ..training.outcomes import LEFT, calibration, cohort, model, outcome


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(metrics, "bootstrap", functools.partial(metrics.bootstrap, resamples=20))


def evaluation(folder: Path, name: str, datasets: dict) -> Path:
    """What `carotid-train evaluate` writes of a model on made-up answers."""
    described = replace(model(calibration(**{"0.5": 1.5, "0.9": 2.5, "0.95": 2.8})), title=name)
    evaluate.write_tables(folder, datasets, described, {"cases": "made up"})
    return folder


def test_both_models_stand_side_by_side_dataset_by_dataset_and_together(tmp_path):
    near, far = outcome("near", LEFT, (1.0, 0, 0)), outcome("far", LEFT, (0, 30.0, 0))
    new = evaluation(tmp_path / "new", "by hand 2.0", {"usual": cohort(), "hard": [near]})
    old = evaluation(tmp_path / "old", "by hand 1.0", {"usual": cohort(), "hard": [far]})
    release.main(new, old, tmp_path / "out")
    with (tmp_path / "out" / "release.csv").open() as file:
        rows = {(row["necks"], row["model"]): row for row in csv.DictReader(file)}
    assert list(rows) == [(kind, f"by hand {n}.0") for kind in ("usual", "hard") for n in (2, 1)]
    assert [float(rows["hard", f"by hand {n}.0"]["largest error of ok (mm)"]) for n in (2, 1)] == [1.0, 30.0]
    page = (tmp_path / "out" / "release.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in page.splitlines()}
    wrong = [sum(o.verdict == "ok" and (o.error_mm or 0) > 5 for o in [*cohort(), last]) for last in (near, far)]
    assert wrong[1] == wrong[0] + 1
    assert [int(cell.split()[0]) for cell in lines["points of `ok` scans over 5 mm"]] == wrong
    assert "30.0" in lines["points of `ok` scans over 5 mm"][1]


def test_evaluations_on_different_datasets_are_not_compared(tmp_path):
    new = evaluation(tmp_path / "new", "by hand 2.0", {"usual": cohort(), "hard": cohort(4)})
    old = evaluation(tmp_path / "old", "by hand 1.0", {"usual": cohort(), "easy": cohort(4)})
    with pytest.raises(typer.BadParameter, match="different datasets"):
        release.main(new, old, tmp_path / "out")
    assert not (tmp_path / "out").exists()
