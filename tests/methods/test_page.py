"""The table of docs/methods.md is the table METHODS."""

import re
from pathlib import Path

from bvllm.methods import METHODS
from bvllm.methods.listing import READ_QUESTION
from bvllm.stages.allocate import POLICIES

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
            needs = "question" if name in READ_QUESTION else ", ".join(sorted(method.needs)) or "-"
            trained = "yes" if method.learned else "no"
            lines.append(
                f"| `{slot}` | `{name}` | {paper} | {method.lands} | {needs} | {gives} | {trained} |"
            )
    return "\n".join(lines) + "\n"


def test_the_page_has_the_table():
    page = PAGE.read_text(encoding="utf-8")
    found = page.partition(BEGIN)[2].partition(END)[0]
    assert found == table(), f"docs/methods.md must hold the table of METHODS, write:\n{table()}"


def systems():
    """Rows of the table of the field: number, system, state, methods, words."""
    page = PAGE.read_text(encoding="utf-8")
    found = page.partition("<!-- systems: checked by tests/methods/test_page.py -->\n")[2]
    lines = found.partition("<!-- end of systems -->")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_system_of_the_field_is_accounted_for():
    numbers = [row[0] for row in systems()]
    assert numbers == [*map(str, range(1, 79)), *(f"L{k}" for k in range(1, 12)), "served", "served"]
    assert len({row[1] for row in systems()}) == len(numbers)


def test_the_states_of_systems_are_true():
    known = {name for methods in METHODS.values() for name in methods} | set(POLICIES)
    for number, system, state, methods, words in systems():
        assert state in ("here", "partly", "later", "outside"), (number, system)
        named = re.findall(r"`([\w]+)`", methods)
        assert set(named) <= known, f"{system} names methods that are not in METHODS: {methods}"
        assert bool(named) == (state in ("here", "partly")) or number in ("2", "33", "50"), (
            number,
            system,
            state,
        )
        assert words or state == "here", f"{system} must say which part, or why"


# What is not here of a paper, and reduces no token: everything else makes its system "partly" here.
REDUCES_NOTHING = {"-", "sub-questions by a language model", "training with it", "trained adapters"}


def test_what_is_missing_of_a_system_shows_in_its_state():
    """A system of which something that reduces tokens is left out is not all here."""
    page = PAGE.read_text(encoding="utf-8")
    part = page.partition("## What of each paper is here")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    missing = {
        re.findall(r"`(\w+)`", name)[0]: lost
        for name, _, lost in ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    }
    assert len(missing) == len(lines) > 10
    for _, system, state, methods, _ in systems():
        lost = [
            name for name in re.findall(r"`(\w+)`", methods) if missing.get(name, "-") not in REDUCES_NOTHING
        ]
        assert not lost or state == "partly", f"{system} must be partly here, without {missing[lost[0]]}"


def test_every_method_with_a_paper_belongs_to_a_system():
    named = {name for row in systems() for name in re.findall(r"`([\w]+)`", row[3])}
    without = {
        f"{slot} {name}"
        for slot, methods in METHODS.items()
        for name, method in methods.items()
        if method.paper != "ours" and name not in named
    }
    assert without <= {
        "select_frames resampler",
        "merge_frames released",
        "sample_tokens pool",
        "merge_tokens siglip_head",
        "sample_tokens siglip_head",
    }
