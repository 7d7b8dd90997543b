"""Build dynamic-nano around nano's tower and language model."""

import torch
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.model.presets import NANO_MEAN, NANO_PLACES, NANO_STD, nano_text, nano_vision
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, VIDEO

BUDGET = 512


def dynamic_nano_config(tokenizer: PreTrainedTokenizerFast, *, compressor: str = "pool") -> DynamicVLMConfig:
    """The embedded model: nano's tower and language model, a clock beside the written seconds, and places.

    Clock and places are where it leaves the paper: nano's language model learned to tell time from the one,
    and nano's tower does not keep the other.
    """
    text = nano_text(len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    return DynamicVLMConfig(
        vision_config=nano_vision(),
        text_config=text,
        compressor=compressor,
        budget_tokens=BUDGET,
        clock=True,
        place_channels=NANO_PLACES,
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        tie_word_embeddings=True,
    )


def build_dynamic(
    tokenizer: PreTrainedTokenizerFast,
    tower: CLIPVisionModel,
    language_model: Qwen2Model,
    clock: ClockEmbedding,
    *,
    seed: int,
    compressor: str = "pool",
) -> DynamicVLMForConditionalGeneration:
    """A dynamic-nano whose tower, LLM and clock are warmed up; places and projector start from noise."""
    torch.manual_seed(seed)
    model = DynamicVLMForConditionalGeneration(dynamic_nano_config(tokenizer, compressor=compressor))
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.language_model.load_state_dict(language_model.state_dict())
    assert model.model.clock is not None  # the configuration has one
    model.model.clock.load_state_dict(clock.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def dynamic_processor(
    tokenizer: PreTrainedTokenizerFast, model: DynamicVLMForConditionalGeneration
) -> DynamicVLMProcessor:
    """Its processor: nano's pixels and chat template."""
    processor = DynamicVLMProcessor.for_model(model.config, tokenizer, chat_template=CHAT_TEMPLATE)
    processor.video_processor.image_mean = list(NANO_MEAN)
    processor.video_processor.image_std = list(NANO_STD)
    return processor
