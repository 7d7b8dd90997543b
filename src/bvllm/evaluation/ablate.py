"""Find out what an answer rests on: ask again with one part's input swapped, and see what the answers lose.

A swap stands between the caller and any model behind the model interface, so it says of every family the same
thing. A part whose swap costs nothing carries nothing.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bvllm.inference.model import AskedQuestion, VideoModel, VisualTokens
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
    """

    loaded: VideoModel
    swap_selection: Callable[[FrameSelection], FrameSelection] | None = None
    swap_question: AskedQuestion | None = None
    swap_tokens: Callable[[VisualTokens], VisualTokens] | None = None

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
        question, known = self.swap_question or asked, () if seen is None else (seen,)
        found = self.loaded.reduce(patches, selection, question, budget, methods, *known)
        return found if self.swap_tokens is None else self.swap_tokens(found)


def copied_tokens(visual: VisualTokens) -> VisualTokens:
    """The first token of every frame in the place of all its tokens."""
    features = []
    for tokens, given in zip(visual.tokens, visual.pooler_output):
        _, row = torch.unique_consecutive(tokens.frame, return_inverse=True)
        first = torch.searchsorted(row, torch.arange(int(row.max()) + 1, device=row.device))
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
    }
    return Ablated(loaded, **swaps[name])
