"""STC-Pruner: keep what is new in the frame and in the stream (STC, arXiv 2512.00891)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import unit
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

    A clip is read as a stream, one frame after another, as the authors' settings have it: what comes later
    has no influence. Likeness is the cosine; the memory counts each chunk once, this one included.
    `Signals.state` is what `remember` gave for the chunks before; without one, the stream begins.

    From count to count: the authors keep 60 of 196 tokens of each frame, here each keeps an equal share of
    the budget.

    Attributes:
        alpha: weight of the likeness to what was seen so far; the rest is of that to the frame's mean.
        chunk: frames that are read together; None is one, and all that a call is given where `released`.
        released: as the authors' code by default: likeness is a sum of five Gaussian kernels over the half of
            the channels that varies least in the chunk, what one call is given is one chunk, and each chunk's
            mean is remembered in that chunk's own steady channels, which the next chunk adds to its own
            although these are others.

    Source: STC (arXiv 2512.00891), Sec. 3.4, eq. 8: a weighted sum of two cosine distances, to the frame's
    mean and to the mean of what was before. The text states no weight; 0.5 is that of the authors' later
    code (`dual_anchor_scores`), which also counts the frame itself among those before, and takes the steady
    channels alone. Its cache inside the vision tower is not here.

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

    alpha: float = 0.5
    chunk: int | None = None
    released: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must lie in 0..1, got {self.alpha}: 0.5 weighs both alike")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {self.chunk}: 1 reads frame after frame")

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places, x = frame_slices(tokens), tokens.features.detach()
        shares = iter(equal_shares([p.stop - p.start for p in places], keep))
        memory, kept = self._checked(signals.state), []
        for frames in self._chunks(places):
            part = x[frames[0].start : frames[-1].stop]
            channels = self._channels(part)
            memory = self._with(memory, part, channels)
            past = functional.normalize(memory.total / memory.chunks, dim=-1)
            for place, count in zip(frames, shares):
                score = self._likeness(x[place], channels, past)
                kept.append(place.start + score.argsort(stable=True)[:count])
        return Assignment.keep(torch.cat(kept), len(tokens))

    def remember(self, tokens: Tokens, state: object | None) -> Memory:
        """What `Signals.state` is to be for what follows.

        Args:
            tokens: of the frames that were read.
            state: what this method gave for those before; None at the start of a stream.

        Raises:
            TypeError: the state is another method's.
        """
        memory, x = self._checked(state), tokens.features.detach()
        for frames in self._chunks(frame_slices(tokens)):
            part = x[frames[0].start : frames[-1].stop]
            memory = self._with(memory, part, self._channels(part))
        assert memory is not None  # there is a frame
        return memory

    def _chunks(self, places: list[slice]) -> Iterator[list[slice]]:
        size = self.chunk or (len(places) if self.released else 1)
        for start in range(0, len(places), size):
            yield places[start : start + size]

    def _channels(self, part: Tensor) -> Tensor:
        """By which tokens are compared, and means remembered."""
        return steady_channels(part) if self.released else torch.arange(part.shape[1], device=part.device)

    def _likeness(self, frame: Tensor, channels: Tensor, past: Tensor) -> Tensor:
        """(N,) how much each token is like what was seen, and like the mean of its frame."""
        if self.released:
            own = unit_mean(frame, channels)
            return common_kernel(frame, channels, past) + common_kernel(frame, channels, own)
        rows, own = unit(frame), functional.normalize(mean_row(frame), dim=-1)
        return self.alpha * (rows @ past) + (1 - self.alpha) * (rows @ own)

    def _with(self, memory: Memory | None, part: Tensor, channels: Tensor) -> Memory:
        mean = mean_row(part)[channels]
        return Memory(mean, 1) if memory is None else Memory(memory.total + mean, memory.chunks + 1)

    @staticmethod
    def _checked(state: object | None) -> Memory | None:
        if state is None or isinstance(state, Memory):
            return state
        kind = type(state).__name__
        raise TypeError(f"state must be what STCPruner.remember gave, got {kind}: keep one for each method")
