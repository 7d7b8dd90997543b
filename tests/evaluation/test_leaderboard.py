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
from bvllm.evaluation.leaderboard.entries import (
    BASELINES,
    all_entries,
    entries_named,
    own_entries,
    usual_entries,
    with_baselines,
)
from bvllm.evaluation.leaderboard.make import Leaderboard, entries_of, model_for_all
from bvllm.evaluation.leaderboard.measure import first_call, peak_memory
from bvllm.evaluation.leaderboard.rows import ROWS, AnswerRow, RowFile, RunSettings
from bvllm.evaluation.leaderboard.run import ask_all, chosen_items
from bvllm.evaluation.leaderboard.table import standings, table
from bvllm.evaluation.tasks import Item
from bvllm.inference.loading import load_model
from bvllm.methods import METHODS
from bvllm.model.fingerprint import weights_digest
from bvllm.stages.allocate import POLICIES
from bvllm.stages.pipeline import Pipeline
from bvllm.stages.sample_tokens import PerClip
from bvllm.types import Budget, FrameSelection, Signals

SETTINGS = RunSettings("toy", None, "0", (4, 9), 2, 0, 1.0, "0.1.0", "w")


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
    [frames] = entries_named("select_frames uniform", all_entries())
    [tokens] = entries_named("merge_tokens uniform", all_entries())
    assert [frames.budget(t, 16).frames for t in (8, 16, 80)] == [1, 1, 5]
    assert tokens.budget(16, 16).frames == 32


def test_baselines_stand_in_every_table():
    """Uniform frames, random tokens, pooling: once each, behind what was named."""
    named = [
        one.name
        for one in with_baselines(
            entries_named("balanced, merge_tokens random", all_entries()), all_entries()
        )
    ]
    assert named == ["balanced", "merge_tokens random", "select_frames uniform", "merge_tokens grid_pool"]
    every = [one.name for one in usual_entries(all_entries())]
    assert set(BASELINES) <= set(every)
    assert [one.name for one in with_baselines(usual_entries(all_entries()), all_entries())] == every
    [pool] = entries_named("merge_tokens grid_pool", all_entries())
    assert pool.methods.select_frames == "uniform"


@pytest.mark.parametrize("frames, tokens", [(16, 32), (16, 63), (16, 255), (32, 31), (32, 255), (5, 77)])
def test_rows_of_samplers_spend_their_budget(frames, tokens):
    """Equal budgets: 17 to 33 tokens stood in the table where others had 63."""
    patches = torch.randn(frames, 64, 8, generator=torch.Generator().manual_seed(0))
    selection = FrameSelection.of(torch.arange(frames), torch.arange(float(frames)))
    for name in ("uniform", "random", "tome", "divprune", "dynamic", "grid_pool"):
        [entry] = entries_named(f"sample_tokens {name}", all_entries())
        method, policy = METHODS["sample_tokens"][name](), POLICIES[str(entry.methods.tokens_policy)]()
        pipeline = Pipeline(sample_tokens=PerClip(method), policy=policy)
        sampled = pipeline.reduce_to_budget(
            patches, [selection], budget=Budget(tokens=tokens), signals=[Signals(grid=(8, 8))]
        )
        spent = len(sampled.tokens[0])
        assert spent <= tokens
        if method.lands == "exact":
            assert spent == tokens, name
        elif name == "dynamic":
            assert spent >= 0.95 * tokens, "of the best, which is all: grids of other sizes fill it up"


def test_names_of_entries_are_checked():
    with pytest.raises(ValueError, match=r"methods must be among .*, got 'tme': did you mean 'tome'\?"):
        entries_named("tme", all_entries())
    with pytest.raises(ValueError, match="methods must name at least one, got ' , ': write all"):
        entries_named(" , ", all_entries())
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
        RowFile(tmp_path, replace(SETTINGS, budgets=(4,), seed=1))
    with pytest.raises(ValueError, match="--out must hold a run with the same version, weights, got"):
        RowFile(tmp_path, replace(SETTINGS, version="0.2.0", weights="x"))


def test_weights_tell_two_models_of_one_name_apart():
    layer = nn.Linear(2, 2)
    before = weights_digest(layer)
    assert weights_digest(layer) == before
    with torch.no_grad():
        layer.bias[0] += 1e-3
    assert weights_digest(layer) != before


