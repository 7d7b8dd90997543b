"""Run the paper's four slots in order, frames to visual tokens (B-VLLM, arXiv 2412.09919, Fig. 2).

The one pipeline: the model runs it, the embedded model is trained through it, the tables and all methods are
measured in it. It takes a batch of clips of any lengths and goes in two halves, because between them the
patches of the chosen frames are encoded, and of those only:

    choose_frames      frame features + question -> select_frames, merge_frames -> FrameSelection per clip
    reduce_to_budget   patches of chosen frames + question -> sample_tokens, merge_tokens -> Tokens per clip
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import grid_shape
from bvllm.stages.allocate import BudgetPolicy, ContentShare
from bvllm.stages.merge_frames import SimilarFrameMerging
from bvllm.stages.method import NO_SIGNALS, FrameMethod, Slot, TokenMethod, decide
from bvllm.stages.sample_tokens import Allocation, FrameSampling, Sampled, TokenStage, decide_in_groups
from bvllm.stages.select_frames import LearnedSelection
from bvllm.types import Budget, Clip, FrameSelection, Questions, Signals, Tokens


@dataclass(frozen=True)
class _EvenThinning(TokenMethod):
    """What an empty last slot does with tokens beyond the budget."""

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens",)
    paper: ClassVar[str] = "ours"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        return thin_evenly(len(tokens), keep, tokens.features.device)


EVEN_THINNING = _EvenThinning()
EVERY_PATCH = FrameSampling(None)
# Patches of some frames of a clip: (number of the clip, (n,) frames) -> (n, N, C).
PatchesOf = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Pipeline:
    """Four slots, always in this order; trained and untrained parts mix.

    What settles the same question everywhere:
    a token that was sampled counts once in merging, however many queries chose its frame; a frame that a
    method merged from several counts as many. Where duplicates do not merge, each row of S is a frame of its
    own. No path leaves more tokens than the budget: with the last slot
    empty, what is beyond it is thinned evenly. Without a budget policy a hard sampler shares the budget over
    the whole clip, not frame by frame, so frames may outnumber tokens.

    Attributes:
        select_frames: the trained selector, or a hard method; None keeps all frames.
        merge_frames: the paper's merging of the rows of S, or a hard method; None merges nothing, but
            the rows of a clip of one frame.
        sample_tokens: a `TokenStage`: the trained sampler, pooling, a connector, or a hard method
            (`PerClip`).
        merge_tokens: a hard method that ends on the budget; None thins evenly what is beyond it.
        policy: how many tokens each frame may keep; None leaves that to the slots.

    Example:
        >>> from bvllm.stages.merge_tokens import BipartiteMerging
        >>> patches = torch.randn(6, 16, 8)
        >>> pipeline = Pipeline(merge_tokens=BipartiteMerging())
        >>> clip = Clip(patches.mean(dim=1), torch.arange(6.0))
        >>> _, sampled = pipeline.run([clip], lambda _, frames: patches[frames], budget=Budget(tokens=10))
        >>> len(sampled.tokens[0])
        10
    """

    select_frames: LearnedSelection | FrameMethod | None = None
    merge_frames: SimilarFrameMerging | FrameMethod | None = None
    sample_tokens: TokenStage = EVERY_PATCH
    merge_tokens: TokenMethod | None = None
    policy: BudgetPolicy | None = None

    @property
    def needs_features(self) -> bool:
        """Whether frames must be encoded before any is chosen."""
        first, second = self.select_frames, self.merge_frames
        if isinstance(second, FrameMethod) and not second.blind:
            return True
        return isinstance(first, LearnedSelection) or (first is not None and not first.blind)

    def run(
        self,
        clips: Sequence[Clip],
        patches_of: PatchesOf,
        questions: Questions | None = None,
        *,
        budget: Budget,
        signals: Sequence[Signals] | None = None,
    ) -> tuple[list[FrameSelection], Sampled]:
        """Both halves, for clips whose patches can be had by frame."""
        selections = self.choose_frames(clips, questions, budget=budget, signals=signals)
        patches = torch.cat([mixed(partial_of(patches_of, k), s) for k, s in enumerate(selections)])
        return selections, self.reduce_to_budget(
            patches, selections, questions, budget=budget, signals=signals
        )

    def choose_frames(
        self,
        clips: Sequence[Clip],
        questions: Questions | None = None,
        *,
        budget: Budget,
        signals: Sequence[Signals] | None = None,
    ) -> list[FrameSelection]:
        """Which frames bear on the question, and which of those show the same thing (Sec. 3.2, 3.3).

        Args:
            clips: B clips of any lengths.
            questions: one for each clip, where a trained selector reads it.
            budget: `frames` is the most that are chosen of each clip.
            signals: what hard methods may see, one for each clip.

        Raises:
            ValueError: a method needs a signal that is not there.
        """
        signals = [NO_SIGNALS] * len(clips) if signals is None else signals
        signals = [replace(s, seconds=clip.seconds) for s, clip in zip(signals, clips)]
        first, second = self.select_frames, self.merge_frames
        if isinstance(first, LearnedSelection):
            rows = second if isinstance(second, SimilarFrameMerging) else None
            chosen = first.select(clips, questions, budget.frames, rows)
        else:
            chosen = [_select(first, clip, budget, s) for clip, s in zip(clips, signals)]
        if isinstance(second, FrameMethod):  # after a learned choice rows may be copies or mixtures
            chosen = [_merge(second, clip, c, budget, s) for clip, c, s in zip(clips, chosen, signals)]
        return chosen

    def reduce_to_budget(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        questions: Questions | None = None,
        *,
        budget: Budget,
        most: Sequence[int] | None = None,
        signals: Sequence[Signals] | None = None,
    ) -> Sampled:
        """Which patches of the chosen frames matter, folded together until they fit (Sec. 3.4).

        Args:
            patches: (sum F_i, N, C) one entry for each row of every selection.
            selections: B choices.
            questions: one for each clip, where a trained sampler reads it.
            budget: `tokens` bounds each clip.
            most: a tighter bound of each clip: what its prompt has room for.
            signals: what hard methods may see, one for each clip; relevance and grid are filled in.

        Raises:
            ValueError: patches are not those of the selections, or a method needs a signal that is not there.
        """
        check_frames(patches, selections)
        room = most or [budget.tokens] * len(selections)
        keep = [min(budget.tokens, m) for m in room]
        allocation = self._allocate(patches, selections, keep, signals)
        sampled = self.sample_tokens.sample(patches, selections, questions, allocation)
        fitted = [self._fit(t, allocation, k) for k, t in enumerate(sampled.tokens)]
        return Sampled(fitted, sampled.attention)

    def _allocate(
        self,
        patches: Tensor,
        selections: Sequence[FrameSelection],
        most: Sequence[int],
        signals: Sequence[Signals] | None,
    ) -> Allocation:
        """What each clip, and by the policy each of its frames, may spend."""
        each = patches.shape[1]
        per_frame = None
        policy = self.policy
        if policy is not None:
            known = selections
            if isinstance(policy, ContentShare):
                parts = torch.split(patches, [len(s) for s in selections])
                known = [policy.weighed(s, part) for s, part in zip(selections, parts)]
            per_frame = [policy.allocate(s, m, each).to(patches.device) for s, m in zip(known, most)]
        made = []
        for k, (own, s) in enumerate(zip(signals or [NO_SIGNALS] * len(selections), selections)):
            relevance = s.scores if own.relevance is None else own.relevance[s.frames]
            made.append(
                replace(
                    own,
                    relevance=relevance,
                    seconds=s.seconds.repeat_interleave(each),
                    grid=_grid(own, each),
                    tokens_per_frame=None if per_frame is None else per_frame[k],
                )
            )
        columns = _grid(made[0], each)[1] if made else None
        return Allocation(most, per_frame, made, columns)

    def _fit(self, tokens: Tokens, allocation: Allocation, number: int) -> Tokens:
        """At most so many tokens of one clip, and of each frame what the policy gave it: by the method in the
        last slot, else thinned evenly.
        """
        keep, method = allocation.most[number], self.merge_tokens or EVEN_THINNING
        if method.lands == "reorders":
            tokens = tokens.reduce(decide(method, tokens, len(tokens), NO_SIGNALS))
            method = EVEN_THINNING
        if len(tokens) <= keep:
            return tokens
        signals = carried(allocation.signals[number], tokens)
        per_frame = allocation.per_frame
        if per_frame is not None and not method.across and int(per_frame[number].sum()) <= keep:
            group, counts = tokens.by_frame()
            if len(counts) == len(per_frame[number]):
                return tokens.reduce(decide_in_groups(method, tokens, group, per_frame[number], signals))
        return tokens.reduce(decide(method, tokens, keep, signals))


def _grid(signals: Signals, patches: int) -> tuple[int, int]:
    """The tower's grid, or the shape nearest to a square where it holds other than the patches given."""
    grid = signals.grid
    return grid if grid is not None and grid[0] * grid[1] == patches else grid_shape(patches)


