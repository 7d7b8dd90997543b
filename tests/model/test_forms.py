"""The forms in which people hand over clips, and the words with which they name a part of one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bvllm.common.text import Question
from bvllm.data.chat import Message
from bvllm.data.dialogue import Media
from bvllm.data.encode import read_media
from bvllm.data.faults import InvalidRow
from bvllm.data.readers.parse import row_to_dialogue
from bvllm.inference.options import option_log_probabilities
from bvllm.video import Limits, SamplingPlan, VideoError
from bvllm.video.part_words import VideoPart
from tests.model import tiny
from tests.video import make

TEXT = {"type": "text", "text": "what is red ?"}


@pytest.fixture(scope="module")
def processor():
    return tiny.processor()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("forms") / "a b.mp4"
    path.write_bytes(make.video(100))  # ten seconds
    return path


def prepared(processor, part):
    chat = [{"role": "user", "content": [part, TEXT]}]
    return processor.apply_chat_template(chat, tokenize=True, add_generation_prompt=True)


def read_row(row, file):
    """What is learned from of a row whose video is a file."""

    def find(kind, name, folder):
        return Media(kind, file, file.parent)

    [media] = row_to_dialogue(row, "a.json:1", find).media
    return read_media(media, "a.json:1", SamplingPlan(fps=1.0), (16, 16), Limits())


def test_frames_of_every_kind_are_one_clip(processor):
    pixels = tiny.frames(3)
    wanted = prepared(processor, {"type": "video", "video": pixels})["pixel_values_videos"]
    forms = {
        "channels first": pixels.numpy(),
        "channels last": pixels.permute(0, 2, 3, 1).numpy(),
        "float tensor": pixels.float() / 255,
        "float array": (pixels.float() / 255).permute(0, 2, 3, 1).numpy(),
    }
    for name, form in forms.items():
        found = prepared(processor, {"type": "video", "video": form})["pixel_values_videos"]
        assert torch.equal(found, wanted), name
    with pytest.raises(ValueError, match=r"float frames must lie in \[0, 1\]"):
        prepared(processor, {"type": "video", "video": pixels.float()})


def test_a_file_address_is_a_path(processor, file):
    plain = prepared(processor, {"type": "video", "path": str(file)})
    for key in ("url", "video", "path"):
        assert torch.equal(
            prepared(processor, {"type": "video", key: file.as_uri()})["video_seconds"],
            plain["video_seconds"],
        )


@pytest.mark.parametrize(
    "words, seconds",
    [
        ({"start": 2, "end": 5}, [2.0, 3.0, 4.0]), ({"video_start": 2.0, "video_end": 5.0}, [2.0, 3.0, 4.0]),
        ({"clip": [7.5, 9.0]}, [7.5, 8.5]), ({"fps": 2, "end": 1.1}, [0.0, 0.5, 1.0]),
        ({"num_frames": 4}, [1.2, 3.7, 6.2, 8.7]), ({"max_frames": 2}, [2.0, 7.0]),
        ({"start": None, "end": None}, [float(k) for k in range(10)]),
        ({"start_frame": 25, "end_frame": 44}, [2.5, 3.5]), ({"frame_range": [25, 45]}, [2.5, 3.5, 4.5]),
        ({"frame_range": [97, 99], "fps": 10}, [9.7, 9.8, 9.9]),
        ({"end_frame": 7, "fps": 4}, [0, 0.3, 0.5]),
        ({"start": "00:02", "end": "0:00:04.5"}, [2.0, 3.0, 4.0]),
        ({"end_frame": 100, "num_frames": 1}, [5.0]),
    ],
)  # fmt: skip
def test_a_part_is_meant_in_chats_and_in_rows(processor, file, words, seconds):
    found = prepared(processor, {"type": "video", "path": str(file), **words})
    assert found["video_seconds"].tolist() == pytest.approx(seconds)
    part = {"type": "video", "path": "x.mp4", **words}
    chat = {"messages": [{"role": "user", "content": [part, TEXT]}, {"role": "assistant", "content": "b"}]}
    turns = [{"from": "human", "value": "<video>what?"}, {"from": "gpt", "value": "b"}]
    llava = {"video": "x.mp4", "conversations": turns, **words}
    for row in (chat, llava):
        assert read_row(row, file).seconds.tolist() == pytest.approx(seconds)


@pytest.mark.parametrize(
    "words, says",
    [
        ({"strat": 2}, "did you mean 'start'"), ({"vidoe_end": 2}, "did you mean 'video_end'"),
        ({"speed": 2}, "known are"), ({"start": "2"}, "start must be a number"),
        ({"start_frame": 100}, "frames must lie in the video's 0 to 99"), ({"start_frame": -1}, "at least 0"),
        ({"frame_range": [5, 101]}, "got 5 to 101"), ({"start": 1, "end_frame": 20}, "got both"),
        ({"clip": [1]}, "clip must be"),
        ({"num_frames": 2.5}, "whole number"),
        ({"start": 1, "video_start": 1}, "given once"), ({"start": 5, "end": 2}, "end must be after start"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_in_chats_and_in_rows(processor, file, words, says):
    part = {"type": "video", "path": str(file), **words}
    with pytest.raises((ValueError, VideoError), match=says):
        prepared(processor, part)
    row = {"messages": [{"role": "user", "content": [part, TEXT]}, {"role": "assistant", "content": "b"}]}
    with pytest.raises(InvalidRow, match=says):
        read_row(row, file)


def test_other_columns_of_a_row_are_somebody_elses_but_slips_are_not():
    row = {
        "conversations": [{"from": "human", "value": "what?"}, {"from": "gpt", "value": "b"}],
        "data_source": "x",
        "video_id": 3,
    }
    row_to_dialogue(row, "a.json:1", lambda *_: None)
    with pytest.raises(InvalidRow, match="did you mean 'video_start'"):
        row_to_dialogue({**row, "video_strat": 3}, "a.json:1", lambda *_: None)


def test_a_part_named_by_frames_is_never_taken_for_the_whole_video():
    with pytest.raises(ValueError, match="part must be named by its times"):
        VideoPart(first=3).plan(SamplingPlan())
    assert VideoPart(first=3).timed([k / 2 for k in range(9)]).plan(SamplingPlan()).start == 1.5


def test_a_picture_or_a_text_has_no_part():
    with pytest.raises(ValueError, match="only videos have parts"):
        Message.model_validate({"role": "user", "content": [{"type": "image", "path": "a.png", "start": 1}]})


def test_pictures_beside_videos_are_refused_by_name(processor):
    with pytest.raises(ValueError, match="videos must hold pictures, too"):
        processor(
            images=[tiny.picture()], videos=[tiny.clip(3)], text="<|video|> what ?", qformer_text="what ?"
        )


def test_absent_keys_may_be_null(processor, file):
    part = {"type": "video", "path": None, "url": None, "text": None, "video": str(file), "image": None}
    assert len(prepared(processor, part)["video_seconds"]) == 10
    Message.model_validate({"role": "user", "content": [part]})
    assert VideoPart.read(json.loads('{"start": null}')) == VideoPart()


def test_two_pictures_in_one_chat_and_one_in_each_of_two(processor):
    pictures = [tiny.picture(1), tiny.picture(2)]
    both = processor.apply_chat_template(tiny.ask(*pictures), tokenize=True, add_generation_prompt=True)
    assert both["video_num_frames"].tolist() == [1, 1]
    each = processor.apply_chat_template(
        [tiny.ask(picture) for picture in pictures], tokenize=True, add_generation_prompt=True
    )
    assert torch.equal(each["pixel_values_videos"], both["pixel_values_videos"])
    called = processor(images=pictures, text=["<|video|> what ?"] * 2, qformer_text="what ?")
    assert torch.equal(called["pixel_values_videos"], both["pixel_values_videos"])
    with pytest.raises(ValueError, match="prompts must hold one"):
        processor(images=pictures, text="<|video|> what ?", qformer_text="what ?")
    frames = processor(videos=pictures, text="<|video|> what ?", qformer_text="what ?")
    assert frames["video_num_frames"].tolist() == [2]


def test_words_of_the_hugging_face_processors_work_or_are_refused(processor, file):
    chat = [{"role": "user", "content": [{"type": "video", "path": str(file)}, TEXT]}]
    found = processor.apply_chat_template(chat, tokenize=True, num_frames=5)
    assert len(found["video_seconds"]) == 5
    assert len(processor.video_processor(str(file), num_frames=3)["video_seconds"]) == 3
    for word in ("max_pixels", "min_pixels", "do_sample_frames", "num_frame"):
        with pytest.raises(ValueError, match=f"got '{word}'"):
            processor.apply_chat_template(chat, tokenize=True, **{word: 4})
    with pytest.raises(ValueError, match="num_frames must stand alone"):
        processor.apply_chat_template(chat, tokenize=True, num_frames=5, fps=2.0)


def test_what_is_transparent_lies_on_white_in_every_form(processor, tmp_path):
    disc = np.zeros((24, 24, 4), np.uint8)
    disc[8:16, 8:16] = (0, 0, 0, 255)
    disc[:4, :4] = (255, 0, 0, 0)  # a hidden colour
    picture = Image.fromarray(disc, "RGBA")
    picture.save(tmp_path / "a.png")
    picture.quantize(8).save(tmp_path / "b.png")
    picture.save(tmp_path / "c.webp", lossless=True)
    forms = [
        picture,
        disc,
        picture.quantize(8),
        *(str(tmp_path / name) for name in ("a.png", "b.png", "c.webp")),
    ]
    white = np.full((24, 24, 3), 255, np.uint8)
    white[8:16, 8:16] = 0
    wanted = processor.video_processor([Image.fromarray(white)])["pixel_values_videos"]
    for form in forms:
        found = processor.video_processor([form] if isinstance(form, str) else form)["pixel_values_videos"]
        assert (found - wanted).abs().max() < 0.2, form


def test_the_end_of_a_long_question_reaches_the_selector(processor):
    before = "red blue green " * 100
    ids = [processor.question_ids([f"{before} {word} ?"])["qformer_input_ids"] for word in ("star", "sign")]
    assert ids[0].shape == ids[1].shape == (1, 128)
    assert not torch.equal(*ids)
    assert torch.equal(ids[0][0, -2:], processor.question_ids(["star ?"])["qformer_input_ids"][0])


def test_a_list_of_frame_files_is_one_clip(processor, tmp_path):
    pictures = [tiny.picture(k) for k in range(3)]
    names = [str(tmp_path / f"{k}.png") for k in range(3)]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(name)
    part = {"type": "video", "video": names, "seconds": [0.0, 0.5, 2.0]}
    found = prepared(processor, part)
    assert found["video_seconds"].tolist() == [0.0, 0.5, 2.0]
    wanted = prepared(processor, {"type": "video", "video": pictures})
    assert torch.equal(found["pixel_values_videos"], wanted["pixel_values_videos"])
    assert torch.equal(
        processor.video_processor([names])["pixel_values_videos"], wanted["pixel_values_videos"]
    )


def test_equal_options_are_two_options():
    assert Question.parse("which ?", ["red", "red"]).options == ("red", "red")
    assert option_log_probabilities(torch.tensor([0.5, 0.5]).log(), [[1], [1]], 2) == pytest.approx(
        [-0.693] * 2, abs=1e-3
    )


def test_frames_in_memory_have_parts_too(processor):
    part = {
        "type": "video",
        "video": tiny.frames(6),
        "seconds": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        "start": 2,
        "end": 5,
    }
    assert prepared(processor, part)["video_seconds"].tolist() == [2.0, 3.0, 4.0]
    assert len(prepared(processor, {**part, "start": None, "end": None})["video_seconds"]) == 6
