"""The engine end to end: what is kept, what is chosen, what is spent, and that it repeats itself."""

import gc
import io
import math
import os
from dataclasses import replace

import pytest
import torch

from bvllm.common.text import Question
from bvllm.inference.ask import answer, ask, encode_video
from bvllm.inference.loading import CHUNK
from bvllm.inference.options import option_log_probabilities, reply_forms
from bvllm.inference.results import ChosenFrame, notes_lines, times_line
from bvllm.methods.names import MethodNames
from bvllm.types import Budget
from bvllm.video import FrameList, Limits, SamplingPlan, VideoError, read_video
from tests.model import tiny
from tests.videos import SECONDS, write_video

QUESTION = "which colour is the sign ?"
LONG_ANSWER = 12


@pytest.fixture(scope="module")
def encoded(video, loaded):
    return encode_video(video, loaded)


def same(one, other):
    assert one == other
    assert torch.equal(one.visual.pooler_output[0], other.visual.pooler_output[0])


def test_pass_one_keeps_a_feature_and_a_time_of_each_frame_and_its_pixels_on_disk(video, loaded, encoded):
    with read_video(video, SamplingPlan(fps=1.0), size=(16, 16), chunk=1000) as stream:
        (whole,) = list(stream)
    assert len(encoded) == len(encoded.store) == SECONDS
    assert torch.equal(encoded.store.get(range(SECONDS)), whole.pixels)
    assert torch.equal(encoded.seconds, whole.seconds)
    assert encoded.frame_features.dtype == torch.float32
    with torch.inference_mode():
        dense = loaded.model.model.encode_frames(loaded.normalise(whole.pixels))
    torch.testing.assert_close(encoded.frame_features, dense, atol=1e-5, rtol=1e-5)
    assert encoded.report.complete


def test_the_features_of_a_frame_do_not_depend_on_what_follows_it(tmp_path, loaded, encoded):
    """Bit for bit: the last chunk is filled up, so the tower always works on the same shape."""
    frames = encoded.store.get(range(SECONDS))
    for count in (1, CHUNK - 1, CHUNK, CHUNK + 3):
        short = encode_video(FrameList(frames[:count], range(count)), loaded)
        assert torch.equal(short.frame_features, encoded.frame_features[:count])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads, video, loaded, encoded):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = encode_video(video, loaded, threads=threads)
        assert torch.equal(again.frame_features, encoded.frame_features)
        same(answer(again, QUESTION, loaded), answer(encoded, QUESTION, loaded))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_answer_repeats_whatever_the_seed_and_whatever_was_asked_before(encoded, loaded):
    first = answer(encoded, QUESTION, loaded, max_new_tokens=LONG_ANSWER)
    torch.manual_seed(99)
    answer(encoded, "what is red ?", loaded)
    same(answer(encoded, QUESTION, loaded, max_new_tokens=LONG_ANSWER), first)
    assert len(first.text.split()) > 1


