"""docs/hugging-face.md lists the families as they are."""

from pathlib import Path

from bvllm.model.backbones.families import FAMILIES, families_table

PAGE = Path(__file__).parents[3] / "docs" / "hugging-face.md"


def test_the_page_shows_the_table_of_families():
    text = PAGE.read_text(encoding="utf-8")
    shown = text.split("test_page.py -->\n")[1].split("<!-- end of families")[0]
    assert shown == families_table() + "\n"
    assert all(f"`{kind}`" in shown for kind in FAMILIES)
