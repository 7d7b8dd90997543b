"""A connector in its place between chosen frames and the language model: tokens with their provenance."""

import torch
from torch import Tensor
from transformers import InstructBlipQFormerConfig

from bvllm.model.connectors.configuration import ConnectorConfig, LlamaVidConfig
from bvllm.model.connectors.llama_vid import LlamaVidConnector
from bvllm.model.connectors.videollama2 import VideoLlama2Connector, block_origin
from bvllm.model.spending import tokens_of_clips
from bvllm.types import FrameSelection, Tokens

Connector = LlamaVidConnector | VideoLlama2Connector


def build_connector(
    config: ConnectorConfig, reader_config: InstructBlipQFormerConfig, channels: int, width: int
) -> Connector:
    """The connector that a configuration describes, from C channels to the language model's D."""
    if isinstance(config, LlamaVidConfig):
        return LlamaVidConnector(config, reader_config, channels, width)
    return VideoLlama2Connector(config, channels, width)


def frame_tokens(
    connector: LlamaVidConnector,
    states: Tensor,
    selections: list[FrameSelection],
    question_ids: Tensor | None,
    question_mask: Tensor | None,
    patches: int,
) -> tuple[list[Tokens], list[Tensor]]:
    """LLaMA-VID's tokens of every clip, each frame read with the question of its clip.

    Args:
        states: (sum F_i, prefix + N, C) one entry for each row of every selection.
        question_ids, question_mask: (sum F_i, Q).
        patches: N; what comes before them is the tower's [CLS].

    Returns:
        Tokens of each clip, each with the patch it looked at most, and where each looked, (F_i, 1 + n, N).
    """
    prefix = states.shape[1] - patches
    found = connector(states, question_ids, question_mask, prefix=prefix)
    return tokens_of_clips(found.tokens, found.attention, selections)


def block_tokens(
    connector: VideoLlama2Connector,
    patches: Tensor,
    selections: list[FrameSelection],
    frames: int,
    columns: int,
) -> list[Tokens]:
    """VideoLLaMA2's tokens of every clip: chosen frames, repeated to a fixed number, as one block.

    A picture is shown `frames` times, as the authors do; a clip of which fewer were chosen shows each of them
    about as often. So every clip has as many tokens, and a batch is one call.

    Args:
        patches: (sum F_i, N, C) one entry for each row of every selection.
        frames: of a block.
        columns: patches in a row of the grid.
    """
    shown = [repeated(len(s), frames) for s in selections]
    starts = [sum(len(s) for s in selections[:k]) for k in range(len(selections))]
    rows = torch.stack([places + start for places, start in zip(shown, starts)])
    features = connector(patches[rows.to(patches.device)], columns)
    origin = block_origin(connector.config, frames, patches.shape[1] // columns, columns)
    size, row, column = (part.to(patches.device) for part in (origin.size, origin.row, origin.column))
    made = []
    for block, selection, places in zip(features, selections, shown):
        source = places[origin.frame]
        seconds = selection.seconds[source.to(selection.seconds.device)].to(block.device)
        sampled = selection.frames[source.to(selection.frames.device)].to(block.device)
        made.append(Tokens(block, seconds, size, sampled, row, column))
    return made


def repeated(count: int, wanted: int) -> Tensor:
    """(wanted,) which of `count` frames stands at each place: the middles of equal parts, in order.

    Example:
        >>> repeated(3, 8).tolist(), repeated(1, 2).tolist(), repeated(9, 3).tolist()
        ([0, 0, 0, 1, 1, 2, 2, 2], [0, 0], [1, 4, 7])
    """
    return (2 * torch.arange(wanted) + 1) * count // (2 * wanted)
