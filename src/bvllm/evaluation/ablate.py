"""Find out what an answer rests on: ask again with one part's input swapped, and see what the answers lose.

A swap stands between the caller and any model behind the model interface, so it says of every family the same
thing. A part whose swap costs nothing carries nothing.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from bvllm.inference.model import AskedQuestion, ReducesStream, VideoModel, VisualTokens
from bvllm.methods.names import MethodNames
from bvllm.stages.patch_signals import PatchSignals
from bvllm.types import Budget, FrameSelection

SEED = 20


@dataclass(frozen=True)
class Ablated:
    """A model of which one part gets another input; everything else is the model's own.

    Attributes:
        loaded: the model.
        swap_selection: another choice of frames in place of the model's; None keeps it.
        swap_question: what samples the tokens of a frame reads in place of the question; None keeps it.
        swap_tokens: other visual tokens for the language model; None keeps them.
        copy_frame: whether the first chosen frame is seen in the place of every other.
        roll_scores: whether what is kept of a frame goes by the scores of the one before it.
    """

    loaded: VideoModel
    swap_selection: Callable[[FrameSelection], FrameSelection] | None = None
    swap_question: AskedQuestion | None = None
    swap_tokens: Callable[[VisualTokens], VisualTokens] | None = None
    copy_frame: bool = False
    roll_scores: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loaded, name)

    def select(
        self, features: Tensor, seconds: Tensor, asked: AskedQuestion, budget: Budget, methods: MethodNames
    ) -> FrameSelection:
        """The model's choice, or what takes its place."""
        found = self.loaded.select(features, seconds, asked, budget, methods)
        return found if self.swap_selection is None else self.swap_selection(found)

    def reduce(
        self,
        patches: Tensor,
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
        seen: PatchSignals | None = None,
    ) -> VisualTokens:
        """The model's tokens, for another question or swapped."""
        question = self.swap_question or asked
        if self.copy_frame:
            patches, seen = (
                patches[:1].expand_as(patches),
                _of_each(seen, lambda known: known[:1].expand_as(known)),
            )
        if self.roll_scores:
            if seen is None:
                raise _no_scores(self.loaded.name)
            seen = _of_each(seen, lambda known: known.roll(1, dims=0))
        known = () if seen is None else (seen,)
        return self._swapped(self.loaded.reduce(patches, selection, question, budget, methods, *known))

    def _swapped(self, found: VisualTokens) -> VisualTokens:
        return found if self.swap_tokens is None else self.swap_tokens(found)


@dataclass(frozen=True)
class AblatedStream(Ablated):
    """The same of a model that takes frames one by one, which else would be asked past the swaps."""

    def reduce_stream(
        self,
        patches: Iterable[Tensor],
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
    ) -> VisualTokens:
        """The model's tokens, for another question or swapped; see `ReducesStream`."""
        model = self.loaded
        assert isinstance(model, ReducesStream)
        given, scored = iter(patches), None
        if self.copy_frame:
            given = _first_again(given, len(selection))
        if self.roll_scores:
            if not model.scores_patches or model.methods(methods)["sample_tokens"] != "dynamic":
                raise _no_scores(model.name)
            kept = list(given)
            given, scored = iter(kept), [*kept[-1:], *kept[:-1]]
        question = self.swap_question or asked
        return self._swapped(model.reduce_stream(given, selection, question, budget, methods, scored))


def _first_again(patches: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """The first of some frames, so many times; the others are not even encoded."""
    return repeat(next(patches), count)


def _of_each(seen: PatchSignals | None, change: Callable[[Tensor], Tensor]) -> PatchSignals | None:
    """The same change to everything that is known of the frames."""
    return (
        None if seen is None else PatchSignals(*(None if known is None else change(known) for known in seen))
    )


def _no_scores(name: str) -> ValueError:
    return ValueError(
        f"ablation 'other-scores' must be asked of a model that prunes or a method that goes by attention, "
        f"got {name!r}, where nothing scores the patches of a frame: leave it out"
    )


def copied_tokens(visual: VisualTokens) -> VisualTokens:
    """The first token of every frame in the place of all its tokens."""
    features = []
    for tokens, given in zip(visual.tokens, visual.pooler_output):
        row, counts = tokens.by_frame()
        first = counts.cumsum(0) - counts
        features.append(given[first.to(given.device)[row.to(given.device)]])
    return replace(visual, pooler_output=features)


def no_tokens(visual: VisualTokens) -> VisualTokens:
    """As many tokens of zeros: what the question alone gives away."""
    return replace(visual, pooler_output=[torch.zeros_like(given) for given in visual.pooler_output])


def one_frame(selection: FrameSelection) -> FrameSelection:
    """The frame of which the selection was surest, alone; the first of equals."""
    best = int(selection.scores.argmax())
    rows = {
        name: getattr(selection, name)[best : best + 1]
        for name in ("weights", "frames", "seconds", "size", "scores")
    }
    sources = None if selection.sources is None else selection.sources[best : best + 1]
    return replace(selection, **rows, sources=sources)


def shuffled_time(selection: FrameSelection) -> FrameSelection:
    """The same frames in another order, while the times stay where they are: each frame has a wrong one."""
    count = len(selection)
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(count, generator=generator)
    if count > 1 and torch.equal(order, torch.arange(count)):
        order = order.roll(1)
    rows = {name: getattr(selection, name)[order] for name in ("weights", "frames", "size", "scores")}
    sources = None if selection.sources is None else selection.sources[order]
    return replace(selection, **rows, sources=sources)


# What is swapped, in words; `other-question` needs another row of the benchmark.
ABLATIONS: dict[str, str] = {
    "token-copies": "the first token of each frame stands in the place of all its tokens",
    "other-question": "what samples the tokens of a frame reads another row's question",
    "blind": "the language model sees no tokens but zeros",
    "single-frame": "only the frame of which the selection was surest is seen",
    "shuffled-time": "the chosen frames trade places, and so have wrong times",
    "frame-copies": "the first chosen frame is seen in the place of every other, at their times",
    "other-scores": "what is kept of a frame goes by the scores, or the attention, of the frame before it",
}


def check_ablations(names: Sequence[str]) -> tuple[str, ...]:
    """The names, if there are such ablations.

    Raises:
        ValueError: there is none of a name; the nearest is suggested.

    Example:
        >>> check_ablations(["blind"])
        ('blind',)
    """
    for name in names:
        if name not in ABLATIONS:
            near = difflib.get_close_matches(name, ABLATIONS, n=1)
            raise ValueError(
                f"ablation must be one of {', '.join(ABLATIONS)}, got {name!r}: "
                + (f"did you mean {near[0]!r}?" if near else "use one of these")
            )
    return tuple(dict.fromkeys(names))


def ablated(name: str, loaded: VideoModel, other: AskedQuestion) -> VideoModel:
    """The model with one part swapped.

    Args:
        name: a key of `ABLATIONS`.
        loaded: the model.
        other: another row's question, as the model reads it.
    """
    swaps: dict[str, dict[str, Any]] = {
        "token-copies": {"swap_tokens": copied_tokens},
        "other-question": {"swap_question": other},
        "blind": {"swap_tokens": no_tokens},
        "single-frame": {"swap_selection": one_frame},
        "shuffled-time": {"swap_selection": shuffled_time},
        "frame-copies": {"copy_frame": True},
        "other-scores": {"roll_scores": True},
    }
    kind = AblatedStream if isinstance(loaded, ReducesStream) else Ablated
    return kind(loaded, **swaps[name])
