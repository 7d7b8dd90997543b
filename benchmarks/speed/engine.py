"""Measure G4 to G7 and G11: the whole engine, each run in a process of its own."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.child import Job, run_job
from benchmarks.speed.result import Figure

JOBS = "benchmarks.speed.jobs:"
MIB = 2**20


@dataclass(frozen=True)
class Footage:
    """The videos of a run: a name for the page, ten minutes, and an hour of the same."""

    name: str
    minutes: Path
    hour: Path


def flat_memory(footage: Footage, model: str) -> list[Figure]:
    """G4: what an hour takes above ten minutes, and what it takes at all."""
    short, long = (_job("first_question", video, model, 1) for video in (footage.minutes, footage.hour))
    growth = (long.peak - short.peak) / MIB
    details = {"ten_minutes_mib": short.peak / MIB, "hour_mib": long.peak / MIB}
    what = f"peak memory, an hour above ten minutes ({footage.name})"
    return [Figure("G4", what, growth, 64.0, "MiB", at_least=False, details=details)]


def pipeline(footage: Footage, model: str, rounds: int) -> list[Figure]:
    """G5: decode beside encode on two cores against one, with the same features; G11: beside a busy core."""
    one, two, busy = [], [], []
    for _ in range(rounds):
        one.append(_job("pass_one", footage.minutes, model, 1))
        two.append(_job("pass_one", footage.minutes, model, 2))
        with busy_core():
            busy.append(_job("pass_one", footage.minutes, model, 2))
    same = len({job.found["checksum"] for job in (*one, *two, *busy)}) == 1
    alone, both, shared = (min(job.wall for job in jobs) for jobs in (one, two, busy))
    details = {
        "one_thread_s": alone,
        "two_threads_s": both,
        "beside_a_busy_core_s": shared,
        "bit_equal": same,
    }
    return [
        Figure(
            "G5", f"first pass, two threads against one ({footage.name})", alone / both, 1.55, details=details
        ),
        Figure("G11", f"throughput beside a busy core ({footage.name})", both / shared, 0.5, details=details),
    ]


def first_and_second(footage: Footage, model: str, threads: int) -> list[Figure]:
    """G6 and G7: an hour against the plain way, then another question about it from the index."""
    plain = _job("keep_every_token", footage.hour, model, threads)
    ours = _job("first_and_second", footage.hour, model, threads)
    clock = "cpu" if threads == 1 else "wall"
    took = ours.found[f"first_{clock}"]
    second = ours.found[f"second_{clock}"]
    peer = plain.found[f"first_{clock}"]
    shared = set(ours.found["frames"]) & set(plain.found["frames"])
    details = {
        "clock": clock,
        "ours_s": took,
        "plain_s": peer,
        "second_s": second,
        "plain_second_with_its_pixels_s": plain.found[f"second_{clock}"],
        "frames_shared": f"{len(shared)} of {len(plain.found['frames'])}",
        "ours_peak_mib": ours.peak / MIB,
        "plain_peak_mib": plain.peak / MIB,
    }
    on = f"{threads} thread{'s' * (threads > 1)}, {footage.name}"
    goal = 1.6 if threads == 1 else 1.7
    again = plain.found[f"second_{clock}"] / second
    return [
        Figure(
            "G6",
            f"an hour, file to visual tokens, against the plain way ({on})",
            peer / took,
            goal,
            details=details,
        ),
        Figure(
            "G7",
            f"first question against the second, from the index ({on})",
            took / second,
            20.0,
            details=details,
        ),
        Figure("G7", f"second question against the plain way that keeps its pixels ({on})", again, 12.0),
    ]


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one of this process's cores busy with something else."""
    core = min(os.sched_getaffinity(0))
    neighbour = multiprocessing.get_context("spawn").Process(target=_spin, args=(core,), daemon=True)
    neighbour.start()
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.join()


def _spin(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        pass


def _job(name: str, video: Path, model: str, threads: int) -> Job:
    return run_job(JOBS + name, video=str(video), model=model, threads=threads)
