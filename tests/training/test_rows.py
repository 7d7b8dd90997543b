"""What the settings can name as rows: files, tar shards, streams; and a budget that changes with the step."""

import functools
import os
import signal

import pytest

from bvllm.common.stopping import Interrupted
from bvllm.data.hub import HubSource
from bvllm.data.streams import TarSource
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.training import checks
from bvllm.training import rows as stage_rows
from bvllm.training.build import build
from bvllm.training.callbacks import read_losses
from bvllm.training.checks import check_settings
from bvllm.training.plan import plan
from bvllm.training.rows import open_corpus, random_budget
from bvllm.training.run import train
from bvllm.training.settings import RECIPES, override
from tests.data.rows import llava, picture, video, write
from tests.data.test_shards import pack
from tests.test_messages import HOUSE
from tests.training.test_going_on import files

SHORT = (
    "alignment.max_steps=2 instruction.max_steps=3 alignment.batch=4 instruction.batch=4 run.per_device=2 "
    "run.save_every=1 run.evaluate_every=1 run.print_every=1"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows of text, pictures and videos: as a file, as shards, and as shards that are compressed."""
    folder = tmp_path_factory.mktemp("sources")
    image, clip = picture(folder / "a.png").read_bytes(), video(folder / "b.mp4", frames=12).read_bytes()
    said = [
        llava("what is red ?", "the star", id="0"),
        llava("<image>\nwhich ?", "blue", id="1", image="a.png"),
        llava("<video>\nwhich is it ?", "the green star", id="2", video="b.mp4"),
    ]
    write(folder / "rows.json", said * 2)
    samples = [("0", {"json": said[0]}), ("1", {"json": said[1], "png": image})]
    pack(folder / "shards-0.tar", *samples)
    pack(folder / "shards-1.tar", ("2", {"json": said[2], "mp4": clip}))
    pack(folder / "shards-0.tar.gz", *samples, mode="w:gz")
    pack(folder / "shards-1.tar.gz", ("2", {"json": said[2], "mp4": clip}), mode="w:gz")
    return folder


@pytest.fixture
def told(folder, monkeypatch):
    """The tiny recipe on the rows file, with other words."""
    monkeypatch.chdir(folder)
    start = override(RECIPES["tiny"](), ["data.pretrain=rows.json", "data.finetune=rows.json", *SHORT])
    return lambda *words: override(start, words)


@pytest.fixture
def hub(folder, monkeypatch):
    """A Hub that holds nine rows under any name; returns the names that were asked for."""
    image = {"bytes": (folder / "a.png").read_bytes(), "path": None}
    rows = [
        llava("<image>\nwhich ?", "blue", id=str(k), image=image)
        if k % 3
        else llava("what is red ?", *["the star"] * (k != 3), id=str(k))
        for k in range(9)
    ]
    asked = []
    monkeypatch.setattr(checks, "find_spec", lambda name: name)
    monkeypatch.setattr(
        stage_rows, "open_hub", lambda name: asked.append(str(name)) or HubSource(rows, str(name))
    )
    return asked


def run(settings, out, log=lambda line: None):
    return train(settings, out, resume=True, log=log)


def stopped_and_taken_up(settings, out, before):
    """The run of these settings, stopped where a line begins so, and once more to its end."""

    sent = []

    def ask(line):
        if line.startswith(before) and not sent:
            sent.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="--resume"):
        run(settings, out, ask)
    run(settings, out)


def test_shards_take_part_with_their_weight(told):
    settings = told("data.pretrain=rows.json,shards-*.tar", "data.pretrain_weights=1,2")
    order = stage_rows.order_of(settings, "pretrain")
    # 6 rows of the file at 1 and 3 of the shards at 2: halves of an epoch of 9.
    assert [(part.name, len(part.rows), part.weight) for part in order.parts] == [
        ("rows.json", 6, 6.0), ("shards-*.tar", 3, 6.0),
    ]  # fmt: skip
    planned = plan(settings)
    assert [stage.rows for stage in planned.stages] == [9, 6]
    assert "; 9 rows an epoch" in "\n".join(planned.lines())


def test_shards_are_learned_from_and_evaluated_on(told, tmp_path):
    settings = told("data.pretrain=shards-?.tar", "data.evaluate=shards-1.tar")
    corpus = open_corpus(settings, "pretrain", build(settings).processor, tmp_path)
    assert sorted(sum(corpus.train[place].frames) for place in range(3)) == [0, 1, 6]
    assert [sum(corpus.evaluate[place].frames) for place in range(len(corpus.evaluate))] == [6]
    assert corpus.order["parts"] == {"shards-?.tar": [3, 3]}


def test_compressed_shards_are_a_stream(told):
    settings = told("data.pretrain=shards-*.tar.gz", "data.window=2")
    order = stage_rows.order_of(settings, "pretrain")
    assert isinstance(order.source, TarSource)
    assert sorted(next(order.candidates(place)).id for place in range(3)) == list("012")
    assert len(order) == 2 * 4
    planned = plan(settings)
    assert [stage.rows for stage in planned.stages] == [None, 6]
    assert "x 2; a stream" in "\n".join(planned.lines())


def test_a_plan_looks_at_the_beginning_of_a_stream(told, hub):
    planned = plan(told("data.finetune=hf://some/set/sub:test"))
    assert hub == ["some/set/sub:test"]
    assert planned.stages[1].steps == 3
    assert planned.stages[1].tokens_per_row > 4


def test_a_stream_goes_on_where_it_was(told, hub, tmp_path):
    settings = told("data.pretrain=shards-*.tar.gz", "data.finetune=hf://some/set", "data.window=4")
    run(settings, tmp_path / "whole")
    stopped_and_taken_up(settings, tmp_path / "run", "instruction 1/3")
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    assert len(hub) == 3  # opened once in the whole run, and twice in the other
    faults = (tmp_path / "whole/instruction/faults.jsonl").read_text()
    assert '"some/set:train (row 3)"' in faults
    with pytest.raises(ValueError, match=r"data\.window must be what the run in .+ 4, got 5: leave it"):
        run(override(settings, ["data.window=5"]), tmp_path / "run")


def test_every_step_has_its_own_budget_and_an_evaluation_the_full_one(told, tmp_path, monkeypatch):
    seen, forward = [], BVLLMForConditionalGeneration.forward

    @functools.wraps(forward)
    def spy(self, *args, **inputs):
        assert self.config.budget_tokens == 16, "a configuration is never changed in place"
        given = inputs.get("video_budget")
        seen.append((self.training, 16 if given is None else int(given)))
        return forward(self, *args, **inputs)

    monkeypatch.setattr(BVLLMForConditionalGeneration, "forward", spy)
    settings = told("data.random_budget=2", "data.evaluate=rows.json")
    model = run(settings, tmp_path / "whole")
    draw = random_budget(settings)
    steps = [draw.at(step) for step in (0, 1, 0, 1, 2)]
    assert len(set(steps)) > 1
    assert [budget for training, budget in seen if training] == [b for b in steps for _ in range(2)]
    assert {budget for training, budget in seen if not training} == {16}
    assert '"budget_tokens": 16' in (model / "config.json").read_text()
    assert '"budget_tokens": 16' in (model / "processor_config.json").read_text()

    seen.clear()
    stopped_and_taken_up(settings, tmp_path / "run", "instruction 1/3")  # stops within the second step
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    assert [budget for training, budget in seen if training][-4:] == [draw.at(1)] * 2 + [draw.at(2)] * 2
    constant = run(told("data.evaluate=rows.json"), tmp_path / "constant").parent
    losses = [read_losses(out / "instruction/losses.jsonl") for out in (tmp_path / "whole", constant)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "words, says",
    [
        ("data.random_budget=0", "data.random_budget must be in 1..model.budget_tokens = 16, got 0"),
        ("data.random_budget=17", "data.random_budget must be in 1..model.budget_tokens = 16, got 17"),
        ("data.window=0", "data.window must be at least 1, got 0"),
        ("data.pretrain=no-*.tar", "data.pretrain must name files that exist, got 'no-*.tar'"),
        ("data.evaluate=no.tar", "data.evaluate must name files that exist, got 'no.tar'"),
        ("data.finetune=*.json", "data.finetune must name files that exist, got '*.json'"),
        ("data.finetune=no.tar.gz", "data.finetune must name files that exist, got 'no.tar.gz'"),
        ("data.pretrain=hf://some", "a set on the Hub must be named hf://owner/name"),
        ("data.evaluate=hf://a/b", "data.evaluate must name files or .tar shards, got the stream 'hf://a/b'"),
        ("data.pretrain=rows.json,hf://a/b", "data.pretrain must name one stream or else files and .tar"),
        ("data.finetune=hf://a/b,hf://a/c", "data.finetune must name one stream or else files and .tar"),
        (
            "data.finetune=hf://a/b instruction.max_steps=none",
            "instruction.max_steps must be given for",
        ),
        ("data.pretrain=shards-0.tar.gz alignment.max_steps=none", "alignment.max_steps must be given for"),
    ],
)
def test_what_cannot_be_meant_is_one_line(words, says, told, hub):
    with pytest.raises(ValueError, match=HOUSE.pattern) as error:
        check_settings(told(*words.split()))
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
    assert not hub  # nothing was opened


def test_the_hub_needs_a_package(told, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"data\.pretrain must be readable, got 'hf://a/b' without .+hub"):
        check_settings(told("data.pretrain=hf://a/b"))
