"""Rows to batches: as the processor makes them, with answers to learn."""

import pytest
import torch

from bvllm.data.collate import Collator, pad
from bvllm.data.dialogue import Media, Turn
from bvllm.data.encode import IGNORED, Encoder
from tests.data.rows import dialogue, picture, video
from tests.model import tiny


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    clip = video(folder / "a.mp4", frames=10, fps=2)
    return Media("video", clip, folder), Media("image", picture(folder / "b.png"), folder)


def rows(media):
    clip, image = media
    return [
        dialogue("what is red ?", "the star", media=(clip,)),
        dialogue("which colour is the sign ?", "blue at the end", media=(image, clip)),
        dialogue("what is the end ?", "red"),
    ]


def batch_of(rows, **settings):
    processor = tiny.processor()
    encoder = Encoder(processor, **settings)
    return Collator(processor)([encoder(row) for row in rows])


def test_a_batch_is_what_the_processor_makes_of_the_same_chats(media):
    mixed = rows(media)
    made = batch_of(mixed)
    chats = []
    for row in mixed:
        sources = iter(row.media)
        chat = row.messages()
        for part in (part for message in chat for part in message["content"] if part["type"] != "text"):
            part["path"] = next(sources).source
        chats.append(chat)
    whole = tiny.processor().apply_chat_template(chats, tokenize=True, return_assistant_tokens_mask=True)
    said = whole.pop("assistant_masks").bool()
    assert set(made) == {*whole, "labels"}
    for name, value in whole.items():
        assert torch.equal(made[name], value), name
        assert made[name].dtype == value.dtype, name
    assert torch.equal(made["labels"], whole["input_ids"].masked_fill(~said, IGNORED))
    assert made["video_num_frames"].tolist() == [5, 1, 5]


def test_every_part_learns_from_a_mixed_batch(media):
    model = tiny.model().train()
    made = batch_of(rows(media))
    model(**made).loss.backward()
    assert made["input_ids"].shape == made["labels"].shape
    assert not (made["labels"] == tiny.VIDEO_ID).any()
    assert model.model.frame_selector.proj.weight.grad.abs().sum() > 0


def test_text_alone_has_no_visual_inputs(media):
    made = batch_of(rows(media)[2:])
    assert set(made) == {"input_ids", "attention_mask", "labels"}
    assert torch.isfinite(tiny.model()(**made).loss)


def test_a_row_alone_learns_what_it_learns_in_a_batch(media):
    """Padding and neighbours change nothing: the mean over all labels is the sum of the rows' sums."""
    model, mixed = tiny.model(), rows(media)
    sums = 0.0
    for row in mixed:
        one = batch_of([row])
        count = int((one["labels"][:, 1:] != IGNORED).sum())
        sums += model(**one).loss.item() * count
    together = batch_of(mixed)
    total = int((together["labels"][:, 1:] != IGNORED).sum())
    assert model(**together).loss.item() == pytest.approx(sums / total, rel=1e-4)


def test_a_question_of_no_words_can_be_learned_from(media):
    made = batch_of([dialogue(" ", "the star", media=media[1:]), rows(media)[0]])
    assert torch.isfinite(tiny.model()(**made).loss)


@pytest.mark.parametrize("budget, slots", [(None, [10, 4]), (6, [6, 4]), (3, [3, 3])])
def test_a_budget_of_its_own(media, budget, slots):
    processor = tiny.processor()
    example = Encoder(processor)(dialogue("is ?", "red", media=media), budget)
    assert int((example.input_ids == tiny.VIDEO_ID).sum()) == sum(slots)
    assert processor.budget_tokens == 10
    if budget is not None:
        model = tiny.model(budget_tokens=budget)
        assert torch.isfinite(model(**Collator(processor)([example])).loss)


def test_media_of_a_lost_round_are_not_in_the_batch(media):
    clip, image = media
    row = dialogue("is red ?", "the star", media=(image,))
    row = type(row)(
        "x", (*row.turns, Turn("user", (clip, "is blue ?")), Turn("assistant", ("red",))), row.where
    )
    assert batch_of([row])["video_num_frames"].tolist() == [1, 5]
    assert batch_of([row], max_tokens=20)["video_num_frames"].tolist() == [1]


def test_long_videos_are_thinned(media):
    made = batch_of(rows(media)[:1], max_frames=2)
    assert made["video_num_frames"].tolist() == [2]


def test_padding():
    uneven = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    assert pad(uneven, 9, left=True).tolist() == [[1, 2, 3], [9, 9, 4]]
    assert pad(uneven, 9, left=False).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad([torch.zeros(0, dtype=torch.long)] * 2, 9, left=True).shape == (2, 0)


def test_wrong_use():
    processor = tiny.processor()
    with pytest.raises(ValueError, match="a batch must have at least 1 row, got 0"):
        Collator(processor)([])
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0: use None for any number"):
        Encoder(processor, max_tokens=0)
    with pytest.raises(
        ValueError, match="learn must be 'all', 'last' or 'one', got 'first': choose one of them"
    ):
        Encoder(processor, learn="first")
    processor.tokenizer.pad_token = None
    with pytest.raises(ValueError, match="tokenizer must have a padding token, got none: set its pad_token"):
        Collator(processor)
