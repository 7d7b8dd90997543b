"""Processes that train together: the gradients of all, other clips for each, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.team import CAN_FORK, Team

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="forks of a process that has run kernels")
LIMITS = {"minutes": 5.0, "lr": 0.1, "warmup": 1, "decay": 0.01, "seed": 3}


def nobody_is_left():
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def trained(workers, steps=6, parts=4):
    """A small network after some steps on examples that are shared out by rank."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    unused = nn.Parameter(torch.ones(2))
    examples = torch.randn(steps, parts, 3)
    loop = StageLoop(
        "toy", [*model.parameters(), unused], steps=steps, control=Control(str, workers=workers), **LIMITS
    )
    here, first = os.getpid(), loop.seed

    def gradients():
        own = loop.part(parts)
        rank = 0 if os.getpid() == here else 1
        assert (loop.seed == first) == (rank == 0)
        while True:
            rows = examples[loop.step, rank * own : (rank + 1) * own]
            (model(rows) - rows.sum(dim=1, keepdim=True)).square().mean().backward()
            yield

    loop.run(gradients)
    return model, unused, loop


def test_two_learn_what_one_learns_from_the_same_examples():
    """Splitting a batch changes nothing but who works on it; what has no gradient stays."""
    alone, _, _ = trained(1)
    together, unused, loop = trained(2)
    for one, other in zip(alone.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert unused.tolist() == [1.0, 1.0]
    assert loop.step == 6
    assert together[0].weight.untyped_storage().nbytes() == 15 * 4  # its own memory again
    nobody_is_left()


def test_each_process_draws_other_examples():
    weight = nn.Parameter(torch.zeros(4096))
    loop = StageLoop("toy", [weight], steps=1, control=Control(str, workers=3), **LIMITS)

    def gradients():
        drawn = np.random.default_rng(loop.seed).random(4096) + torch.rand(4096).numpy()
        while True:
            (weight * torch.from_numpy(drawn)).sum().backward()
            yield

    seen = []
    loop.descend = lambda: seen.append(weight.grad.clone())
    loop.run(gradients)
    # Means of three draws of two uniform numbers each: a third of the variance, 1/6, of one draw.
    assert seen[0].var().item() == pytest.approx(1 / 18, rel=0.1)


@pytest.mark.parametrize("end", ["raises", "is killed"])
def test_a_process_that_fails_is_told_of_and_ends_all(end):
    weight = nn.Parameter(torch.zeros(1))

    def steps(rank):
        def step(share):
            if rank == 2:
                if end == "is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise MemoryError("no room for a clip")
            (weight * rank).sum().backward()

        return step

    with pytest.raises(ChildProcessError, match="no room for a clip" if end == "raises" else "out of memory"):
        _one_step(weight, steps)
    nobody_is_left()
    assert weight.tolist() == [0.0]


def _one_step(weight, steps):
    with Team([weight], 3, steps) as team:
        team.begin(0.0)
        steps(0)(0.0)
        team.gather()


def test_what_this_process_raises_ends_the_others():
    weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(weight)
    nobody_is_left()


def _interrupted(weight):
    with Team([weight], 3, lambda rank: lambda share: time.sleep(100)) as team:
        team.begin(0.0)
        raise KeyboardInterrupt


def lives(process):
    """Whether a process still works: one that ended may wait for somebody to ask how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


KILLED = """
import os, signal, torch
from torch import nn
from bvllm.nano.team import Team
weight = nn.Parameter(torch.zeros(1))
torch.set_num_threads(2)
torch.randn(512, 512) @ torch.randn(512, 512)  # kernel threads that no fork has
def steps(rank):
    os.write(1, b"%d\\n" % os.getpid())  # at once, whoever else writes
    def step(share):
        (weight * (torch.randn(512, 512) @ torch.randn(512, 512)).mean()).sum().backward()
    return step
with Team([weight], 3, steps) as team:
    for _ in range(3):
        team.begin(0.0)
        (weight * 2).sum().backward()
        team.gather()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_others_end_with_a_parent_that_is_killed():
    command = [sys.executable, "-c", KILLED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    forks = [int(line) for line in done.stdout.split()]
    assert len(forks) == 2
    deadline = time.monotonic() + 30
    while any(map(lives, forks)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, forks))
