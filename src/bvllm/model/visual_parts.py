"""The learned parts of the visual side, and which of them a configuration asks for."""

import copy
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.connectors.bridge import build_connector, build_connector_behind_sampler
from bvllm.model.vision_tower import patch_columns, patch_count, tower_of
from bvllm.stages.places import PatchPlaces
from bvllm.stages.qformer import QFormer
from bvllm.stages.resampler import Resampler
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler
from bvllm.stages.select_frames import FrameSelector


class Projector(nn.Module):
    """From the sampler's width H to the language model's D, in two layers (LLaVA-1.5, arXiv 2310.03744)."""

    def __init__(self, width: int, target: int, activation: str) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, target)
        self.act = ACT2FN[activation]
        self.linear_2 = nn.Linear(target, target)

    def forward(self, tokens: Tensor) -> Tensor:
        """(K, H) -> (K, D)."""
        return self.linear_2(self.act(self.linear_1(tokens.to(self.linear_1.weight.dtype))))


class FrameReader(nn.Module):
    """One learned query that reads the patches of a frame: `frame_feature="qformer"`."""

    def __init__(self, config: PreTrainedConfig, channels: int) -> None:
        super().__init__()
        self.reader = QFormer(config, num_queries=1)
        self.proj = nn.Linear(config.hidden_size, channels)

    def forward(self, patches: Tensor) -> Tensor:
        """(t, N, C) -> (t, C)."""
        return self.proj(self.reader(patches).queries[:, 0])


def cls_and_mean(cls: Tensor, patches: Tensor) -> Tensor:
    """[CLS] and the mean of the patches together; each at its own scale would drown the other."""
    width = cls.shape[-1:]
    return (layer_norm(cls, width) + layer_norm(patches.mean(dim=1), width)) / 2


# What the selector sees of a frame, by `config.frame_feature`: [CLS] (t, C) and patches (t, N, C) -> (t, C).
# "qformer" is not here: it is a module of the model.
FRAME_FEATURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda cls, patches: cls,
    "mean": lambda cls, patches: patches.mean(dim=1),
    "max": lambda cls, patches: patches.amax(dim=1),
    "cls_mean": cls_and_mean,
}


def build_frame_selector(config: BVLLMConfig) -> FrameSelector | None:
    """The learned selector, or None where frames are chosen without one."""
    if config.select_frames not in ("qformer", "resampler"):
        return None
    reader_config, channels = config.frame_qformer_config, config.vision_config.hidden_size
    reader: QFormer | Resampler
    if config.select_frames == "qformer":
        reader = QFormer(reader_config, config.num_selected_frames)
    else:
        reader = Resampler(
            channels,
            reader_config.hidden_size,
            config.num_selected_frames,
            layers=reader_config.num_hidden_layers,
            heads=reader_config.num_attention_heads,
            vocabulary=reader_config.vocab_size,
            positions=reader_config.max_position_embeddings,
        )
    return FrameSelector(reader, reader.width, channels, config.time_channels)


def build_token_sampler(config: BVLLMConfig) -> TokenSampler | PooledTokens | None:
    """The module that turns N patches into R tokens; None where a method without weights keeps some."""
    if config.sample_tokens == "pool":
        return PooledTokens(config.tokens_per_frame, patch_columns(config.vision_config))
    if config.sample_tokens != "qformer":
        return None
    return TokenSampler(QFormer(config.spatial_qformer_config, config.tokens_per_frame))


def build_places(tower: PreTrainedConfig, place_channels: int) -> PatchPlaces | None:
    """Adds places to the patches of a tower; None where none are added."""
    if not place_channels:
        return None
    return PatchPlaces(
        tower.hidden_size,
        place_channels,
        count=patch_count(tower),
        columns=patch_columns(tower),
        prefix=tower_of(tower).prefix(tower),
    )


def build_frame_reader(config: BVLLMConfig) -> FrameReader | None:
    """The reader behind `frame_feature="qformer"`, shaped like the token sampler."""
    if config.frame_feature != "qformer":
        return None
    return FrameReader(copy.deepcopy(config.spatial_qformer_config), config.vision_config.hidden_size)


def build_projector(config: BVLLMConfig) -> nn.Module:
    """The bridge: a baseline's connector, or a projector as wide as what comes out of the sampler."""
    sampled = config.sample_tokens == "qformer"
    if config.connector is not None:
        build = build_connector_behind_sampler if sampled else build_connector
        return build(
            config.connector,
            config.spatial_qformer_config,
            config.vision_config.hidden_size,
            config.text_config.hidden_size,
        )
    width = config.spatial_qformer_config.hidden_size if sampled else config.vision_config.hidden_size
    return Projector(width, config.text_config.hidden_size, config.projector_hidden_act)
