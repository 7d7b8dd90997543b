"""VisionDrop, the part in the vision encoder: VisionZip with fewer contextual tokens (arXiv 2506.22283)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.methods.merge_tokens.visionzip import VisionZip


@dataclass(frozen=True)
class VisionDrop(VisionZip):
    """Keep the dominant patches of each frame, and merge the others into contextual tokens: 42 and 6 of 48.

    The stages inside the language model, which go by the attention of visual tokens to one another, are not
    here. In the authors' code [CLS] is one of the 42; a slot of the pipeline sees patches only.

    Source: VisionDrop (arXiv 2506.22283), through its released code, which is VisionZip's in the encoder; the
        paper's text was not at hand.

    Example:
        >>> import torch
        >>> from bvllm.types import Signals, Tokens
        >>> tokens = Tokens.of(torch.eye(16)[None], torch.zeros(1))
        >>> seen = Signals(attention=torch.arange(16.0), keys=torch.eye(16))
        >>> VisionDrop().assign(tokens, 8, seen).anchor.tolist()
        [9, 10, 11, 12, 13, 14, 15, 0]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.22283"

    contextual: float = 6 / 48