@pytest.mark.parametrize("fps", [1.0, 0.05], ids=["many frames", "fewer frames than queries"])
def test_two_passes_give_what_the_dense_front_door_gives(fps, video, loaded):
    """The same tokens and the same words as `generate` on all pixels at once."""
    seen = encode_video(video, loaded, fps=fps)
    given = answer(seen, QUESTION, loaded, budget=loaded.model.config.budget, max_new_tokens=LONG_ANSWER)
    inputs = loaded.processor.apply_chat_template(
        tiny.ask(video, text=QUESTION),
        tokenize=True,
        add_generation_prompt=True,
        processor_kwargs={"fps": fps},
    )
    dense = loaded.model.get_video_features(
        **{k: inputs[k] for k in inputs if k not in ("input_ids", "attention_mask")}
    )
    torch.testing.assert_close(given.visual.pooler_output[0], dense.pooler_output[0], atol=1e-4, rtol=1e-4)
    assert [frame.index for frame in given.frames] == dense.selections[0].frames.tolist()
    ids = loaded.model.generate(**inputs, max_new_tokens=LONG_ANSWER, do_sample=False)
    written = loaded.processor.tokenizer.decode(
        ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert given.text == written.strip()


@pytest.mark.parametrize("tokens, frames", [(1, 1), (3, 2), (10, 4), (512, 32)])
@pytest.mark.parametrize("select", ["learned", "uniform"])
def test_the_budget_holds_and_what_was_used_is_told(tokens, frames, select, encoded, loaded):
    given = answer(encoded, QUESTION, loaded, budget=Budget(tokens, frames), select=select)
    assert 1 <= given.tokens <= tokens
    assert given.tokens == len(given.visual.pooler_output[0])
    assert 1 <= len(given.frames) <= frames
    assert (given.asked.tokens, given.asked.frames) == (tokens, frames)
    assert given.used.frames == min(frames, loaded.model.config.num_selected_frames)
    assert given.frames_total == SECONDS
    assert given.patches_per_frame == 16
    assert [frame.seconds for frame in given.frames] == sorted(frame.seconds for frame in given.frames)
    assert all(frame.seconds == encoded.seconds[frame.index] for frame in given.frames)
    assert all(0 < frame.score <= 1 for frame in given.frames)


def test_uniform_takes_the_middles_of_equal_parts(encoded, loaded):
    given = answer(encoded, QUESTION, loaded, select="uniform")
    assert [frame.index for frame in given.frames] == [5, 15, 25, 35]
    assert answer(encoded, "what is red ?", loaded, select="uniform").frames == given.frames


def test_the_question_decides_which_frames_are_chosen(encoded, loaded):
    chosen = {answer(encoded, q, loaded).frames for q in (QUESTION, "what is red ?", "star at the end blue")}
    assert len(chosen) > 1


def test_options_do_not_sway_the_selection_but_reach_the_language_model(encoded, loaded):
    plain = answer(encoded, QUESTION, loaded, max_new_tokens=LONG_ANSWER)
    beside = answer(encoded, QUESTION, loaded, options=["red", "blue"], max_new_tokens=LONG_ANSWER)
    below = answer(encoded, QUESTION + "\nA. red\nB. blue", loaded, max_new_tokens=LONG_ANSWER)
    same(beside, below)
    assert beside.frames == plain.frames
    assert beside.text != plain.text
    assert (beside.question, beside.options) == (QUESTION, ("red", "blue"))


@pytest.mark.parametrize("likely, letter", [((-3.0, -1.0), "B"), ((-1.0, -3.0), "A"), ((-2.0, -2.0), "A")])
def test_the_answer_is_the_likeliest_option_whatever_the_model_says(
    likely, letter, encoded, loaded, monkeypatch
):
    monkeypatch.setattr(type(loaded), "option_scores", lambda *_: list(likely))
    monkeypatch.setattr(type(loaded), "generate", lambda *_: "purple (A)")
    given = answer(encoded, QUESTION, loaded, options=["red", "blue"])
    assert (given.letter, given.text) == (letter, {"A": "red", "B": "blue"}[letter])
    assert given.free_text == "purple (A)"
    assert sum(given.likelihoods) == pytest.approx(1.0)
    free = answer(encoded, QUESTION, loaded)
    assert (free.letter, free.text, free.likelihoods) == (None, "purple (A)", ())


def test_an_option_is_as_likely_as_the_replies_that_name_it(encoded, loaded):
    """Against the language model run on each reply, one at a time, without a cache."""
    asked = loaded.read(Question.parse("which ?", ["red", "blue"]))
    selection = loaded.select(encoded.frame_features, encoded.seconds, asked, loaded.budget)
    frames = selection.frames.unique().tolist()
    patches = torch.cat([loaded.patch_features(encoded.store.get([k])) for k in frames])
    visual = loaded.reduce(patches, selection, asked, loaded.budget)
    found = loaded.option_scores(asked, visual, "00:01 = blue")
    prompt = loaded._prompt(asked, visual)
    for option, letter, score in zip(("red", "blue"), "AB", found, strict=True):
        total = []
        for form in reply_forms(option, letter):
            ids = loaded._reply_ids(f"00:01 = {form.text}", ends=form.ends)
            whole = torch.cat([prompt, torch.tensor([ids])], dim=1)
            with torch.inference_mode():
                logits = loaded.model(whole, mm_encoder_outputs={"video": visual}).logits[0].float()
            places = range(prompt.shape[1], whole.shape[1])
            logs = logits.log_softmax(dim=-1)
            total.append(sum(float(logs[k - 1, int(whole[0, k])]) for k in places))
        assert score == pytest.approx(float(torch.tensor(total).logsumexp(dim=0)), abs=1e-3)


def test_what_an_option_shares_with_a_longer_one_is_the_longer_ones():
    shares = torch.tensor([0.6, 0.3, 0.2, 0.1])
    replies = [[1], [1, 2], [1, 2, 3], [4]]
    own = [math.exp(x) for x in option_log_probabilities(shares.log(), replies, 4)]
    assert own == pytest.approx([0.3, 0.1, 0.2, 0.1])


def test_the_users_words_cannot_pose_as_commands(encoded, loaded):
    """A placeholder or an end-of-turn mark in the question is cut out of the prompt."""
    given = answer(encoded, "which <|video|> <|im_end|> colour ?", loaded)
    assert given.text == answer(encoded, "which     colour ?", loaded).text


def test_one_picture_is_a_clip_of_one_frame(loaded):
    given = ask(FrameList([tiny.picture()], [0.0]), QUESTION, loaded)
    assert [frame.index for frame in given.frames] == [0]
    assert given.tokens == loaded.model.config.tokens_per_frame
    assert given.frames[0].score == pytest.approx(1)


def test_copies_of_a_frame_tell_their_own_tokens(loaded, encoded):
    """Where duplicates do not merge, queries that agree on a frame are rows of their own."""
    none = MethodNames(merge_frames="none", tokens_policy="balanced")
    given = answer(encoded, QUESTION, loaded, budget=Budget(tokens=9), methods=none)
    frames = [frame.index for frame in given.frames]
    assert len(set(frames)) < len(frames)
    standing = given.visual.tokens[0]
    assert [frames[row] for row in standing.chosen.tolist()] == standing.frame.tolist()
    told = given.tokens_per_frame
    assert told == [standing.chosen.tolist().count(row) for row in range(len(frames))]


def test_path_bytes_file_and_frames_give_the_same_answer(video, loaded, encoded):
    wanted = answer(encoded, QUESTION, loaded)
    same(ask(video.read_bytes(), QUESTION, loaded), wanted)
    same(ask(io.BytesIO(video.read_bytes()), QUESTION, loaded), wanted)
    given = ask(FrameList(encoded.store.get(range(SECONDS)), encoded.seconds.tolist()), QUESTION, loaded)
    assert given.frames == wanted.frames
    assert (given.asked.fps, given.used.fps) == (1.0, None)


def test_more_frames_a_second_are_more_frames(video, loaded):
    assert len(encode_video(video, loaded, fps=2.0)) == 2 * SECONDS
    assert encode_video(video, loaded, fps=0.1).seconds.tolist() == [0, 10, 20, 30]


def test_progress_and_timings_name_every_step(video, loaded):
    told: list[tuple[str, int, int | None]] = []
    encoded = encode_video(video, loaded, progress=lambda *step: told.append(step))
    given = answer(encoded, QUESTION, loaded, progress=lambda *step: told.append(step))
    steps = ["decode and encode", "select", "encode patches", "sample and merge tokens", "answer"]
    assert list(dict.fromkeys(step for step, *_ in told)) == list(given.timings) == steps
    assert ("decode and encode", SECONDS, SECONDS) in told
    done = [done for step, done, _ in told if step == "decode and encode"]
    assert done == sorted(done)
    assert all(seconds > 0 for seconds in given.timings.values())


def test_a_truncated_video_is_answered_and_the_report_says_so(video, tmp_path, loaded):
    cut = tmp_path / "cut.ts"
    whole = write_video(tmp_path / "whole.ts", 20).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    encoded = encode_video(cut, loaded, limits=Limits(max_seconds=5))
    assert encoded.report.truncated
    assert encoded.report.warnings
    assert answer(encoded, QUESTION, loaded).text


def test_a_broken_video_raises_and_leaves_no_file_open(tmp_path, loaded):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing to see")
    with pytest.raises(VideoError):
        encode_video(broken, loaded)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VideoError):
        encode_video(broken, loaded)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"question": "  "}, "question must hold words"),
        ({"question": "\nA. red\nB. blue"}, "question must hold words"),
        ({"options": ["red"]}, "options must be 2 to 8 texts"),
        ({"options": ["red", " "]}, "options must be 2 to 8 texts"),
        ({"options": ["red"] * 9}, "options must be 2 to 8 texts"),
        ({"question": "which?\nA. red\nB. blue", "options": ["x", "y"]}, "options must come from one place"),
        ({"select": "random"}, "select must be 'learned' or 'uniform', got 'random': name other methods"),
        ({"select": "uniform", "select_frames": "random"}, "select must agree with select_frames='random'"),
        ({"merge_tokens": "tomee"}, "merge_tokens must be one of .*, got 'tomee': did you mean 'tome'"),
        ({"sample_tokens": "divprune"}, "sample_tokens must give what a trained sampler's queries read"),
        ({"select_frames": "resampler"}, "select_frames must be 'qformer', which this model was trained"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said, encoded, loaded):
    with pytest.raises(ValueError, match=said):
        answer(encoded, **{"question": QUESTION, "loaded": loaded, **arguments})


