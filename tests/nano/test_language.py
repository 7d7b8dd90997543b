"""Videos given as captions."""

import numpy as np
import pytest
import torch

from bvllm.common.stopping import Interrupted, StopRequest
from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import nano_text
from bvllm.nano import language
from bvllm.nano.captions import IGNORE, CaptionEncoder, collate, oracle_frames
from bvllm.nano.language import Where, answer_loss, embed_captions, warm_up_language
from bvllm.nano.loop import Control
from bvllm.synthetic.tokenizer import ASSISTANT, END, build_tokenizer
from bvllm.synthetic.vocabulary import COLOURS
from tests.nano.handmade import ABSENT, BOTH, example


@pytest.fixture(scope="module")
def encoder():
    return CaptionEncoder(build_tokenizer())


def caption(encoder, *, shown=(0, 2, 7), seed=0, **changes):
    return encoder.encode(example(**changes), list(shown), np.random.default_rng(seed))


def read(encoder, ids):
    return " ".join(encoder.tokenizer.convert_ids_to_tokens(ids))


def test_a_frame_is_given_by_its_caption(encoder):
    captioned = caption(encoder)
    assert captioned.seconds == [0.0, 2.0, 7.0]
    assert read(encoder, captioned.frames[0]) == "nothing"
    assert read(encoder, captioned.frames[2]) == "word river"
    words = read(encoder, captioned.frames[1]).split()
    assert words[0] == "one"
    assert words[2:] == ["star", "top", "left"]


def test_only_the_reply_is_learned_as_an_answer(encoder):
    captioned = caption(encoder)
    assert len(captioned.ids) == len(captioned.labels)
    assert len(captioned) == 1 + 3 + len(captioned.ids)
    learned = [label != IGNORE for label in captioned.labels]
    first = learned.index(True)
    assert learned == [False] * first + [True] * (len(learned) - first)
    assert captioned.labels[first:] == captioned.ids[first:]
    tail = read(encoder, captioned.ids[first - 1 :]).split()
    assert tail[0] == ASSISTANT
    assert tail[2:] == ["(B)", END]


def test_colours_trade_names_in_the_whole_video_at_once(encoder):
    """The shape keeps its place; frame, options and reply agree on the new name of the colour."""
    names = set()
    for seed in range(30):
        captioned = caption(encoder, seed=seed)
        name = read(encoder, captioned.frames[1]).split()[1]
        options = read(encoder, captioned.ids).split()
        assert options[options.index("B.") + 1] == name
        assert read(encoder, captioned.labels[-3:-2]) == name
        names.add(name)
    assert names <= set(COLOURS)
    assert len(names) > 4


def test_the_same_seed_gives_the_same_captions(encoder):
    assert caption(encoder, seed=3) == caption(encoder, seed=3)


def test_all_that_is_asked_for_is_told():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shown = oracle_frames(example(BOTH), rng)
        assert shown == sorted(set(shown))
        assert {2, 7, 8} <= set(shown) <= set(range(10))
        assert oracle_frames(example(ABSENT), rng)


def test_a_batch_by_hand(encoder):
    captioned = [caption(encoder, shown=(2, 7)), caption(encoder, shown=(0, 1, 2, 3), with_options=False)]
    batch = collate(captioned, start=99, pad=0)
    shape = (2, max(len(t) for t in captioned))
    assert batch.ids.shape == batch.labels.shape == batch.mask.shape == batch.captioned.shape == shape
    assert batch.ids[:, 0].tolist() == [99, 99]
    assert batch.mask.sum(dim=1).tolist() == [len(t) for t in captioned]
    assert batch.captioned.nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2], [1, 3], [1, 4]]
    assert batch.seconds.tolist() == [2, 7, 0, 1, 2, 3]
    for row, t in enumerate(captioned):
        text = slice(1 + len(t.frames), len(t))
        assert batch.ids[row, text].tolist() == t.ids
        assert batch.labels[row, text].tolist() == t.labels
    # Of the first row the option's letter and the end of the turn; the second has no options.
    assert read(encoder, batch.ids[batch.letters].tolist()) == read(encoder, captioned[0].ids[-2:])
    assert "B" in read(encoder, captioned[0].ids[-2:])
    assert batch.letters.sum(dim=1).tolist() == [2, 0]
    assert (batch.labels[batch.captioned] == IGNORE).all()
    assert (batch.labels[batch.mask == 0] == IGNORE).all()


def test_a_captioned_frame_is_the_sum_of_its_words_and_its_time(encoder):
    captioned = [caption(encoder, shown=(2, 7)), caption(encoder, shown=(0,), with_options=False)]
    table, clock = torch.randn(len(encoder.tokenizer), 8), ClockEmbedding(8)
    for part in clock.children():
        torch.nn.init.normal_(part.weight)
    batch = collate(captioned, start=1, pad=0)
    embedded = embed_captions(batch, table, clock, Where(table.shape[1]))
    for row, t in enumerate(captioned):
        for place, (words, second) in enumerate(zip(t.frames, t.seconds), start=1):
            wanted = table[words].sum(dim=0) + clock(torch.tensor([second]))[0]
            assert torch.allclose(embedded[row, place], wanted, atol=1e-5)
    text = ~batch.captioned
    assert torch.equal(embedded[text], table[batch.ids[text]])


def test_the_loss_of_an_answer_by_hand():
    """Two rows of three tokens; token k has one-hot state k, so the head says what follows."""
    head = torch.tensor([[0.0, 0.0, 5.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]).mT  # 0 -> 2, 1 -> 0, 2 -> 1
    hidden = torch.eye(3)[torch.tensor([[0, 2, 1], [0, 2, 1]])]
    right = torch.tensor([[IGNORE, 2, 1], [IGNORE, 2, IGNORE]])
    half = torch.tensor([[IGNORE, 2, 1], [IGNORE, 0, 1]])
    sure = torch.log(1 + 2 * torch.exp(torch.tensor(-5.0)))
    loss, share = answer_loss(hidden, head, right)
    assert torch.allclose(loss, sure)
    assert share == 1.0
    loss, share = answer_loss(hidden, head, half)
    assert torch.allclose(loss, sure + 5 / 4)  # one of four tokens is off by five
    assert share == 0.5


def test_a_stage_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    """Stopped after every step, within and between blocks of examples: the same weights to the last bit."""
    monkeypatch.setattr(language, "BLOCK", 2)
    tokenizer = build_tokenizer()
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    config.update({"num_hidden_layers": 1, "layer_types": ["full_attention"], "intermediate_size": 16})

    def warm_up(folder=None):
        stop = StopRequest()

        def tell(what, done, total):
            stop.signal = None if folder is None else 15

        control = Control(lambda line: None, tell=tell, stop=stop, folder=folder)
        return warm_up_language(tokenizer, config, steps=5, batch=3, control=control)[0]

    whole, stopped, stops = warm_up(), None, 0
    while stopped is None:
        try:
            stopped = warm_up(tmp_path)
        except Interrupted:
            stops += 1
    assert stops == 4
    for one, other in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)
