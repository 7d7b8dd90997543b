"""What is remembered between questions makes them cheaper and never different."""

from dataclasses import replace

import pytest
import torch

from bvllm.inference.ask import Session, answer, encode_video
from bvllm.inference.session import PatchCache

QUESTIONS = ("which colour is the sign ?", "what is red ?", "which colour is the sign ?")
ROW = torch.zeros(4, 8)


@pytest.fixture(scope="module")
def encoded(video, loaded):
    return encode_video(video, loaded)


def test_answers_with_memory_are_the_answers_without(encoded, loaded):
    session = Session()
    for question in QUESTIONS:
        alone = answer(encoded, question, loaded)
        after_others = answer(encoded, question, loaded, session=session)
        assert after_others == alone
        assert torch.equal(after_others.visual.pooler_output[0], alone.visual.pooler_output[0])
    assert len(session.patches) > 0


def test_frames_seen_before_are_not_encoded_again(encoded, loaded, monkeypatch):
    session = Session()
    first = answer(encoded, QUESTIONS[0], loaded, session=session)

    def never(pixels):
        raise AssertionError("a frame must not be encoded twice")

    monkeypatch.setattr(loaded.model.model, "encode_patches", never)
    assert answer(encoded, QUESTIONS[0], loaded, session=session) == first


def test_the_same_visual_tokens_are_read_once(encoded, loaded):
    """Options change the prompt behind the clip, not the clip: frames and tokens rest on the stem."""
    session = Session()
    plain = answer(encoded, QUESTIONS[0], loaded, session=session)
    assert session.prompt.reused == 0
    options = ("red", "blue")
    again = answer(encoded, QUESTIONS[0], loaded, options=options, session=session)
    assert session.prompt.reused == 2  # the free reply, and the options
    assert again == answer(encoded, QUESTIONS[0], loaded, options=options)
    assert answer(encoded, QUESTIONS[0], loaded, session=session) == plain
    answer(encoded, QUESTIONS[1], loaded, session=session)
    assert session.prompt.reused == 3


def test_the_least_recently_used_patches_are_forgotten_first():
    cache, looked = PatchCache(most_bytes=2 * ROW.numel() * 4), []

    def encode(frames):
        looked.extend(frames)
        return [ROW + k for k in frames]

    for wanted in ([1], [2], [1], [3], [1], [2]):
        assert cache.get(wanted, encode)[0, 0, 0] == wanted[0]
    assert looked == [1, 2, 3, 2]
    assert len(cache) == 2


def test_more_frames_than_fit_are_still_given():
    cache = PatchCache(most_bytes=0)
    assert cache.get([5, 6, 5], lambda frames: [ROW + k for k in frames])[:, 0, 0].tolist() == [5, 6, 5]
    assert len(cache) == 0


def test_what_was_read_with_patches_is_kept_with_them_and_by_kind():
    """Frames that were encoded without attention, or with another, are encoded again when it is asked for."""
    cache, encoded = PatchCache(), []

    def encode(frames):
        encoded.extend(frames)
        return [(ROW + k, torch.full((2,), float(k))) for k in frames]

    cache.get([4], lambda frames: [ROW + k for k in frames])
    for kind, frames in (("cls", [4, 7]), ("cls", [7, 4]), ("head", [4])):
        patches, attention = cache.get_with(frames, encode, kind)
        assert attention[:, 0].tolist() == frames
        assert patches[:, 0, 0].tolist() == frames
    assert encoded == [4, 7, 4]
    assert len(cache) == 4


def test_memory_cannot_be_negative():
    with pytest.raises(ValueError, match="most_bytes must be at least 0"):
        Session(most_bytes=-1)


def test_a_session_forgets_the_patches_of_another_video(encoded, loaded):
    """Frame 3 of a stream is another frame in its next snapshot."""
    session, other = Session(), replace(encoded, store=Reversed(encoded.store))
    answer(encoded, QUESTIONS[0], loaded, session=session)
    found = answer(other, QUESTIONS[0], loaded, session=session)
    assert torch.equal(
        found.visual.pooler_output[0], answer(other, QUESTIONS[0], loaded).visual.pooler_output[0]
    )
    first = answer(encoded, QUESTIONS[0], loaded)
    assert not torch.equal(found.visual.pooler_output[0], first.visual.pooler_output[0])


class Reversed:
    """Other pixels under the same numbers."""

    def __init__(self, inner):
        self.inner = inner

    def get(self, indices):
        return self.inner.get(indices).flip(-1)
