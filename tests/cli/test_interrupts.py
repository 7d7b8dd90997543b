"""No Ctrl-C is lost, wherever it falls."""

import subprocess
import sys

import pytest

LOST = """
import time
from bvllm.cli.interrupts import deliver_lost_interrupts
deliver_lost_interrupts()
class Dying:
    def __del__(self):
        raise {error}
dying = Dying()
del dying
print("not yet", flush=True)
time.sleep({patience})
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
