"""LLaMA-VID's connector: one context token, led by the question, and content tokens for every frame."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import InstructBlipQFormerConfig

from bvllm.model.connectors.configuration import LlamaVidConfig
from bvllm.model.connectors.text_reader import BertReader
from bvllm.model.connectors.videollama2 import perceptron
from bvllm.stages.qformer import QFormer


class FrameTokens(NamedTuple):
    """What a batch of frames has become.

    Attributes:
        tokens: (F, 1 + n, D), the context token first.
        attention: (F, 1 + n, N) how much of each patch went into each token; rows sum to 1.
    """

    tokens: Tensor
    attention: Tensor


class LlamaVidConnector(nn.Module):
    """Text queries read the frame with the question, and then say which patches the context is made of.

    With text queries t_i = P_t(reader(patches, question)) and patches X, the context token is
    P_v(mean_i softmax(t_i P_k(X)^T / sqrt(C)) X); the content tokens are P_c(pool(X)).

    Args:
        config: reader, content and projector.
        reader_config: shape of the reader; its `encoder_hidden_size` is C or `config.reader_width`.
        channels: C of the patches.
        width: D of the language model.

    Source: LLaMA-VID (arXiv 2311.17043), Sec. 3.1 and 3.2; details after its released code.

    Example:
        >>> reader = InstructBlipQFormerConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
        ...     num_attention_heads=2, intermediate_size=8, encoder_hidden_size=6)
        >>> connector = LlamaVidConnector(LlamaVidConfig(queries=2), reader, channels=6, width=12)
        >>> tuple(connector(torch.zeros(3, 17, 6), prefix=1).tokens.shape)
        (3, 2, 12)
    """

    def __init__(
        self, config: LlamaVidConfig, reader_config: InstructBlipQFormerConfig, channels: int, width: int
    ) -> None:
        super().__init__()
        self.config = config
        read = reader_width(config, reader_config, channels)
        qformer = config.reader == "qformer"
        self.reader_norm = nn.LayerNorm(read) if qformer and config.normalise else None
        self.reader_proj = nn.Linear(channels, read) if read != channels or not qformer else None
        self.reader: QFormer | BertReader = (
            QFormer(reader_config, config.queries) if qformer else BertReader(reader_config)
        )
        self.query_proj = nn.Linear(reader_config.hidden_size, channels)
        self.key_proj = nn.Linear(channels, channels)
        self.context_proj = nn.Linear(channels, width)
        self.content_proj = perceptron(config.projector_layers, channels, width)

    def forward(
        self,
        states: Tensor,
        question_ids: Tensor | None = None,
        question_mask: Tensor | None = None,
        *,
        prefix: int = 0,
    ) -> FrameTokens:
        """Turn frames into tokens.

        Args:
            states: (F, prefix + N, C) of the tower.
            question_ids, question_mask: (F, Q) the question of the clip each frame belongs to.
            prefix: [CLS] and registers before the patches; a Q-Former alone sees them.

        Raises:
            ValueError: the shape is another, or the patches do not form the grid.
        """
        if states.ndim != 3 or not 0 <= prefix < states.shape[1]:
            raise ValueError(
                f"states must be (frames, more than {prefix} states, channels), got shape "
                f"{tuple(states.shape)}: stack frames, with what comes before their patches"
            )
        states = states.to(self.key_proj.weight.dtype)
        patches = states[:, prefix:]
        read = patches if isinstance(self.reader, BertReader) else states
        queries = self.query_proj(self._read(read, question_ids, question_mask))
        scores = queries @ self.key_proj(patches).mT / patches.shape[-1] ** 0.5
        looks = self._mean(scores.softmax(dim=-1), question_mask)[:, None]
        pooling = self._pooling(patches)
        tokens = [self.context_proj(looks @ patches), self.content_proj(self._pool(patches))]
        return FrameTokens(
            torch.cat(tokens, dim=1), torch.cat([looks, pooling.to(looks).expand(len(looks), -1, -1)], 1)
        )

    def _read(self, states: Tensor, ids: Tensor | None, mask: Tensor | None) -> Tensor:
        """Text queries (F, n, H): what the reader's queries, or the words, have become."""
        read = states if self.reader_proj is None else self.reader_proj(states)
        if isinstance(self.reader, BertReader):
            return self.reader(read, ids, mask)
        if self.reader_norm is not None:
            read = self.reader_norm(read)
        return self.reader(read, None, ids, mask).queries

    def _mean(self, looks: Tensor, mask: Tensor | None) -> Tensor:
        """(F, n, N) -> (F, N): over the queries; over the words that are there, for the reader "bert"."""
        if self.config.reader == "qformer" or self.config.count_padding or mask is None:
            return looks.mean(dim=1)
        there = mask[:, : looks.shape[1], None].to(looks.dtype)
        return (looks * there).sum(dim=1) / there.sum(dim=1).clamp_min(1)

    def _pool(self, patches: Tensor) -> Tensor:
        """(F, N, C) -> (F, n, C)."""
        if self.config.content == "all":
            return patches
        if self.config.content == "mean":
            return patches.mean(dim=1, keepdim=True)
        cell = self.config.cell(patches.shape[1])
        side = round(patches.shape[1] ** 0.5)
        grid = patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        return functional.avg_pool2d(grid, cell).flatten(2).mT

    def _pooling(self, patches: Tensor) -> Tensor:
        """(n, N): `_pool` as weights, for where each content token comes from."""
        # Pooling is linear: fed with unit vectors, it gives the weight of each patch in each token.
        return self._pool(torch.eye(patches.shape[1], device=patches.device)[None])[0]


class LlamaVidProjector(nn.Module):
    """LLaMA-VID with B-VLLM's spatial sampling: R tokens of a frame in the place of its two.

    The token sampler is LLaMA-VID's own text-guided Q-Former with another end: its queries are the tokens,
    where LLaMA-VID lets them weigh the patches. They pass the layers behind that Q-Former, P_t and P_v.
    Parameters carry the names of `LlamaVidConnector`.

    Args:
        sampled: H of the token sampler.
        channels: C of the patches.
        width: D of the language model.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.5, Tables 1 and 2 ("w. Ours", 32 tokens a picture), Table 3;
        the paper does not say which layers stay. These are the ones that the authors' released code has.
    """

    def __init__(self, sampled: int, channels: int, width: int) -> None:
        super().__init__()
        self.query_proj = nn.Linear(sampled, channels)
        self.context_proj = nn.Linear(channels, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(K, H) -> (K, D)."""
        projected: Tensor = self.context_proj(self.query_proj(tokens.to(self.query_proj.weight.dtype)))
        return projected


def reader_width(config: LlamaVidConfig, reader_config: InstructBlipQFormerConfig, channels: int) -> int:
    """How many channels the reader's cross-attention takes in."""
    if config.reader == "bert":
        return int(reader_config.hidden_size)
    return config.reader_width or channels
