"""A perceiver resampler: learned queries that read the states and never see the question."""

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

    Raises:
        ValueError: `heads` does not divide `width`, or anything is below 1.

    Source: Flamingo (arXiv 2204.14198), Sec. 3.1, with cross- and self-attention as two steps. Stands in for
    the Q-Former in Table 4 of B-VLLM (arXiv 2412.09919).

    Example:
        >>> import torch
        >>> tuple(Resampler(6, 8, num_queries=3)(torch.randn(2, 5, 6)).queries.shape)
        (2, 3, 8)
    """

    def __init__(
        self, states_width: int, width: int, num_queries: int, *, layers: int = 2, heads: int = 4
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
        """As `QFormer.forward`; the question is taken, so that the two can change places, and not read."""
        check_states(states, states_mask)
        queries = self.queries(len(states))
        states = self.norm_states(self.read(states.to(queries.dtype)))
        padding = None if states_mask is None else ~states_mask.bool()
        attention = None
        for layer in self.layers:
            queries, attention = layer(queries, states, padding, output_attentions=output_attentions)
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
