"""One contract for every method of the table: what a reduction may do, and what it may not."""

import json
import subprocess
import sys
import textwrap

import pytest
import torch

from bvllm.methods import METHODS, check_name, known_names
from bvllm.methods.names import MethodNames
from bvllm.primitives.reduction import Reduction
from bvllm.stages.method import FrameMethod, TokenMethod, decide
from bvllm.synthetic import make_world
from bvllm.types import Clip, Signals, Tokens

HARD = [
    (slot, name)
    for slot, methods in METHODS.items()
    for name, method in methods.items()
    if issubclass(method, FrameMethod | TokenMethod)
]
SIZES = [(1, 1), (1, 2), (2, 1), (3, 5), (7, 16)]


def an_input(method, frames=6, patches=9, channels=8, seed=0, like=None):
    x = torch.randn(frames, patches, channels, generator=torch.Generator().manual_seed(seed))
    x = x if like is None else torch.full_like(x, like)
    seconds = torch.arange(frames) / 2
    if issubclass(method, FrameMethod):
        return Clip(x.mean(dim=1), seconds)
    return Tokens.of(x, seconds)


def signals(x, seed=0):
    """Everything that a method may ask for."""
    count, drawn = len(x), torch.Generator().manual_seed(1)
    return Signals(
        question=torch.randn(4, 8, generator=drawn),
        relevance=torch.rand(count, generator=drawn),
        attention=torch.rand(count, generator=drawn),
        keys=torch.randn(count, 4, generator=drawn),
        grid=(3, 3),
        seconds=x.seconds,
        seed=seed,
    )


@pytest.fixture(params=HARD, ids=lambda pair: "-".join(pair))
def method(request):
    slot, name = request.param
    return METHODS[slot][name]


def weights(plan):
    return plan if isinstance(plan, Reduction) else plan.reduction()


@pytest.mark.parametrize("keep", [1, 2, 5, 99])
def test_it_lands_as_it_states(method, keep):
    x = an_input(method)
    plan = decide(method(), x, keep, signals(x))  # refuses what breaks the method's own word
    assert 1 <= len(plan) <= max(1, min(keep, len(x)))


@pytest.mark.parametrize("frames, patches", SIZES)
def test_small_inputs_work(method, frames, patches):
    x = an_input(method, frames, patches)
    assert len(decide(method(), x, 1, signals(x))) >= 1


@pytest.mark.parametrize("like", [0.0, 1.0])
def test_equal_and_empty_vectors_work(method, like):
    x = an_input(method, like=like)
    plan = decide(method(), x, 3, signals(x))
    features = plan.combine(x.features, torch.ones(len(x)))
    assert features.isfinite().all()
    torch.testing.assert_close(features, torch.full_like(features, like))


def test_the_same_again_and_in_half_precision(method):
    x = an_input(method)
    first, again = (decide(method(), x, 5, signals(x, seed=3)) for _ in range(2))
    assert torch.equal(weights(first).input, weights(again).input)
    half = an_input(method)
    half = type(half)(half.features.bfloat16(), *list(vars(half).values())[1:])
    assert len(decide(method(), half, 5, signals(half))) == len(first)


def test_order_in_time_survives(method):
    x = an_input(method)
    plan = decide(method(), x, 5, signals(x))
    if method.lands != "reorders":
        assert (x.seconds[plan.anchor].diff() >= 0).all()


def test_it_says_where_it_comes_from(method):
    assert method.paper == "ours" or method.paper.startswith("https://arxiv.org/abs/")
    assert method.__doc__
    assert method.slots


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


def test_tome_goes_by_keys_where_there_are_any():
    x = an_input(METHODS["merge_tokens"]["tome"])
    by_keys = weights(decide(METHODS["merge_tokens"]["tome"](), x, 10, signals(x)))
    by_itself = weights(decide(METHODS["merge_tokens"]["tome"](), x, 10, Signals()))
    assert not torch.equal(by_keys.output, by_itself.output)


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
    with pytest.raises(ValueError, match=r"tokens_policy must be one of none, .*, quota, got 'odd'"):
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
