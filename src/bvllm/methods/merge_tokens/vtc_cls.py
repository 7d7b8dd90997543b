"""VTC-CLS: keep the patches that [CLS] attends to most over several layers (arXiv 2412.05819)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.methods.merge_tokens.fastervlm import FasterVLM
from bvllm.stages.reading import Reading

LAYERS = 7


@dataclass(frozen=True)
class VTCCLS(FasterVLM):
    """Keep, of each frame, the patches with the most attention of [CLS], summed over the last layers.

    The last of them is the one whose output the patches are. With one layer it would be FasterVLM. The
    authors' evaluation sums from layer 16 of 24 on unless its command line says otherwise: seven layers
    (fewer in a shallower tower).

    Source: VTC-CLS (arXiv 2412.05819), through its released code; the paper's text was not at hand.

    Example:
        >>> import torch
        >>> from bvllm.types import Signals, Tokens
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> VTCCLS().assign(tokens, 2, Signals(attention=torch.tensor([0.4, 1.6, 0.8, 1.2]))).anchor.tolist()
        [1, 3]
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2412.05819"
    reads: ClassVar[Reading] = Reading(("cls",), layers=LAYERS)
