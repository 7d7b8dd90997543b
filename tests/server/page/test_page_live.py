"""The page on the real server, with a small random model: everything but the sense of its answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bvllm.index import IndexFolder
from bvllm.inference.ask import LoadedModel
from bvllm.server.engine import Engine
from bvllm.server.settings import ServerSettings
from bvllm.video import Limits
from tests.model import tiny
from tests.server.live import serving
from tests.server.page.test_page import ask, frames, settled, upload

pytestmark = pytest.mark.browser

KEY = "a-key-of-this-test-alone"
PAINTED = "() => [...document.querySelectorAll('#frames img')].every(i => i.complete && i.naturalWidth > 0)"


@pytest.fixture
def base(playable: Path, tmp_path: Path) -> Iterator[str]:
    """In place of the stub: a server with a key, and a folder with one video."""
    loaded = LoadedModel(tiny.model(), tiny.processor(), "nano")
    engine = Engine(loaded, IndexFolder(tmp_path / "index"), Limits(), name="nano")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "square.mp4").write_bytes(playable.read_bytes())
    settings = ServerSettings(
        api_key=KEY, allow_paths=(tmp_path / "folder",), upload_dir=tmp_path / "uploads"
    )
    with serving(settings, engine) as address:
        yield f"{address}/"


def test_a_question_from_the_upload_to_its_frames(visit, playable):
    page = visit()
    page.get_by_label("API key", exact=True).fill(KEY)
    page.get_by_label("API key", exact=True).press("Enter")
    page.locator("#videos button").wait_for()
    upload(page, playable)
    ask(page, "which colour is the sign?")
    frames(page).first.wait_for()
    page.wait_for_function(PAINTED)
    asked = page.locator("#budget-words").inner_text()
    page.locator("#budget").press("ArrowRight")
    page.wait_for_function("() => document.querySelectorAll('#history .entry').length === 2")
    tokens = 2 * int(asked.split()[0])
    assert page.locator("#budget-words").inner_text() == f"{tokens} visual tokens"
    assert f"of {tokens} allowed" in page.locator("#cost").inner_text()
    page.get_by_role("switch").click()
    page.wait_for_function(PAINTED)


def test_a_video_of_the_folder_plays_in_parts_and_an_answer_is_shown_again(visit):
    page = visit()
    page.get_by_label("API key", exact=True).fill(KEY)
    page.get_by_label("API key", exact=True).press("Enter")
    page.locator("#videos button").click()
    page.wait_for_function("() => document.querySelector('#player').readyState >= 1")
    ask(page, "which colour is the sign?")
    frames(page).last.click()
    page.wait_for_function("() => document.querySelector('#player').currentTime > 0")
    line = page.locator("#timeline")
    line.press("End")
    settled(page, 12)
    page.reload()
    page.locator("#history .entry").click()
    frames(page).first.wait_for()
    page.wait_for_function(PAINTED)
    assert "indexed" in page.evaluate("() => document.querySelector('#videos').textContent")


def test_what_is_no_video_is_refused_in_plain_words(visit, tmp_path):
    page = visit()
    page.get_by_label("API key", exact=True).fill(KEY)
    page.get_by_label("API key", exact=True).press("Enter")
    page.locator("#videos button").wait_for()
    (tmp_path / "letter.mp4").write_text("Dear Sir or Madam, this is no video. " * 40)
    upload(page, tmp_path / "letter.mp4")
    ask(page, "what is it?")
    page.get_by_role("alert").wait_for()
    assert "cannot be read" in page.get_by_role("alert").inner_text()
