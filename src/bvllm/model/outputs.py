"""Hold the visual tokens that the language model is given, and how they came about."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from bvllm.model.backbones.pruning.plan import InnerPlan
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
        grid: rows and columns of the patches of a frame.
        grids: the same of each clip, where several are in one prompt; None where `grid` is of all.
        pruning: B plans of what the language model drops inside; None where it drops nothing.
    """

    # transformers wants defaults; the model fills all but `attention`, `generate` passes on the first alone.
    pooler_output: list[Tensor] = None  # type: ignore[assignment]
    lengths: list[int] = None  # type: ignore[assignment]
    tokens: list[Tokens] = None  # type: ignore[assignment]
    selections: list[FrameSelection] = None  # type: ignore[assignment]
    attention: list[Tensor] | None = None
    grid: tuple[int, int] | None = None
    grids: list[tuple[int, int]] | None = None
    pruning: list[InnerPlan] | None = None

    @classmethod
    def of_clips(
        cls, clips: Sequence["BVLLMVisualOutput"], selections: Sequence[FrameSelection]
    ) -> "BVLLMVisualOutput":
        """Several clips of one prompt, each reduced alone.

        Args:
            clips: one output of one clip for each.
            selections: of the same clips.
        """
        return cls(
            pooler_output=[row for clip in clips for row in clip.pooler_output],
            lengths=[n for clip in clips for n in clip.lengths],
            tokens=[tokens for clip in clips for tokens in clip.tokens],
            selections=list(selections),
            grid=clips[0].grid,
            grids=[clip.grid or (1, 1) for clip in clips],
        )

    @property
    def spent(self) -> list[int]:
        """What each clip costs of its budget: its tokens, or the mean over the layers where some drop out."""
        if self.pruning is None:
            return list(self.lengths or [])
        return [plan.spent for plan in self.pruning]
