"""Spatial token sampling (B-VLLM, arXiv 2412.09919, Sec. 3.4): R tokens of a frame, by the question."""

from torch import Tensor, nn

from bvllm.primitives.pooling import grid_pooling_weights
from bvllm.stages.qformer import QFormer
from bvllm.stages.resampler import Resampler

TOKENS_PER_FRAME = 32  # R in B-VLLM, Sec. 4


class TokenSampler(nn.Module):
    """The spatial Q-Former: learned queries read the patches of one frame and the question.

    Attributes:
        width: H, the channels of a token.

    Args:
        reader: turns N patches into R tokens.

    Source: B-VLLM, Sec. 3.4.
    """

    def __init__(self, reader: QFormer | Resampler) -> None:
        super().__init__()
        self.reader = reader
        self.width = reader.width

    def forward(
        self, patches: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample every frame of the batch, in one call of the reader.

        Args:
            patches: (F, N, C).
            question_ids, question_mask: (F, Q) the question of the clip each frame belongs to.

        Returns:
            tokens (F, R, H), and attention (F, R, N): how much of each patch went into each token.
        """
        tokens, attention = self.reader(patches, None, question_ids, question_mask, output_attentions=True)
        if attention is None:
            raise RuntimeError(
                "reader must return its attention maps, got None: honour output_attentions=True"
            )
        return tokens, attention


class PooledTokens(nn.Module):
    """Adaptive average pooling to R tokens: the paper's model without spatial sampling (ablation in Sec. 4).

    A square grid of patches is pooled to the grid nearest to a square that holds R tokens (32 = 4 x 8).

    Args:
        tokens: R.
    """

    def __init__(self, tokens: int = TOKENS_PER_FRAME) -> None:
        super().__init__()
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens}: a frame needs one to be seen")
        self.tokens = tokens

    def forward(
        self, patches: Tensor, question_ids: Tensor | None = None, question_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `TokenSampler.forward`; the question is not read and the width stays C."""
        if patches.ndim != 3:
            raise ValueError(
                f"patches must be (frames, patches, channels), got shape {tuple(patches.shape)}: stack frames"
            )
        weights = grid_pooling_weights(patches.shape[1], self.tokens, patches.device).to(patches.dtype)
        return weights @ patches, weights.expand(len(patches), -1, -1)


def most_attended(attention: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The patch that each token looked at most: (F, R, N) -> its row (F, R) and column (F, R).

    Example:
        >>> import torch
        >>> row, column = most_attended(torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]), columns=2)
        >>> row.tolist(), column.tolist()
        ([[1]], [[1]])
    """
    if columns < 1 or attention.shape[-1] % columns:
        raise ValueError(
            f"columns must divide the {attention.shape[-1]} patches of a frame, got {columns}: "
            "pass the grid's width"
        )
    patch = attention.argmax(dim=-1)
    return patch // columns, patch % columns
