"""Build llava-nano: a LLaVA-OneVision around nano's tower and a cut-down copy of nano's language model."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionModel,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, VIDEO, build_tokenizer

IMAGE = "<|image|>"
# Which of nano's five layers stay, and how many of a layer's 512 inner channels: in all 5.9 MB in bfloat16.
LAYERS = (0, 1, 2, 4)
INNER = 480
LOUDNESS = 2.0  # spread of a visual token beside a word's embedding, at the start: it says several words


def llava_tokenizer() -> PreTrainedTokenizerFast:
    """Nano's tokenizer, with a placeholder for pictures beside that for videos."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]}, replace_extra_special_tokens=False)
    return tokenizer


def shortened(
    language_model: Qwen2Model, layers: tuple[int, ...] = LAYERS, inner: int = INNER, words: int | None = None
) -> Qwen2Model:
    """A copy with some of its layers, and of each layer's inner channels those with the largest weights.

    Args:
        words: rows of the embedding; new ones are the mean of all. None keeps them as they are.
    """
    config = Qwen2Config.from_dict(language_model.config.to_dict())
    config.num_hidden_layers, config.intermediate_size = len(layers), inner
    config.layer_types = [config.layer_types[k] for k in layers]
    config.vocab_size = words or config.vocab_size
    made = Qwen2Model(config)
    table = language_model.embed_tokens.weight.detach()
    more = config.vocab_size - len(table)
    with torch.no_grad():
        made.embed_tokens.weight.copy_(torch.cat([table, table.mean(dim=0).expand(more, -1)]))
    made.norm.load_state_dict(language_model.norm.state_dict())
    for new, k in zip(made.layers, layers, strict=True):
        old = language_model.layers[k]
        state = old.state_dict()
        weights = (old.mlp.up_proj.weight, old.mlp.gate_proj.weight, old.mlp.down_proj.weight.mT)
        size = torch.stack([w.detach().norm(dim=1) for w in weights]).prod(dim=0)
        kept = size.topk(inner).indices.sort().values
        for name, dim in (("up", 0), ("gate", 0), ("down", 1)):
            key = f"mlp.{name}_proj.weight"
            state[key] = state[key].index_select(dim, kept)
        new.load_state_dict(state)
    return made


def build_llava(
    tokenizer: PreTrainedTokenizerFast,
    tower: CLIPVisionModel,
    language_model: Qwen2Model,
    some: Tensor,
    *,
    seed: int,
) -> LlavaOnevisionForConditionalGeneration:
    """A LLaVA-OneVision with a warm tower and LLM; its projector starts from noise.

    Args:
        some: (n, N, C) patch features, by which the projector's outputs start at a word's size.
    """
    torch.manual_seed(seed)
    side = tower.config.image_size
    config = LlavaOnevisionConfig(
        vision_config=tower.config.to_dict(),
        text_config=shortened(language_model, words=len(tokenizer)).config.to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
        image_grid_pinpoints=[[side, side]],
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlavaOnevisionForConditionalGeneration(config).float()
    model.model.vision_tower.load_state_dict(tower.state_dict())
    short = shortened(language_model, words=len(tokenizer))
    model.model.language_model.load_state_dict(short.state_dict())
    model.tie_weights()
    _start_at_word_size(model, some)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.eval()


def _start_at_word_size(model: LlavaOnevisionForConditionalGeneration, some: Tensor) -> None:
    """A token as large as a few words together; at another scale the LLM sees only noise."""
    projector, table = model.model.multi_modal_projector, model.get_input_embeddings().weight
    with torch.no_grad():
        for layer in (projector.linear_1, projector.linear_2):
            assert isinstance(layer, nn.Linear)
            layer.reset_parameters()
        spread = model.model.apply_pooling(projector(some.float())).std(dim=(0, 1)).mean()
        projector.linear_2.weight.mul_(LOUDNESS * table.std() / spread)
        projector.linear_2.bias.zero_()
        model.model.image_newline.mul_(table.std() / model.model.image_newline.std())


def llava_processor(
    tokenizer: PreTrainedTokenizerFast, model: LlavaOnevisionForConditionalGeneration
) -> LlavaOnevisionProcessor:
    """Its processor, which is transformers' own: frames of 128 x 128 pixels without a crop."""
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionVideoProcessor  # need torchvision

    vision = model.config.vision_config
    size = {"height": vision.image_size, "width": vision.image_size}
    pixels = {"size": size, "image_mean": list(NANO_MEAN), "image_std": list(NANO_STD)}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            **pixels, image_grid_pinpoints=model.config.image_grid_pinpoints
        ),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(**pixels),
        num_image_tokens=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        chat_template=CHAT_TEMPLATE,
        image_token=IMAGE,
        video_token=VIDEO,
    )


def save_llava(
    model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Model and processor in `save_pretrained` layout; weights in bfloat16, half the size."""
    model.to(torch.bfloat16).save_pretrained(folder)
    llava_processor(tokenizer, model).save_pretrained(folder)
    model.float()
