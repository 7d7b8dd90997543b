"""The leaderboard: fair rows, paired intervals, a run that goes on after a kill, costs that are measured."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from bvllm.cli import main
from bvllm.cli.leaderboard import budget_counts
from bvllm.evaluation.leaderboard import run
from bvllm.evaluation.leaderboard.entries import all_entries, entries_named
from bvllm.evaluation.leaderboard.make import Leaderboard, model_for_all
from bvllm.evaluation.leaderboard.measure import first_call, peak_memory
from bvllm.evaluation.leaderboard.rows import ROWS, AnswerRow, RowFile, RunSettings
from bvllm.evaluation.leaderboard.run import ask_all, chosen_items
from bvllm.evaluation.leaderboard.table import standings, table
from bvllm.evaluation.tasks import Item
from bvllm.methods import METHODS

SETTINGS = RunSettings("toy", None, "0", (4, 9), 2, 0, 1.0)


def rows_of(entry, rights, budget=4):
    return [
        AnswerRow(f"q{k}", entry, budget, right=bool(r), tokens=4, prefill_ms=k) for k, r in enumerate(rights)
    ]


def test_every_method_without_weights_has_a_row():
    found = {(one.slot, one.name) for one in all_entries()}
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            assert ((slot, f"{slot} {name}") in found) == (not method.learned)
    for one in all_entries():
        assert None not in [getattr(one.methods, slot) for slot in METHODS], "every slot must be filled"


def test_a_frame_method_spends_the_budget_on_whole_frames():
    [frames] = entries_named("select_frames uniform")
    [tokens] = entries_named("merge_tokens uniform")
    assert [frames.budget(t, 16).frames for t in (8, 16, 80)] == [1, 1, 5]
    assert tokens.budget(16, 16).frames == 32


def test_names_of_entries_are_checked():
    with pytest.raises(ValueError, match=r"methods must be among .*, got 'tme': did you mean 'tome'\?"):
        entries_named("tme")
    with pytest.raises(ValueError, match="methods must name at least one, got ' , ': write all"):
        entries_named(" , ")
    with pytest.raises(ValueError, match="--budgets must be whole numbers above 0, got '16,x': write 16,32"):
        budget_counts("16,x")


def test_pairs_tell_more_than_two_shares():
    """Two methods that differ on ten of a hundred questions, always one way: the interval leaves zero out."""
    base = [1, 0] * 50
    worse = [0] * 20 + base[20:]
    found = standings(rows_of("balanced", base) + rows_of("other", worse), "balanced")
    assert [one.entry for one in found] == ["balanced", "other"]
    assert found[1].behind.mean == pytest.approx(0.1)
    assert found[1].behind.low > 0
    assert found[1].cells[0].behind.low > 0
    assert found[0].cells[0].right.low < found[1].cells[0].right.high, "the shares alone do not tell"


def test_a_difference_is_of_questions_not_of_cells():
    """The same answers on two budgets are no more evidence than on one."""
    base, worse = [1] * 40 + [0] * 20, [1] * 34 + [0] * 26
    one = rows_of("a", base) + rows_of("b", worse)
    both = one + rows_of("a", base, 9) + rows_of("b", worse, 9)
    first, second = (standings(rows, "a")[1].behind for rows in (one, both))
    assert first == second
    assert first.count == 60


def test_shares_do_not_differ_by_more_than_all():
    """Two questions, one of them lost: the interval is wide, and ends at 1."""
    found = standings(rows_of("a", [1, 1]) + rows_of("b", [1, 0]), "a")[1].behind
    assert found.mean == 0.5
    assert found.high == 1.0
    assert -1.0 < found.low < 0


def test_what_does_not_run_says_why_and_comes_last():
    rows = [AnswerRow("q0", "needs", 4, refused="it needs [CLS]"), *rows_of("a", [0, 0])]
    found = standings(rows, "a")
    assert [one.entry for one in found] == ["a", "needs"]
    assert "| needs | does not run: it needs [CLS] |" in table(found, "a")


def test_json_has_no_nan_where_a_method_does_not_run():
    """Not even where nothing is left to compare with."""
    rows = [AnswerRow("q0", "needs", 4, refused="it needs [CLS]"), *rows_of("a", [0, 1])]
    for reference in ("a", "needs"):
        board = Leaderboard(reference, tuple(standings(rows, reference)), SETTINGS)
        said = json.dumps(board.as_json(), allow_nan=False)
        assert json.loads(said)["methods"][-1]["right"] is None
        assert "| a | 50.0 | 50.0 |" in board.text()


def test_a_merger_that_merged_nothing_says_so():
    rows = rows_of("a", [0, 1]) + rows_of("merge_frames similar", [1, 1])
    idle = "merge_frames similar: no frame was merged"
    assert idle in Leaderboard("a", tuple(standings(rows, "a")), SETTINGS).text()
    busy = [replace(row, merged=k) for k, row in enumerate(rows)]
    assert idle not in Leaderboard("a", tuple(standings(busy, "a")), SETTINGS).text()


def test_rows_survive_a_kill(tmp_path):
    rows = RowFile(tmp_path, SETTINGS)
    rows.add(rows_of("a", [1, 0]))
    with open(tmp_path / ROWS, "a") as file:
        file.write('{"question": "q2", "entr')  # the kill came here
    again = RowFile(tmp_path, SETTINGS)
    assert again.rows == rows.rows
    assert again.has("q1", "a", 4)
    assert not again.has("q2", "a", 4)
    assert not again.has("q1", "a", 9)
    again.add([AnswerRow("q2", "a", 4)])
    assert [json.loads(line)["question"] for line in (tmp_path / ROWS).read_text().splitlines()] == [
        "q0",
        "q1",
        "q2",
    ]


def test_another_run_is_refused(tmp_path):
    RowFile(tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="--out must hold a run with the same budgets, seed, got"):
        RowFile(tmp_path, RunSettings("toy", None, "0", (4,), 2, 1, 1.0))


def test_the_first_call_is_timed_and_hooks_go():
    layer = nn.Linear(2, 2)
    with first_call(layer) as found:
        layer(torch.ones(1, 2))
        first = found.seconds
        layer(torch.ones(1, 2))
    assert first is not None
    assert found.seconds == first > 0
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_the_peak_is_what_lives_at_once():
    with peak_memory(torch.device("cpu")) as found:
        for _ in range(3):
            x = torch.ones(1000, 100)
            del x
        y, z = torch.ones(1000, 100), torch.ones(1000, 100)
    assert 800_000 <= found.bytes < 820_000, (found.bytes, y.shape, z.shape)


def test_questions_are_drawn_by_the_seed():
    items = [Item(f"{k}", None, 8.0, "", ("a", "b"), None if k == 3 else 0, "t") for k in range(20)]
    drawn = [[item.id for item in chosen_items(items, 6, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert "3" not in {i for some in drawn for i in some}
    assert len(chosen_items(items, None, 0)) == 19


def test_a_run_asks_once_and_goes_on(video, tmp_path, monkeypatch):
    """With a tiny LLaVA-OneVision: cells are filled, budgets kept, and a second start asks nothing."""
    pytest.importorskip("torchvision")
    from bvllm.inference.balance import balance
    from tests.model.backbones.tiny_families import make

    model = balance(*make("llava_onevision"), pipeline="uniform", frame_size=(24, 24))
    items = [
        Item(f"{k}", video, 40.0, f"which colour is sign {k}", ("red", "blue"), 0, "t") for k in range(2)
    ]
    entries = entries_named("balanced,blind,select_frames uniform,merge_tokens random,merge_tokens tome")
    rows = RowFile(tmp_path, SETTINGS)
    monkeypatch.setattr(run, "PROFILED", 1)
    ask_all(items, entries, model, SETTINGS, rows)
    answered = [row for row in rows.rows if row.refused is None]
    assert len(answered) == 2 * 2 * 4
    assert all(0 < row.tokens <= row.budget for row in answered)
    assert all(row.prefill_ms > 0 and (row.peak_mb is not None) == (row.question == "0") for row in answered)
    [refused] = [row for row in rows.rows if row.refused]
    assert refused.entry == "balanced"
    assert "scorer must be named" in str(refused.refused)
    monkeypatch.setattr(run, "encode_video", None)  # nothing is left to ask
    ask_all(items, entries, model, SETTINGS, RowFile(tmp_path, SETTINGS))
    found = standings(rows.rows, "select_frames uniform")
    assert [len(one.cells) for one in found] == [2, 2, 2, 2, 0]


def test_a_model_is_tried_before_videos_are_made(tmp_path, capsys):
    assert main(["leaderboard", "--out", str(tmp_path / "table"), "--model", "nano"]) == 2
    assert "--model must be a transformers video model, got 'nano'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_methods_are_listed_and_told_in_full(capsys):
    assert main(["methods", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {(s, one["name"]) for one in said["methods"] for s in one["slots"]} == {
        (slot, name) for slot, methods in METHODS.items() for name in methods
    }
    of = {one["name"]: one["status"] for one in said["methods"]}
    assert "from the abstract" in of["f2c"]
    assert "released code" in of["divprune"]
    assert main(["methods", "divprune"]) == 0
    told = capsys.readouterr().out
    assert "2503.02175" in told
    assert "training-free: yes" in told
    assert "Source:" in told
    assert told.count(told.partition("\n")[0].partition(": ")[2]) == 1, "nothing is said twice"
    assert main(["methods", "fastv"]) == 0
    told = capsys.readouterr().out
    assert "runs on: a model whose language model sees the whole prompt in every layer" in told
    assert "needs: the layers of the language model" in told
    assert main(["methods", "tme"]) == 2
    assert "did you mean 'tome'?" in capsys.readouterr().err


def test_a_missing_plotter_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"a plot needs matplotlib, got none: pip install 'bvllm\[plot\]'"):
        model_for_all("llava-nano", None)
