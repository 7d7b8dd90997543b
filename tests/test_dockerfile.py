"""What the image promises, read from its Dockerfile; `make image` runs its lines."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.dockerfile import REPO, Instruction, instructions, reaches_the_build

ALL = instructions((REPO / "Dockerfile").read_text(encoding="utf-8"))
IGNORE = (REPO / ".dockerignore").read_text(encoding="utf-8")


def of(word: str, stage: int | None = None) -> list[Instruction]:
    return [line for line in ALL if line.word == word and stage in (None, line.stage)]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for line in of("ENV", 1) for word in line.words)


def test_the_image_is_the_second_of_two_stages_and_takes_the_environment_alone():
    assert [line.stage for line in of("FROM")] == [0, 1]
    (taken,) = [line for line in of("COPY", 1) if "--from=build" in line.flags]
    assert taken.words == ["/opt/venv", "/opt/venv"], "scripts carry the path that they were made at"
    assert not any("pip install" in line.rest or "apt-get" in line.rest for line in of("RUN", 1))


def test_everything_is_installed_at_the_tested_versions_torch_first():
    installs = [line for line in of("RUN", 0) if "pip install" in line.rest]
    assert ["torch" in line.words for line in installs] == [True, False, False]
    for line in installs:
        assert "-c constraints.txt" in line.rest or "--no-deps ." in line.rest
        assert any(flag.startswith("--mount=type=cache") for flag in line.flags)
    assert "torch.version.cuda" in installs[0].rest, "a CUDA build must stop the build, not fill the image"
    assert installs[0].rest.index("rm -rf") < installs[0].rest.index("import sys, torch"), (
        "what is left imports"
    )


def test_a_change_of_our_source_installs_no_dependency_again():
    order = [line.rest for line in ALL if line.stage == 0]
    source = next(place for place, rest in enumerate(order) if rest == "src src")
    assert all(
        place < source for place, rest in enumerate(order) if "-r requirements.txt" in rest or "torch" in rest
    )


def test_what_is_copied_is_there_and_reaches_the_build_and_little_else_does():
    for line in of("COPY"):
        if line.flags:
            continue
        for word in line.words[:-1]:
            assert (REPO / word).exists()
            assert reaches_the_build(word, IGNORE)
    for out in (
        ".git/config",
        "tests/model/tiny.py",
        ".venv/bin/python",
        "runs/nano/x",
        "src/bvllm/__pycache__/a.pyc",
    ):
        assert not reaches_the_build(out, IGNORE)
    assert reaches_the_build("src/bvllm/assets/nano/model.safetensors", IGNORE)


def test_it_runs_as_a_user_without_rights_named_by_a_number():
    (user,) = of("USER")
    assert user.rest == "10001:10001"
    assert of("USER")[0].stage == 1
    assert ALL.index(user) < ALL.index(of("ENTRYPOINT")[0])
    assert "useradd --system --uid 10001" in of("RUN", 1)[0].rest
    assert environment()["USER"] == "bvllm", "torch asks who runs it"


def test_nothing_is_written_outside_the_two_places_that_can_be():
    env = environment()
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "BVLLM_INDEX"):
        assert env[name].split("/")[1] in ("tmp", "data"), name
    assert env["PYTHONDONTWRITEBYTECODE"] == "1"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert [line.rest for line in of("VOLUME")] == ["/data"]


def test_the_server_is_process_one_and_takes_a_key_from_a_secret():
    (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
    assert json.loads(entry.rest)[:2] == ["bvllm", "serve"]
    assert json.loads(command.rest) == ["--api-key-file", "/run/secrets/bvllm-key"]
    assert of("STOPSIGNAL")[0].rest == "SIGTERM"
    assert not any("key" in line.rest.lower() for line in of("ENV") + of("ARG")), (
        "a key never lies in a layer"
    )


def test_the_health_check_starts_nothing_heavy():
    (check,) = of("HEALTHCHECK")
    assert json.loads(check.rest.split("CMD ", 1)[1]) == ["python", "-I", "/opt/health.py"]
    script = REPO / "docker" / "health.py"
    imported = {
        name.name
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert imported == {"http.client", "sys"}


@pytest.mark.parametrize("status, code", [(200, 0), (503, 1)])
def test_the_health_check_says_what_the_server_says(status, code, answering):
    assert (
        subprocess.run(
            [sys.executable, "-I", REPO / "docker" / "health.py", str(answering(status))]
        ).returncode
        == code
    )


def test_the_health_check_fails_where_nobody_answers():
    done = subprocess.run(
        [sys.executable, "-I", REPO / "docker" / "health.py", "1"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no answer" in done.stderr


def test_the_requirements_are_those_of_the_project():
    done = subprocess.run(
        [sys.executable, "-I", REPO / "docker" / "requirements.py", REPO / "pyproject.toml", "plot"],
        capture_output=True,
        text=True,
        check=True,
    )
    project = tomllib.loads(Path(REPO / "pyproject.toml").read_text())["project"]
    assert done.stdout.splitlines() == project["dependencies"] + project["optional-dependencies"]["plot"]


@pytest.fixture
def answering():
    """Start a server that answers everything with one status; its port."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    servers = []

    def start(status: int) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/health" else 404)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1].server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
