"""A server around a stub, with one video in an allowed folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server_load.stub import StubEngine
from bvllm.server.app import create_app
from bvllm.server.fetch import Fetcher
from bvllm.server.settings import ServerSettings
from bvllm.server.state import ServerState


class Stubbed:
    """The parts of a server that tests look at."""

    def __init__(self, state: ServerState, engine: StubEngine) -> None:
        self.state, self.engine, self.app = state, engine, create_app(state)


Make = Callable[..., Stubbed]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4)
    return folder


@pytest.fixture
def make(tmp_path: Path, videos: Path) -> Iterator[Make]:
    """Makes a server; settings by name, and the stub's seconds and error."""
    made: list[ServerState] = []

    def new(
        seconds: float = 0.0, error: Exception | None = None, fetcher: Fetcher | None = None, **settings: Any
    ) -> Stubbed:
        engine = StubEngine(tmp_path / "index", seconds, error)
        chosen = {"allow_paths": (videos,), "upload_dir": tmp_path / "uploads", **settings}
        state = ServerState.of(ServerSettings("stub", **chosen), engine, fetcher)  # type: ignore[arg-type]
        made.append(state)
        return Stubbed(state, engine)

    yield new
    for state in made:
        state.close()


@pytest.fixture
def server(make: Make) -> Stubbed:
    return make()
