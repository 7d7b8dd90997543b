"""Tell the language model when a token is shown."""

import torch
from torch import Tensor, nn

from bvllm.types import FrameSelection, Tokens

ROUNDING = 1e-3  # a frame at 59.9999 s is shown as 01:00


class ClockTable(nn.Embedding):
    """A table that starts at zero. transformers draws new weights leaf by leaf, so zero is a kind of leaf."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


class ClockEmbedding(nn.Module):
    """The time of a token as three learned vectors, for hour, minute and second: the digits of a clock.

    All start at zero, so that a new clock changes nothing. The language model can then say when something
    is shown, to the second, up to a day.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hours = ClockTable(24, width)
        self.minutes = ClockTable(60, width)
        self.seconds = ClockTable(60, width)

    def forward(self, seconds: Tensor) -> Tensor:
        """(K,) seconds -> (K, D)."""
        whole = (seconds.double() + ROUNDING).long().clamp_min(0)
        return self.hours(whole // 3600 % 24) + self.minutes(whole // 60 % 60) + self.seconds(whole % 60)


def clock_of(clock: ClockEmbedding, tokens: Tokens, selection: FrameSelection, patches: int) -> Tensor:
    """(K, D) the time of every token of a clip: of all frames that it is made of, each by its weight.

    A token of one frame has that frame's time. Where a method merges across frames, the anchor's time alone
    would be false for the rest.

    Args:
        clock: the embedding.
        tokens: of the clip.
        selection: its chosen frames.
        patches: N of a frame.
    """
    if all(isinstance(step.plan, Tensor) for step in tokens.steps):  # sampled, and nothing merged since
        return torch.as_tensor(clock(tokens.seconds))
    origin = tokens.origin
    times = selection.seconds.to(tokens.seconds.device)[origin.input // patches]
    if torch.equal(times, tokens.seconds[origin.output]):
        return torch.as_tensor(clock(tokens.seconds))
    share = origin.weight.abs()
    total = share.new_zeros(len(tokens)).index_add_(0, origin.output, share)
    each = clock(times) * (share / total[origin.output])[:, None]
    return each.new_zeros(len(tokens), each.shape[1]).index_add(0, origin.output, each)
