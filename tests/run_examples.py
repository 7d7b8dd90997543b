"""Run by test_examples.py: every script that is named, each in a fork of a process that has libraries only.

Prints what each wrote, by name. They share a folder, as a newcomer's do, so that a video is drawn once.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.forks import in_a_fork

LIBRARIES = ("av", "peft", "torch", "transformers.modeling_utils", "transformers.models.auto.modeling_auto")


def run(path: str) -> str:
    """What a script writes to stdout."""
    sys.argv, sys.path[0] = [path], str(Path(path).parent)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        runpy.run_path(path, run_name="__main__")
    return said.getvalue()


if __name__ == "__main__":
    for name in LIBRARIES:
        __import__(name)
    print(json.dumps({path: in_a_fork(run, path) for path in sys.argv[1:]}))
