"""`make docs` renders every module's docstrings."""

import importlib.util
from pathlib import Path

import bvllm

SCRIPT = Path(__file__).parents[2] / "docs/make_reference.py"
spec = importlib.util.spec_from_file_location("make_reference", SCRIPT)
make_reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_reference)


def test_every_room_is_in_the_reference():
    names = list(make_reference.modules())
    rooms = {p.parent.name for p in Path(bvllm.__file__).parent.glob("*/__init__.py")}
    assert rooms - {"assets"} <= {name.split(".")[1] for name in names[1:]}
    assert "bvllm.app" not in names


def test_a_page_shows_what_a_reader_looks_for(tmp_path, monkeypatch):
    shown = ["bvllm", "bvllm.stages.merge_frames"]
    monkeypatch.setattr(make_reference, "modules", lambda: iter(shown))
    assert make_reference.write_reference(tmp_path) == 2
    page = (tmp_path / "bvllm/stages/merge_frames.html").read_text(encoding="utf-8")
    for words in ("eq. 2-5", "2412.09919", "Raises:", "threshold"):
        assert words in page
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="bvllm/stages/merge_frames.html"' in index
    assert make_reference.first_line("bvllm.stages.merge_frames") in index
