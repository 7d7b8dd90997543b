"""Hold the visual tokens that the language model is given, and how they came about."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from bvllm.types import FrameSelection, Tokens


@dataclass
class BVLLMVisualOutput(ModelOutput):
    """Visual tokens of B clips, with where each of them comes from.

    `generate` and `forward` take it back as `mm_encoder_outputs={"video": output}`.

    Attributes:
        pooler_output: B tensors (n_i, D), ready for the language model.
        lengths: n_i, tokens of each clip; at most the budget.
        tokens: B `Tokens`, before the projector: place, time and size of each.
        selections: B `FrameSelection`: which frames, and how sure.
        attention: B tensors (F_i, R, N): where each sampled token looked, before merging. None where tokens
            are not sampled frame by frame; `tokens[b].origin` says of any of them what it is made of.
    """

    pooler_output: list[Tensor] | None = None
    lengths: list[int] | None = None
    tokens: list[Tokens] | None = None
    selections: list[FrameSelection] | None = None
    attention: list[Tensor] | None = None
