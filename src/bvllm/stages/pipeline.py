"""From encoded frames to visual tokens: the paper's four slots in order (B-VLLM, arXiv 2412.09919, Fig. 2).

For one clip whose patch features are all there: tests, and methods that need no training. The model takes the
same steps for a batch, and encodes the patches of the chosen frames only.
"""

from typing import Literal, Protocol

import torch
from torch import Generator, Tensor, nn

from bvllm.primitives.assignment import DROP, Assignment
from bvllm.primitives.choice import TAU, Mode, choose
from bvllm.stages.merge_frames import SimilarFrameMerging, order_by_time
from bvllm.stages.sample_tokens import PooledTokens, TokenSampler, most_attended
from bvllm.stages.select_frames import FrameSelector
from bvllm.types import Budget, Clip, FrameSelection, Tokens


class ClipMethod(Protocol):
    """A hard reduction of frames."""

    def assign(self, clip: Clip, keep: int) -> Assignment:
        """Decide what becomes of every frame."""


class TokenMethod(Protocol):
    """A hard reduction of tokens."""

    def assign(self, tokens: Tokens, keep: int) -> Assignment:
        """Decide what becomes of every token."""


class Pipeline(nn.Module):
    """Four slots, always in this order; any of them may be empty. Learned and untrained parts mix.

    Args:
        select_frames: the paper's selector, or a method that keeps at most `budget.frames`.
        merge_frames: the paper's merging of the rows of S, or a method that looks at the frames.
        sample_tokens: the paper's sampler, pooling, or a method that keeps each frame's share of the budget.
        merge_tokens: a method that ends on `budget.tokens`.
        choice: how the selector chooses in training; at inference it is always the arg-max.
        tau: temperature of that choice (Sec. 4: 0.1).

    Example:
        >>> from bvllm.stages.merge_tokens import BipartiteMerging
        >>> clip = Clip.of(torch.randn(6, 16, 8), seconds=torch.arange(6.0))
        >>> pipeline = Pipeline(sample_tokens=PooledTokens(4), merge_tokens=BipartiteMerging())
        >>> len(pipeline(clip, Budget(tokens=10)))
        10
    """

    def __init__(
        self,
        *,
        select_frames: FrameSelector | ClipMethod | None = None,
        merge_frames: SimilarFrameMerging | ClipMethod | None = None,
        sample_tokens: TokenSampler | PooledTokens | TokenMethod | None = None,
        merge_tokens: TokenMethod | None = None,
        choice: Literal["gumbel", "softmax"] = "gumbel",
        tau: float = TAU,
    ) -> None:
        super().__init__()
        self.select_frames = select_frames
        self.merge_frames = merge_frames
        self.sample_tokens = sample_tokens
        self.merge_tokens = merge_tokens
        self.choice: Literal["gumbel", "softmax"] = choice
        self.tau = tau

    def forward(
        self,
        clip: Clip,
        budget: Budget,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
    ) -> Tokens:
        """Spend one budget on one clip, by the question (1, Q) where a slot reads it."""
        clip = self._frames(clip, budget, question_ids, question_mask)
        tokens = self._sample(clip, budget, question_ids, question_mask)
        if self.merge_tokens is None:
            return tokens
        return tokens.reduce(self.merge_tokens.assign(tokens, budget.tokens))

    def _frames(self, clip: Clip, budget: Budget, ids: Tensor | None, question_mask: Tensor | None) -> Clip:
        """Which frames bear on the question, and which of those show the same thing?"""
        if isinstance(self.select_frames, FrameSelector):
            mask = torch.ones(1, len(clip), dtype=torch.bool, device=clip.seconds.device)
            cls = clip.features.mean(dim=1)[None]  # a clip has no [CLS]: the mean of its patches stands in
            logits = self.select_frames(cls, mask, clip.seconds[None], ids, question_mask)[0]
            merging = self.merge_frames if isinstance(self.merge_frames, SimilarFrameMerging) else None
            mode = self.choice if self.training else "hard"
            clip = take_frames(
                clip,
                select(logits, clip.seconds, keep=budget.frames, merging=merging, mode=mode, tau=self.tau),
            )
        elif self.select_frames is not None:
            clip = clip.reduce(self.select_frames.assign(clip, min(budget.frames, len(clip))))
        if self.merge_frames is None or isinstance(self.merge_frames, SimilarFrameMerging):
            return clip  # rows of S without a learned choice are one-hot and distinct
        return clip.reduce(self.merge_frames.assign(clip, min(budget.frames, len(clip))))

    def _sample(self, clip: Clip, budget: Budget, ids: Tensor | None, mask: Tensor | None) -> Tokens:
        """Which patches matter? The fewer frames are left, the more tokens a method may keep of each."""
        if isinstance(self.sample_tokens, TokenSampler | PooledTokens):
            frames = len(clip)
            ids = None if ids is None else ids.expand(frames, -1)
            mask = None if mask is None else mask.expand(frames, -1)
            sampled, attention = self.sample_tokens(clip.features, ids, mask)
            return sampled_tokens(sampled, attention, clip.seconds, clip.index, clip.columns)
        tokens = clip.tokens()
        if self.sample_tokens is None:
            return tokens
        share = min(budget.per_frame(len(clip)) * len(clip), len(tokens))
        return tokens.reduce(self.sample_tokens.assign(tokens, share))


