"""A small random Dynamic-VLM, drawn wide so that every input leaves its mark on the output."""

import torch

from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, VIDEO, build_tokenizer
from tests.model import tiny

TOKENIZER = build_tokenizer()
VIDEO_ID = TOKENIZER.convert_tokens_to_ids(VIDEO)


def dynamic_config(**changes) -> DynamicVLMConfig:
    text = tiny.text_config(
        vocab_size=len(TOKENIZER), eos_token_id=TOKENIZER.eos_token_id, pad_token_id=TOKENIZER.pad_token_id
    )
    settings = {
        "vision_config": tiny.vision_config(), "text_config": text, "budget_tokens": 40,
        "video_token_id": VIDEO_ID, "initializer_range": 0.3,
    }  # fmt: skip
    return DynamicVLMConfig(**{**settings, **changes})


def dynamic_model(**changes) -> DynamicVLMForConditionalGeneration:
    torch.manual_seed(1)
    built = DynamicVLMForConditionalGeneration(dynamic_config(**changes)).eval()
    built.generation_config.eos_token_id = None  # answers of a length that tests can count on
    if built.model.clock is not None:  # a clock that starts at zero would hide the seconds
        for table in built.model.clock.children():
            torch.nn.init.normal_(table.weight, std=0.3)
    return built


def dynamic_processor(model: DynamicVLMForConditionalGeneration) -> DynamicVLMProcessor:
    return DynamicVLMProcessor.for_model(model.config, TOKENIZER, chat_template=CHAT_TEMPLATE)


def chat(*parts: object) -> list[dict[str, object]]:
    """One user turn of clips (FrameList), pictures (uint8 tensors) and texts."""
    content: list[dict[str, object]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            kind = "image" if isinstance(part, torch.Tensor) else "video"
            content.append({"type": kind, kind: part})
    return [{"role": "user", "content": content}]