def carried(signals: Signals, tokens: Tokens) -> Signals:
    """What is known of patches, for tokens that are made of them: attention and keys are means, by weight.

    Example:
        >>> seen = Signals(attention=torch.tensor([0.1, 0.3, 0.6]))
        >>> joined = Assignment.merge(torch.tensor([0, 0, 2]))
        >>> tokens = Tokens.of(torch.eye(3)[None], torch.zeros(1)).reduce(joined)
        >>> carried(seen, tokens).attention.tolist()
        [0.20000000298023224, 0.6000000238418579]
    """
    if signals.attention is None and signals.keys is None:
        return replace(signals, seconds=tokens.seconds)
    origin = tokens.origin
    origin = replace(origin, weight=origin.weight.abs())
    whole = origin.combine(origin.weight.new_ones(origin.inputs))

    def of_tokens(known: Tensor | None) -> Tensor | None:
        if known is None or len(known) != origin.inputs:  # of other patches than the tokens are made of
            return None
        return origin.combine(known.float()) / whole.reshape(-1, *[1] * (known.ndim - 1))

    return replace(
        signals,
        seconds=tokens.seconds,
        attention=of_tokens(signals.attention),
        keys=of_tokens(signals.keys),
    )


def partial_of(patches_of: PatchesOf, clip: int) -> Callable[[Tensor], Tensor]:
    """`patches_of` for one clip."""
    return lambda frames: patches_of(clip, frames)


