"""A perceiver resampler: learned queries that read the states, and the question beside them."""

import torch
from torch import Tensor, nn

from bvllm.stages.qformer import LearnedQueries, QFormerOutput, check_states


class Resampler(nn.Module):
    """Queries cross-attend to the states, attend to one another, and think; a few layers of that.

    Attributes:
        width: H, the channels of a query.

    Args:
        states_width: E, channels of what is read.
        width: H.
        num_queries: how many vectors come out, whatever goes in.
        layers: 2 suffice for small models; Flamingo has 6.
        heads: attention heads; must divide the width.
        vocabulary: ids of words; 0 reads no question, as Flamingo's.
        positions: the most words of a question.

    Raises:
        ValueError: `heads` does not divide `width`, or anything is below 1.

    Source: Flamingo (arXiv 2204.14198), Sec. 3.1, with cross- and self-attention as two steps. Stands in for
    the Q-Former in Table 4 of B-VLLM (arXiv 2412.09919), whose authors "provide it with both visual and text
    tokens"; that the words stand behind the states, as embeddings with places, is our reading.

    Example:
        >>> import torch
        >>> tuple(Resampler(6, 8, num_queries=3)(torch.randn(2, 5, 6)).queries.shape)
        (2, 3, 8)
    """

    def __init__(
        self,
        states_width: int,
        width: int,
        num_queries: int,
        *,
        layers: int = 2,
        heads: int = 4,
        vocabulary: int = 0,
        positions: int = 512,
    ) -> None:
        super().__init__()
        if layers < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"resampler must have at least 1 layer and heads that divide its width {width}, "
                f"got layers={layers}, heads={heads}: change heads or width"
            )
        self.width = width
        self.queries = LearnedQueries(num_queries, width)
        self.read = nn.Linear(states_width, width)
        self.norm_states = nn.LayerNorm(width)
        self.words = nn.Embedding(vocabulary, width) if vocabulary else None
        self.places = nn.Embedding(positions, width) if vocabulary else None
        self.layers = nn.ModuleList(ResamplerLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        states: Tensor,
        states_mask: Tensor | None = None,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        output_attentions: bool = False,
    ) -> QFormerOutput:
        """As `QFormer.forward`; attention is that on the states, of what the words leave of it."""
        check_states(states, states_mask)
        queries, count = self.queries(len(states)), states.shape[1]
        states = self.norm_states(self.read(states.to(queries.dtype)))
        padding = None if states_mask is None else ~states_mask.bool()
        if self.words is not None and self.places is not None and question_ids is not None:
            most = self.places.num_embeddings
            question_ids = question_ids[:, :most]
            words = self.words(question_ids) + self.places.weight[: question_ids.shape[1]]
            shown = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
            silent = torch.zeros_like(question_ids, dtype=torch.bool)
            if question_mask is not None:
                silent = ~question_mask[:, :most].bool()
            padding = torch.cat([shown if padding is None else padding, silent], dim=1)
            states = torch.cat([states, self.norm_states(words)], dim=1)
        attention = None
        for layer in self.layers:
            queries, attention = layer(queries, states, padding, output_attentions=output_attentions)
        if attention is not None:
            attention = attention[..., :count]
            attention = attention / attention.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        return QFormerOutput(self.norm(queries), attention)


class ResamplerLayer(nn.Module):
    """Cross-attention, self-attention, feed-forward; normalised before each, added after each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_cross, self.norm_self = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, queries: Tensor, states: Tensor, padding: Tensor | None, *, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        seen, attention = self.cross_attention(
            self.norm_cross(queries), states, states, key_padding_mask=padding, need_weights=output_attentions
        )
        queries = queries + seen
        peers = self.norm_self(queries)
        queries = queries + self.self_attention(peers, peers, peers, need_weights=False)[0]
        return queries + self.feed_forward(queries), attention
