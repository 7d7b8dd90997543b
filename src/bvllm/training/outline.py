"""Work out the shape of the model that a run would train, without its weights."""

import torch
from transformers import AutoConfig, InstructBlipConfig, PreTrainedConfig

from bvllm.common.trust import loading
from bvllm.model import BVLLMConfig, BVLLMForConditionalGeneration
from bvllm.model.assemble import WHOLE_MODELS
from bvllm.model.presets import paper_7b
from bvllm.synthetic.tokenizer import build_tokenizer
from bvllm.training.build import configured, shared, tiny_config
from bvllm.training.settings import RECIPES, Settings


def outline(settings: Settings) -> BVLLMForConditionalGeneration:
    """The model on the meta device, which has shapes and no memory.

    Parts that the paper names are known here; only the configuration of others is read.
    """
    if settings.model.vision is None:
        config = configured(tiny_config(build_tokenizer()), settings)
    else:
        config = _from_parts(settings)
    with torch.device("meta"):
        return BVLLMForConditionalGeneration(config)


def _from_parts(settings: Settings) -> BVLLMConfig:
    parts, known, paper = settings.model, paper_7b(), RECIPES["paper_7b"]().model
    vision = known.vision_config if parts.vision == paper.vision else _tower(str(parts.vision))
    text = known.text_config
    if parts.language_model != paper.language_model:
        text = AutoConfig.from_pretrained(parts.language_model, **loading())
    reader = known.frame_qformer_config
    if parts.qformer != paper.qformer:
        found = AutoConfig.from_pretrained(parts.qformer, **loading())
        if not isinstance(found, InstructBlipConfig):
            raise ValueError(
                f"model.qformer must be an InstructBLIP checkpoint, got {found.model_type!r}: "
                "other Q-Formers cannot read the question"
            )
        reader = found.qformer_config
    return BVLLMConfig(
        vision_config=vision,
        frame_qformer_config=reader,
        spatial_qformer_config=reader,
        text_config=text,
        **shared(settings),
    )


def _tower(path: str) -> PreTrainedConfig:
    config = AutoConfig.from_pretrained(path, **loading())
    return config.vision_config if isinstance(config, WHOLE_MODELS) else config