def mixed(patches_of: Callable[[Tensor], Tensor], selection: FrameSelection, *, least: float = 0.0) -> Tensor:
    """V* = S V (eq. 1) on the patches of one clip: (F, N, C), the chosen frames or their mixtures.

    Only frames that weigh anything are asked for: with a hard choice, the chosen ones.

    Args:
        patches_of: (n,) distinct frames, ascending -> (n, N, C).
        selection: rows over the frames.
        least: frames that weigh no more than this in every row are left out, and the rest of a row is scaled
            to a sum of 1: a soft choice puts a little weight on every frame of an hour.
    """
    frames = frames_needed(selection, least=least)
    patches = patches_of(frames)
    if not selection.is_mixture:
        if torch.equal(frames, selection.frames):  # as usual: different frames, oldest first
            return patches
        return patches[torch.searchsorted(frames, selection.frames)]
    share = selection.weights[:, frames]
    if least:
        share = share / share.sum(dim=1, keepdim=True)
    return torch.einsum("ft,tnc->fnc", share.to(patches.dtype), patches)


def frames_needed(selection: FrameSelection, *, least: float = 0.0) -> Tensor:
    """The distinct frames of one clip that `mixed` asks for, ascending."""
    weights = selection.weights
    if not selection.is_mixture:
        found: Tensor = torch.unique(selection.frames)
        return found
    if weights.requires_grad and not least:  # a weight that rounds to nothing still learns
        return torch.arange(weights.shape[1], device=weights.device)
    return (weights.detach().abs() > least).any(dim=0).nonzero()[:, 0]


def check_frames(patches: Tensor, selections: Sequence[FrameSelection]) -> None:
    """One entry of patches for each chosen row.

    Raises:
        ValueError: there are more or fewer.
    """
    chosen = sum(len(s) for s in selections)
    if len(patches) != chosen:
        raise ValueError(
            f"patches must be given for the {chosen} chosen frames, got {len(patches)}: "
            "one entry for each row of every selection, in order"
        )


def thin_evenly(count: int, keep: int, device: torch.device | None = None) -> Assignment:
    """Keep the middle ones of `keep` equal parts of a sequence.

    Example:
        >>> thin_evenly(9, 3).anchor.tolist()
        [1, 4, 7]
    """
    spread = (2 * torch.arange(keep, device=device) + 1) * count // (2 * keep)
    return Assignment.keep(spread, count)


def _select(method: FrameMethod | None, clip: Clip, budget: Budget, signals: Signals) -> FrameSelection:
    if method is None:
        return FrameSelection.of(torch.arange(len(clip), device=clip.seconds.device), clip.seconds)
    plan = decide(method, clip, budget.frames, signals)
    if isinstance(plan, Assignment) and len(plan) == int((plan.target >= 0).sum()):
        return FrameSelection.of(plan.anchor, clip.seconds)
    return _select(None, clip, budget, signals).reduce(plan)


def _merge(
    method: FrameMethod, clip: Clip, chosen: FrameSelection, budget: Budget, signals: Signals
) -> FrameSelection:
    """What a method makes of the chosen frames, which it sees as a clip of their own."""
    weights = chosen.weights.detach().to(clip.features.dtype)
    features = clip.features[chosen.frames] if not chosen.is_mixture else weights @ clip.features
    shown = replace(
        signals,
        seconds=chosen.seconds,
        relevance=chosen.scores if signals.relevance is None else signals.relevance[chosen.frames],
    )
    plan = decide(method, Clip(features, chosen.seconds), min(budget.frames, len(chosen)), shown)
    return chosen.reduce(plan)
