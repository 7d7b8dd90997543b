"""Subtitles are text with times beside the video: the language model reads them, the selector does not."""

import json

import pytest
import torch

from bvllm.cli import main
from bvllm.common.subtitles import Cue
from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRow
from bvllm.data.readers import RowFile
from bvllm.evaluation.evaluate import evaluate
from bvllm.inference.ask import answer, ask, encode_video
from bvllm.inference.beside import fitting
from bvllm.inference.results import notes_lines
from tests.model import tiny

QUESTION = "which colour is the sign ?"
SRT = "1\n00:00:01,000 --> 00:00:02,000\nred star\n\n2\n00:00:30,000 --> 00:00:32,000\nblue sign\n"


@pytest.fixture(scope="module")
def encoded(video, loaded):
    return encode_video(video, loaded)


@pytest.fixture
def srt(tmp_path):
    file = tmp_path / "a.srt"
    file.write_text(SRT)
    return file


def read(ids, loaded):
    return loaded.processor.tokenizer.decode([i for i in ids.tolist() if i != tiny.VIDEO_ID])


def test_the_language_model_reads_them_and_the_selector_does_not(encoded, loaded, srt, monkeypatch):
    prompts = []
    prompt = type(loaded)._prompt
    monkeypatch.setattr(type(loaded), "_prompt", lambda *a: prompts.append(prompt(*a)) or prompts[-1])
    plain = answer(encoded, QUESTION, loaded)
    found = answer(encoded, QUESTION, loaded, subtitles=srt)
    assert (found.subtitles, found.subtitles_left_out, plain.subtitles) == (2, 0, 0)
    assert found.frames == plain.frames
    assert torch.equal(found.visual.pooler_output[0], plain.visual.pooler_output[0])
    without, with_them = read(prompts[0][0], loaded), read(prompts[-1][0], loaded)
    assert "blue sign" not in without
    assert with_them.index("red star") < with_them.index("blue sign") < with_them.index("colour")


def test_of_a_part_those_of_the_part_are_read(video, loaded, srt):
    found = ask(video, QUESTION, loaded, start=20, end=35, subtitles=srt)
    assert (found.subtitles, found.subtitles_left_out) == (1, 0)
    assert ask(video, QUESTION, loaded, start=5, end=20, subtitles=srt).subtitles == 0


def test_where_not_all_fit_those_near_chosen_frames_stay_and_it_is_told(encoded, loaded, monkeypatch):
    cues = [Cue(k / 2, k / 2 + 0.4, "red star " * 20) for k in range(80)]
    monkeypatch.setattr(loaded.model.config.text_config, "max_position_embeddings", 300)
    found = answer(encoded, QUESTION, loaded, subtitles=cues)
    assert 0 < found.subtitles < 80
    assert found.subtitles_left_out == 80 - found.subtitles
    assert f"{found.subtitles_left_out} of 80 subtitles are left out" in notes_lines(found)[0]
    times = [frame.seconds for frame in found.frames]
    kept = fitting(cues, times, 10**6, len)
    assert list(kept) == cues
    near = fitting(cues, [20.0], 600, len)
    assert all(abs(cue.start - 20) < 2 for cue in near)


def test_on_the_command_line(video, tmp_path, srt, capsys):
    tiny.model().save_pretrained(tmp_path / "model")
    tiny.processor().save_pretrained(tmp_path / "model")
    words = ["ask", str(video), QUESTION, "--model", str(tmp_path / "model"), "--no-index", "--json"]
    assert main([*words, "--subtitles", str(srt)]) == 0
    assert json.loads(capsys.readouterr().out)["subtitles"] == 2
    assert main([*words, "--subtitles", str(tmp_path / "none.srt")]) == 2
    assert "no such file" in capsys.readouterr().err


def chat(video, srt, **words):
    part = {"type": "video", "path": str(video), "subtitles": str(srt), **words}
    return [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]


def test_in_a_chat(video, loaded, srt):
    processor = loaded.processor
    found = processor.apply_chat_template(chat(video, srt), tokenize=True)
    plain = processor.apply_chat_template(tiny.ask(str(video), text=QUESTION), tokenize=True)
    assert torch.equal(found["qformer_input_ids"], plain["qformer_input_ids"])
    assert "red star" in read(found["input_ids"][0], loaded)
    part = processor.apply_chat_template(chat(video, srt, start=20), tokenize=True)
    assert "red star" not in read(part["input_ids"][0], loaded)
    assert "blue sign" in read(part["input_ids"][0], loaded)
    with pytest.raises(ValueError, match="can be read"):
        processor.apply_chat_template(chat(video, "none.srt"), tokenize=True)


def test_in_rows_of_a_training(video, loaded, srt, tmp_path):
    (tmp_path / "v.mp4").write_bytes(video.read_bytes())
    turns = [{"from": "human", "value": f"<video>{QUESTION}"}, {"from": "gpt", "value": "blue"}]
    user = {**chat("v.mp4", "a.srt")[0]}
    rows = [
        {"video": "v.mp4", "subtitles": "a.srt", "conversations": turns},
        {"messages": [user, {"role": "assistant", "content": "blue"}]},
        {"video": "v.mp4", "conversations": turns},
        {"video": "v.mp4", "subtitles": "none.srt", "conversations": turns},
        {"video": "v.mp4", "subtitles": ["a"], "conversations": turns},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    file, encoder = RowFile(tmp_path / "rows.json"), Encoder(loaded.processor)
    first, second, plain = (encoder(file[k]) for k in range(3))
    assert torch.equal(first.input_ids, second.input_ids)
    assert torch.equal(first.question_ids, plain.question_ids)
    assert "blue sign" in read(first.input_ids, loaded)
    assert "blue sign" not in read(plain.input_ids, loaded)
    for k, kind in ((3, "missing"), (4, "schema")):
        with pytest.raises(InvalidRow) as caught:
            file[k]
        assert caught.value.fault.kind == kind


def test_in_rows_of_an_evaluation(video, srt, tmp_path):
    (tmp_path / "v.mp4").write_bytes(video.read_bytes())
    tiny.model().save_pretrained(tmp_path / "model")
    tiny.processor().save_pretrained(tmp_path / "model")
    row = {
        "id": "a", "video": "v.mp4", "seconds": 10, "split": "test", "task": "colour", "question": QUESTION,
        "options": ["red", "blue"], "answer": "A", "open_answer": "red", "needles": [], "messages": [],
    }  # fmt: skip
    (tmp_path / "test.jsonl").write_text(json.dumps({**row, "subtitles": "a.srt"}))
    assert len(evaluate(tmp_path / "test.jsonl", model=str(tmp_path / "model"), circular=False).rows) == 1
    (tmp_path / "test.jsonl").write_text(json.dumps({**row, "subtitles": "../a.srt"}))
    with pytest.raises(ValueError, match="subtitles of a must lie inside"):
        evaluate(tmp_path / "test.jsonl", model=str(tmp_path / "model"))
