"""What every test gets: one thread per worker, fixed seeds, no network."""

import os
import signal
import socket
import uuid
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests import torchvision_apart  # noqa: F401  # before transformers looks for it
from tests.videos import loaded, video  # noqa: F401  # fixtures that many rooms share

# The workers of pytest-xdist share the cores; a torch pool in each would only fight over them.
torch.set_num_threads(1)

# A run that was started in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Shared machines stall; a deadline would turn a busy neighbour into a failure.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@pytest.fixture(autouse=True)
def _same_seed_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """SVT-AV1, run as root, makes whoever encodes a real-time process; its forks would starve all others."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture(autouse=True)
def _own_index(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An index that no other test and no user has: a name only, the folder is made when it is written to."""
    name = f"index-{uuid.uuid4().hex}"
    monkeypatch.setenv("BVLLM_INDEX", str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that leaves this machine fails at once, and says where it wanted to go."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address):
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            raise AssertionError(
                f"a test must stay on this machine, got a connection to {address}: use a local file"
            )
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
