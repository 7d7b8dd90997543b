"""A browser, a server for it and two videos: one that the browser plays and one that it cannot."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.server.page.stub import Stub

SECONDS = 12


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """The system's own Chromium; playwright's would have to be downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install '.[page]'")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=[*root, "--disable-gpu"])


@pytest.fixture(scope="session")
def playable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn_video(tmp_path_factory.mktemp("page") / "square.mp4", "libx264")


@pytest.fixture(scope="session")
def unplayable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MPEG-4 part 2, which FFmpeg reads and no browser does; as with HEVC on most machines."""
    return drawn_video(tmp_path_factory.mktemp("page") / "old phone.mp4", "mpeg4")


def drawn_video(path: Path, codec: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=4)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for k in range(SECONDS * 4):
            picture = np.full((96, 160, 3), (20, 90, 70), dtype=np.uint8)
            picture[30:60, 2 * k : 2 * k + 30] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def stub(playable: Path) -> Stub:
    return Stub({"file-folder0": playable})


@pytest.fixture
def base(stub: Stub) -> Iterator[str]:
    server = stub.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(browser, base: str) -> Iterator[Callable[..., object]]:
    """Open the page as somebody new; fails if it asked another server for anything, or broke its policy."""
    contexts, outside, said = [], [], []

    def open_page(width: int = 1280, scheme: str = "light", height: int = 860):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda r: r.url.startswith((base, "blob:", "data:")) or outside.append(r.url))
        page.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(base)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not outside, "the page must ask its own server alone"
    # A refused request is a line of the browser's own; a broken policy or a script's mistake is another.
    assert not [line for line in said if not line.startswith("Failed to load resource")]
