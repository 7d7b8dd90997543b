"""The table of docs/methods.md is the table METHODS."""

from pathlib import Path

from bvllm.methods import METHODS

PAGE = Path(__file__).parents[2] / "docs/methods.md"
BEGIN, END = (
    "<!-- table: made from METHODS, checked by tests/methods/test_page.py -->\n",
    "<!-- end of table -->",
)


def table():
    lines = ["| slot | name | paper | lands | needs | gives | trained |", "|---|---|---|---|---|---|---|"]
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            number = method.paper.rpartition("/")[2]
            paper = method.paper if method.paper == "ours" else f"[{number}]({method.paper})"
            gives = {"merge_tokens": "as came", "prune_layers": "fewer by layer"}.get(slot, "frames")
            gives = method.kind if slot == "sample_tokens" else gives
            needs = "question" if name == "qformer" else ", ".join(sorted(method.needs)) or "-"
            trained = "yes" if method.learned else "no"
            lines.append(
                f"| `{slot}` | `{name}` | {paper} | {method.lands} | {needs} | {gives} | {trained} |"
            )
    return "\n".join(lines) + "\n"


def test_the_page_has_the_table():
    page = PAGE.read_text(encoding="utf-8")
    found = page.partition(BEGIN)[2].partition(END)[0]
    assert found == table(), f"docs/methods.md must hold the table of METHODS, write:\n{table()}"
