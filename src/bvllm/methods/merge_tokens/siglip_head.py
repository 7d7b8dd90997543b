"""SigLIP's pooling head as attention: what stands for [CLS] in towers that have none (arXiv 2303.15343)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.methods.merge_tokens.fastervlm import FasterVLM
from bvllm.stages.reading import Reading


@dataclass(frozen=True)
class SiglipHead(FasterVLM):
    """Keep, of each frame, the patches that the probe of the tower's pooling head attends to most.

    SigLIP makes one vector of a picture by a learned query that attends to all patches. Its attention, the
    mean over the heads, says which of them the picture's meaning rests on.

    Source: the head is SigLIP's (arXiv 2303.15343), its use for pruning FastVID's (arXiv 2503.11187); neither
        text was at hand.

    Example:
        >>> import torch
        >>> from bvllm.types import Signals, Tokens
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> seen = Signals(attention=torch.tensor([0.1, 0.4, 0.2, 0.3]))
        >>> SiglipHead().assign(tokens, 1, seen).anchor.tolist()
        [1]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2303.15343"
    reads: ClassVar[Reading] = Reading(("head",))
