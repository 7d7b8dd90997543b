"""Plan how many visual tokens every layer of a model sees on a budget, before anything is computed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from bvllm.methods import METHODS
from bvllm.model.backbones.pruning.applier import prune_inside
from bvllm.model.backbones.pruning.decoders import decoder_of
from bvllm.stages.prune_layers import InnerMethod
from bvllm.stages.schedule import Schedule


@dataclass(frozen=True)
class InnerPlan:
    """What becomes of one clip's visual tokens inside the language model.

    Attributes:
        name: of the method, in `bvllm.METHODS["prune_layers"]`.
        budget: tokens of frames, the mean over the layers.
        schedule: tokens of frames that each layer sees.
        tail: tokens behind the last frame that are of no frame, which every layer sees.
    """

    name: str
    budget: int
    schedule: Schedule
    tail: int = 0

    @property
    def method(self) -> InnerMethod:
        return inner_method(self.name)

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Visual tokens that each layer sees."""
        return tuple(count + self.tail for count in self.schedule.counts)

    @property
    def spent(self) -> int:
        """The mean over the layers, rounded up: what a budget is compared with."""
        return ceil(self.schedule.mean) + self.tail


def inner_method(name: str) -> InnerMethod:
    """A method by its name, with its published settings."""
    made: InnerMethod = METHODS["prune_layers"][name]()
    return made


def entering(model: PreTrainedModel, name: str, budget: int) -> int:
    """The most tokens of frames that may enter the language model on a budget.

    Raises:
        ValueError: tokens cannot be dropped inside this model.
    """
    decoder = decoder_of(model)
    return inner_method(name).entering(budget, len(decoder.layers), decoder.first)


def plan_inside(model: PreTrainedModel, name: str, tokens: int, budget: int, tail: int = 0) -> InnerPlan:
    """The plan for one clip, of which `tokens` are left.

    Raises:
        ValueError: tokens cannot be dropped inside this model, or more are left than may enter.
    """
    decoder = decoder_of(model)
    schedule = inner_method(name).schedule(tokens, budget, len(decoder.layers), decoder.first)
    return InnerPlan(name, budget, schedule, tail)


@contextmanager
def carried_out(
    model: PreTrainedModel,
    plans: Sequence[InnerPlan | None],
    placeholders: Tensor,
    mask: Tensor | None = None,
) -> Iterator[dict[str, Any]]:
    """What a call of the model must be given for its plans to be carried out; nothing where there are none.

    Args:
        plans: of the prompts, all by one method.
        placeholders: (B, S) where visual tokens stand; a clip's tail comes last.
        mask: (B, S) of prompts that are padded on the left.

    Raises:
        ValueError: prompts go by several methods.
    """
    found = [plan for plan in plans if plan is not None]
    if not found:
        yield {}
        return
    if len(found) < len(plans) or len({plan.name for plan in found}) > 1:
        names = sorted({"none" if plan is None else plan.name for plan in plans})
        raise ValueError(
            f"prune_layers must be one method for questions asked together, got {', '.join(names)}: ask them "
            "apart"
        )
    visual = placeholders.clone()
    for row, plan in zip(visual, found):
        if plan.tail:
            row[row.nonzero()[-plan.tail :, 0]] = False
    budgets = [plan.budget for plan in found]
    tail = found[0].tail
    with prune_inside(model, found[0].method, visual, budgets, attention_mask=mask, tail=tail) as pruning:
        yield {"past_key_values": pruning.cache}
