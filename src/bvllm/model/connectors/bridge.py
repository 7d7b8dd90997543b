"""Put a connector into the pipeline's slot `sample_tokens`: tokens with their provenance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig

from bvllm.model.connectors.configuration import ConnectorConfig, LlamaVidConfig, VideoLlama2Config
from bvllm.model.connectors.llama_vid import LlamaVidConnector, LlamaVidProjector
from bvllm.model.connectors.videollama2 import VideoLlama2Connector, VideoLlama2Projector, block_origin
from bvllm.stages.sample_tokens import Allocation, Sampled, questions_per_frame, tokens_of_clips
from bvllm.types import FrameSelection, Questions, Tokens

Connector = LlamaVidConnector | VideoLlama2Connector


def build_connector(
    config: ConnectorConfig, reader_config: InstructBlipQFormerConfig, channels: int, width: int
) -> Connector:
    """The connector that a configuration describes, from C channels to the language model's D."""
    if isinstance(config, LlamaVidConfig):
        return LlamaVidConnector(config, reader_config, channels, width)
    return VideoLlama2Connector(config, channels, width)


def build_connector_behind_sampler(
    config: ConnectorConfig, reader_config: InstructBlipQFormerConfig, channels: int, width: int
) -> nn.Module:
    """What is left of a connector where a token sampler's tokens, H wide, take the place of its own."""
    sampled = int(reader_config.hidden_size)
    if isinstance(config, LlamaVidConfig):
        return LlamaVidProjector(sampled, channels, width)
    return VideoLlama2Projector(config, sampled, channels, width)


def connector_stage(
    config: ConnectorConfig, connector: nn.Module, frames: int, patches: int, columns: int
) -> "FrameConnector | BlockConnector":
    """What fills the pipeline's slot `sample_tokens` where a connector stands in place of sampler and
    projector.

    Args:
        config: decides the kind: adapters and shards put wrappers around the module.
        connector: the module.
        frames: of a block.
        patches: N of a frame, without what the tower puts before them.
        columns: patches in a row of the grid.
    """
    if isinstance(config, LlamaVidConfig):
        return FrameConnector(connector, patches, columns)
    return BlockConnector(connector, config, frames, columns)


@dataclass(frozen=True)
class FrameConnector:
    """LLaMA-VID's tokens of every clip, each frame read with the question of its clip.

    Attributes:
        connector: the module.
        patches: N; what comes before them is the tower's [CLS].
        columns: patches in a row of the grid.
    """

    connector: nn.Module
    patches: int
    columns: int

    def sample(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None,
        allocation: Allocation,
    ) -> Sampled:
        """See `TokenStage.sample`; patches are (sum F_i, prefix + N, C)."""
        ids, mask = questions_per_frame(questions, selections)
        found = self.connector(patches, ids, mask, prefix=patches.shape[1] - self.patches)
        return tokens_of_clips(found.tokens, found.attention, selections, columns=self.columns)


@dataclass(frozen=True)
class BlockConnector:
    """VideoLLaMA2's tokens of every clip: chosen frames, repeated to a fixed number, as one block.

    A picture is shown `frames` times, as the authors do; a clip of which fewer were chosen shows each of them
    about as often. So every clip has as many tokens, and a batch is one call.

    Attributes:
        connector: the module.
        config: its settings.
        frames: of a block.
        columns: patches in a row of the grid.
    """

    connector: nn.Module
    config: VideoLlama2Config
    frames: int
    columns: int

    def sample(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None,
        allocation: Allocation,
    ) -> Sampled:
        """See `TokenStage.sample`; the question is not read."""
        shown = [repeated(len(s), self.frames) for s in selections]
        starts = [sum(len(s) for s in selections[:k]) for k in range(len(selections))]
        rows = torch.stack([places + start for places, start in zip(shown, starts)])
        features = self.connector(patches[rows.to(patches.device)], self.columns)
        origin = block_origin(self.config, self.frames, patches.shape[1] // self.columns, self.columns)
        size, row, column = (part.to(patches.device) for part in (origin.size, origin.row, origin.column))
        made = []
        for block, selection, places in zip(features, selections, shown):
            source = places[origin.frame]
            seconds = selection.seconds[source.to(selection.seconds.device)].to(block.device)
            sampled = selection.frames[source.to(selection.frames.device)].to(block.device)
            made.append(Tokens(block, seconds, size, sampled, row, column, source.to(block.device)))
        return Sampled(made)


def repeated(count: int, wanted: int) -> Tensor:
    """(wanted,) which of `count` frames stands at each place: the middles of equal parts, in order.

    Example:
        >>> repeated(3, 8).tolist(), repeated(1, 2).tolist(), repeated(9, 3).tolist()
        ([0, 0, 0, 1, 1, 2, 2, 2], [0, 0], [1, 4, 7])
    """
    return (2 * torch.arange(wanted) + 1) * count // (2 * wanted)
