"""InstructBLIP's Q-Former: learned queries that read frames or patches together with the question.

A thin shell over transformers. It adds the queries (drawn from a normal distribution: queries that start
at zero, as upstream's do, are all the same query for ever), attention maps on request, and cross-attention
over more states than should have keys and values at once: ten hours of video are 36 000 frames. Their keys
and values, in every layer, would be the only thing beside the features that grows with a video's length; a
block of states at a time, they do not.
"""

import copy
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerMultiHeadAttention

QUERY_STD = 0.02  # BERT's initializer_range (arXiv 1810.04805), which the Q-Former starts from
STATES_AT_A_TIME = 4096  # over an hour at a frame a second: shorter videos are read in one piece

# Where the maps of the call in progress go; None where they are not collected. One per thread, so that a
# server may answer two questions at once.
_maps: ContextVar[list[Tensor] | None] = ContextVar("bvllm_attention_maps", default=None)


class QFormerOutput(NamedTuple):
    """The queries' outputs and their attention.

    Attributes:
        queries: (B, n, H).
        attention: (B, n, S) rows that sum to 1, averaged over the heads of the last cross-attention; or None.
    """

    queries: Tensor
    attention: Tensor | None


class LearnedQueries(nn.Module):
    """`num` vectors of width `width`: a module of its own, so that PEFT can keep and save it.

    Attributes:
        weight: (num, H), drawn from N(0, 0.02).
    """

    def __init__(self, num: int, width: int) -> None:
        super().__init__()
        if num < 1:
            raise ValueError(f"num_queries must be at least 1, got {num}: nothing would be read")
        self.weight = nn.Parameter(torch.empty(num, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the queries anew; they must differ, or all of them stay equal through training."""
        nn.init.normal_(self.weight, std=QUERY_STD)

    def forward(self, batch: int) -> Tensor:
        """(num, H) -> (batch, num, H)."""
        return self.weight.expand(batch, -1, -1)


class QFormer(nn.Module):
    """Queries attend to one another and to the question, and cross-attend to encoder states.

    Attributes:
        width: H, the channels of a query.

    Args:
        config: InstructBLIP's own; `encoder_hidden_size` is the width of the states.
        num_queries: how many vectors come out, whatever goes in.

    Source: InstructBLIP (arXiv 2305.06500), Sec. 2.3; used by B-VLLM (arXiv 2412.09919), Sec. 3.2 and 3.4.

    Example:
        >>> config = InstructBlipQFormerConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...     num_attention_heads=2, intermediate_size=8, encoder_hidden_size=6)
        >>> tuple(QFormer(config, num_queries=3)(torch.randn(2, 5, 6)).queries.shape)
        (2, 3, 8)
    """

    def __init__(self, config: InstructBlipQFormerConfig, num_queries: int) -> None:
        super().__init__()
        self.width: int = config.hidden_size
        self.max_question: int = config.max_position_embeddings
        self.queries = LearnedQueries(num_queries, config.hidden_size)
        # A copy: from_config writes the dtype into its argument, and two readers may share one.
        self.model = InstructBlipQFormerModel._from_config(copy.deepcopy(config))
        crossings = [layer.crossattention for layer in self.model.encoder.layer if layer.has_cross_attention]
        for crossing in crossings:
            crossing.attention.__class__ = LongReading
        crossings[-1].attention.register_forward_pre_hook(_write_map, with_kwargs=True)

    def forward(
        self,
        states: Tensor,
        states_mask: Tensor | None = None,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        output_attentions: bool = False,
    ) -> QFormerOutput:
        """Read states, by the question where there is one.

        Args:
            states: (B, S, E) what to read.
            states_mask: (B, S) True where there is something to read; None reads all.
            question_ids: (B, Q) token ids; what exceeds the position table is cut off.
            question_mask: (B, Q) True where there is text.
            output_attentions: also return the queries' attention.
        """
        check_states(states, states_mask)
        queries = self.queries(len(states))
        maps: list[Tensor] | None = [] if output_attentions else None
        token = _maps.set(maps)
        try:
            hidden = self.model(
                query_embeds=queries,
                encoder_hidden_states=states.to(queries.dtype),
                encoder_attention_mask=states_mask,
                **self._question(queries, question_ids, question_mask),
            ).last_hidden_state
        finally:
            _maps.reset(token)
        return QFormerOutput(hidden[:, : queries.shape[1]], maps[-1] if maps else None)

    def _question(self, queries: Tensor, ids: Tensor | None, mask: Tensor | None) -> dict[str, Tensor | None]:
        """The question in the model's own words; padding may sit on either side."""
        if ids is None:
            return {"input_ids": None}
        if ids.ndim != 2 or len(ids) != len(queries):
            raise ValueError(
                f"question_ids must be ({len(queries)}, tokens), got shape {tuple(ids.shape)}: "
                "give every clip one question"
            )
        mask = torch.ones_like(ids) if mask is None else mask.to(ids.dtype)
        if mask.shape != ids.shape:
            raise ValueError(
                f"question_mask must have the shape of question_ids {tuple(ids.shape)}, "
                f"got {tuple(mask.shape)}: take both from one tokenizer call"
            )
        ids, mask = ids[:, : self.max_question], mask[:, : self.max_question]
        seen = torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1)
        places = (mask.cumsum(dim=1) - 1).clamp_min(0)
        return {"input_ids": ids, "attention_mask": seen, "position_ids": places}


def check_states(states: Tensor, mask: Tensor | None) -> None:
    """Shapes of what a reader reads.

    Raises:
        ValueError: states are not (B, S, E), or the mask is not (B, S).
    """
    if states.ndim != 3:
        raise ValueError(
            f"states must be (batch, states, channels), got shape {tuple(states.shape)}: pad to one tensor"
        )
    if mask is not None and mask.shape != states.shape[:2]:
        raise ValueError(
            f"states_mask must be {tuple(states.shape[:2])}, got shape {tuple(mask.shape)}: mark every state"
        )


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


@torch.no_grad()
def _write_map(attention: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
    """Softmax(q k^T) of one cross-attention, computed apart: fused kernels never hold the whole map.

    Runs only while a call asked for maps. It lives inside the layer's call, where sharded weights are whole.
    """
    maps = _maps.get()
    if maps is None:
        return
    head = attention.attention_head_size
    query = attention.query(inputs["hidden_states"]).unflatten(-1, (-1, head)).transpose(1, 2)
    key = attention.key(inputs["encoder_hidden_states"]).unflatten(-1, (-1, head)).transpose(1, 2)
    logits = (query @ key.mT).float() * attention.scaling
    mask = inputs["encoder_attention_mask"]
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    maps.append(logits.softmax(dim=-1).mean(dim=1))
