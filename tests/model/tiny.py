"""Small random parts, drawn wide so that every input leaves its mark on the output."""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    InstructBlipQFormerConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMModel, BVLLMProcessor
from bvllm.video import FrameList

SPECIAL = ["<pad>", "<unk>", "<|im_end|>", "<|im_start|>", "<|video|>"]
TEXT = "user assistant system what which colour is the sign red blue green a b c A. B. C. ? star at end"
WORDS = TEXT.split()
VOCABULARY = [*SPECIAL, *WORDS]
VIDEO_ID = VOCABULARY.index("<|video|>")


def vision_config(**changes) -> CLIPVisionConfig:
    settings = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 4, "initializer_range": 0.3,
    }  # fmt: skip
    return CLIPVisionConfig(**{**settings, **changes})


def qformer_config(**changes) -> InstructBlipQFormerConfig:
    settings = {
        "vocab_size": len(VOCABULARY), "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "initializer_range": 0.3,
    }  # fmt: skip
    return InstructBlipQFormerConfig(**{**settings, **changes})


def text_config(**changes) -> Qwen2Config:
    settings = {
        "vocab_size": len(VOCABULARY), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": 2,
        "pad_token_id": 0, "initializer_range": 0.3,
    }  # fmt: skip
    return Qwen2Config(**{**settings, **changes})


def config(**changes) -> BVLLMConfig:
    settings: dict[str, object] = {
        "vision_config": vision_config(), "frame_qformer_config": qformer_config(),
        "spatial_qformer_config": qformer_config(), "text_config": text_config(),
        "num_selected_frames": 4, "tokens_per_frame": 4, "budget_tokens": 10, "video_token_id": VIDEO_ID,
        "initializer_range": 0.3,
    }  # fmt: skip
    return BVLLMConfig(**{**settings, **changes})


def model(**changes) -> BVLLMForConditionalGeneration:
    torch.manual_seed(1)
    built = BVLLMForConditionalGeneration(config(**changes)).eval()
    built.generation_config.eos_token_id = None  # answers of a length that tests can count on
    if built.model.clock is not None:  # a clock that starts at zero would hide the seconds
        for table in built.model.clock.children():
            torch.nn.init.normal_(table.weight, std=0.3)
    return built


def agreeing_model(**changes) -> BVLLMForConditionalGeneration:
    """All queries choose the first frame, so that every video leaves slots unused."""
    built = model(**changes)
    torch.nn.init.zeros_(built.model.frame_selector.proj.weight)
    torch.nn.init.zeros_(built.model.frame_selector.proj.bias)
    return built


def backbone(**changes) -> BVLLMModel:
    return model(**changes).model


def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit()])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[3:],
    )


def processor(configuration: PreTrainedConfig | None = None) -> BVLLMProcessor:
    return BVLLMProcessor.for_model(configuration or config(), tokenizer(), tokenizer())


def frames(count: int, *, seed: int = 0, side: int = 20) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def clip(count: int, *, seed: int = 0, step: float = 1.0) -> FrameList:
    return FrameList(frames(count, seed=seed), [k * step for k in range(count)])


def picture(seed: int = 0) -> np.ndarray:
    return frames(1, seed=seed)[0].permute(1, 2, 0).numpy()


def ask(*clips: object, text: str = "which colour is the sign ?") -> list[dict]:
    """A chat of one turn about clips; a bare array is a picture."""
    parts = [
        {"type": "image", "image": c} if isinstance(c, np.ndarray) else {"type": "video", "video": c}
        for c in clips
    ]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def batch(*chats: list[dict], configuration: PreTrainedConfig | None = None) -> dict[str, Tensor]:
    made = processor(configuration).apply_chat_template(
        list(chats), tokenize=True, add_generation_prompt=True
    )
    return dict(made)


def mixed_chats() -> list[list[dict]]:
    """Videos of different lengths, an image beside a video, text alone, and an image alone."""
    return [
        ask(clip(7, seed=1)),
        ask(picture(2), clip(3, seed=3), text="what is red ?"),
        ask(text="what is the end ?"),
        ask(picture(4), text="is the star blue ?"),
    ]
