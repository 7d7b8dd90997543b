"""docs/hugging-face.md lists the families as they are."""

import re
from pathlib import Path

import pytest
import torch

from bvllm.inference.balance import balance
from bvllm.model.backbones import families, several
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.backbones.several import families_table
from tests.model.backbones.tiny_families import make

PAGE = Path(__file__).parents[3] / "docs" / "hugging-face.md"


def test_the_page_shows_the_table_of_families():
    text = PAGE.read_text(encoding="utf-8")
    shown = text.split("test_page.py -->\n")[1].split("<!-- end of families")[0]
    assert shown == families_table() + "\n"
    assert all(f"`{kind}`" in shown for kind in FAMILIES)


def test_a_family_is_added_by_the_pages_own_lines(monkeypatch):
    """Taken out of the tables, refused, and put in again."""
    model, processor = make("video_llava")
    monkeypatch.setattr(families, "FAMILIES", {k: v for k, v in FAMILIES.items() if k != "video_llava"})
    monkeypatch.delitem(families.PER_FRAME, "video_llava")
    with pytest.raises(
        ValueError, match=r"model must be of a family that can be reduced .*, got 'video_llava'"
    ):
        balance(model, processor, pipeline="uniform")
    for code in re.findall(r"```python title=family\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S):
        exec(compile(code, str(PAGE), "exec"), vars(families))
    video_llm = balance(model, processor, pipeline="uniform")
    frames = torch.randint(0, 256, (12, 3, 24, 24), dtype=torch.uint8)
    answer = video_llm.ask([*frames.permute(0, 2, 3, 1).numpy()], "what is red", budget=20, max_new_tokens=3)
    assert answer.tokens == 20
    assert families.tokens_per_frame(model.config) == answer.patches_per_frame == 37


def test_several_videos_are_added_by_the_pages_own_line(monkeypatch):
    """Without a record two videos are refused; with the page's, they and a picture are not."""
    before = several.SEVERAL["video_llava"]
    monkeypatch.delitem(several.SEVERAL, "video_llava")
    config = make("video_llava")[0].config
    with pytest.raises(ValueError, match="Video-LLaVA reads one video a prompt, got 2 videos: "):
        several.check_clips(config, ["video", "video"])
    [code] = re.findall(r"```python title=several\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    exec(compile(code, str(PAGE), "exec"), vars(several))
    assert several.check_clips(config, ["video", "video", "image"]) == before
