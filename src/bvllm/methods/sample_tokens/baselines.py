"""Keep evenly spaced or random tokens: what every method must beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.method import Slot, TokenMethod
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class UniformTokens(TokenMethod):
    """Keep evenly spaced tokens in reading order.

    Example:
        >>> tokens = Tokens.of(torch.zeros(1, 9, 2), torch.zeros(1))
        >>> UniformTokens().assign(tokens, 3, Signals()).anchor.tolist()
        [1, 4, 7]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens", "merge_tokens")
    paper: ClassVar[str] = "ours"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        return thin_evenly(len(tokens), keep, tokens.features.device)


@dataclass(frozen=True)
class RandomTokens(TokenMethod):
    """Keep tokens drawn at random, the same ones for the same seed.

    Example:
        >>> tokens = Tokens.of(torch.zeros(1, 9, 2), torch.zeros(1))
        >>> first, again = (RandomTokens().assign(tokens, 3, Signals(seed=7)).anchor for _ in range(2))
        >>> first.tolist() == again.tolist(), len(first)
        (True, 3)
    """

    slots: ClassVar[tuple[Slot, ...]] = ("sample_tokens", "merge_tokens")
    paper: ClassVar[str] = "ours"

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        drawn = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(signals.seed))[:keep]
        return Assignment.keep(drawn.to(tokens.features.device), len(tokens))
