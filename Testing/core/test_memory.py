"""How a process of ours asks the system for memory."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from CarotidLandmarkLib.memory import keep_freed_memory

if {keep}:
    assert keep_freed_memory()

def faults(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(megabytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(64)
print(faults(64))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no mallopt")
def test_a_process_that_keeps_what_it_frees_is_not_handed_every_tensor_anew():
    def faults(keep):
        return int(subprocess.check_output([sys.executable, "-c", FAULTS.format(keep=keep)], text=True))

    assert faults(True) < faults(False) / 20
