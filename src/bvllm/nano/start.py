"""Go on from a tower and a language model that were trained before, with words that they do not know yet."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from bvllm.common.trust import loading, loading_weights
from bvllm.inference.model_name import resolve_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import nano_text
from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.language import CLOCK, WHERE, Where
from bvllm.nano.progress import is_done

NOISE_SEED = 83  # of words that are new
EMBEDDED = "nano"
WARM = ("tower", "language")  # stages of a run of nano that others go on from


@dataclass(frozen=True)
class WarmParts:
    """What a nano brings along."""

    tower: CLIPVisionModel
    words: TextEncoder
    language_model: Qwen2Model
    clock: ClockEmbedding
    where: Where


def check_warm(folder: Path) -> None:
    """See that a run of nano may be gone on from.

    Raises:
        ValueError: a stage of `WARM` is not finished in the folder.
    """
    missing = " and ".join(name for name in WARM if not is_done(folder / name))
    if missing:
        raise ValueError(
            f"--warm must be a run of nano with a finished {missing}, got {str(folder)!r}: leave it out to "
            "go on from the embedded nano"
        )


def bring_warm(folder: Path, out: Path) -> None:
    """Copy the stages of `WARM` into another run, so that it goes on with the same ones when resumed."""
    for name in WARM:
        if not is_done(out / name):
            shutil.copytree(folder / name, out / name, dirs_exist_ok=True)


def warm_parts(tokenizer: PreTrainedTokenizerFast, folder: Path) -> WarmParts:
    """Tower, language model and clock of a run in a folder, or else of the *nano* in this package."""
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    if not all(is_done(folder / name) for name in WARM):
        language_model, clock, where = language_of(EMBEDDED, tokenizer, config)
        words = TextEncoder.load(Path(resolve_model(EMBEDDED)))
        return WarmParts(tower_of(EMBEDDED), words, language_model, clock, where)
    language_model = Qwen2Model.from_pretrained(folder / "language", **loading_weights())
    width = language_model.config.hidden_size
    clock, where = ClockEmbedding(width), Where(width)
    clock.load_state_dict(load_file(folder / "language" / CLOCK))
    if (folder / "language" / WHERE).is_file():  # folders of before 2026-11-29 tell of no places
        where.load_state_dict(load_file(folder / "language" / WHERE))
    tower = CLIPVisionModel.from_pretrained(folder / "tower", **loading_weights())
    return WarmParts(tower, TextEncoder.load(folder / "tower"), language_model, clock, where)


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
