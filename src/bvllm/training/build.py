"""Build the model that is about to be trained, and its processor."""

from dataclasses import dataclass

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bvllm.common.trust import loading
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration, BVLLMProcessor
from bvllm.model.assemble import add_video_token, assemble
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.presets import tiny
from bvllm.model.processing_bvllm import TURN_END
from bvllm.synthetic.tokenizer import CHAT_TEMPLATE, VIDEO, build_tokenizer
from bvllm.training.settings import Settings

QFORMER_TOKENIZER = "qformer_tokenizer"  # InstructBLIP's folder for it
# Of `ModelSettings`, what the model's configuration calls by the same name.
SHARED = (
    "num_selected_frames tokens_per_frame budget_tokens tau gamma frame_feature certainty "
    "least_strength second_choices "
    "choice select_frames merge_frames sample_tokens merge_tokens tokens_policy time_channels place_channels "
    "clock vision_feature_layer"
).split()


TrainedModel = BVLLMForConditionalGeneration | DynamicVLMForConditionalGeneration


@dataclass(frozen=True)
class Built:
    """A model with all its weights.

    Attributes:
        model: on the CPU; nothing is frozen yet.
        processor: counts and samples as the model does.
        fresh: names of the weights that came from no checkpoint.
    """

    model: TrainedModel
    processor: BVLLMProcessor
    fresh: frozenset[str]


def build(settings: Settings) -> Built:
    """Put the model together; the same settings give the same weights.

    Raises:
        ValueError: parts do not fit
        OSError: one cannot be read.
    """
    torch.manual_seed(settings.run.seed)
    return _random(settings) if settings.model.vision is None else _from_parts(settings)


def configured(config: BVLLMConfig, settings: Settings) -> BVLLMConfig:
    """A configuration with the settings' numbers in it."""
    return BVLLMConfig(**config.to_dict() | shared(settings))


def shared(settings: Settings) -> dict[str, object]:
    """The settings that a configuration has, by its names for them."""
    shared_settings = {name: getattr(settings.model, name) for name in SHARED}
    if settings.model.connector != "none":
        shared_settings["connector"] = {"kind": settings.model.connector}
    return shared_settings | ({"tokens_policy": "even"} if settings.model.adaptive_tokens else {})


def tiny_config(tokenizer: PreTrainedTokenizerBase) -> BVLLMConfig:
    """The tiny preset for a tokenizer."""
    return tiny(
        len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
    )


def _random(settings: Settings) -> Built:
    tokenizer = build_tokenizer()
    model = BVLLMForConditionalGeneration(configured(tiny_config(tokenizer), settings))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = BVLLMProcessor.for_model(
        model.config, tokenizer, tokenizer, chat_template=CHAT_TEMPLATE, fps=settings.data.fps
    )
    return Built(model, processor, frozenset(name for name, _ in model.named_parameters()))


def _from_parts(settings: Settings) -> Built:
    parts = settings.model
    tokenizer = read_tokenizer(str(parts.language_model))
    assembly = assemble(
        str(parts.vision),  # named, or this would be the tiny model
        str(parts.language_model),
        parts.qformer,
        config=BVLLMConfig(video_token_id=add_video_token(tokenizer), **shared(settings)),
        dtype=torch.bfloat16 if settings.run.precision == "bf16" else torch.float32,
    )
    questions = (
        read_tokenizer(str(parts.qformer), QFORMER_TOKENIZER)
        if parts.qformer_tokenizer is None
        else read_tokenizer(str(parts.qformer_tokenizer))
    )
    end_turns(assembly.model, tokenizer)
    processor = BVLLMProcessor.for_model(assembly.model.config, tokenizer, questions, fps=settings.data.fps)
    return Built(assembly.model, processor, frozenset(assembly.fresh))


def read_tokenizer(where: str, subfolder: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer of a part, whose folder is as untrusted as any model's.

    Raises:
        OSError: there is none.
        ValueError: its files are broken; names the folder.
    """
    try:
        return AutoTokenizer.from_pretrained(where, subfolder=subfolder, **loading())
    except OSError:
        raise
    except Exception as error:  # tokenizers and transformers raise all kinds for a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"tokenizer must be one that can be read, got {reason!r} in {where!r}: bring the complete folder"
        ) from error


def end_turns(model: TrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Answers end where the chat template ends a turn, too, if that is one token of the language model's."""
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    if end is None or end == tokenizer.unk_token_id:
        return
    known = model.generation_config.eos_token_id
    ends = known if isinstance(known, list) else [] if known is None else [known]
    model.generation_config.eos_token_id = [*ends, end] if end not in ends else known