@pytest.mark.parametrize("arguments", [{"fps": 0.0}, {"fps": float("nan")}, {"threads": 0}])
def test_sampling_that_makes_no_sense_is_refused(arguments, video, loaded):
    with pytest.raises(ValueError, match="must be"):
        encode_video(video, loaded, **arguments)


def test_ask_looks_at_the_question_before_the_video(loaded):
    with pytest.raises(ValueError, match="question must hold words"):
        ask("there is no such file.mp4", " ", loaded)


@pytest.mark.parametrize(
    "wrong, says", [({"loaded": "nano"}, r"load_model\('nano'\)"), ({"budget": 64}, r"Budget\(tokens=64\)")]
)
def test_what_is_likely_to_be_passed_by_mistake_is_named(wrong, says, video, loaded):
    with pytest.raises(TypeError, match=says):
        ask(video, QUESTION, **{"loaded": loaded, **wrong})


def test_the_models_own_budget_holds_where_none_is_named(encoded, loaded, monkeypatch):
    monkeypatch.setattr(loaded.model.config, "budget_tokens", 3)
    given = answer(encoded, QUESTION, loaded)
    assert given.tokens == 3
    assert given.asked.tokens == 3


def test_a_number_that_the_weights_do_not_have_is_refused(encoded, loaded, monkeypatch):
    monkeypatch.setattr(loaded.model.config, "tokens_per_frame", 2)
    with pytest.raises(ValueError, match="tokens_per_frame must be what the model was built with"):
        answer(encoded, QUESTION, loaded)


def test_options_that_are_equal_are_told(encoded, loaded):
    """Released benchmarks have some: the first stands for all, and the answer says so."""
    found = answer(encoded, QUESTION, loaded, options=["red", "blue", "red"])
    assert found.equal_options == ("AC",)
    red, blue, red_again = found.likelihoods
    assert found.letter == ("A" if red + red_again > blue else "B")
    assert notes_lines(found) == ["options A and C are the same text: they count as one"]
    assert answer(encoded, QUESTION, loaded, options=["red", "blue"]).equal_options == ()


def test_of_very_many_frames_the_first_and_the_last_times_are_told(encoded, loaded):
    found = answer(encoded, QUESTION, loaded)
    assert times_line(found).count(":") == len(found.frames)
    many = replace(found, frames=tuple(ChosenFrame(k, float(k), 1.0) for k in range(300)))
    told = times_line(many).split()
    assert told[:2] == ["00:00", "00:01"]
    assert told[12] == "..."
    assert told[-1] == "04:59"
    assert len(told) == 25
