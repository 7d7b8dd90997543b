"""Run nano's language model over rows of unequal length without padding, in bfloat16, for training.

transformers pads a batch and works in float32. On a CPU with bfloat16 instructions a step of nano's language
training took 0.66 s of one thread so, 0.43 s under autocast, and 0.37 s here: linear layers see no padding,
weights are cast once, the residual stream and the norms stay in float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

FUSED_FROM = (
    200  # positions: in shorter rows plain products are two to five times as fast as the fused kernel
)
GROUPS = 4  # of rows of like length: attention alone sees padding, and only inside its group


def run_packed(language_model: Qwen2Model, embedded: Tensor, mask: Tensor) -> Tensor:
    """Last hidden states of a batch that is padded on the right, as `language_model` itself gives them.

    Args:
        language_model: without a window.
        embedded: (B, S, D) float32.
        mask: (B, S) 1 where there is anything.

    Returns:
        (B, S, D) float32, equal to the model's own up to bfloat16; zeros where there is padding.
    """
    batch, length, width = embedded.shape
    lengths = mask.sum(dim=1)
    order = lengths.argsort()
    kept = torch.cat([row * length + torch.arange(int(lengths[row])) for row in order.tolist()])
    groups = [_Group.of(language_model, lengths[rows]) for rows in order.tensor_split(min(GROUPS, batch))]
    stream = embedded.reshape(batch * length, width)[kept]
    for layer in language_model.layers:
        stream = _layer(layer, stream, groups)
    norm = language_model.norm
    stream = F.rms_norm(stream, (width,), norm.weight, norm.variance_epsilon)
    return stream.new_zeros(batch * length, width).index_copy(0, kept, stream).view(batch, length, width)


@dataclass(frozen=True)
class _Group:
    """Rows of like length, and what attention needs of them.

    Attributes:
        kept: (K,) places of their positions among rows * longest.
        rows: how many rows.
        cos, sin: (1, longest, half of a head) rotary positions.
        later: (longest, longest) minus infinity where a key comes after the query.
    """

    kept: Tensor
    rows: int
    cos: Tensor
    sin: Tensor
    later: Tensor

    @classmethod
    def of(cls, language_model: Qwen2Model, lengths: Tensor) -> "_Group":
        rows, longest = len(lengths), int(lengths.max())
        kept = (torch.arange(longest) < lengths[:, None]).reshape(-1).nonzero()[:, 0]
        cos, sin = language_model.rotary_emb(
            torch.zeros((), dtype=torch.bfloat16), torch.arange(longest)[None]
        )
        half = cos.shape[-1] // 2  # both halves are the same
        later = torch.full((longest, longest), -torch.inf).triu(1)
        return cls(kept, rows, cos[..., :half], sin[..., :half], later)

    def attend(self, packed: Tensor, heads: int, per_key: int, scaling: float) -> Tensor:
        """Queries, keys and values in a row, (K, (heads + 2 * heads / per_key) * d), -> (K, heads * d)."""
        longest, keys = len(self.later), heads // per_key
        padded = packed.new_zeros(self.rows * longest, packed.shape[1]).index_copy(0, self.kept, packed)
        split = padded.view(self.rows, longest, heads + 2 * keys, -1).transpose(1, 2)
        query, key, value = split.split([heads, keys, keys], dim=1)
        key, value = (x.repeat_interleave(per_key, 1) if per_key > 1 else x for x in (key, value))
        query, key = self._rotated(query), self._rotated(key)
        if longest >= FUSED_FROM:
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        else:
            scores = (query * scaling @ key.mT).float()
            attended = torch.softmax(scores + self.later, dim=-1).bfloat16() @ value
        rows = attended.transpose(1, 2)
        return rows.reshape(self.rows * longest, -1)[self.kept]

    def _rotated(self, heads: Tensor) -> Tensor:
        first, second = heads.chunk(2, dim=-1)
        return torch.cat((first * self.cos - second * self.sin, second * self.cos + first * self.sin), dim=-1)


def _layer(layer: Qwen2DecoderLayer, stream: Tensor, groups: list[_Group]) -> Tensor:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight = torch.cat([p.weight for p in projections]).bfloat16()
    bias = torch.cat([p.bias for p in projections]).bfloat16()
    normed = _normed(stream, layer.input_layernorm)
    projected = F.linear(normed, weight, bias)
    heads, per_key = stream.shape[1] // attention.head_dim, attention.num_key_value_groups
    parts = projected.split([len(group.kept) for group in groups])
    attended = torch.cat(
        [
            group.attend(part, heads, per_key, attention.scaling)
            for group, part in zip(groups, parts, strict=True)
        ]
    )
    stream = stream + F.linear(attended, attention.o_proj.weight.bfloat16())
    normed = _normed(stream, layer.post_attention_layernorm)
    both = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).bfloat16()
    gate, up = F.linear(normed, both).chunk(2, dim=-1)
    return stream + F.linear(F.silu(gate) * up, mlp.down_proj.weight.bfloat16())


def _normed(stream: Tensor, norm: torch.nn.Module) -> Tensor:
    weight: Tensor = norm.weight  # type: ignore[assignment]
    return F.rms_norm(stream, stream.shape[-1:], weight, norm.variance_epsilon).bfloat16()  # type: ignore[arg-type]
