"""How a process of ours asks the system for memory, and what it says where it gets none."""

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from CarotidLandmarkLib.errors import lacks_memory, sentence

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


@pytest.mark.parametrize(
    "take",
    [lambda: torch.empty(10**15), lambda: np.empty(10**15), lambda: sitk.Image([10**5] * 3, sitk.sitkInt16)],
    ids=["torch", "numpy", "ITK"],
)
def test_memory_that_is_refused_is_said_in_a_sentence(take):
    with pytest.raises((MemoryError, RuntimeError)) as refused:
        take()
    words = "There is too little memory for this; close other programs, or crop the scan to the neck."
    assert sentence(refused.value) == words


def test_what_an_accelerator_refuses_is_lack_of_memory_and_other_errors_of_torch_are_not():
    with pytest.raises(RuntimeError) as wrong:
        torch.ones(2) @ torch.ones(3)
    assert not lacks_memory(wrong.value)
    assert lacks_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert lacks_memory(RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"))
