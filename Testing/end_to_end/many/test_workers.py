"""Many scans on dask workers: whatever is killed, the same command goes on, and every scan is done once."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from CarotidLandmarkLib.dataset import Dataset
from CarotidLandmarkLib.volume import Volume, write_volume

from ..commands import LEFT, RIGHT, scan_volume, without_timing
from .cluster import LONGEST_S, dask, done, lines, start, wait_until, workers_of

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")

NAMES = [f"scan{n}" for n in range(5)]
PASSES = 200  # a scan of a second or so


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """A folder of five scans, and one that is none."""
    folder = tmp_path_factory.mktemp("many") / "scans"
    folder.mkdir()
    whole = scan_volume()
    for n, name in enumerate(NAMES):
        write_volume(Volume(whole.array + np.int16(n), whole.affine_lps), folder / f"{name}.nrrd")
    return folder


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def test_a_worker_killed_in_mid_run_costs_no_scan_and_none_is_done_twice(scans, model, tmp_path):
    output = tmp_path / "out"
    command = start("detect", scans, "-o", output, "--model", model, "--passes", PASSES, "--workers", 2)
    wait_until(lambda: done(output))
    before = done(output)
    assert len(before) < len(NAMES)
    victim, *_ = workers_of(command)
    os.kill(victim.pid, signal.SIGKILL)
    out, err = command.communicate(timeout=LONGEST_S)
    assert (command.returncode, len(lines(err))) == (0, 1), err
    assert out.startswith(f"{len(NAMES)} scans: ")
    assert sorted(done(output)) == NAMES
    assert {name: when for name, when in done(output).items() if name in before} == before


@pytest.mark.slow
def test_a_command_that_is_stopped_ends_its_workers_and_the_same_one_goes_on_with_the_same_results(
    run, scans, model, tmp_path
):
    output = tmp_path / "out"
    arguments = ("detect", scans, "-o", output, "--model", model, "--passes", PASSES)
    command = start(*arguments, "--workers", 1)
    wait_until(lambda: workers_of(command))  # before they have begun
    os.killpg(command.pid, signal.SIGINT)
    _, err = command.communicate(timeout=LONGEST_S)
    assert (command.returncode, len(lines(err))) == (3, 1), err
    assert not output.exists()
    command = start(*arguments, "--workers", 2)
    wait_until(lambda: done(output))
    workers = workers_of(command)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
    _, err = command.communicate(timeout=LONGEST_S)
    assert command.returncode == 3
    assert lines(err)[-1].startswith("Cancelled: ") and len(lines(err)) == 2, err
    wait_until(lambda: not any(worker.is_running() for worker in workers))
    before = done(output)
    assert 0 < len(before) < len(NAMES)
    command = start(*arguments, "--workers", 1)
    wait_until(lambda: len(done(output)) > len(before))
    command.kill()
    command.wait()
    for stream in (command.stdout, command.stderr):
        stream.close()  # type: ignore[union-attr]
    code, _, err = run(*arguments)
    assert (code, len(err)) == (0, 1), err
    assert sorted(done(output)) == NAMES
    assert {name: when for name, when in done(output).items() if name in before} == before
    assert run("detect", scans / "scan3.nrrd", "-o", tmp_path / "alone", *arguments[4:])[0] == 0
    one, many = (folder / "detection.json" for folder in (tmp_path / "alone", output / "scan3"))
    assert without_timing(one) == without_timing(many)


@pytest.mark.slow
def test_a_scheduler_that_is_started_again_is_waited_for_and_its_work_goes_on(scans, model, tmp_path, address):
    output, port = tmp_path / "out", address.rpartition(":")[2]
    with (
        dask("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"),
        dask("worker", address, "--nthreads", 2, "--no-nanny", "--no-dashboard"),
    ):
        command = start("detect", scans, "-o", output, "--model", model, "--passes", PASSES, "--scheduler", address)
        wait_until(lambda: done(output))
        before = done(output)
    assert command.poll() is None
    assert len(before) < len(NAMES)
    with (
        dask("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"),
        dask("worker", address, "--nthreads", 2, "--no-nanny", "--no-dashboard"),
    ):
        _, err = command.communicate(timeout=LONGEST_S)
    assert (command.returncode, len(lines(err))) == (0, 1), err
    assert sorted(done(output)) == NAMES
    assert {name: when for name, when in done(output).items() if name in before} == before


def test_a_cohort_is_predicted_on_workers_and_a_worker_that_can_not_open_the_model_says_so(scans, model, tmp_path):
    dataset = Dataset.create(tmp_path / "data", [LEFT, RIGHT])
    for name in NAMES[:3]:
        dataset.add_case(scans / f"{name}.nrrd", case_id=name)
    (dataset.case("scan1").folder / "image.nrrd").unlink()
    arguments = ("cohort", dataset.path, "--predict", "--model", model, "--passes", 3, "--workers", 2)
    command = start(*arguments)
    out, err = command.communicate(timeout=LONGEST_S)
    assert command.returncode == 2 and "3 cases, 2 predicted" in out
    assert [line.split(":")[0] for line in lines(err)] == [
        "scan1", "1 cases could not be predicted; the lines above say why.",
    ]  # fmt: skip
    command = start(*arguments[:-1], 1, "--seed", 5, "--device", "cuda:99")
    _, err = command.communicate(timeout=LONGEST_S)
    assert (command.returncode, len(lines(err))) == (2, 1) and "cuda:99" in err
    stored = dataset.case("scan0").prediction()
    assert stored is not None and stored.seed == 0
