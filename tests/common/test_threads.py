"""The tests of kernel threads in their own process: one that ran several must not be forked any more."""

import subprocess
import sys
from pathlib import Path


def test_kernel_threads_in_a_process_of_their_own():
    file = Path(__file__).with_name("kernel_threads.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=file.parents[2], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
