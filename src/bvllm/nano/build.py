"""Build nano: tokenizer, processor, and a model around a warmed-up tower and language model."""

import torch
from torch import nn
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Model

from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor, BVLLMVideoProcessor
from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import NANO_MEAN, NANO_STD, nano
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, VIDEO


def build_processor(
    tokenizer: PreTrainedTokenizerFast, model: BVLLMForConditionalGeneration
) -> BVLLMProcessor:
    """Nano's processor: 128 x 128 pixels without a crop, one tokenizer for the LLM and the Q-Formers."""
    config = model.config
    side = config.vision_config.image_size
    video_processor = BVLLMVideoProcessor(
        size={"height": side, "width": side}, image_mean=NANO_MEAN, image_std=NANO_STD
    )
    return BVLLMProcessor(
        video_processor,
        tokenizer,
        tokenizer,
        CHAT_TEMPLATE,
        VIDEO,
        config.num_selected_frames,
        config.tokens_per_frame,
        config.budget_tokens,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast,
    tower: CLIPVisionModel,
    language_model: Qwen2Model,
    clock: ClockEmbedding,
    *,
    seed: int,
    config: BVLLMConfig | None = None,
) -> BVLLMForConditionalGeneration:
    """A nano whose tower, LLM and clock are warmed up; all other parts start from noise.

    Args:
        config: another one with the same tower and LLM, for a study; nano's own where None.
    """
    torch.manual_seed(seed)
    config = config or nano(
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
    )
    model = BVLLMForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.language_model.load_state_dict(language_model.state_dict())
    if model.model.clock is not None:
        model.model.clock.load_state_dict(clock.state_dict())
    model.tie_weights()
    # A word's embedding is small beside a fresh projector's output; at another scale the LLM sees only noise.
    last = [m for m in model.model.multi_modal_projector.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(float(language_model.embed_tokens.weight.std()) / 0.05)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
