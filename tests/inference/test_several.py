"""Questions about several videos: what people hand over, one budget, and whose each frame is."""

import numpy as np
import pytest
import torch

import bvllm
from bvllm import Session, answer_several, encode_video
from bvllm.inference.auto_budget import AutoBudget
from bvllm.inference.balance import balance
from bvllm.inference.balanced_several import share_tokens
from bvllm.inference.clip_sources import clips_in
from bvllm.inference.evidence.contact_sheet import contact_sheet
from bvllm.inference.scorer import load_scorer
from bvllm.inference.turns import Turn
from bvllm.types import Budget, FrameSelection
from bvllm.video.forms import as_source
from tests.model.backbones.tiny_families import make, save_clip

QUESTION = "which colour is the star"


@pytest.fixture(scope="module")
def video_llm(tmp_path_factory):
    scorer = load_scorer(str(save_clip(tmp_path_factory.mktemp("clip"))), torch.device("cpu"))
    return balance(*make("qwen2_5_vl"), scorer=scorer, frame_size=(24, 24))


def frames(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


A, B, PICTURE = frames(8, 1), frames(5, 2), frames(1, 3)[0]


def parts(*videos: np.ndarray) -> list[dict[str, object]]:
    return [{"type": "video", "video": frames, "fps": 1} for frames in videos]


def test_one_budget_is_shared_and_every_frame_has_its_clip(video_llm):
    given = [*parts(A, B), {"type": "image", "image": PICTURE}]
    for tokens in (3, 10, 30):
        found = video_llm.ask(given, QUESTION, budget=tokens, max_new_tokens=3)
        assert found.tokens == sum(clip.tokens for clip in found.clips) <= tokens
        assert min(clip.tokens for clip in found.clips) >= 1
        assert [clip.kind for clip in found.clips] == ["video", "video", "image"]
        assert sum(found.tokens_per_frame) == found.tokens
    assert [clip.frames_total for clip in found.clips] == [8, 5, 1]
    for number, clip in enumerate(found.clips):
        own = [frame for frame in found.frames if frame.clip == number]
        assert len(own) == clip.frames
        assert all(frame.seconds == frame.index for frame in own), "times are each video's own"
    assert max(frame.score for frame in found.frames) <= 1.0


def test_tokens_go_where_the_question_bears(video_llm, monkeypatch):
    """A clip whose frames are less relevant, beside those of all clips, gets less."""
    scores = {8: 0.9, 5: 0.1}
    monkeypatch.setattr(
        type(video_llm.scorer),
        "relevance",
        lambda _, features, text: torch.full((len(features),), scores[len(features)]),
    )
    found = video_llm.ask(parts(A, B), QUESTION, budget=40, max_new_tokens=2)
    high, low = (clip.tokens / clip.frames for clip in found.clips)
    assert high > 1.5 * low


@pytest.mark.parametrize(
    "tokens, tails, shares",
    [
        (100, [0, 0], [36, 9]),
        (20, [0, 0], [16, 4]),
        (3, [0, 0], [2, 1]),
        (22, [1, 1], [17, 5]),
        (2, [1, 1], [1, 1]),
    ],
)
def test_shares_land_on_the_budget(tokens, tails, shares):
    chosen = [FrameSelection.of(torch.arange(n), torch.arange(4.0)) for n in (4, 1)]
    assert share_tokens(chosen, [9, 9], tails, tokens, by_score=False) == shares


def test_a_chat_is_written_as_it_stands(video_llm):
    """Words between clips and earlier turns are in the prompt; frames are chosen by the last question."""
    first, second = parts(A, B)
    turns = [
        {"role": "user", "content": [first, {"type": "text", "text": "where is the sign"}]},
        {"role": "assistant", "content": "first"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "and"}, second, {"type": "text", "text": QUESTION}],
        },
    ]
    found = bvllm.chat(turns, video_llm, budget=Budget(20), max_new_tokens=3)
    assert found.question == f"and\n{QUESTION}"
    assert len(found.clips) == 2
    chosen = bvllm.chat(turns, video_llm, budget=Budget(20), options=["red", "blue"], max_new_tokens=3)
    assert chosen.letter in ("A", "B")
    assert sum(chosen.likelihoods) == pytest.approx(1.0)
    for wrong, line in (
        (turns[:2], "a chat must end with the user's question"),
        ([{"role": "user", "content": [first]}], "a chat must end with a question in words"),
        ([{"role": "user", "content": "what?"}], "a chat must show a video or a picture"),
        (
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "a"}]}],
            "must name its source",
        ),
    ):
        with pytest.raises(ValueError, match=line):
            bvllm.chat(wrong, video_llm)


