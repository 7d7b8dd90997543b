"""Run one benchmark job in a process of its own, and report its time and memory.

python -m benchmarks.speed.child benchmarks.speed.jobs:first_question '{"video": "talk.mp4"}'
"""

import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")  # writing 5 sets the high-water mark back to what is there now


@dataclass(frozen=True)
class Job:
    """What a job gave and took.

    Attributes:
        found: what it returned.
        cpu: seconds of all its threads.
        wall: seconds on the clock.
        peak: bytes at the high-water mark, above what the process held when the job began.
    """

    found: dict[str, Any]
    cpu: float
    wall: float
    peak: int


def run_job(function: str, **arguments: object) -> Job:
    """Run `module:function` with keyword arguments in a fresh process.

    Args:
        function: takes plain values; returns a dict of plain values, or a pair (prepare, measure) is not
            needed: what must not be timed stands in the function's own `prepare_` twin.

    Raises:
        RuntimeError: the job fails, with its last line.
    """
    command = [sys.executable, "-m", "benchmarks.speed.child", function, json.dumps(arguments)]
    path = os.pathsep.join(filter(None, (str(REPO), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"benchmark {function} must run, got exit status {done.returncode}: {last}")
    return Job(**json.loads(done.stdout.splitlines()[-1]))


def memory(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (most so far); not ru_maxrss, which a child inherits."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    function, arguments = sys.argv[1], json.loads(sys.argv[2])
    module, name = function.split(":")
    home = importlib.import_module(module)
    prepared = getattr(home, f"prepare_{name}")(**arguments)
    RESET.write_text("5")
    before, cpu, wall = memory("VmRSS"), time.process_time(), time.perf_counter()
    found = getattr(home, name)(prepared, **arguments)
    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    sys.stdout.write(json.dumps({"found": found, **took, "peak": memory("VmHWM") - before}) + "\n")


if __name__ == "__main__":
    main()
