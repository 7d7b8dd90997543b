"""FasterVLM: keep the patches that [CLS] attends to most (arXiv 2412.01818)."""

from dataclasses import dataclass
from typing import ClassVar

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.choice import strongest
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Slot
from bvllm.stages.reading import Reading
from bvllm.types import SignalName, Signals, Tokens


@dataclass(frozen=True)
class FasterVLM(PictureMethod):
    """Keep, of each frame, the patches with the most attention of [CLS], and drop the rest.

    Attention is that of the layer whose output the patches are, the mean over its heads. Every frame keeps as
    many, as the authors do with the frames of a video, with pictures and with their crops. A tower with a
    pooling head in the place of [CLS], as SigLIP has one, gives the head's attention instead, to the last
    layer's patches whichever layer is kept; that is ours.

    Source: FasterVLM (arXiv 2412.01818, first version), through its released code (`encode_images`).

    Example:
        >>> import torch
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> seen = Signals(attention=torch.tensor([0.1, 0.4, 0.2, 0.3]))
        >>> FasterVLM().assign(tokens, 2, seen).anchor.tolist()
        [1, 3]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.01818"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"attention"})
    reads: ClassVar[Reading] = Reading(("cls", "head"))

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        assert signals.attention is not None  # `decide` checks what a method needs
        return Assignment.keep(strongest(signals.attention, keep), len(tokens))
