"""Sampled tokens of many clips to each clip's budget."""

from collections.abc import Callable

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import grid_shape
from bvllm.stages.merge_tokens import BipartiteMerging
from bvllm.stages.pipeline import sampled_tokens
from bvllm.types import FrameSelection, Tokens


def check_frames(patches: Tensor, selections: list[FrameSelection]) -> None:
    """One entry of patches for each chosen row.

    Errors:
        ValueError where there are more or fewer.
    """
    chosen = sum(len(s) for s in selections)
    if len(patches) != chosen:
        raise ValueError(
            f"patches must be given for the {chosen} chosen frames, got {len(patches)}: "
            "one entry for each row of every selection, in order"
        )


def questions_per_frame(
    question_ids: Tensor | None, question_mask: Tensor | None, selections: list[FrameSelection]
) -> tuple[Tensor | None, Tensor | None]:
    """(B, Q) questions -> (sum F_i, Q): every frame is read with the question of its clip.

    Errors:
        ValueError where there is not one question per clip.
    """
    if question_ids is None:
        return None, None
    if len(question_ids) != len(selections):
        raise ValueError(
            f"question_ids must be given for {len(selections)} clips, got {len(question_ids)}: one row each"
        )
    counts = torch.tensor([len(s) for s in selections], device=question_ids.device)
    mask = torch.ones_like(question_ids) if question_mask is None else question_mask
    return question_ids.repeat_interleave(counts, 0), mask.repeat_interleave(counts, 0)


def tokens_of_clips(
    sampled: Tensor,
    attention: Tensor,
    selections: list[FrameSelection],
    share: Callable[[int], int] | None = None,
) -> tuple[list[Tokens], list[Tensor]]:
    """Cut a batch (sum F_i, R, H) into clips, each token with its time and place.

    Args:
        share: how many of its first tokens a frame may keep in a clip of so many; all where None.
    """
    counts = [len(s) for s in selections]
    columns = grid_shape(attention.shape[-1])[1]
    each = [sampled.shape[1] if share is None else share(count) for count in counts]
    maps = [looks[:, :keep] for looks, keep in zip(attention.split(counts), each)]
    parts = [part[:, :keep] for part, keep in zip(sampled.split(counts), each)]
    tokens = [
        sampled_tokens(part, looks, s.seconds.to(part.device), s.frames.to(part.device), columns)
        for part, looks, s in zip(parts, maps, selections)
    ]
    return tokens, maps


def fit(tokens: Tokens, keep: int, *, merge: bool) -> Tokens:
    """At most `keep` tokens: merged (Sec. 3.4), or thinned evenly, which is what is left without merging."""
    if len(tokens) <= keep:
        return tokens
    if merge:
        return tokens.reduce(BipartiteMerging().assign(tokens, keep))
    spread = (2 * torch.arange(keep, device=tokens.features.device) + 1) * len(tokens) // (2 * keep)
    return tokens.reduce(Assignment.keep(spread, len(tokens)))
