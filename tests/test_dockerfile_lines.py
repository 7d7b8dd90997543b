"""Run every RUN line of the Dockerfile in a fresh folder, then the server as the image would run it.

A daemon is not needed, so this is no proof of the image, but of its parts: the same lines, in their order, with
`/opt/venv`, `/build` and `/data` below a temporary folder; then the entry point with the image's environment,
as its user, without a network but loopback, on a root that cannot be written to. Needs Linux and root.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfile import REPO, Instruction, instructions

pytestmark = pytest.mark.image

ALL = instructions((REPO / "Dockerfile").read_text(encoding="utf-8"))
KEY = "a key of this test alone, of no use"
OURS = ("/opt", "/build", "/data")
# In a name space of its own: no network but loopback, and a root that cannot be written to.
CLOSED = """
ip link set lo up 2>/dev/null || python3 -c "import fcntl,socket,struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x1 | 0x40))"
mount --make-rprivate /
mount --bind {data} {data} && mount -o remount,ro,bind / && mount -t tmpfs none /tmp-of-image
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all "$@"
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for the image's root, after all of its lines."""
    if os.geteuid() != 0:
        pytest.skip("useradd and another user's process need root")
    root = tmp_path_factory.mktemp("image")
    root.chmod(0o755)
    for above in root.parents:  # pytest keeps its folders to itself; the image's user must get here
        if above.owner() == "root" and str(above).startswith(str(tmp_path_factory.getbasetemp().parent)):
            above.chmod(0o755)
    (root / "build").mkdir()
    (root / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    for line in ALL:
        if line.word == "COPY":
            copy(line, root)
        elif line.word == "RUN":
            run(line, root)
    return root


def copy(line: Instruction, root: Path) -> None:
    if "--from=build" in line.flags:
        return  # one folder stands for both stages
    *sources, target = line.words
    target = root / "build" / target if not target.startswith("/") else root / target[1:]
    for source in sources:
        place = (
            target / source.rsplit("/", 1)[-1] if target.is_dir() and (REPO / source).is_file() else target
        )
        if (REPO / source).is_dir():
            shutil.copytree(REPO / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / source, place)


def run(line: Instruction, root: Path) -> None:
    command = re.sub(rf"(?<![\w./-])({'|'.join(OURS)})(?=/|\b)", lambda at: f"{root}{at[1]}", line.rest)
    command = command.replace("useradd ", f"useradd --prefix {root} ")
    clean = {
        "PATH": f"{Path(sys.base_prefix) / 'bin'}:/usr/sbin:/usr/bin:/bin",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        ["sh", "-ec", command], cwd=root / "build", env={**index, **clean}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def environment(root: Path) -> dict[str, str]:
    said = dict(
        word.split("=", 1) for line in ALL if line.word == "ENV" and line.stage == 1 for word in line.words
    )
    return {
        name: re.sub(r"(^|:)(/opt|/data|/models|/tmp)", rf"\1{root}\2", value) for name, value in said.items()
    }


def test_the_environment_holds_what_runs_and_nothing_else(built):
    packages = built / "opt/venv/lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    assert (packages / "bvllm/assets/nano/config.json").is_file()
    assert (packages / "bvllm/server/page/index.html").is_file()
    for tool in ("pip", "pytest", "mypy", "ruff", "matplotlib", "torch/test", "torch/include"):
        assert not (packages / tool).exists(), tool
    assert "bvllm:x:10001:" in (built / "etc/passwd").read_text()
    assert (built / "data/index").stat().st_uid == 10001


def test_the_server_answers_as_the_image_runs_it(built):
    pytest.skip("until the server is merged")
