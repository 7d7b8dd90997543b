"""Memory that is freed stays with the process that trains."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from bvllm.common.allocator import keep_freed_memory
assert not {keep} or keep_freed_memory()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
tensors = [torch.ones(16 << 20) for _ in range(4)]
del tensors
print((resident() - before) >> 20)
"""


def left(*, keep: bool) -> int:
    """MB that a process holds on to of the 256 that it used."""
    words = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_freed_memory_stays():
    assert left(keep=False) < 64
    assert left(keep=True) > 192
