"""Chats to inputs: placeholders, pixels, seconds, questions."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from bvllm.model import BVLLMProcessor, BVLLMVideoProcessor
from bvllm.model.processing_bvllm import Conversation
from bvllm.video import FrameList, SamplingPlan, VideoError, read_video
from tests.model import tiny

ID = tiny.VIDEO_ID


def render(chats, **settings):
    return tiny.processor().apply_chat_template(chats, tokenize=True, **settings)


def test_one_placeholder_for_each_token_that_could_come():
    out = render(tiny.mixed_chats(), add_generation_prompt=True)
    assert (out["input_ids"] == ID).sum(1).tolist() == [10, 4 + 10, 0, 4]
    assert out["video_num_frames"].tolist() == [7, 1, 3, 1]
    assert out["pixel_values_videos"].shape == (12, 3, 16, 16)
    assert out["video_seconds"].tolist() == [*range(7), 0, *range(3), 0]
    assert out["video_seconds"].dtype == torch.float64
    assert out["qformer_input_ids"].shape[0] == 4
    assert set(out) <= set(tiny.processor().model_input_names)


def test_prompts_are_padded_on_the_left():
    out = render(tiny.mixed_chats())
    for ids, mask in zip(out["input_ids"], out["attention_mask"]):
        there = int(mask.sum())
        assert mask.tolist() == [0] * (len(mask) - there) + [1] * there
        assert (ids[: len(mask) - there] == 0).all()


def test_slots_follow_the_model_options():
    for changes, slots in [
        ({"budget_tokens": 100}, [16, 12]),
        ({"budget_tokens": 100, "merge_frames": False}, [16, 16]),
        ({"budget_tokens": 100, "frame_selector": "none"}, [28, 12]),
        ({"budget_tokens": 100, "frame_selector": "uniform", "merge_frames": False}, [16, 12]),
        ({"budget_tokens": 1000, "token_sampler": "none"}, [64, 48]),
    ]:
        out = tiny.batch(tiny.ask(tiny.clip(7)), tiny.ask(tiny.clip(3)), configuration=tiny.config(**changes))
        assert (out["input_ids"] == ID).sum(1).tolist() == slots, changes


def test_the_question_is_the_last_user_turn_without_its_options():
    tokenizer = tiny.tokenizer()
    chat = [
        *tiny.ask(tiny.clip(3), tiny.clip(2), text="what is red ?"),
        {"role": "assistant", "content": [{"type": "text", "text": "the star"}]},
        {"role": "user", "content": "which colour is the sign ?\nA. red\nB. blue"},
    ]
    out = render([chat, tiny.ask(tiny.clip(3), text="is green ?")])
    asked = tokenizer.batch_decode(out["qformer_input_ids"], skip_special_tokens=True)
    assert asked == ["which colour is the sign ?"] * 2 + ["is green ?"]
    assert "A. red" in tokenizer.decode(out["input_ids"][0])


def test_each_turn_chooses_its_own_frames():
    model = tiny.model(merge_frames=False, budget_tokens=64)
    first = tiny.ask(tiny.clip(12, seed=5), text="which colour is the sign ?")
    more = [{"role": "assistant", "content": "red"}, {"role": "user", "content": "is the star at the end ?"}]
    logits = []
    for chat in (first, first + more):
        inputs = dict(tiny.processor(model.config).apply_chat_template(chat, tokenize=True))
        visual = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
        logits.append(model.get_video_features(**visual).selections[0].logits)
    assert not torch.allclose(*logits)


def test_only_what_the_assistant_says_is_marked():
    chat = [
        *tiny.ask(tiny.clip(3), text="what is red ?"),
        {"role": "assistant", "content": [{"type": "text", "text": "the star"}]},
        *tiny.ask(tiny.clip(2), text="what is blue ?"),
        {"role": "assistant", "content": "the sign"},
    ]
    out = render([chat, tiny.mixed_chats()[0]], return_assistant_tokens_mask=True)
    said = [out["input_ids"][row][out["assistant_masks"][row].bool()] for row in range(2)]
    words = tiny.tokenizer().convert_ids_to_tokens(said[0])
    assert words == ["the", "star", "<|im_end|>", "the", "sign", "<|im_end|>"]
    assert len(said[1]) == 0
    assert out["assistant_masks"].shape == out["input_ids"].shape


def test_a_prompt_for_tokens_that_are_there_already():
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "what is red ?"}]}]
    out = render(chat, visual_tokens=[7])
    assert int((out["input_ids"] == ID).sum()) == 7
    assert set(out) == {"input_ids", "attention_mask", "qformer_input_ids", "qformer_attention_mask"}
    with pytest.raises(ValueError, match="every video and image part must name its source, got one that"):
        render(chat)
    with pytest.raises(ValueError, match="counts must be given for the 1 placeholders, got 2"):
        render(chat, visual_tokens=[7, 7])


def test_text_is_rendered_without_reading_a_thing():
    chat = tiny.ask("no/such/file.mp4", text="what ?")
    text = tiny.processor().apply_chat_template(chat, add_generation_prompt=True)
    assert text == "<|im_start|>user\n<|video|>\nwhat ?<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(VideoError) as error:
        render(chat)
    assert error.value.kind == "missing"


def test_frames_are_resized_and_normalised_like_a_picture():
    pixels = tiny.frames(2, side=40)
    processor = BVLLMVideoProcessor.for_tower(tiny.vision_config())
    out = processor([FrameList(pixels, [0.0, 0.25])])
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    for got, frame in zip(out["pixel_values_videos"], pixels):
        image = Image.fromarray(frame.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BICUBIC)
        back = got.permute(1, 2, 0).numpy() * std + mean
        assert np.abs(back * 255 - np.asarray(image)).max() <= 2.01
    assert out["video_seconds"].tolist() == [0.0, 0.25]


def test_many_kinds_of_sources_give_the_same_pixels():
    frames = tiny.frames(3)
    arrays = [frame.permute(1, 2, 0).numpy() for frame in frames]
    sources = [
        frames,
        np.stack(arrays),
        arrays,
        [Image.fromarray(a) for a in arrays],
        list(frames),
        FrameList(frames, [0.0, 1.0, 2.0]),
    ]
    processor = BVLLMVideoProcessor.for_tower(tiny.vision_config())
    out = processor(sources)
    assert out["video_num_frames"].tolist() == [3] * 6
    for pixels in out["pixel_values_videos"].split(3):
        assert torch.equal(pixels, out["pixel_values_videos"][:3])
    assert out["video_seconds"].tolist() == [0.0, 1.0, 2.0] * 6
    single = processor(frames, video_seconds=[[0.0, 0.5, 7.0]])
    assert single["video_seconds"].tolist() == [0.0, 0.5, 7.0]


def test_a_list_of_pictures_is_a_clip_and_a_picture_is_a_frame():
    arrays = [f.permute(1, 2, 0).numpy() for f in tiny.frames(3)]
    processor = BVLLMVideoProcessor.for_tower(tiny.vision_config())
    assert processor(arrays)["video_num_frames"].tolist() == [3]
    assert processor(Image.fromarray(arrays[0]))["video_num_frames"].tolist() == [1]
    assert processor([arrays, Image.fromarray(arrays[0])])["video_num_frames"].tolist() == [3, 1]


def test_a_file_is_sampled_at_the_asked_rate(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, frames=24, rate=8)
    chat = tiny.ask(str(path))
    out = render(chat)
    with read_video(path, SamplingPlan(fps=1.0), size=(16, 16)) as stream:
        expected = torch.cat([chunk.pixels for chunk in stream])
    assert out["video_seconds"].tolist() == [0.0, 1.0, 2.0]
    normalise = tiny.processor().video_processor.normalise
    assert torch.equal(out["pixel_values_videos"], normalise(expected))
    assert render(chat, fps=2.0)["video_num_frames"].tolist() == [6]
    assert render(chat, max_frames=2)["video_num_frames"].tolist() == [2]


def write_video(path, *, frames, rate):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            picture = np.full((32, 32, 3), 10 * k, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_a_video_without_a_question_is_seen_too():
    inputs = render(tiny.ask(tiny.clip(3), text=""))
    assert inputs["qformer_input_ids"].shape == (1, 0)
    assert tiny.model().generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2


def test_calling_with_text():
    processor, clip = tiny.processor(), tiny.clip(3)
    out = processor(text="<|video|> what ?", videos=[clip], qformer_text="what ?")
    assert int((out["input_ids"] == ID).sum()) == 10
    picture = processor(text="<|video|> what ?", images=tiny.picture(), qformer_text="what ?")
    assert int((picture["input_ids"] == ID).sum()) == 4
    listed = processor(text=["what ?", "is ?"], return_tensors=None, padding=False)
    assert isinstance(listed, BatchFeature)
    assert listed["input_ids"] == [[8, 23], [11, 23]]


def test_wrong_calls_say_what_to_change():
    processor, clip = tiny.processor(), tiny.clip(2)
    with pytest.raises(ValueError, match=r"prompts must hold one <\|video\|> for each of 1 clips, got 2"):
        processor(text="<|video|> <|video|>", videos=[clip], qformer_text="what ?")
    with pytest.raises(ValueError, match=r"prompts must hold one .* for each of 1 clips, got 2"):
        render(tiny.ask(clip, text="what is <|video|> ?"))
    with pytest.raises(ValueError, match="qformer_text must be one question for each of 1 prompts, got None"):
        processor(text="<|video|>", videos=[clip])
    with pytest.raises(ValueError, match="return_tensors must be 'pt', got 'np'"):
        processor.video_processor([clip], return_tensors="np")
    with pytest.raises(ValueError, match="video_seconds must be given for 1 videos, got 2: one row each"):
        processor.video_processor([tiny.frames(2)], video_seconds=[[0.0, 1.0]] * 2)
    with pytest.raises(ValueError, match="size must hold a height and a width of at least 1, got"):
        BVLLMVideoProcessor(size={"shortest_edge": 3})
    with pytest.raises(ValueError, match="a part must be text, video or image, got 'audio'"):
        Conversation.of([{"role": "user", "content": [{"type": "audio"}]}])
    with pytest.raises(TypeError, match="video_processor must be a BVLLMVideoProcessor, got str"):
        BVLLMProcessor("pixels", tiny.tokenizer(), tiny.tokenizer())
    plain = tiny.tokenizer()
    with pytest.raises(ValueError, match=r"tokenizer must know '<\|film\|>' as one token, got 1"):
        BVLLMProcessor(processor.video_processor, plain, plain, video_token="<|film|>")


def test_a_processor_comes_back_the_same(tmp_path):
    processor = tiny.processor(tiny.config(budget_tokens=7, merge_frames=False, frame_selector="none"))
    processor.video_processor.fps = 2.5
    processor.save_pretrained(tmp_path)
    again = BVLLMProcessor.from_pretrained(tmp_path)
    assert again.placeholders == processor.placeholders
    assert again.video_token_id == processor.video_token_id
    assert (again.video_processor.fps, again.video_processor.size) == (2.5, {"height": 16, "width": 16})
    assert again.chat_template == processor.chat_template
    before = processor.apply_chat_template(tiny.mixed_chats(), tokenize=True)
    after = again.apply_chat_template(tiny.mixed_chats(), tokenize=True)
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    alone = BVLLMVideoProcessor.from_pretrained(tmp_path)
    assert alone.to_dict() == processor.video_processor.to_dict()


def test_every_frame_of_a_file_survives_saving(tmp_path):
    processor = tiny.processor()
    processor.video_processor.fps = None
    processor.save_pretrained(tmp_path)
    assert BVLLMProcessor.from_pretrained(tmp_path).video_processor.fps is None


def test_the_pipeline_of_transformers_takes_chats_with_videos():
    from transformers import pipeline

    model, processor = tiny.model(), tiny.processor()
    pipe = pipeline("image-text-to-text", model=model, processor=processor)
    chat = tiny.ask(tiny.clip(3), text="what is red ?")
    said = pipe(text=chat, max_new_tokens=3, return_full_text=False)[0]["generated_text"]
    inputs = tiny.batch(chat)
    expected = model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, -3:]
    assert said.strip() == tiny.tokenizer().decode(expected, skip_special_tokens=True)