def test_what_was_refused_is_asked_again(tmp_path):
    """Once refused, a method was left out of a run for ever, and its earlier answers with it."""
    rows = RowFile(tmp_path, SETTINGS)
    rows.add([*rows_of("a", [1]), AnswerRow("q1", "a", 4, refused="no scorer")])
    assert rows.has("q9", "a", 9), "not again while this run lasts"
    [standing] = standings(rows.rows, "a")
    assert standing.refused is None
    assert standing.right == 1.0
    again = RowFile(tmp_path, SETTINGS)
    assert not again.has("q1", "a", 4)
    assert again.has("q0", "a", 4)
    assert again.rows == RowFile(tmp_path, SETTINGS).rows == rows_of("a", [1])


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
    entries = entries_named(
        "balanced,blind,select_frames uniform,merge_tokens random,merge_tokens tome", all_entries()
    )
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
    ask_all(items, entries[1:], model, SETTINGS, RowFile(tmp_path, SETTINGS))
    found = standings(rows.rows, "select_frames uniform")
    assert [len(one.cells) for one in found] == [2, 2, 2, 2, 0]


def test_a_b_vllm_stands_in_a_table_of_its_own(video, tmp_path):
    """What its frames' tokens are stays its own; frames and merging are exchanged, and budgets kept."""
    loaded = load_model("nano")
    items = [Item("0", video, 40.0, "which colour is the star?", ("red", "blue"), 0, "t")]
    words = "b-vllm,blind,select_frames random,merge_tokens tome,merge_tokens catp,select_frames relevant"
    entries = entries_of(loaded, words, seed=0)
    assert [one.name for one in entries][-3:] == list(BASELINES)
    assert not any(one.slot == "sample_tokens" for one in own_entries())
    rows = RowFile(tmp_path, SETTINGS)
    ask_all(items, entries, loaded, SETTINGS, rows)
    refused = {row.entry for row in rows.rows if row.refused}
    assert {"merge_tokens catp", "select_frames relevant"} <= refused
    answered = [row for row in rows.rows if not row.refused]
    assert {"b-vllm", "blind", "select_frames random", "merge_tokens tome"} <= {r.entry for r in answered}
    assert all(0 < row.tokens <= row.budget for row in answered)


def test_an_error_is_not_taken_for_a_method_that_does_not_run(video, tmp_path, monkeypatch):
    """Any ValueError was once written down as the method's refusal, and the method left out for ever."""
    pytest.importorskip("torchvision")
    from bvllm.inference.balance import balance
    from tests.model.backbones.tiny_families import make

    model = balance(*make("llava_onevision"), pipeline="uniform", frame_size=(24, 24))
    items = [Item("0", video, 40.0, "which colour is it", ("red", "blue"), 0, "t")]
    entries = entries_named("balanced,sample_tokens pool,merge_tokens random", all_entries())
    told = []
    rows = RowFile(tmp_path / "whole", SETTINGS)
    ask_all(items, entries, model, SETTINGS, rows, asked_of=lambda: told.append(len(rows.rows)))
    assert {row.entry for row in rows.rows if row.refused} == {one.name for one in entries[:2]}
    assert told == [len(rows.rows)]

    def broken(*args, **options):
        raise ValueError("frames must be there, got none: a fault of ours")

    monkeypatch.setattr(type(model), "reduce", broken)
    rows = RowFile(tmp_path / "broken", SETTINGS)
    with pytest.raises(ValueError, match="a fault of ours"):
        ask_all(items, entries[2:], model, SETTINGS, rows)
    assert not rows.rows


def test_a_model_is_tried_before_videos_are_made(tmp_path, capsys):
    assert main(["leaderboard", "--out", str(tmp_path / "table"), "--model", "dynamic-nano"]) == 2
    said = "--model must be a B-VLLM or a transformers video model, got 'dynamic-nano'"
    assert said in capsys.readouterr().err
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
    of = {(one["name"], tuple(one["slots"])): one for one in said["methods"]}
    both = ("sample_tokens", "merge_tokens")
    assert "(not nano)" in of["catp", both]["runs_on"]
    assert "pooling head" in of["siglip_head", both]["runs_on"]
    assert of["pool", ("sample_tokens",)]["runs_on"] == "a B-VLLM whose projector reads patches"
    assert "--scorer" in of["f2c", ("select_frames",)]["runs_on"]
    assert of["bipartite", ("merge_tokens",)]["runs_on"] == "any model"
    assert of["tome", both]["runs_on"].startswith("any model; in sample_tokens")
    assert "not here" not in of["holitom", both]["status"]
    assert "released code of B-VLLM" in of["released", ("merge_frames",)]["status"]
    assert main(["methods", "tme"]) == 2
    assert "did you mean 'tome'?" in capsys.readouterr().err


def test_a_missing_plotter_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"a plot needs matplotlib, got none: pip install 'bvllm\[plot\]'"):
        model_for_all("llava-nano", None)
