"""Run every RUN line of the Dockerfile in a fresh folder, then the server as the image would run it.

No daemon is needed, so this proves the parts of an image and not the image: the same lines in the same order,
with `/opt`, `/build` and `/data` below a temporary folder; then the entry point with the image's environment,
as its user, with no network but loopback, on a root that cannot be written to. Needs Linux and root.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dockerfile import REPO, Instruction, instructions

pytestmark = pytest.mark.image

ALL = instructions((REPO / "Dockerfile").read_text(encoding="utf-8"))
KEY = "a-key-of-this-test-alone"
# In name spaces of its own: loopback alone, and every mount but /data and a small /tmp for reading only.
CLOSED = """
ip link set lo up
mount --make-rprivate /
mount --bind "$ROOT/data" "$ROOT/data"
mount -o remount,ro,bind /
for place in /tmp /var /dev/shm; do mountpoint -q $place && mount -o remount,ro,bind $place; done
mount -t tmpfs -o size=64m,noexec,nosuid tmpfs "$ROOT/tmp"
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \\
  --bounding-set=-all --inh-caps=-all "$@"
"""
ASK = """
import http.client, json, sys
video = open(sys.argv[1], "rb").read()
def ask(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=300)
    connection.request(method, path, body, {"Authorization": "Bearer KEY", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()
form = b"--X\\r\\nContent-Disposition: form-data; name=purpose\\r\\n\\r\\nuser_data\\r\\n--X\\r\\n"
form += b"Content-Disposition: form-data; name=file; filename=a.mp4\\r\\n\\r\\n"
form += video + b"\\r\\n--X--\\r\\n"
status, said = ask("POST", "/v1/files", form, **{"Content-Type": "multipart/form-data; boundary=X"})
assert status == 200, said
parts = [{"type": "video_url", "video_url": {"url": json.loads(said)["id"]}}]
parts += [{"type": "text", "text": "which colour?"}]
body = json.dumps({"messages": [{"role": "user", "content": parts}]})
status, said = ask("POST", "/v1/chat/completions", body, **{"Content-Type": "application/json"})
assert status == 200, said
print(said.decode())
""".replace("KEY", KEY)


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The folder that stands for the image's root, after all of its lines."""
    if os.geteuid() != 0:
        pytest.skip("a server as another user, on a closed root, needs root")
    # Not below pytest's own folder, which other users must not enter.
    with tempfile.TemporaryDirectory(prefix="bvllm-image-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        build(root)
        yield root


def build(root: Path) -> None:
    """Do what the COPY and RUN lines say, in their order."""
    for name in ("build", "etc", "opt", "tmp"):
        (root / name).mkdir()
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        if (Path("/etc") / name).exists():
            shutil.copy(Path("/etc") / name, root / "etc" / name)
    for line in ALL:
        if line.word == "COPY" and "--from=build" not in line.flags:  # one folder stands for both stages
            copy(line, root)
        elif line.word == "RUN":
            run(line, root)


def copy(line: Instruction, root: Path) -> None:
    *sources, target = line.words
    to = root / target[1:] if target.startswith("/") else root / "build" / target
    for source in sources:
        if (REPO / source).is_dir():
            shutil.copytree(REPO / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / source, to)


def run(line: Instruction, root: Path) -> None:
    command = below(line.rest, root).replace("useradd ", f"useradd --prefix {root} ")
    path = f"{Path(sys.base_prefix) / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=root / "build",
        env={**index, "PATH": path, "HOME": str(root / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def below(text: str, root: Path) -> str:
    """A line whose absolute places lie below the folder."""
    return re.sub(r"(?<![\w./-])/(opt|build|data|tmp|models|run)(?=[/:\s\"]|$)", rf"{root}/\1", text)


@pytest.fixture(scope="module")
def server(built: Path) -> Iterator[subprocess.Popen[str]]:
    """The entry point and the command, with a key where the image expects it."""
    env = dict(word.split("=", 1) for line in ALL if line.word == "ENV" and line.stage for word in line.words)
    env = {name: below(value, built) for name, value in env.items()}
    secret = built / "run" / "secrets" / "bvllm-key"
    secret.parent.mkdir(parents=True)
    secret.write_text(KEY + "\n")
    said = [json.loads(line.rest) for line in ALL if line.word in ("ENTRYPOINT", "CMD")]
    words = [below(word, built) for word in (*said[0], *said[1])]
    shutil.rmtree(built / "build")
    process = subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-ec", CLOSED, "sh", *words],
        env={**env, "ROOT": str(built)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def inside(server: subprocess.Popen[str], *words: str) -> subprocess.CompletedProcess[str]:
    """A command in the server's name spaces, as `docker exec` runs it."""
    return subprocess.run(
        ["nsenter", "--target", str(server.pid), "--mount", "--net", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_holds_what_runs_and_nothing_else(built):
    packages = built / "opt/venv/lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    assert (packages / "bvllm/assets/nano/config.json").is_file()
    assert (packages / "bvllm/server/page/index.html").is_file()
    for tool in (
        "pip",
        "pytest",
        "mypy",
        "ruff",
        "matplotlib",
        "torch/test",
        "torch/include",
        "torch/bin/protoc",
    ):
        assert not (packages / tool).exists(), tool
    assert "bvllm:x:10001:" in (built / "etc/passwd").read_text()
    assert (built / "data/index").stat().st_uid == 10001
    files = {
        file.lstat().st_ino: file.lstat().st_size for file in (built / "opt").rglob("*") if file.is_file()
    }
    print(f"the environment has {sum(files.values()) / 1e6:.0f} MB")
    assert sum(files.values()) < 1.4e9


def test_the_server_answers_as_the_image_runs_it(built, server, video):
    health = [str(built / "opt/venv/bin/python"), "-I", str(built / "opt/health.py")]
    deadline = time.monotonic() + 240
    while inside(server, *health).returncode != 0:
        assert server.poll() is None, server.stdout.read()
        assert time.monotonic() < deadline, "the health check must hold within four minutes"
        time.sleep(1)
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert "bvllm" in Path(f"/proc/{server.pid}/cmdline").read_text(), "the server itself is the process"
    assert inside(server, "touch", str(built / "opt/x")).returncode != 0, "the root must be for reading"
    shutil.copy(video, built / "data/video.mp4")
    answer = inside(server, health[0], "-I", "-c", ASK, str(built / "data/video.mp4"))
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["trace"]["frames"]
    assert any((built / "data/index").iterdir()), "what was seen is kept on the volume"
    assert inside(server, "curl", "-sm", "5", "http://198.51.100.1/").returncode != 0, "there is no network"


def test_a_stop_of_the_container_ends_it_with_status_zero(built, server):
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0  # about 1.5 s of a core; a machine that tests is seldom idle
    assert not any((built / "data/uploads").iterdir()), "videos are removed at the end"
