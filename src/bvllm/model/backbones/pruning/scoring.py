"""Compute what a method may see of a layer, from the layer's own projections."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bvllm.model.backbones.pruning.decoders import DecoderKind


@dataclass(frozen=True)
class LayerProjections:
    """Queries and keys of one layer for one prompt, as its attention sees them.

    Nothing of the model is switched for it: what a method asks for is computed once more, for the queries
    that it asks for alone, and the layers themselves keep their fused attention.

    Attributes:
        layer: a decoder layer.
        kind: of its decoder.
        states: (S, D) that enter it.
        cos, sin: (S, d) of the places' positions.
    """

    layer: Any
    kind: DecoderKind
    states: Tensor
    cos: Tensor
    sin: Tensor

    @property
    def scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return float(self.layer.self_attn.scaling)

    @cached_property
    def keys(self) -> Tensor:
        """(G, S, d) rotated keys of all places."""
        attention = self.layer.self_attn
        norm = attention.k_norm if self.kind.norms else None
        return self._rotated(
            attention.k_proj, norm, torch.arange(len(self.states), device=self.states.device)
        )

    def queries(self, places: Tensor) -> Tensor:
        """(H, R, d) rotated queries of R places."""
        attention = self.layer.self_attn
        return self._rotated(attention.q_proj, attention.q_norm if self.kind.norms else None, places)

    def _rotated(self, project: Any, norm: Any, places: Tensor) -> Tensor:
        made = project(self.layer.input_layernorm(self.states[places]))
        heads = made.unflatten(-1, (-1, self.layer.self_attn.head_dim))
        heads = (heads if norm is None else norm(heads)).transpose(0, 1)
        halves = heads.chunk(2, dim=-1)
        turned = torch.cat([-halves[1], halves[0]], dim=-1)
        return heads * self.cos[places] + turned * self.sin[places]


def transition(before: Tensor, after: Tensor) -> Tensor:
    """How much a sub-layer changes each place: (S, D) twice -> (S,) float32.

    The ratio of the norms, times the softmax over the places of one minus the cosine.

    Source: TransPrune (arXiv 2507.20630), the token transition variation of its released code.
    """
    before, after = before.float(), after.float()
    ratio = after.norm(dim=-1) / before.norm(dim=-1).clamp_min(1e-12)
    turn = 1 - torch.nn.functional.cosine_similarity(before, after, dim=-1)
    return ratio * turn.softmax(dim=-1)