def select(
    logits: Tensor,
    seconds: Tensor,
    *,
    keep: int | None = None,
    merging: SimilarFrameMerging | None = None,
    mode: Mode = "hard",
    tau: float = TAU,
    certainty: float = 0.0,
    generator: Generator | None = None,
) -> FrameSelection:
    """Sec. 3.2 and 3.3 for one clip: choose, put in the order of time, merge what is the same.

    Args:
        logits: (L, T) what every query thinks of every frame of the clip, without padding.
        seconds: (T,) presentation times, ascending.
        keep: how many queries may choose, the first ones; None lets all choose.
        merging: how duplicates merge; None keeps one row per query.
        mode, tau, generator: see `choose`.
        certainty: rows stay whose score is at least this share of the best one's; 0 keeps all. Above 0 the
            number of frames follows from the question, and the number of queries is only the most.

    Returns:
        Rows in the order of the frames they stand on.

    Example:
        >>> chosen = select(torch.tensor([[0.0, 9.0], [9.0, 0.0], [0.0, 9.0]]), torch.tensor([0.0, 1.0]),
        ...     merging=SimilarFrameMerging())
        >>> chosen.frames.tolist(), chosen.size.tolist()
        ([0, 1], [1.0, 2.0])
    """
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}: raise budget.frames")
    S = choose(logits[:keep], tau=tau, mode=mode, generator=generator)
    order = order_by_time(S, seconds)
    S = S[order]
    plan = Assignment.identity(len(S), S.device) if merging is None else merging.assign(S)
    once = torch.ones(len(S), device=S.device)
    weights = plan.mean(S, once)
    frames = weights.argmax(dim=-1)
    kept = plan.target != DROP
    target = plan.target[kept]
    trust = logits[:keep][order].detach().float().softmax(dim=-1)[kept]
    sure = trust.gather(1, frames[target, None])[:, 0]
    scores = sure.new_zeros(len(plan)).scatter_reduce(0, target, sure, "amax")
    # A soft row may stand on a frame before that of an earlier row; the tokens' clock must not run back.
    rows = frames.argsort(stable=True)
    rows = rows[scores[rows] >= certainty * scores.max()]
    frames = frames[rows]
    return FrameSelection(weights[rows], frames, seconds[frames], plan.sum(once)[rows], scores[rows], logits)


def take_frames(clip: Clip, selection: FrameSelection) -> Clip:
    """V* = S V (eq. 1) on the patches: the chosen frames, or their mixtures while the choice is soft."""
    if not selection.weights.requires_grad and bool((selection.weights.amax(dim=-1) == 1).all()):
        # One-hot rows: the product would read every token of the video to copy a few frames.
        return Clip(
            clip.features.index_select(0, selection.frames),
            selection.seconds,
            selection.size,
            clip.index[selection.frames],
        )
    weights = selection.weights.to(clip.features.dtype)
    features = (weights @ clip.features.flatten(1)).reshape(len(selection), *clip.features.shape[1:])
    return Clip(features, selection.seconds, selection.size, clip.index[selection.frames])


def sampled_tokens(
    tokens: Tensor, attention: Tensor, seconds: Tensor, frames: Tensor, columns: int
) -> Tokens:
    """R tokens of each of F frames as one bag, each with the place it looked at most.

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
    )
