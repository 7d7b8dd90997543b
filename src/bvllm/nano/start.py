"""Go on from a tower and a language model that were trained before, with words that they do not know yet."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from bvllm.common.trust import loading, loading_weights
from bvllm.inference.model_name import resolve_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.clock import ClockEmbedding
from bvllm.nano.language import WHERE, Where

NOISE_SEED = 83  # of words that are new


def language_of(
    name: str, tokenizer: PreTrainedTokenizerFast, config: Qwen2Config
) -> tuple[Qwen2Model, ClockEmbedding, Where]:
    """The language model and the clock of a trained nano, its words where `tokenizer` has them.

    And what places were told to it by, untrained where its folder does not hold it.

    A word that the model does not know starts from noise at the scale of those that it knows; the same noise
    every time, whatever was drawn before, so that a training that begins again begins alike.

    Args:
        name: a packaged model or a folder.

    Raises:
        ValueError: the name means nothing, or the model has another size than `config`, or no clock.
    """
    folder = resolve_model(name)
    model = BVLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **loading_weights())
    known, old = model.model.language_model, AutoTokenizer.from_pretrained(folder, **loading()).get_vocab()
    sizes = [(c.hidden_size, c.num_hidden_layers, c.intermediate_size) for c in (known.config, config)]
    if sizes[0] != sizes[1] or model.model.clock is None:
        raise ValueError(
            f"start must be a nano with a clock and width, layers and inner width {sizes[1]}, got {name!r} "
            f"with {sizes[0]}: leave it out to start from nothing"
        )
    language_model = Qwen2Model._from_config(config, attn_implementation="eager")
    weights = dict(known.state_dict())
    trained = weights["embed_tokens.weight"]
    noise = torch.Generator().manual_seed(NOISE_SEED)
    table = torch.randn(config.vocab_size, config.hidden_size, generator=noise) * trained.std()
    for word, place in tokenizer.get_vocab().items():
        if word in old:
            table[place] = trained[old[word]]
    language_model.load_state_dict(weights | {"embed_tokens.weight": table})
    clock = ClockEmbedding(config.hidden_size)
    clock.load_state_dict(model.model.clock.state_dict())
    where = Where(config.hidden_size)
    if (file := Path(folder) / WHERE).is_file():
        where.load_state_dict(load_file(file))
    return language_model, clock, where


def tower_of(name: str) -> CLIPVisionModel:
    """The vision tower of a trained nano.

    Args:
        name: a packaged model or a folder.

    Raises:
        ValueError: the name means nothing.
    """
    folder = resolve_model(name)
    model = BVLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **loading_weights())
    tower: CLIPVisionModel = model.model.vision_tower
    return tower


def words_of(name: str) -> set[str]:
    """The words that a trained nano knows.

    Args:
        name: a packaged model or a folder.

    Raises:
        ValueError: the name means nothing.
    """
    return set(AutoTokenizer.from_pretrained(resolve_model(name), **loading()).get_vocab())
