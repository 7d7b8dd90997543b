"""Let a language model answer several questions at once, each behind a clip that was read before.

One step for eight answers costs little more than a step for one: what a small model spends its time on is
starting kernels, and a large one on reading its weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, StoppingCriteria
from transformers.cache_utils import DynamicLayer

from bvllm.inference.hearing import Hear
from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.inference.session import PromptCache


@dataclass(frozen=True)
class Turn:
    """One of the questions.

    Attributes:
        asked, visual: as for `VideoModel.generate`.
        prompt: holds, or takes, the states of the prompt's beginning.
        hear: is told of every token.
        given_up: whether nobody waits for the answer any more.
    """

    asked: AskedQuestion
    visual: VisualTokens
    prompt: PromptCache
    hear: Hear
    given_up: Callable[[], bool]


@runtime_checkable
class AnswersTogether(Protocol):
    """A model that can answer several questions at once."""

    def read_ahead(self, turn: Turn) -> None:
        """Read a prompt's beginning, so that `answer_together` finds its states there."""
        ...

    def answer_together(self, turns: Sequence[Turn], max_new_tokens: int) -> list[str]:
        """To each question what `generate` says to it alone, but for the rounding of sums."""
        ...


@dataclass(frozen=True)
class Beginnings:
    """Prompts side by side, padded on the left, both what was read and what was not.

    Attributes:
        ids: (B, P + Q) the prompts; the first P columns are in `states`.
        mask: (B, P + Q) 0 where there is padding.
        states: keys and values of P columns.
    """

    ids: Tensor
    mask: Tensor
    states: DynamicCache


def can_stand_together(states: DynamicCache) -> bool:
    """Whether every layer keeps all keys and values, so that padding can be put in front of them."""
    return all(type(layer) is DynamicLayer for layer in states.layers)


def side_by_side(ids: Sequence[Tensor], states: Sequence[DynamicCache], padding: int) -> Beginnings:
    """Prompts of different lengths as one batch.

    Keys carry their positions from when they were read, so they may be moved to the right.

    Args:
        ids: (1, S_i) whole prompts.
        states: of their first P_i < S_i tokens; copied.
        padding: a token that attention never sees.
    """
    read = [cache.get_seq_length() for cache in states]
    first = _pad([row[:, :n] for row, n in zip(ids, read)], padding)
    rest = _pad([row[:, n:] for row, n in zip(ids, read)], padding)
    masks = [
        _pad([torch.ones_like(row[:, part]) for row, part in zip(ids, parts)], 0)
        for parts in ([slice(None, n) for n in read], [slice(n, None) for n in read])
    ]
    together = DynamicCache()
    for number in range(len(states[0].layers)):
        keys = [cache.layers[number].keys for cache in states]
        values = [cache.layers[number].values for cache in states]
        together.update(_stack(keys), _stack(values), number)
    return Beginnings(torch.cat([first, rest], dim=1), torch.cat(masks, dim=1), together)


class GivenUp(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Ends the rows that nobody waits for any more, between two tokens."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.tensor([turn.given_up() for turn in self._turns], device=input_ids.device)


def _pad(rows: Sequence[Tensor], fill: int) -> Tensor:
    """(1, n_i) rows -> (B, max n_i)."""
    longest = max(row.shape[1] for row in rows)
    return torch.cat([functional.pad(row, (longest - row.shape[1], 0), value=fill) for row in rows])


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """(1, heads, n_i, d) -> (B, heads, max n_i, d)."""
    longest = max(part.shape[2] for part in parts)
    return torch.cat([functional.pad(part, (0, 0, longest - part.shape[2], 0)) for part in parts])
