"""One contract for every method of the table: what a reduction may do, and what it may not."""

import json
import subprocess
import sys
import textwrap
from dataclasses import fields, make_dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from bvllm.methods import METHODS, check_name, known_names
from bvllm.methods.names import MethodNames
from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.method import FrameMethod, TokenMethod, decide
from bvllm.stages.prune_layers import InnerMethod
from bvllm.synthetic import make_world
from bvllm.types import Clip, Signals, Tokens


def hard_methods():
    """Every hard method once, whatever slots it fits; another one of the same name under its slot's, too."""
    found = {}
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            if not issubclass(method, FrameMethod | TokenMethod) or method in found.values():
                continue
            name = f"{name}-of-frames" if slot == "select_frames" else name
            found[f"{name}-in-{slot}" if name in found else name] = method
    return found


HARD = hard_methods()


def as_released(method):
    """The same method with `released=True` for its default."""
    more = {"bases": (method,), "frozen": True, "namespace": {"__doc__": method.__doc__}}
    return make_dataclass(method.__name__, [("released", bool, True)], **more)


# What the authors' code does where it leaves their paper is held to the same word.
HARD |= {
    f"{name}-as-released": as_released(method)
    for name, method in HARD.items()
    if "released" in {field.name for field in fields(method)}
}
# Frames, patches and their columns: the smallest, odd numbers of frames, grids that are no squares.
SIZES = [(1, 1, 1), (1, 2, 2), (2, 1, 1), (3, 5, 5), (4, 6, 2), (5, 12, 6), (7, 6, 2)]


def an_input(method, frames=6, patches=9, channels=8, seed=0, like=None, columns=None):
    x = torch.randn(frames, patches, channels, generator=torch.Generator().manual_seed(seed))
    x = x if like is None else torch.full_like(x, like)
    seconds = torch.arange(frames) / 2
    if issubclass(method, FrameMethod):
        return Clip(x.mean(dim=1), seconds)
    return Tokens.of(x, seconds, columns=columns)


def signals(x, seed=0):
    """Everything that a method may ask for."""
    count, drawn = len(x), torch.Generator().manual_seed(1)
    frames = len(torch.unique(x.frame)) if isinstance(x, Tokens) else count
    return Signals(
        question=torch.randn(4, 8, generator=drawn),
        relevance=torch.rand(frames, generator=drawn),
        attention=torch.rand(count, generator=drawn),
        keys=torch.randn(count, 4, generator=drawn),
        grid=(int(x.row.max()) + 1, int(x.column.max()) + 1) if isinstance(x, Tokens) else (3, 3),
        seconds=x.seconds,
        seed=seed,
    )


@pytest.fixture(params=HARD)
def method(request):
    return HARD[request.param]


def weights(plan):
    return plan if isinstance(plan, Reduction) else plan.reduction()


@pytest.mark.parametrize("keep", [1, 2, 5, 99])
def test_it_lands_as_it_states(method, keep):
    x = an_input(method)
    plan = decide(method(), x, keep, signals(x))  # refuses what breaks the method's own word
    assert 1 <= len(plan) <= max(1, min(keep, len(x)))