def test_a_further_question_encodes_nothing_twice(video_llm, monkeypatch):
    clips, sessions = [encode_video(frames, video_llm) for frames in (A, B)], [Session(), Session()]
    alone = [
        answer_several(clips, q, video_llm, budget=Budget(24), max_new_tokens=3) for q in (QUESTION, "where")
    ]
    first = answer_several(clips, QUESTION, video_llm, budget=Budget(24), sessions=sessions, max_new_tokens=3)
    known = [len(session.patches) for session in sessions]
    again = answer_several(clips, QUESTION, video_llm, budget=Budget(24), sessions=sessions, max_new_tokens=3)
    assert known == [len(session.patches) for session in sessions]
    other = answer_several(clips, "where", video_llm, budget=Budget(24), sessions=sessions, max_new_tokens=3)
    assert (first.text, first.frames) == (again.text, again.frames) == (alone[0].text, alone[0].frames)
    assert (other.text, other.frames) == (alone[1].text, alone[1].frames)
    sheet = contact_sheet(clips, first)
    assert len(sheet.tiles) == len(first.frames)
    assert {tile.reason.split(",")[0] for tile in sheet.tiles} == {"video 1", "video 2"}


def test_what_belongs_to_one_video_is_refused(video_llm, loaded):
    for settings, line in (
        ({"start": 1.0}, "start and end must be left out for several videos"),
        ({"subtitles": ()}, "subtitles must be left out for several videos"),
        ({"budget": AutoBudget((8, 16))}, "budget must be left out for several videos"),
        ({"budget": Budget(1)}, r"budget.tokens must be at least one for each of 2 videos, got 1"),
        ({"budget": Budget(8, 1)}, r"budget.frames must be at least one for each of 2 videos, got 1"),
        ({"prune_layers": "fastv"}, "prune_layers must be 'none' for several clips, got 'fastv'"),
    ):
        with pytest.raises(ValueError, match=line):
            bvllm.ask(parts(A, B), QUESTION, video_llm, **settings)
    with pytest.raises(ValueError, match="image must be one picture, got 5 in 'picture 1': call it a video"):
        bvllm.ask([{"type": "image", "image": list(B)}], QUESTION, video_llm)
    with pytest.raises(ValueError, match="parts beside a question must be videos and pictures, got a text"):
        bvllm.ask([{"type": "text", "text": "a"}], QUESTION, video_llm)
    clips = [encode_video(frames, video_llm) for frames in (A, B)]
    with pytest.raises(ValueError, match="turns must hold the 2 clips in their order, got 0"):
        answer_several(clips, QUESTION, video_llm, turns=(Turn("user", ("a",)),))
    with pytest.raises(
        ValueError, match=r"a model of bvllm's own, reads one video a prompt, got 2 videos: ask"
    ):
        bvllm.ask(parts(A, B), QUESTION, loaded)


def test_a_chat_about_one_video_is_for_every_model(loaded, video):
    """Of a model that reads one video: its part, and one turn; further turns are refused."""
    shown = {"type": "video", "path": str(video), "start": 1, "end": 6}
    turn = {"role": "user", "content": [shown, {"type": "text", "text": QUESTION}]}
    found = bvllm.chat([turn], loaded, max_new_tokens=4)
    alone = bvllm.ask(video, QUESTION, loaded, start=1, end=6, max_new_tokens=4)
    assert (found.text, found.frames) == (alone.text, alone.frames)
    with pytest.raises(ValueError, match="must be one turn, got 3: it reads one question about one video"):
        bvllm.chat([turn, {"role": "assistant", "content": "red"}, turn | {"content": "why"}], loaded)


def test_a_list_of_pictures_is_still_one_video(video, tmp_path):
    assert clips_in([PICTURE, PICTURE]) is None
    assert clips_in(["1.gif", "2.gif"]) is None
    assert [clip.name for clip in clips_in(["a.mp4", "b.jpg"])] == ["a.mp4", "b.jpg"]
    (nameless := tmp_path / "nameless").symlink_to(video)
    assert clips_in([nameless]) is None
    with pytest.raises(ValueError, match=r"a list of files must be .*: several videos are"):
        as_source([nameless])
