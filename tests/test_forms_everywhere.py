"""Form by entry point: what people hand over means the same wherever they do, or is one clear error.

Rows of the table are forms of a video and words for a part of it, columns are the ways in: the command line
(`ask`, `index`, `plan`), Python's `ask`, the processor, rows of a training and rows of an evaluation. A cell
holds the times of the frames that were read, or what the error says.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bvllm.evaluation.evaluate as evaluation
from bvllm.cli import main
from bvllm.data.encode import read_media
from bvllm.data.faults import InvalidRow
from bvllm.data.readers import RowFile
from bvllm.evaluation.tasks import task_of
from bvllm.inference.ask import encode_video
from bvllm.inference.plan import plan_question
from bvllm.video import FrameList, Limits, SamplingPlan, VideoError, read_video
from bvllm.video.part_words import PART_WORDS
from tests.model import tiny
from tests.video import make

QUESTION = "which colour is red ?"
TEN = [float(k) for k in range(10)]
ERRORS = (ValueError, VideoError, InvalidRow)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of ten seconds at ten frames a second, its first three seconds as pictures, and a model."""
    root = tmp_path_factory.mktemp("forms")
    (root / "a b.mp4").write_bytes(make.video(100))
    for k, picture in enumerate(frames(root / "a b.mp4")[:3]):
        Image.fromarray(picture).save(root / f"{k}.png")
    tiny.model().save_pretrained(root / "model")
    tiny.processor().save_pretrained(root / "model")
    return root


def frames(file):
    with read_video(file, SamplingPlan(fps=1.0)) as stream:
        return np.concatenate([chunk.pixels.permute(0, 2, 3, 1).numpy() for chunk in stream])


def through_python(source, words, folder, loaded):
    known = {"start": words.get("start", 0.0), "end": words.get("end"), "fps": words.get("fps", 1.0)}
    if set(words) - set(known):
        return None  # these words are of rows and chats
    return encode_video(source, loaded, **known).seconds.tolist()


def through_processor(source, words, folder, loaded):
    part = {"type": "video", "video": source, **words}
    chat = [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]
    return loaded.processor.apply_chat_template(chat, tokenize=True)["video_seconds"].tolist()


