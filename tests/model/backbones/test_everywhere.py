"""A wrapped model where models are asked: sessions, streams, the index, evaluation."""

import pytest
import torch

from bvllm import Budget, Session, StreamBuffer, answer, encode_video, evaluate, indexed_video
from bvllm.index import IndexFolder
from bvllm.inference.balance import balance
from bvllm.inference.scorer import load_scorer
from bvllm.synthetic import make_world
from tests.model.backbones.tiny_families import make, save_clip

BUDGET = Budget(tokens=24, frames=6)


@pytest.fixture(scope="module")
def video_llm(tmp_path_factory):
    scorer = load_scorer(str(save_clip(tmp_path_factory.mktemp("clip"))), torch.device("cpu"))
    model, processor = make("qwen2_5_vl")
    return balance(model, processor, scorer=scorer, frame_size=(24, 24))


def test_a_session_gives_what_each_question_gives_alone(video_llm, video):
    encoded, session = encode_video(video, video_llm), Session()
    for question in ("which colour is the star", "where does it move", "which colour is the star"):
        alone = answer(encoded, question, video_llm, budget=BUDGET, max_new_tokens=4)
        after = answer(encoded, question, video_llm, budget=BUDGET, max_new_tokens=4, session=session)
        assert (after.text, after.frames, after.tokens) == (alone.text, alone.frames, alone.tokens)
    encoded.close()


def test_the_index_gives_what_the_video_gives(video_llm, video, tmp_path):
    first = encode_video(video, video_llm)
    folder = IndexFolder(tmp_path)
    for _ in range(2):  # written, then read
        again = indexed_video(video, video_llm, folder)
        one, other = (
            answer(x, "which colour is the star", video_llm, budget=BUDGET, max_new_tokens=4)
            for x in (first, again)
        )
        assert (one.text, one.frames) == (other.text, other.frames)


def test_a_stream_answers_within_the_budget(video_llm):
    buffer = StreamBuffer(video_llm, max_frames=16)
    frames = torch.randint(0, 256, (40, 3, 24, 24), dtype=torch.uint8)
    for second, frame in enumerate(frames):
        buffer.add(frame.permute(1, 2, 0).numpy(), float(second))
    found = answer(buffer.snapshot(), "which colour is the star", video_llm, budget=BUDGET, max_new_tokens=4)
    assert found.tokens <= BUDGET.tokens
    assert found.frames


def test_a_benchmark_is_scored(video_llm, tmp_path):
    data = make_world(tmp_path, split="test", count=1, seconds=(8, 8), seed=2, size=(64, 64), workers=1)
    report = evaluate(data.parent, model=video_llm, tokens=24, circular=False, ablations=["blind"])
    assert report.settings["select_frames"] == "relevant"
    assert len(report.rows) >= 1
