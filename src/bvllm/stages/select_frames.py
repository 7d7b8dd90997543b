"""Text-conditioned adaptive frame selection (B-VLLM, arXiv 2412.09919, Sec. 3.2).

Learned queries read the [CLS] features of all frames and the question; each then points at one frame:

    Q = QFormer(V_cls, question)                            L queries
    S = GumbelSoftmax(Q V_cls^T, tau),  V* = S V            (eq. 1)

At inference S is the arg-max as one-hot rows: the limit of eq. 1 for tau -> 0 without its noise.
"""

import torch
from torch import Tensor, nn

from bvllm.primitives.choice import TAU, Mode, choose
from bvllm.primitives.positions import relative_position_features
from bvllm.stages.qformer import QFormer
from bvllm.stages.resampler import Resampler

__all__ = ["TAU", "FrameSelector", "Mode", "choose"]


class FrameSelector(nn.Module):
    """What every query thinks of every frame, for a batch of clips of any lengths.

    With `time_channels` the selector knows when a frame happens: fixed features of its place in the clip
    are part of the key that a query is compared with, and, projected, part of what the reader reads.

    Args:
        reader: turns frames and question into L queries.
        query_width: H, the width of the reader's queries.
        channels: C, the width of a frame feature.
        time_channels: P; 0 is the paper's bare product. [CLS] features carry no time and the Q-Former has no
            positions on what it reads, so with 0 the order of the frames has no influence at all.

    Source: Sec. 3.2, eq. 1. Logits are divided by sqrt(C), which the released code does and the paper leaves
    out; `proj` bridges the two widths.
    """

    def __init__(
        self, reader: QFormer | Resampler, query_width: int, channels: int, time_channels: int = 0
    ) -> None:
        super().__init__()
        if time_channels < 0:
            raise ValueError(
                f"time_channels must be 0 or more, got {time_channels}: 0 switches positions off"
            )
        self.reader = reader
        self.proj = nn.Linear(query_width, channels + time_channels)
        self.time_proj = nn.Linear(time_channels, channels) if time_channels else None
        self.channels = channels
        self.time_channels = time_channels

    def forward(
        self,
        frames: Tensor,
        mask: Tensor,
        seconds: Tensor,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
    ) -> Tensor:
        """Score all frames of all clips, in one call of the reader.

        Args:
            frames: (B, T, C) one feature per frame, padded.
            mask: (B, T) True where there is a frame.
            seconds: (B, T) presentation times.
            question_ids, question_mask: (B, Q).

        Returns:
            (B, L, T) logits; -inf where there is no frame.

        Errors:
            ValueError where shapes disagree, or a clip has no frame at all.
        """
        self._check(frames, mask, seconds)
        mask = mask.bool()
        keys = seen = frames.to(self.proj.weight.dtype)
        if not bool(mask.all()):
            keys = seen = keys.masked_fill(~mask[..., None], 0.0)  # padding may hold anything, NaN included
        if self.time_proj is not None:
            places = relative_position_features(seconds, mask, self.time_channels).to(keys.dtype)
            seen = self.time_proj(places)
            seen = seen + keys if torch.is_grad_enabled() else seen.add_(keys)
        queries = self.reader(seen, mask, question_ids, question_mask).queries
        del seen  # of a long video everything here is large
        if self.time_proj is not None:
            keys = torch.cat([keys, places], dim=-1)
        logits: Tensor = self.proj(queries) @ keys.mT / self.channels**0.5
        return logits.masked_fill(~mask[:, None], -torch.inf)

    def _check(self, frames: Tensor, mask: Tensor, seconds: Tensor) -> None:
        if frames.ndim != 3 or frames.shape[-1] != self.channels:
            raise ValueError(
                f"frames must be (clips, frames, {self.channels}), got shape {tuple(frames.shape)}: "
                "pad clips to one tensor of frame features"
            )
        for name, value in (("mask", mask), ("seconds", seconds)):
            if value.shape != frames.shape[:2]:
                raise ValueError(
                    f"{name} must be {tuple(frames.shape[:2])}, got shape {tuple(value.shape)}: pad it alike"
                )
        if not bool(mask.any(dim=-1).all()):
            raise ValueError(
                f"mask must leave every clip a frame, got {mask.sum(-1).tolist()} frames: drop empty clips"
            )