def through_training(source, words, folder, loaded):
    if not isinstance(source[0] if isinstance(source, list) else source, str):
        return None  # JSON holds no pixels
    part = {"type": "video", "video": source, **words}
    user = {"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}
    file = folder / "train.jsonl"
    file.write_text(json.dumps({"messages": [user, {"role": "assistant", "content": "red"}]}))
    [media] = RowFile(file)[0].media
    return read_media(media, "train.jsonl:1", SamplingPlan(1.0), (16, 16), Limits()).seconds.tolist()


def through_llava(source, words, folder, loaded):
    if not isinstance(source, str):
        return None
    turns = [{"from": "human", "value": f"<video>\n{QUESTION}"}, {"from": "gpt", "value": "red"}]
    file = folder / "llava.json"
    file.write_text(json.dumps([{"video": source, "conversations": turns, **words}]))
    [media] = RowFile(file)[0].media
    return read_media(media, "llava.json:1", SamplingPlan(1.0), (16, 16), Limits()).seconds.tolist()


def through_evaluation(source, words, folder, loaded):
    if not isinstance(source, str):
        return None
    row = {
        "id": "a", "video": source, "seconds": 10, "split": "test", "task": "colour", "question": QUESTION,
        "options": ["red", "blue"], "answer": "A", "open_answer": "red", "needles": [], "messages": [],
        **words,
    }  # fmt: skip
    file = folder / "eval.jsonl"
    file.write_text(json.dumps(row))
    [item] = task_of("world").read(file, None)
    return encode_video(item.video, loaded, part=item.part).seconds.tolist()


def through_command_line(source, words, folder, loaded):
    known = {"start", "end", "fps"}
    if not isinstance(source, str) or set(words) - known:
        return None
    options = [piece for name, value in words.items() for piece in (f"--{name}", str(value))]
    place = ["--model", str(folder / "model"), "--index", str(folder / "index"), *options]
    out = folder / "out.json"
    if main(["index", source, *place, "--json", str(out)]):
        raise ValueError("one line, and no answer")
    [video] = json.loads(out.read_text())["videos"]
    assert main(["ask", source, QUESTION, *place, "--json", str(out)]) == 0
    assert json.loads(out.read_text())["frames_total"] == video["frames"]
    said = {"model": str(folder / "model"), **{k: float(v) for k, v in words.items()}}
    planned = plan_question(source, **said)
    assert planned.frames == video["frames"]
    assert main(["search", source, "red", *place, "--no-index-missing", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["frames"] == video["frames"]
    return sorted(moment["seconds"] for moment in found["moments"])


WAYS = {
    "python": through_python, "processor": through_processor, "training": through_training,
    "llava": through_llava, "evaluation": through_evaluation, "command line": through_command_line,
}  # fmt: skip
FORMS = {
    "path": lambda root: str(root / "a b.mp4"),
    "Path": lambda root: root / "a b.mp4",
    "file address": lambda root: (root / "a b.mp4").as_uri(),
    "bytes": lambda root: (root / "a b.mp4").read_bytes(),
    "frames": lambda root: FrameList(list(frames(root / "a b.mp4")), TEN),
    "channels last": lambda root: frames(root / "a b.mp4"),
    "channels first": lambda root: frames(root / "a b.mp4").transpose(0, 3, 1, 2),
    "floats": lambda root: frames(root / "a b.mp4").astype(np.float32) / 255,
    "pictures": lambda root: [Image.fromarray(picture) for picture in frames(root / "a b.mp4")],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_video_by_every_way_in(folder, loaded, form, way):
    found = WAYS[way](FORMS[form](folder), {}, folder, loaded)
    if way == "command line" and found is not None:
        assert set(found) <= set(TEN)  # moments, of which neighbours are one
    else:
        assert found in (None, TEN)


@pytest.mark.parametrize("way", ["python", "processor", "training"])
def test_files_of_frames_are_one_clip(folder, loaded, way):
    names = [str(folder / f"{k}.png") for k in range(3)]
    assert WAYS[way](names, {}, folder, loaded) == [0.0, 1.0, 2.0]
    assert WAYS[way](names, {"fps": 2}, folder, loaded) == [0.0, 0.5, 1.0], "frames that were taken at a rate"
    if way != "python":
        assert WAYS[way](names, {"seconds": [0, 4, 5]}, folder, loaded) == [0.0, 4.0, 5.0]


WORDS = [
    ({"start": 2, "end": 5}, [2.0, 3.0, 4.0]),
    ({"fps": 0.5}, [0.0, 2.0, 4.0, 6.0, 8.0]),
    ({"start": 7.5}, [7.5, 8.5, 9.5]),
    ({"video_start": 2, "video_end": "0:05"}, [2.0, 3.0, 4.0]),
    ({"clip": [8, 10], "fps": 2}, [8.0, 8.5, 9.0, 9.5]),
    ({"start_frame": 20, "end_frame": 40}, [2.0, 3.0, 4.0]),
    ({"num_frames": 2}, [2.5, 7.5]),
    ({"max_frames": 2}, [2.0, 7.0]),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("words, seconds", WORDS, ids=lambda value: str(value)[:30])
def test_a_part_is_the_same_part_by_every_way_in(folder, loaded, words, seconds, way):
    found = WAYS[way](str(folder / "a b.mp4"), words, folder, loaded)
    if way == "command line" and found is not None:
        assert set(found) <= set(seconds)
    else:
        assert found is None or found == pytest.approx(seconds)


@pytest.mark.parametrize("way", [name for name in WAYS if name not in ("python", "command line")])
@pytest.mark.parametrize(
    "words",
    [{"strat": 2}, {"start": "soon"}, {"start": 5, "end": 2}, {"clip": 3}, {"num_frames": 0.5}, {"fps": -1}],
)
def test_what_cannot_be_meant_is_an_error_by_every_way_in(folder, loaded, words, way):
    with pytest.raises(ERRORS) as caught:
        WAYS[way](str(folder / "a b.mp4"), words, folder, loaded)
    assert "\n" not in str(caught.value)


MUTANTS = 200


def test_no_row_changes_what_is_read_without_a_word(folder, loaded):
    """Two hundred rows with one key changed each: the part that it says, another column, or an error."""
    random.seed(25)
    names = sorted(PART_WORDS)
    silent = []
    base = {"start": 2, "end": 6}
    for number in range(MUTANTS):
        row, key = dict(base), random.choice(names)
        kind = number % 4
        if kind == 0:  # one letter changed
            place = random.randrange(len(key))
            spelt = key[:place] + random.choice("abcdefgstxyz_") + key[place + 1 :]
            if spelt in PART_WORDS:
                continue
            key, value = spelt, 3
        elif kind == 1:  # two letters swapped
            place = random.randrange(len(key) - 1)
            spelt = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
            if spelt in PART_WORDS:
                continue
            key, value = spelt, 3
        elif kind == 2:  # of another type
            value = random.choice(["soon", [], {}, True, [1, 2, 3], "1e400", [None, 2]])
        else:  # the same thing said again, otherwise
            value = {"clip": [1, 4], "time_range": [1, 4], "frame_range": [3, 30]}.get(key, 3)
        row[key] = value
        for way in ("llava", "evaluation"):
            try:
                found = WAYS[way](str(folder / "a b.mp4"), row, folder, loaded)
            except ERRORS:
                continue
            if found == [2.0, 3.0, 4.0, 5.0]:
                silent.append((way, row))
    # What is left is said by its own name and changes nothing: a cap above the frames, the same rate.
    assert all(set(row) - set(base) <= {"max_frames"} for _, row in silent), silent


def test_evaluation_reads_a_part_once(folder, loaded, monkeypatch):
    """Questions about two parts of one video are two videos to encode."""
    row = {
        "video": str(folder / "a b.mp4"), "seconds": 10, "split": "test", "task": "colour",
        "question": QUESTION, "options": ["red", "blue"], "answer": "A", "open_answer": "red",
        "needles": [], "messages": [],
    }  # fmt: skip
    parts = [{"start": 2, "end": 5}, {"start": 2, "end": 5}, {"start_frame": 50}]
    rows = [{"id": str(k), **row, **part} for k, part in enumerate(parts)]
    file = Path(folder) / "parts.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    seen = []

    def encode(video, model, **options):
        seen.append(options["part"])
        return encode_video(video, model, **options)

    monkeypatch.setattr(evaluation, "encode_video", encode)
    found = evaluation.evaluate(file, model=str(folder / "model"), circular=False)
    assert len(found.rows) == 3
    assert [(part.start, part.first) for part in seen] == [(2.0, None), (None, 50)]
