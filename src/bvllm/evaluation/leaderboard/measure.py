"""Time the language model's first call, and count what a piece of work allocates."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

MEMORY = "[memory]"  # name of the profiler's events about allocations


@dataclass
class FirstCall:
    """Seconds of a module's first call in a block; None before it."""

    seconds: float | None = None


@contextmanager
def first_call(module: nn.Module) -> Iterator[FirstCall]:
    """Time a module's first call in the block; it is left as it was."""
    found, started = FirstCall(), 0.0

    def before(*_: object) -> None:
        nonlocal started
        _wait()
        started = time.perf_counter()

    def after(*_: object) -> None:
        if found.seconds is None:
            _wait()
            found.seconds = time.perf_counter() - started

    hooks = [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class Peak:
    """The most that was allocated at once in a block, in bytes, beyond what was there before it."""

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Count allocations by torch's profiler: exact, on any device, and slow: not for what is timed."""
    found, cuda = Peak(), device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        yield found
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == MEMORY]
    events = [e for e in events if (str(e.device_type()) == "DeviceType.CUDA") == cuda]
    total = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        total += event.nbytes()
        found.bytes = max(found.bytes, total)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
