"""Cross-attention over more states than should have keys and values at once.

Ten hours of video are 36 000 frames. Their keys and values, in every layer of a Q-Former, would be the only
thing beside the features that grows with a video's length; a block of states at a time, they do not.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerMultiHeadAttention

STATES_AT_A_TIME = 4096  # over an hour at a frame a second: shorter videos are read in one piece


class LongReading(InstructBlipQFormerMultiHeadAttention):  # type: ignore[misc]  # upstream has no types
    """As upstream's attention; without a graph, long states are read in blocks.

    The softmax is carried on from block to block in float32, so that what comes out differs from upstream's
    in the last bits only.

    Source: the online softmax of Milakov and Gimelshein (arXiv 1805.02867).
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, n, H) queries and (B, S, E) states -> (B, n, H), and the weights where upstream gives them."""
        states, mask = encoder_hidden_states, encoder_attention_mask
        long = states is not None and states.shape[1] > STATES_AT_A_TIME and not torch.is_grad_enabled()
        # Kernels that were chosen by name may bring masks of other forms.
        if states is None or not long or not (mask is None or (isinstance(mask, Tensor) and mask.ndim == 4)):
            found: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, attention_mask, states, mask, **kwargs
            )
            return found
        return self._in_blocks(hidden_states, states, mask), None

    def _in_blocks(self, hidden: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
        query = self._heads(self.query(hidden)) * self.scaling
        # Finite, so that a block of padding before anything was seen leaves no NaN.
        highest = query.new_full((*query.shape[:-1], 1), torch.finfo(torch.float32).min, dtype=torch.float32)
        total, summed = torch.zeros_like(highest), torch.zeros_like(query, dtype=torch.float32)
        for start in range(0, states.shape[1], STATES_AT_A_TIME):
            part = slice(start, start + STATES_AT_A_TIME)
            block = states[:, part]
            scores = (query @ self._heads(self.key(block)).mT).float()
            if mask is not None:
                here = mask[..., part]
                scores = scores.masked_fill(~here, -torch.inf) if here.dtype == torch.bool else scores + here
            peak = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
            weights, kept = (scores - peak).exp(), (highest - peak).exp()
            values = self._heads(self.value(block))
            total = total * kept + weights.sum(dim=-1, keepdim=True)
            summed = summed * kept + (weights.to(values.dtype) @ values).float()
            highest = peak
        return (summed / total).to(hidden.dtype).transpose(1, 2).flatten(-2)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, S, H) -> (B, heads, S, H / heads)."""
        return x.reshape(*x.shape[:-1], -1, self.attention_head_size).transpose(1, 2)
