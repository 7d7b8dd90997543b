"""Prompts of tiny random video models, with more layers than two, for dropping tokens between them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bvllm.common.text import Question
from bvllm.inference.balance import balance
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.balanced_prompt import side_by_side
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.families import placeholder_id
from bvllm.types import Budget, FrameSelection
from tests.model.backbones.tiny_families import make

LAYERS = 8
SIDE = 24
EVERY = MethodNames(merge_tokens="none", select_frames="none")
SECONDS = torch.tensor([0.0, 2.0, 3.0, 9.0, 30.0])


@dataclass(frozen=True)
class Prompts:
    """What `forward` and `generate` take, and where visual tokens stand in it."""

    model: Any
    given: dict[str, Any]
    visual: Tensor
    real: Tensor

    @property
    def decoder(self) -> Any:
        return self.model.get_decoder()


@cache
def wrapped(kind: str) -> BalancedModel:
    model, processor = make(kind, layers=LAYERS)
    return balance(model, processor, pipeline="uniform", frame_size=(SIDE, SIDE))


@cache
def patches(kind: str, frames: int) -> Tensor:
    drawn = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (frames, 3, SIDE, SIDE), generator=drawn, dtype=torch.uint8)
    with torch.no_grad():
        return wrapped(kind).patch_features(pictures).clone()


@torch.no_grad()
def row(kind: str, frames: int = 5, question: str = "what colour is the star", **methods: Any):
    """A question with the visual tokens of a clip."""
    made = wrapped(kind)
    asked = made.read(Question.parse(question, None))
    selection = FrameSelection.of(torch.arange(frames), SECONDS[:frames].double())
    budget = methods.pop("budget", 10_000)
    names = MethodNames(merge_tokens="none", select_frames="none", **methods)
    return asked, made.reduce(patches(kind, frames), selection, asked, Budget(budget), names)


@torch.no_grad()
def prompts(kind: str, *rows: Any) -> Prompts:
    """Several questions side by side, padded on the left; one of five frames where none is given."""
    made = wrapped(kind)
    given = side_by_side(made.prompt, rows or [row(kind)])
    return Prompts(
        made.model,
        given,
        given["input_ids"] == placeholder_id(made.model),
        given["attention_mask"].bool(),
    )
