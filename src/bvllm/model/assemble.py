"""Assemble a new B-VLLM from released weights: vision tower, InstructBLIP's Q-Former, language model.

Where the weights go:

| part | from | becomes |
|---|---|---|
| ViT | InstructBLIP, BLIP-2, CLIP, SigLIP, DINOv2 | `vision_tower` |
| Q-Former and its queries | InstructBLIP | frame selector and token sampler, both |
| decoder and head | any causal language model | `language_model`, `lm_head` |

What no checkpoint holds starts fresh: the selector's projection, the projector, the clock, and all queries of
a reader that has more than were released. The Q-Former's cross-attention reads the tower with keys and values
of its own; where the tower is not as wide as the one it was released with, these start fresh, too.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Blip2Config,
    CLIPConfig,
    InstructBlipConfig,
    InstructBlipQFormerModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipConfig,
)
from transformers.utils import logging

from bvllm.common.trust import loading, loading_weights
from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.connectors import LlamaVidConfig
from bvllm.model.modeling_bvllm import BVLLMForConditionalGeneration
from bvllm.model.vision_tower import tower_of

WHOLE_MODELS = (InstructBlipConfig, Blip2Config, CLIPConfig, SiglipConfig)  # a tower is a part of these
READS_THE_TOWER = (".crossattention.attention.key.", ".crossattention.attention.value.")
State = dict[str, Tensor]


@dataclass(frozen=True)
class Assembly:
    """A model put together from parts.

    Attributes:
        model: ready to train; it knows nothing of video yet.
        fresh: names of the weights that came from no checkpoint.
    """

    model: BVLLMForConditionalGeneration
    fresh: tuple[str, ...]


def assemble(
    vision: str | Path,
    language_model: str | Path,
    qformer: str | Path | None = None,
    *,
    config: BVLLMConfig | None = None,
    dtype: torch.dtype | None = None,
) -> Assembly:
    """Load the parts and put them together.

    Args:
        vision: folder or hub id of a tower, or of a model that has one.
        language_model: folder or hub id of a causal language model.
        qformer: folder or hub id of an InstructBLIP; None starts both Q-Formers fresh, as `config` says.
        config: B-VLLM's own settings; its tower, language model and, with `qformer`, Q-Formers are replaced
            by those of the parts. `video_token_id` must be known to the language model's tokenizer: see
            `add_video_token`.
        dtype: of all weights; float32 where None.

    Raises:
        ValueError: a checkpoint lacks what is asked of it, or `video_token_id` lies outside the vocabulary.
    """
    with _quietly():
        tower = load_tower(vision)
        decoder = AutoModelForCausalLM.from_pretrained(language_model, **loading_weights())
        reader, queries = (None, None) if qformer is None else _load_qformer(qformer)
    full = _configuration(config or BVLLMConfig(), tower, decoder, reader)
    state = _prefixed("model.vision_tower", tower.state_dict())
    state |= _prefixed("model.language_model", decoder.base_model.state_dict())
    if not full.tie_word_embeddings:
        state |= _prefixed("lm_head", decoder.get_output_embeddings().state_dict())
    if reader is not None and queries is not None:
        state |= _reader_state(full, reader, queries)
    vocabulary = len(decoder.get_input_embeddings().weight)
    del tower, decoder, reader
    with _quietly():
        model, report = BVLLMForConditionalGeneration.from_pretrained(
            None,
            config=full,
            state_dict=state,
            dtype=dtype or torch.float32,
            output_loading_info=True,
            **loading(),
        )
    if report["unexpected_keys"]:
        raise ValueError(
            f"every loaded weight must find its place, got {sorted(report['unexpected_keys'])[:3]} over: "
            "this family of models needs an entry in bvllm/model/language.py or vision_tower.py"
        )
    if full.video_token_id >= vocabulary:
        model.resize_token_embeddings(full.video_token_id + 1)
    return Assembly(model, tuple(sorted(report["missing_keys"])))


def add_video_token(tokenizer: PreTrainedTokenizerBase, token: str = "<|video|>") -> int:
    """Make sure that a tokenizer knows the placeholder, and say its id: a `BVLLMConfig.video_token_id`."""
    tokenizer.add_special_tokens({"additional_special_tokens": [token]}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(token)


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers reports every weight that a part leaves alone; here that is most of them, on purpose."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def load_tower(path: str | Path) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(path, **loading())
    whole = isinstance(config, WHOLE_MODELS)
    config = config.vision_config if whole else config
    return _load(tower_of(config).model, path, config, r"^vision_model\.")


def _load_qformer(path: str | Path) -> tuple[PreTrainedModel, Tensor]:
    config = AutoConfig.from_pretrained(path, **loading())
    if not isinstance(config, InstructBlipConfig):
        raise ValueError(
            f"qformer must be an InstructBLIP checkpoint, got {config.model_type!r}: "
            "other Q-Formers cannot read the question"
        )
    reader = _load(InstructBlipQFormerModel, path, config.qformer_config, r"^qformer\.")
    return reader, _load(ReleasedQueries, path, config, None).query_tokens.detach()[0]


class ReleasedQueries(PreTrainedModel):
    """The one weight of InstructBLIP that belongs to no sub-model."""

    config_class = InstructBlipConfig

    def __init__(self, config: InstructBlipConfig) -> None:
        super().__init__(config)
        shape = (1, config.num_query_tokens, config.qformer_config.hidden_size)
        self.query_tokens = nn.Parameter(torch.zeros(shape))
        self.post_init()


def _load(
    model: type[PreTrainedModel], path: str | Path, config: PreTrainedConfig, prefix: str | None
) -> PreTrainedModel:
    """One part of a checkpoint; everything else in it is left alone."""
    renaming = None if prefix is None else {prefix: ""}
    part, report = model.from_pretrained(
        path, config=config, key_mapping=renaming, output_loading_info=True, **loading_weights()
    )
    if report["missing_keys"]:
        raise ValueError(
            f"{path} must hold all weights of {model.__name__}, got none for "
            f"{sorted(report['missing_keys'])[:3]}: point to a complete checkpoint"
        )
    return part


def _configuration(
    settings: BVLLMConfig, tower: PreTrainedModel, decoder: PreTrainedModel, reader: PreTrainedModel | None
) -> BVLLMConfig:
    vocabulary = len(decoder.get_input_embeddings().weight)
    if settings.video_token_id > vocabulary:
        raise ValueError(
            f"video_token_id must be at most {vocabulary}, one past the language model's vocabulary, "
            f"got {settings.video_token_id}: take it from add_video_token(tokenizer)"
        )
    own = settings.to_dict()
    for key in ("model_type", "transformers_version", "architectures", "dtype", *settings.sub_configs):
        own.pop(key, None)
    readers = {
        name: copy.deepcopy(getattr(settings, name) if reader is None else reader.config)
        for name in ("frame_qformer_config", "spatial_qformer_config")
    }
    own |= readers | {"vision_config": tower.config, "text_config": decoder.config}
    return BVLLMConfig(**own | {"tie_word_embeddings": decoder.config.tie_word_embeddings})


def _reader_state(config: BVLLMConfig, reader: PreTrainedModel, queries: Tensor) -> State:
    """The Q-Former and its queries, once for each reader of ours."""
    weights, connector = reader.state_dict(), config.connector
    if reader.config.encoder_hidden_size != config.vision_config.hidden_size:
        weights = {k: v for k, v in weights.items() if not any(part in k for part in READS_THE_TOWER)}
    places = {
        "model.frame_selector.reader": config.num_selected_frames if config.select_frames == "qformer" else 0,
        "model.token_sampler.reader": config.tokens_per_frame if config.sample_tokens == "qformer" else 0,
        "model.multi_modal_projector.reader": connector.queries
        if config.connector_samples
        and isinstance(connector, LlamaVidConfig)
        and connector.reader == "qformer"
        else 0,
        "model.frame_reader.reader": 1 if config.frame_feature == "qformer" else 0,
    }
    state: State = {}
    for place, count in places.items():
        if count:
            state |= _prefixed(f"{place}.model", weights)
            if count <= len(queries):
                state[f"{place}.queries.weight"] = queries[:count].clone()
    return state


def _prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}.{name}": weight for name, weight in state.items()}
