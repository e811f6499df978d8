"""Kills and older versions: nothing saved is lost, and what is left over goes when somebody says so."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from CarotidLandmarkLib.dataset import (
    Dataset,
    check_dataset,
    order_cases,
    repair_dataset,
)
from CarotidLandmarkLib.files import STALE_AFTER_S
from CarotidLandmarkLib.markups import write_markups
from points import LEFT, NAMES, POINTS

from ..rights import not_root


class TestKills:
    def test_killing_the_writer_loses_nothing_that_was_saved(self):
        script = Path(__file__).parents[2] / "benchmarks" / "safety" / "kill_while_saving.py"
        result = subprocess.run(
            [sys.executable, script, "--kills", "12"], capture_output=True, text=True, timeout=120, check=False
        )
        report = json.loads(result.stdout)
        assert report["wrong"] == [] and result.returncode == 0
        assert report["saves"] > 12 and report["kills_inside_a_save"] > 0  # or the kills have tested nothing


class TestRepair:
    def stale(self, *paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("half")
            os.utime(path, (time.time() - 2 * STALE_AFTER_S,) * 2)
            if path.parent.name.startswith(".tmp-"):
                os.utime(path.parent, (time.time() - 2 * STALE_AFTER_S,) * 2)

    def test_stale_temporary_files_go_and_those_of_a_running_save_stay(self, dataset):
        cases = dataset.path / "cases"
        self.stale(
            dataset.path / ".tmp-000000000001-dataset.json",
            cases / "c1/annotations/.tmp-000000000002-anna.json",
            cases / ".tmp-000000000003-c7/image",
        )
        mine = cases / ".tmp-notes.txt"  # somebody's own
        self.stale(mine)
        running = cases / "c1/.tmp-000000000004-prediction.json"
        running.write_text("half")
        assert len(Dataset.open(dataset.path).temporary_files()) == 4
        assert len(repair_dataset(dataset)) == 3
        assert dataset.temporary_files() == [running]
        assert mine.read_text() == "half"
        assert dataset.case_ids() == ["c1"]

    @pytest.mark.skipif(os.name != "posix", reason="rights are others there")
    def test_what_another_user_has_left_is_named_by_its_whole_path_and_the_rest_is_repaired(self, case_volume):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o777)
            with not_root():
                dataset = Dataset.create(Path(folder) / "set", NAMES)
                dataset.add_case(case_volume, "c1")
                theirs = dataset.path / "cases/.tmp-000000000001-c7"
                self.stale(theirs / "image.nrrd", dataset.path / "cases/.tmp-000000000002-c8/image.nrrd")
                theirs.chmod(0o555)
                assert repair_dataset(dataset) == [
                    f"{theirs}: a killed program has left it, and it can not be removed (Permission denied); its owner "
                    "may.",
                    "cases/.tmp-000000000002-c8: removed, a killed program had left it.",
                ]
                theirs.chmod(0o755)

    def test_a_folder_that_is_being_written_to_stays_whatever_the_clock_of_the_server_says(self, dataset):
        folder = dataset.path / "cases/.tmp-000000000001-c7"
        folder.mkdir()
        (folder / "image.nrrd").write_text("half")
        os.utime(folder, (time.time() - 7200,) * 2)
        assert repair_dataset(dataset) == []
        assert (folder / "image.nrrd").exists()

    def test_opening_listing_and_checking_change_nothing(self, dataset):
        self.stale(dataset.path / "cases/.tmp-000000000003-c7/image")
        write_markups(dataset.path / "cases/c1/annotations/anna.mrk.json", POINTS)

        def state() -> dict[Path, float]:
            return {path: path.stat().st_mtime_ns for path in (dataset.path, *dataset.path.rglob("*"))}

        before = state()
        opened = Dataset.open(dataset.path)
        order_cases(opened)
        assert len(check_dataset(opened)) == 1
        assert state() == before

    def test_a_dataset_of_version_1_is_read_and_becomes_one_of_version_2(self, dataset):
        (dataset.path / "dataset.json").write_text(json.dumps({"schema_version": 1, "landmarks": list(NAMES)}))
        annotation = dataset.path / "cases/c1/annotations/anna.json"
        document = json.loads(annotation.read_text())
        annotation.write_text(json.dumps({**document, "schema_version": 1, "replaces_markups_sha256": None}))
        case = dataset.path / "cases/c1/case.json"
        document = json.loads(case.read_text())
        del document["image"]["voxels_sha256"]
        case.write_text(json.dumps({**document, "schema_version": 1}))
        twin = write_markups(annotation.with_suffix(".mrk.json"), POINTS)
        opened = Dataset.open(dataset.path)
        assert opened.case("c1").truth_annotations["anna"].points == POINTS and check_dataset(opened) == []
        assert [line.split(":")[0] for line in repair_dataset(opened)] == [
            "cases/c1/annotations/anna.mrk.json",
            "dataset.json",
        ]
        assert not twin.exists() and Dataset.open(dataset.path).version() == 2
        assert check_dataset(dataset) == [] and repair_dataset(dataset) == []

    def test_a_twin_of_the_save_before_a_kill_of_version_1_is_no_error_and_goes(self, dataset):
        twin = write_markups(dataset.path / "cases/c1/annotations/anna.mrk.json", {**POINTS, LEFT: (20.0, 0.0, 0.0)})
        annotation = dataset.path / "cases/c1/annotations/anna.json"
        digest = hashlib.sha256(twin.read_bytes()).hexdigest()
        annotation.write_text(json.dumps({**json.loads(annotation.read_text()), "replaces_markups_sha256": digest}))
        assert check_dataset(dataset) == []
        assert len(repair_dataset(dataset)) == 1 and not twin.exists()
        assert dataset.case("c1").truth_annotations["anna"].points == POINTS

    @pytest.mark.parametrize("annotator", ["anna", "ben"])
    def test_points_that_no_annotation_repeats_are_not_removed(self, dataset, annotator):
        twin = write_markups(
            dataset.path / f"cases/c1/annotations/{annotator}.mrk.json", {**POINTS, LEFT: (31.0, 0.0, 0.0)}
        )
        assert repair_dataset(dataset) == [] and twin.exists()
