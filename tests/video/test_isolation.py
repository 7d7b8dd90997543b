"""Videos are decoded in a closed process of their own: the same frames, and an attack costs one error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bvllm.video import isolation
from tests.video import make

SCRIPT = Path(__file__).with_name("isolated.py")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not isolation.SUPPORTED, reason="Linux decodes in processes of its own"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("isolation") / "video.mp4"
    file.write_bytes(make.video(1800))
    return file


@pytest.fixture(scope="module")
def found(path):
    """What every mode and every attack of the script came to."""
    command = [sys.executable, str(SCRIPT), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_frames_times_report_map_and_packets_are_the_same(found):
    assert found["same"] == {"found": "the same"}


def test_workers_leave_nothing_behind(found):
    assert found["leaves"] == {"found": "nothing"}


# What a kernel without Landlock or seccomp cannot refuse; the rest holds on every Linux.
NEEDS = {
    "read": "landlock",
    "write": "landlock",
    "execute": "seccomp",
    "connect": "seccomp",
    "kill": "seccomp",
}


@pytest.mark.parametrize(
    "attack, said",
    [
        ("crash", "corrupt: video must not crash its decoder"),
        ("hang", "limit: video must open within 2 s"),
        ("spin", "limit: video must open within 2 s"),
        ("memory", "attack: refused by"),
        ("connect", "attack: refused by PermissionError"),
        ("execute", "attack: refused by PermissionError"),
        ("kill", "attack: refused by PermissionError"),
        ("read", "attack: refused by PermissionError"),
        ("write", "attack: refused by"),
        ("shrink", "attack: refused by PermissionError"),
        ("garbage", "corrupt: video must not crash its decoder"),
        ("lies", "corrupt: video must not crash its decoder"),
        ("oversized", "corrupt: video must not crash its decoder"),
    ],
)
def test_an_attack_costs_one_error(path, found, attack, said):
    if (needed := NEEDS.get(attack, "limits")) not in found["layers"]["found"]:
        pytest.skip(f"this kernel has no {needed}")
    assert said in found[attack]["found"]
    assert found[attack]["found"].endswith("(fast)")
    assert not (path.parent / "taken").exists()
