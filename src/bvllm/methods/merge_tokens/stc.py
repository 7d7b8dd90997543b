"""STC-Pruner: keep what is new in the frame and in the stream (STC, arXiv 2512.00891)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.novelty import common_kernel, mean_row, steady_channels, unit_mean
from bvllm.stages.by_frame import frame_slices
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class Memory:
    """What was seen of a stream so far: one mean for each chunk, and no tokens.

    Attributes:
        total: sum of the means of all chunks, in all channels; in the channels of each chunk where the method
            runs as released.
        chunks: how many they are.
    """

    total: Tensor
    chunks: int


@dataclass(frozen=True)
class STCPruner(TokenMethod):
    """Keep of each frame the tokens least like the mean of the frame and the mean of all chunks so far.

    Likeness is a sum of five Gaussian kernels over the half of the channels that varies least in this chunk;
    the memory counts each chunk once, this one included. `Signals.state` is what `remember` gave for the
    chunks before; without one, the memory is this chunk alone.

    From count to count: the authors keep 60 of 196 tokens of each frame, here each keeps an equal share of
    the budget.

    Attributes:
        released: as the authors' code remembers: each chunk's mean in that chunk's own steady channels, which
            the next chunk adds to its own although these are others.

    Source: STC (arXiv 2512.00891), through its released code (`STC_Pruner`). The paper's text (Sec. 3.4,
    eq. 8) has a weighted sum of two cosine distances, to the frame's mean and to the mean of frames before,
    in place of the kernels and of the choice of channels; it states neither the weight nor how many frames,
    so the code is followed. Its cache inside the vision tower is not here.

    Example:
        >>> chunk = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> method = STCPruner()
        >>> memory = method.remember(chunk, None)
        >>> method.remember(chunk, memory).chunks
        2
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2512.00891"
    across: ClassVar[bool] = True

    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places, x = frame_slices(tokens), tokens.features.detach()
        channels = steady_channels(x)
        memory = self.remember(tokens, signals.state)
        mean = memory.total / memory.chunks
        past = functional.normalize(mean if self.released else mean[channels], dim=-1)
        kept = []
        for place, count in zip(places, equal_shares([p.stop - p.start for p in places], keep)):
            frame = x[place]
            score = common_kernel(frame, channels, past)
            score = score + common_kernel(frame, channels, unit_mean(frame, channels))
            kept.append(place.start + score.argsort(stable=True)[:count])
        return Assignment.keep(torch.cat(kept), len(tokens))

    def remember(self, tokens: Tokens, state: object | None) -> Memory:
        """What the next chunk's `Signals.state` is to be.

        Args:
            tokens: this chunk.
            state: what this method gave for the chunks before; None at the start of a stream.

        Raises:
            TypeError: the state is another method's.
        """
        x = tokens.features.detach()
        mean = mean_row(x)
        mean = mean[steady_channels(x)] if self.released else mean
        if state is None:
            return Memory(mean, 1)
        if not isinstance(state, Memory):
            kind = type(state).__name__
            raise TypeError(
                f"state must be what STCPruner.remember gave, got {kind}: keep one for each method"
            )
        return Memory(state.total + mean, state.chunks + 1)
