"""Build the Dynamic-VLM that is about to be trained, and its processor; or its shape alone."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, CLIPVisionConfig, PreTrainedConfig, Qwen2Config

from bvllm.common.trust import loading, loading_weights
from bvllm.model.assemble import WHOLE_MODELS, add_video_token, load_tower
from bvllm.model.dynamic import DynamicVLMConfig, DynamicVLMForConditionalGeneration, DynamicVLMProcessor
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, build_tokenizer
from bvllm.training.build import Built, end_turns, read_tokenizer, tiny_config
from bvllm.training.dynamic_settings import DYNAMIC_RECIPES, DynamicModelSettings, DynamicSettings

SHARED = (
    "compressor allocation budget_tokens max_frames vision_feature_layer timestamps clock place_channels"
).split()


def build_dynamic(settings: DynamicSettings) -> Built:
    """Put the model together; the same settings give the same weights.

    Raises:
        ValueError: parts do not fit
        OSError: one cannot be read.
    """
    torch.manual_seed(settings.run.seed)
    return _random(settings) if settings.model.vision is None else _from_parts(settings)


def dynamic_outline(settings: DynamicSettings) -> DynamicVLMForConditionalGeneration:
    """The model on the meta device, which has shapes and no memory.

    Parts that the paper names are known here; only the configuration of others is read.
    """
    parts = settings.model
    config = _tiny(settings) if parts.vision is None else DynamicVLMConfig(
        vision_config=_tower_config(parts), text_config=_text_config(parts), **shared(parts)
    )  # fmt: skip
    with torch.device("meta"):
        return DynamicVLMForConditionalGeneration(config)


def shared(parts: DynamicModelSettings) -> dict[str, object]:
    """The settings that a configuration has."""
    return {name: getattr(parts, name) for name in SHARED}


def _tiny(settings: DynamicSettings) -> DynamicVLMConfig:
    small = tiny_config(build_tokenizer())
    return DynamicVLMConfig(
        vision_config=small.vision_config,
        text_config=small.text_config,
        video_token_id=small.video_token_id,
        **shared(settings.model),
    )


def _random(settings: DynamicSettings) -> Built:
    tokenizer = build_tokenizer()
    model = DynamicVLMForConditionalGeneration(_tiny(settings))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = DynamicVLMProcessor.for_model(
        model.config, tokenizer, chat_template=CHAT_TEMPLATE, fps=settings.data.fps
    )
    return Built(model, processor, frozenset(name for name, _ in model.named_parameters()))


def _from_parts(settings: DynamicSettings) -> Built:
    parts = settings.model
    tokenizer = read_tokenizer(str(parts.language_model))
    dtype = torch.bfloat16 if settings.run.precision == "bf16" else torch.float32
    tower = load_tower(str(parts.vision))
    decoder = AutoModelForCausalLM.from_pretrained(str(parts.language_model), **loading_weights())
    config = DynamicVLMConfig(
        vision_config=tower.config,
        text_config=decoder.config,
        video_token_id=add_video_token(tokenizer),
        **shared(parts),
    )
    model = DynamicVLMForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.language_model.load_state_dict(decoder.base_model.state_dict())
    if not config.tie_word_embeddings:
        model.lm_head.load_state_dict(decoder.get_output_embeddings().state_dict())
    model.generation_config = decoder.generation_config
    loaded = ("model.vision_tower.", "model.language_model.", "lm_head.")
    fresh = frozenset(name for name, _ in model.named_parameters() if not name.startswith(loaded))
    end_turns(model, tokenizer)
    processor = DynamicVLMProcessor.for_model(config, tokenizer, fps=settings.data.fps)
    return Built(model.to(dtype), processor, fresh)


def _tower_config(parts: DynamicModelSettings) -> PreTrainedConfig:
    if parts.vision == DYNAMIC_RECIPES["dynamic_7b"]().model.vision:
        return CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        )
    found = AutoConfig.from_pretrained(Path(str(parts.vision)), **loading())
    return found.vision_config if isinstance(found, WHOLE_MODELS) else found


def _text_config(parts: DynamicModelSettings) -> PreTrainedConfig:
    sizes = {
        "Qwen/Qwen2.5-7B-Instruct": (3584, 18944, 28, 28, 4),
        "Qwen/Qwen2.5-14B-Instruct": (5120, 13824, 48, 40, 8),
    }
    if parts.language_model not in sizes:
        return AutoConfig.from_pretrained(parts.language_model, **loading())
    width, inner, layers, heads, states = sizes[parts.language_model]
    return Qwen2Config(
        vocab_size=152064,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=states,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
    )
