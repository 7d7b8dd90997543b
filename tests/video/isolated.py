"""Run by test_isolation.py in a process of its own: a fork after kernels of several threads would hang.

Prints what every mode and every attack found, by name; each runs in a fork of a process without kernels.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import torch

from bvllm.video import SamplingPlan, VideoError, isolation, read_video, sandbox, wire, worker
from bvllm.video.fetch import fetch_frames
from bvllm.video.inspection.packet_stats import packet_stats

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.forks import in_a_fork


def whole(path):
    with read_video(path, SamplingPlan(fps=1.0), size=(48, 64), threads=2) as video:
        chunks = list(video)
        pixels, seconds = (torch.cat([getattr(c, name) for c in chunks]) for name in ("pixels", "seconds"))
        return pixels, seconds, video.info, video.report, video.frame_map


def same(path):
    """Everything is as it is in this process."""
    here, stats = whole(path), packet_stats(path)
    assert isolation.start_decoding_process()
    there, walked = whole(path), packet_stats(path)
    assert torch.equal(here[0], there[0])
    assert torch.equal(here[1], there[1])
    assert here[2:4] == there[2:4]
    assert here[4].to_arrays().keys() == there[4].to_arrays().keys()
    assert all(np.array_equal(a, there[4].to_arrays()[k]) for k, a in here[4].to_arrays().items())
    assert stats.summary() == walked.summary()
    assert np.array_equal(stats.pts, walked.pts, equal_nan=True)
    assert np.array_equal(stats.is_key, walked.is_key)
    assert np.array_equal(stats.is_hidden, walked.is_hidden)
    wanted = [3, 1, 2, 3]
    assert torch.equal(fetch_frames(path, wanted, there[4], size=(48, 64)), here[0][wanted])
    return "the same"


def attack(path, what):
    """A worker that an attacker took over, from its first byte on."""

    def taken_over(channel, memory, file, job):
        found = ATTACKS[what](channel)
        raise VideoError("usage", f"attack: {found}")

    isolation.OPEN_SECONDS = 2.0
    worker.read = taken_over
    assert isolation.start_decoding_process()
    started = time.monotonic()
    try:
        whole(path)
    except VideoError as error:
        return f"{error.kind}: {error} ({'fast' if time.monotonic() - started < 5 else 'slow'})"
    return "nothing happened"


def tried(action):
    def attempt(_):
        try:
            action()
        except (OSError, MemoryError) as error:
            return f"refused by {type(error).__name__}"
        return "succeeded"

    return attempt


def garbage(channel):
    wire.send(channel, b"\x80\x04not json")
    time.sleep(5)


def lies(channel):
    wire.say(channel, info={"container": 7})
    time.sleep(5)


def oversized(channel):
    channel.sendall((1 << 40).to_bytes(8, "little"))
    time.sleep(5)


def spin(_):
    while True:
        pass


def shrink(_):
    """Cut the shared buffer short: the program would end at its next read of it."""
    descriptors = [fd for fd in range(3, 256) if is_memory(fd)]
    assert descriptors
    for descriptor in descriptors:
        try:
            os.ftruncate(descriptor, 0)
        except OSError as error:
            return f"refused by {type(error).__name__}"
    return "succeeded"


def is_memory(descriptor):
    try:
        return os.fstat(descriptor).st_size == wire.BUFFER_BYTES
    except OSError:
        return False


ATTACKS = {
    "shrink": shrink,
    "crash": lambda _: os.abort(),
    "hang": lambda _: time.sleep(60),
    "spin": spin,
    "memory": tried(lambda: np.ones(1 << 27)),
    "read": tried(lambda: open("/etc/passwd").close()),
    "write": tried(lambda: open("taken", "w").close()),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1).close()),
    "execute": tried(lambda: os.execv("/bin/true", ["true"])),
    "kill": tried(lambda: os.kill(os.getppid(), 9)),
    "garbage": garbage,
    "lies": lies,
    "oversized": oversized,
}


def leaves_nothing(path):
    """Workers end with their streams, and the process with the program; no descriptors stay open."""
    assert isolation.start_decoding_process()
    for _ in range(3):
        whole(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with read_video(path, SamplingPlan(fps=1.0)) as video:
            next(iter(video))  # given up in the middle
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    process = isolation.decoding_process()
    isolation.stop_decoding_process()
    assert not os.path.exists(f"/proc/{process.pid}")
    assert isolation.decoding_process() is None
    whole(path)  # here again
    return "nothing"


def layers(_):
    """What the kernel has to close a worker with."""
    return sandbox.close_process()


MODES = {"same": same, "leaves": leaves_nothing, "layers": lambda path: layers(None)}


if __name__ == "__main__":
    path = sys.argv[1]
    found = {name: in_a_fork(mode, path) for name, mode in MODES.items()}
    print(json.dumps(found | {name: in_a_fork(attack, path, name) for name in ATTACKS}))
