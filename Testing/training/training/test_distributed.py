"""Two processes over gloo train as one process does that sees the same batches."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parents[1] / "distributed_run.py"
ENOUGH_S = 600  # 20 s each on a quiet machine
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * ENOUGH_S + 60)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of the same run by one process and by two."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp(f"processes-{processes}")
        command = [sys.executable, str(PROGRAM), str(processes), str(folders[processes])]
        program = subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            _, errors = program.communicate(timeout=ENOUGH_S)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)  # the second process, too
            raise
        assert program.returncode == 0, errors[-3000:]
    return folders


def batches(folder, rank):
    return [int(line) for line in (folder / f"batches-{rank}.txt").read_text().split()]


def farthest(one, other):
    """The largest difference of any number, as a share of the largest number of its tensor."""
    assert one.keys() == other.keys()
    return max(float((one[k] - other[k]).abs().max() / one[k].abs().max().clamp(min=1e-6)) for k in one)


def test_two_processes_share_the_batches_that_one_would_see(runs):
    first, second, all_of_them = batches(runs[2], 0), batches(runs[2], 1), batches(runs[1], 0)
    assert not set(first) & set(second)
    assert sorted(first[:3] + second[:3]) == all_of_them[:6]


def test_two_processes_have_the_gradients_of_one(runs):
    one, two = (torch.load(runs[n] / "gradients.pt") for n in (1, 2))
    assert farthest(one, two) < 1e-3


def test_every_parameter_has_a_gradient_even_where_its_loss_weighs_nothing(runs):
    gradients = torch.load(runs[2] / "gradients.pt")
    assert all(gradient is not None for gradient in gradients.values())


def test_two_processes_end_with_the_weights_of_one(runs):
    one, two = (torch.load(runs[n] / "weights.pt") for n in (1, 2))
    assert farthest(one, two) < 1e-3


def test_two_processes_have_one_clock_so_that_a_training_of_hours_ends_in_both_at_one_step(runs):
    assert (runs[2] / "clock-0.txt").read_text() == (runs[2] / "clock-1.txt").read_text()
