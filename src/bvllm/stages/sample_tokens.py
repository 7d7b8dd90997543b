"""Spatial token sampling (B-VLLM, arXiv 2412.09919, Sec. 3.4): R tokens of a frame, by the question.

Whatever fills the slot is a `TokenStage`: it takes the chosen frames of a whole batch and gives each clip's
tokens. Trained samplers run once for the batch; hard methods (`PerClip`) decide clip by clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import grid_pooling_weights, grid_shape
from bvllm.primitives.reduction import Reduction
from bvllm.stages.method import Kind, Lands, Slot, TokenMethod, decide
from bvllm.stages.qformer import QFormer
from bvllm.stages.reading import NOTHING, Reading
from bvllm.stages.resampler import Resampler
from bvllm.types import FrameSelection, Questions, SignalName, Signals, Step, Tokens

TOKENS_PER_FRAME = 32  # R in B-VLLM, Sec. 7.4


class TokenSampler(nn.Module):
    """The spatial Q-Former: learned queries read the patches of one frame and the question.

    Attributes:
        width: H, the channels of a token.

    Args:
        reader: turns N patches into R tokens.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.4.

    Example:
        >>> sampler = TokenSampler(Resampler(6, 8, num_queries=3))
        >>> [tuple(made.shape) for made in sampler(torch.randn(2, 16, 6))]
        [(2, 3, 8), (2, 3, 16)]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens",)
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.09919"
    needs: ClassVar[frozenset[SignalName]] = frozenset()  # words come to it as tokens, beside the patches
    reads: ClassVar[Reading] = NOTHING
    lands: ClassVar[Lands] = "exact"
    kind: ClassVar[Kind] = "queries"
    learned: ClassVar[bool] = True

    def __init__(self, reader: QFormer | Resampler) -> None:
        super().__init__()
        self.reader = reader
        self.width = reader.width

    def forward(
        self, patches: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample every frame of the batch, in one call of the reader.

        Args:
            patches: (F, N, C).
            question_ids, question_mask: (F, Q) the question of the clip each frame belongs to.

        Returns:
            tokens (F, R, H), and attention (F, R, N): how much of each patch went into each token.
        """
        tokens, attention = self.reader(patches, None, question_ids, question_mask, output_attentions=True)
        if attention is None:
            raise RuntimeError(
                "reader must return its attention maps, got None: honour output_attentions=True"
            )
        return tokens, attention


class PooledTokens(nn.Module):
    """Adaptive average pooling to R tokens: a stand-in for spatial sampling, ours: it reads no question.

    The grid of patches is pooled to the grid nearest to a square that holds R tokens (32 = 4 x 8).

    Args:
        tokens: R.
        columns: patches in a row of the grid; None takes the shape nearest to a square.

    Source: ours; it stands where B-VLLM (arXiv 2412.09919), Sec. 3.4, has its spatial Q-Former.

    Example:
        >>> tokens, _ = PooledTokens(1)(torch.arange(4.0).view(1, 4, 1))
        >>> tokens.flatten().tolist()
        [1.5]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens",)
    paper: ClassVar[str] = "ours"
    needs: ClassVar[frozenset[SignalName]] = frozenset()
    reads: ClassVar[Reading] = NOTHING
    lands: ClassVar[Lands] = "exact"
    kind: ClassVar[Kind] = "patches"
    learned: ClassVar[bool] = False

    def __init__(self, tokens: int = TOKENS_PER_FRAME, columns: int | None = None) -> None:
        super().__init__()
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens}: a frame needs one to be seen")
        self.tokens, self.columns = tokens, columns

    def forward(
        self, patches: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `TokenSampler.forward`; the question is not read and the width stays C."""
        if patches.ndim != 3:
            raise ValueError(
                f"patches must be (frames, patches, channels), got shape {tuple(patches.shape)}: stack frames"
            )
        weights = grid_pooling_weights(
            patches.shape[1], self.tokens, patches.device, columns=self.columns
        ).to(patches.dtype)
        return weights @ patches, weights.expand(len(patches), -1, -1)


@dataclass(frozen=True)
class Sampled:
    """Tokens of B clips before the budget.

    Attributes:
        tokens: of each clip.
        attention: (F_i, R, N) of each clip, how much of each patch went into each token of each frame; None
            where tokens are not made frame by frame. `Tokens.origin` says the same of any stage.
    """

    tokens: list[Tokens]
    attention: list[Tensor] | None = None


class TokenStage(Protocol):
    """What fills the slot `sample_tokens`."""

    def sample(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None,
        allocation: "Allocation",
    ) -> Sampled:
        """Turn the chosen frames of B clips into tokens.

        Args:
            patches: (sum F_i, N, C) one entry for each row of every selection.
            selections: B choices of frames.
            questions: one for each clip.
            allocation: what each clip may spend, and what a method may see.
        """
        ...


@dataclass(frozen=True)
class Allocation:
    """What B clips may spend, as the budget policy laid it down.

    Attributes:
        most: tokens of each clip.
        per_frame: (F_i,) how many each frame of a clip may keep; None leaves that to the stage.
        signals: what methods may see, one for each clip.
        columns: patches in a row of the grid; None takes the shape nearest to a square.
    """

    most: Sequence[int]
    per_frame: Sequence[Tensor] | None
    signals: Sequence[Signals]
    columns: int | None = None


@dataclass(frozen=True)
class FrameSampling:
    """A module that turns each frame into R tokens: the trained sampler, pooling, or every patch as it is.

    Attributes:
        sampler: (F, N, C) patches and the question of each frame -> tokens (F, R, H), attention (F, R, N);
            None keeps every patch.
    """

    sampler: nn.Module | None

    def sample(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None,
        allocation: Allocation,
    ) -> Sampled:
        """See `TokenStage.sample`. Of a frame that may keep fewer than R tokens, the first ones stay.

        Without a sampler all patches stay, whatever a policy gave their frames: the first ones would be the
        top of the picture. The last slot brings them down to it.
        """
        ids, mask = questions_per_frame(questions, selections)
        per_frame = None if self.sampler is None else allocation.per_frame
        tokens, attention = every_patch(patches) if self.sampler is None else self.sampler(patches, ids, mask)
        return tokens_of_clips(tokens, attention, selections, per_frame, columns=allocation.columns)


@dataclass(frozen=True)
class PerClip:
    """A hard method in the slot: it keeps `most` tokens of a clip, or of each frame what the policy gave it.

    A method that weighs frames against one another (`across`) always sees the whole clip.

    Attributes:
        method: decides.
    """

    method: TokenMethod

    def sample(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None,
        allocation: Allocation,
    ) -> Sampled:
        """See `TokenStage.sample`; the question reaches a method through its signals."""
        counts = [len(selection) for selection in selections]
        made = []
        for k, (part, selection) in enumerate(zip(torch.split(patches, counts), selections)):
            tokens = Tokens.of(
                part,
                selection.seconds.to(part.device),
                selection.frames.to(part.device),
                size=selection.source_count.to(part.device),
                columns=allocation.columns or grid_shape(part.shape[1])[1],
            )
            if allocation.per_frame is None or self.method.across:
                plan = decide(self.method, tokens, allocation.most[k], allocation.signals[k])
            else:
                groups = torch.arange(len(part), device=part.device).repeat_interleave(part.shape[1])
                plan = decide_in_groups(
                    self.method, tokens, groups, allocation.per_frame[k], allocation.signals[k]
                )
            made.append(tokens.reduce(plan))
        return Sampled(made)


def decide_in_groups(
    method: TokenMethod, tokens: Tokens, group: Tensor, keep: Tensor, signals: Signals
) -> Assignment | Reduction:
    """Ask a method about each frame on its own, and put its plans side by side.

    Args:
        method: decides.
        tokens: of one clip.
        group: (K,) which of F frames each token belongs to, ascending.
        keep: (F,) how many each frame may keep; a frame of 0 is left out.
        signals: of the clip; entries for each token are cut to those of the frame.

    Raises:
        ValueError: no frame may keep any.
    """
    if not bool((keep > 0).any()):
        raise ValueError("tokens per frame must leave at least 1 token, got none: raise the budget")
    parts: list[Reduction] = []
    places: list[Tensor] = []
    for number, count in enumerate(keep.tolist()):
        mine = (group == number).nonzero()[:, 0]
        if not count or not len(mine):
            continue
        plan = decide(method, tokens.at(mine), count, signals.at(mine, int(tokens.chosen[mine[0]])))
        parts.append(plan if isinstance(plan, Reduction) else plan.reduction(tokens.size[mine]))
        places.append(mine)
    starts = torch.tensor([len(part) for part in parts]).cumsum(0) - torch.tensor([len(p) for p in parts])
    return Reduction.of(
        torch.cat([part.output + int(start) for part, start in zip(parts, starts)]),
        torch.cat([place[part.input] for part, place in zip(parts, places)]),
        torch.cat([part.weight for part in parts]),
        sum(len(part) for part in parts),
        len(tokens),
    )


def every_patch(patches: Tensor) -> tuple[Tensor, Tensor]:
    """No sampling: each token is its patch, with attention on it alone."""
    count = patches.shape[1]
    return patches, torch.eye(count, device=patches.device).expand(len(patches), -1, -1)


def questions_per_frame(
    questions: Questions | None, selections: Sequence[FrameSelection]
) -> tuple[Tensor | None, Tensor | None]:
    """(B, Q) questions -> (sum F_i, Q): every frame is read with the question of its clip.

    Raises:
        ValueError: there is not one question per clip.
    """
    if questions is None:
        return None, None
    ids, mask = questions
    if len(ids) != len(selections):
        raise ValueError(
            f"question_ids must be given for {len(selections)} clips, got {len(ids)}: one row each"
        )
    counts = torch.tensor([len(s) for s in selections], device=ids.device)
    return ids.repeat_interleave(counts, 0), mask.repeat_interleave(counts, 0)


def tokens_of_clips(
    sampled: Tensor,
    attention: Tensor,
    selections: Sequence[FrameSelection],
    per_frame: Sequence[Tensor] | None = None,
    *,
    columns: int | None = None,
) -> Sampled:
    """Cut a batch (sum F_i, R, H) into clips, each token with its time and place.

    Args:
        per_frame: (F_i,) how many of its first tokens each frame keeps; all where None.
        columns: patches in a row of the grid; None takes the shape nearest to a square.
    """
    counts = [len(s) for s in selections]
    columns = columns or grid_shape(attention.shape[-1])[1]
    tokens, maps = [], []
    cut = zip(torch.split(sampled, counts), torch.split(attention, counts), selections)
    for k, (part, looks, s) in enumerate(cut):
        seconds, frames = s.seconds.to(part.device), s.frames.to(part.device)
        kept = None if per_frame is None else per_frame[k].tolist()
        if kept is not None and len(set(kept)) == 1:  # as many of each frame: nothing to pick apart
            part, looks, kept = part[:, : kept[0]], looks[:, : kept[0]], None
        maps.append(looks)
        bag = sampled_tokens(part, looks, seconds, frames, columns)
        if kept is not None:
            each = part.shape[1]
            index = [f * each + r for f, count in enumerate(kept) for r in range(min(count, each))]
            plan = Assignment.keep(torch.tensor(index, device=part.device), len(bag))
            bag = bag.reduce(plan)
        tokens.append(bag)
    return Sampled(tokens, maps)


def sampled_tokens(
    tokens: Tensor, attention: Tensor, seconds: Tensor, frames: Tensor, columns: int
) -> Tokens:
    """R tokens of each of F frames as one bag, each with the place of its highest attention.

    Args:
        tokens: (F, R, H) what was sampled.
        attention: (F, R, N) how much of each patch went into each token.
        seconds, frames: (F,) time and sampled index of each frame.
        columns: patches in a row of the grid.

    Example:
        >>> bag = sampled_tokens(torch.zeros(2, 1, 8), torch.eye(4)[None, 3:].expand(2, -1, -1),
        ...     seconds=torch.tensor([2.0, 7.0]), frames=torch.tensor([2, 7]), columns=2)
        >>> bag.frame.tolist(), bag.row.tolist(), bag.column.tolist()
        ([2, 7], [1, 1], [1, 1])
    """
    if attention.shape[:2] != tokens.shape[:2] or not len(tokens) == len(seconds) == len(frames):
        raise ValueError(
            "tokens, attention, seconds and frames must be of the same frames, got shapes "
            f"{[tuple(x.shape) for x in (tokens, attention, seconds, frames)]}: sample every frame once"
        )
    each = tokens.shape[1]
    row, column = most_attended(attention, columns)
    return Tokens(
        tokens.flatten(0, 1),
        seconds.repeat_interleave(each),
        torch.ones(tokens.shape[0] * each, device=tokens.device),
        frames.repeat_interleave(each),
        row.flatten(),
        column.flatten(),
        torch.arange(len(tokens), device=tokens.device).repeat_interleave(each),
        (Step(attention),),
    )


def most_attended(attention: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The patch of each token's highest attention: (F, R, N) -> its row (F, R) and column (F, R).

    Example:
        >>> import torch
        >>> row, column = most_attended(torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]), columns=2)
        >>> row.tolist(), column.tolist()
        ([[1]], [[1]])
    """
    if columns < 1 or attention.shape[-1] % columns:
        raise ValueError(
            f"columns must divide the {attention.shape[-1]} patches of a frame, got {columns}: "
            "pass the grid's width"
        )
    patch = attention.argmax(dim=-1)
    return patch // columns, patch % columns
