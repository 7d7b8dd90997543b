"""No Ctrl-C is lost, wherever it falls; a search may hold many files open."""

import subprocess
import sys

import pytest

LOST = """
import time
from bvllm.cli.console import deliver_lost_interrupts
deliver_lost_interrupts()
class Dying:
    def __del__(self):
        raise {error}
dying = Dying()
del dying
print("not yet", flush=True)
time.sleep({patience})
"""
OPEN_FILES = """
import resource
from bvllm.cli.console import allow_many_files
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, min(hard, 1000) if hard != -1 else 1000))
allow_many_files()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    "error, patience, status, said",
    [("KeyboardInterrupt", 60, 1, "\nKeyboardInterrupt"), ("ValueError", 0, 0, "Exception ignored in")],
)
def test_an_interrupt_that_python_would_lose_comes_again(error, patience, status, said):
    script = LOST.format(error=error, patience=patience)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, start_new_session=True
    )
    assert done.stdout == "not yet\n"
    assert (done.returncode != 0) == bool(status)
    assert said in done.stderr


def test_as_many_as_the_system_allows():
    said = subprocess.run([sys.executable, "-c", OPEN_FILES], capture_output=True, text=True, check=True)
    assert said.stdout == "1000\n"