@pytest.mark.parametrize("frames, patches, columns", SIZES)
def test_small_odd_and_oblong_inputs_work(method, frames, patches, columns):
    x = an_input(method, frames, patches, columns=columns)
    for keep in {1, max(1, len(x) // 3), len(x)}:
        plan = decide(method(), x, keep, signals(x))
        assert 1 <= len(plan) <= keep
        assert plan.combine(x.features, torch.ones(len(x))).isfinite().all()


def test_every_source_is_mapped_or_dropped(method):
    """Entries are of these inputs, each once in an output; mergers that say so lose none, whole."""
    x = an_input(method)
    plan = weights(decide(method(), x, 7, signals(x)))
    assert plan.inputs == len(x)
    assert torch.equal(torch.unique(plan.output), torch.arange(len(plan)))
    assert 0 <= int(plan.input.min()) <= int(plan.input.max()) < len(x)
    assert plan.weight.isfinite().all()
    assert len(torch.unique(plan.output * plan.inputs + plan.input)) == len(plan.weight)
    if method.conserves:
        size = torch.arange(1.0, len(x) + 1)
        assert torch.bincount(plan.input, minlength=len(x)).eq(1).all()
        torch.testing.assert_close(plan.count(size).sum(), size.sum())


def test_inputs_stay_as_they_are(method):
    x = an_input(method)
    given = signals(x)
    parts = [v for value in (x, given) for v in vars(value).values() if isinstance(v, torch.Tensor)]
    before = [part.clone() for part in parts]
    decide(method(), x, 5, given)
    assert all(torch.equal(part, copy) for part, copy in zip(parts, before))


def test_a_zero_vector_and_copies_among_others_work(method):
    x = an_input(method)
    x.features[2] = 0
    x.features[3] = x.features[0]
    x.features[-1] = x.features[0]
    plan = decide(method(), x, 4, signals(x))
    assert plan.combine(x.features, torch.ones(len(x))).isfinite().all()


@pytest.mark.parametrize("like", [0.0, 1.0])
def test_equal_and_empty_vectors_work(method, like):
    x = an_input(method, like=like)
    plan = decide(method(), x, 3, signals(x))
    features = plan.combine(x.features, torch.ones(len(x)))
    assert features.isfinite().all()
    wanted = torch.full_like(features, like)
    if method is HARD["vqtoken-as-released"]:  # whose codebook holds means of unit vectors
        wanted = functional.normalize(wanted, dim=-1)
    torch.testing.assert_close(features, wanted)


def test_the_same_again_and_in_half_precision(method):
    x = an_input(method)
    first, again = (decide(method(), x, 5, signals(x, seed=3)) for _ in range(2))
    for part in ("output", "input", "weight"):
        assert torch.equal(getattr(weights(first), part), getattr(weights(again), part))
    # What half precision decides is what the same numbers decide in float32: scores are taken there.


@pytest.mark.parametrize("seed", range(4))
def test_half_precision_is_scored_in_float32(method, seed):
    """What half precision decides is what the same numbers decide in float32, features and signals alike."""
    x = an_input(method, frames=5, patches=16, channels=32, seed=seed)
    given = wide_signals(x, 32, seed)
    half = replace(x, features=x.features.bfloat16()), in_type(given, torch.bfloat16)
    rounded = (
        replace(x, features=half[0].features.float()),
        in_type(half[1], torch.float32),
    )
    for keep in (3, 7, 23):  # several rounds of merging, and one that is not whole
        one, other = (weights(decide(method(), y, keep, s)) for y, s in (half, rounded))
        assert torch.equal(one.output, other.output)
        assert torch.equal(one.input, other.input)
        torch.testing.assert_close(one.weight, other.weight)


def wide_signals(x, channels, seed):
    drawn = torch.Generator().manual_seed(seed)
    return replace(
        signals(x, seed),
        question=torch.randn(4, channels, generator=drawn),
        keys=torch.randn(len(x), channels, generator=drawn),
    )


def in_type(given, dtype):
    names = ("question", "relevance", "attention", "keys")
    return replace(given, **{name: getattr(given, name).to(dtype) for name in names})


def test_order_in_time_survives(method):
    """What a method decided comes out oldest first, and only its order may be another than it gave."""
    x = an_input(method)
    own = method().assign(x, 5, signals(x))
    if isinstance(own, Assignment):
        assert (own.anchor.diff() > 0).all(), "an assignment is in order by itself"
    plan = decide(method(), x, 5, signals(x))
    if method.lands != "reorders":
        assert (x.seconds[plan.anchor].diff() >= 0).all()
    size = torch.ones(len(x))
    before, after = (sorted(p.combine(x.features, size).tolist()) for p in (own, plan))
    torch.testing.assert_close(torch.tensor(after), torch.tensor(before))


def test_plans_that_run_backwards_are_put_in_order():
    """What `decide` does where a method's outputs are not; without it the last frame would come first."""

    class Backwards(TokenMethod):
        slots = ("merge_tokens",)
        paper = "ours"

        def assign(self, tokens, keep, signals):
            return Reduction.dense(torch.eye(len(tokens)).flip(0)[:keep])

    x = an_input(Backwards, frames=3, patches=1)
    plan = decide(Backwards(), x, 3, signals(x))
    assert plan.anchor.tolist() == [0, 1, 2]
    torch.testing.assert_close(plan.combine(x.features), x.features)


def test_it_says_where_it_comes_from(method):
    assert method.paper == "ours" or method.paper.startswith("https://arxiv.org/abs/")
    assert "Example:" in method.__doc__  # which runs, as all examples do
    assert method.paper == "ours" or "Source:" in method.__doc__
    assert method.slots
    assert bool(method.reads.lookers) == ("attention" in method.needs)
    assert method.reads.keys == ("keys" in method.needs)


def test_every_entry_is_under_a_contract():
    """Here, or beside: what has weights or decides inside the language model has a contract of its own."""
    for methods in METHODS.values():
        for name, method in methods.items():
            beside = (InnerMethod, nn.Module, SimilarFrameMerging)
            assert (method in HARD.values()) != issubclass(method, beside), name


@pytest.mark.parametrize("slot, name", [(slot, name) for slot in METHODS for name in METHODS[slot]])
def test_every_docstring_has_a_source_and_an_example(slot, name):
    said = METHODS[slot][name].__doc__
    assert "Example:" in said  # which runs, as all examples do
    assert METHODS[slot][name].paper == "ours" or "Source:" in said


def test_every_entry_fits_its_slot():
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            assert slot in method.slots, f"{name} does not state that it fits {slot}"
            assert method.lands in ("exact", "below", "reorders")


def test_a_random_method_follows_its_seed_and_the_diverse_one_its_input():
    x = an_input(METHODS["sample_tokens"]["random"])
    draws = [
        weights(decide(METHODS["sample_tokens"]["random"](), x, 5, signals(x, seed=k))).input for k in (1, 2)
    ]
    assert not torch.equal(*draws)
    diverse = METHODS["sample_tokens"]["divprune"]()
    copies = Tokens.of(torch.eye(9)[[0, 0, 0, 1, 1, 2, 2, 2, 2]][None], torch.zeros(1))
    kept = copies.reduce(decide(diverse, copies, 3, signals(copies)))
    assert sorted(kept.features.argmax(dim=1).tolist()) == [0, 1, 2], "one of each, and no copy"


def test_a_seed_is_a_number_that_torch_takes():
    for wrong in (-1, 2**63, "3", True, 1.5):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            MethodNames(seed=wrong)


def test_names_are_suggested():
    with pytest.raises(
        ValueError, match=r"merge_tokens must be one of .*none, got 'tom': did you mean 'tome'\?"
    ):
        check_name("merge_tokens", "tom")
    with pytest.raises(ValueError, match=r"select_frames must be one of .* got 'zzz': use one of these"):
        MethodNames(select_frames="zzz")
    with pytest.raises(ValueError, match=r"tokens_policy must be one of none, .*, content, got 'odd'"):
        MethodNames(tokens_policy="odd")
    assert known_names("merge_frames") == ("similar", "released", "none")


# What a newcomer writes after reading the first lines of bvllm/methods/__init__.py.
STRANGER = '''
"""Every other token."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class LastTokens(TokenMethod):
    """Keep the last tokens in reading order."""

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens",)
    paper: ClassVar[str] = "ours"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        return Assignment.keep(torch.arange(len(tokens) - keep, len(tokens)), len(tokens))
'''

RUN = """
import json
import sys
import bvllm.methods as methods
from bvllm.methods.merge_tokens.last import LastTokens
methods.METHODS["merge_tokens"]["last"] = LastTokens  # the line in the table
from bvllm.cli import main
if __name__ == "__main__":
    sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_strangers_file_is_reached_by_ask_eval_and_train(tmp_path):
    """A file and a line: nothing else is edited."""
    import bvllm.methods.merge_tokens as room

    home = tmp_path / "code"
    home.mkdir()
    (home / "last.py").write_text(textwrap.dedent(STRANGER))
    script = tmp_path / "run.py"
    script.write_text(
        f"import bvllm.methods.merge_tokens as room\nroom.__path__.append({str(home)!r})\n" + RUN
    )
    assert str(home) not in room.__path__

    world = make_world(tmp_path / "world", split="test", count=1, seconds=(8, 8), seed=1, workers=1)
    [video] = sorted((world.parent / "videos").glob("*.mp4"))
    rows, scores, out = tmp_path / "rows.json", tmp_path / "scores.json", tmp_path / "trained"
    chat = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "a star"}]
    rows.write_text(json.dumps([{"id": "a", "video": str(video), "conversations": chat}]))
    last = ["--merge-tokens", "last"]
    commands = [
        ["ask", video, "what is shown?", *last, "--budget", 5, "--json", "--no-index"],
        ["eval", "--data", world.parent, *last, "--json", scores],
        ["train", "tiny", f"data.pretrain={rows}", f"data.finetune={rows}", "model.merge_tokens=last",
         "alignment.max_steps=1", "instruction.max_steps=1", "--out", out],
    ]  # fmt: skip
    words = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, str(script), words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.split("\n", 1)
    asked = json.loads(first)
    assert asked["tokens"] == 5
    assert asked["settings"]["used"]["methods"]["merge_tokens"] == "last"
    assert asked["frames"][-1]["tokens"] > 0
    assert "overall" in rest
    assert json.loads(scores.read_text())["settings"]["merge_tokens"] == "last"
    assert '"merge_tokens": "last"' in next(out.rglob("config.json")).read_text()
