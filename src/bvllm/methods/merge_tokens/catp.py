"""CATP's first stage: diverse tokens that bear on the text (arXiv 2508.07871)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import cosine, distances_to, unit
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Slot
from bvllm.types import SignalName, Signals, Tokens


@dataclass(frozen=True)
class CATP(PictureMethod):
    """Keep of each frame tokens that are like the question's words and unlike one another.

    The first is the one most like the question's mean vector; each further one has the largest sum of its
    distance to the nearest kept and, by weight, its likeness to the question. Frames share the budget
    equally.

    Its second stage, by how attention changes between layers of the language model, is not here.

    Attributes:
        alignment: weight of the likeness to the question against the distance; the abstract names none.

    Source: from the abstract of CATP (arXiv 2508.07871) and summaries; no code was found, and the weighing is
    ours.

    Example:
        >>> frame = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]])
        >>> ask = Signals(question=torch.tensor([[1.0, 0.0]]))
        >>> CATP().assign(Tokens.of(frame, torch.zeros(1)), 2, ask).anchor.tolist()
        [0, 2]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2508.07871"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"question"})

    alignment: float = 0.5

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        assert signals.question is not None  # the pipeline checks what a method needs
        x = unit(tokens.features.detach())
        text = self.alignment * cosine(x, signals.question.float().mean(dim=0, keepdim=True))[:, 0]
        chosen = [int(text.argmax())]
        empty = (x == 0).all(dim=-1)  # alike among themselves, however far from all others
        nearest = distances_to(x, chosen[0], empty)
        while len(chosen) < keep:
            score = nearest + text
            score[chosen] = -torch.inf
            chosen.append(int(score.argmax()))
            nearest = torch.minimum(nearest, distances_to(x, chosen[-1], empty))
        return Assignment.keep(torch.tensor(chosen, device=x.device), len(tokens))
