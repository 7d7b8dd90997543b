"""Learned queries that read frames or patches, with the question in sight: InstructBLIP's Q-Former.

A thin shell over transformers. It adds the queries (drawn from a normal distribution: queries that start
at zero, as upstream's do, are all the same query for ever), and attention maps on request.
"""

import copy
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

from bvllm.stages.long_reading import LongReading

QUERY_STD = 0.02  # BERT's initializer_range (arXiv 1810.04805), which the Q-Former starts from

# Where the maps of the call in progress go; None while nobody asked. One per thread, so that a server may
# answer two questions at once.
_maps: ContextVar[list[Tensor] | None] = ContextVar("bvllm_attention_maps", default=None)


class QFormerOutput(NamedTuple):
    """What the queries have become, and where they looked.

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
            output_attentions: also return where the queries looked.
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

    Errors:
        ValueError where states are not (B, S, E), or the mask is not (B, S).
    """
    if states.ndim != 3:
        raise ValueError(
            f"states must be (batch, states, channels), got shape {tuple(states.shape)}: pad to one tensor"
        )
    if mask is not None and mask.shape != states.shape[:2]:
        raise ValueError(
            f"states_mask must be {tuple(states.shape[:2])}, got shape {tuple(mask.shape)}: mark every state"
        )


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
