"""Define a method that drops visual tokens inside the language model, and what it may know there.

It states where tokens go (cuts of a layer schedule) and decides, for one prompt at one layer, which stay. It
never sees a model: states, places and the attention that it asks for come as a `LayerView`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.attention import causal_weights
from bvllm.primitives.reduction import Reduction
from bvllm.stages.method import Method, Slot
from bvllm.stages.schedule import Cut, Schedule, Shape

CHUNK = 256  # queries whose attention is held at a time


class Projections(Protocol):
    """Queries and keys that one layer makes of a prompt's states, rotated by their positions."""

    @property
    def scale(self) -> float: ...

    @property
    def keys(self) -> Tensor:
        """(G, S, d) of all places."""
        ...

    def queries(self, places: Tensor) -> Tensor:
        """(H, R, d) of R places."""
        ...


@dataclass(frozen=True)
class StatesAlone:
    """Projections of a layer that projects nothing: one head, whose queries and keys are the states."""

    states: Tensor

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def keys(self) -> Tensor:
        """(1, S, D)."""
        return self.states[None]

    def queries(self, places: Tensor) -> Tensor:
        """(1, R, D)."""
        return self.states[None, places]


@dataclass(frozen=True)
class LayerView:
    """One prompt where it enters a layer, without its padding.

    Attributes:
        states: (S, D) hidden states.
        visual: (V,) places of the visual tokens that are left, ascending.
        question: (Q,) places of the text behind the last visual token that entered the language model,
            without what is of no frame: the same words at every layer.
        before: of the layer that was just run, on the states it was given.
        own: of the layer that these states enter.
        visual_inputs: (N, D) embeddings of all visual tokens, as they entered the language model.
        question_inputs: (Q, D) embeddings of the text behind them.
        final_norm: the norm behind the last layer.
        transitions: (V,) what the layers that a method watches changed so far; zeros where it watches none.
    """

    states: Tensor
    visual: Tensor
    question: Tensor
    before: Projections
    own: Projections
    visual_inputs: Tensor
    question_inputs: Tensor
    final_norm: Callable[[Tensor], Tensor]
    transitions: Tensor

    @classmethod
    def of_states(cls, states: Tensor, visual: Tensor) -> "LayerView":
        """A view without a model: the states are their own queries and keys, and nothing changed before.

        What a method does can be seen on it, in examples and tests.

        Args:
            states: (S, D).
            visual: (V,) places of the visual tokens, ascending; what stands behind them is the question.

        Example:
            >>> view = LayerView.of_states(torch.eye(4), torch.tensor([1, 2]))
            >>> view.question.tolist(), tuple(view.visual_inputs.shape)
            ([3], (2, 4))
        """
        question = torch.arange(int(visual[-1]) + 1, len(states), device=states.device)
        alone = StatesAlone(states)
        return cls(
            states=states,
            visual=visual,
            question=question,
            before=alone,
            own=alone,
            visual_inputs=states[visual],
            question_inputs=states[question],
            final_norm=lambda x: x,
            transitions=torch.zeros(len(visual), device=states.device),
        )

    @property
    def last(self) -> Tensor:
        """(1,) the place of the prompt's last token."""
        return torch.tensor([len(self.states) - 1], device=self.states.device)

    def received(self, of: Projections, places: Tensor) -> Tensor:
        """(V,) attention that each visual token gets from some places: the mean over them and over heads.

        Where there are none, a prompt that ends in its video, none gets any.
        """
        keys, total = of.keys, self.states.new_zeros(len(self.states), dtype=torch.float32)
        parts = torch.split(places, CHUNK) if len(places) else ()
        ends = [int(part.max()) + 1 for part in parts]  # none looks at what lies behind it
        for part, end in zip(parts, ends):
            weights = causal_weights(of.queries(part), keys[:, :end], part, of.scale)
            total[:end] += weights.mean(dim=0).sum(dim=0)
        return total[self.visual] / max(1, len(places))


@dataclass(frozen=True)
class Folding:
    """Some tokens stay, and others are folded into them.

    Attributes:
        reduction: what each output is a sum of.
        anchor: (outputs,) the token that each output stands on, whatever it weighs.
    """

    reduction: Reduction
    anchor: Tensor

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def inputs(self) -> int:
        """How many tokens it decides about."""
        return self.reduction.inputs

    def combine(self, x: Tensor, size: Tensor) -> Tensor:
        """Carry it out: (inputs, ...) -> (outputs, ...); `size` is not read, the weights are final."""
        return self.reduction.combine(x)


Plan = Assignment | Folding


@dataclass(frozen=True)
class InnerMethod(Method):
    """Fewer visual tokens from layer to layer: for `prune_layers`.

    Its budget is the mean of visual tokens over the layers, so that it stands in one table with methods that
    reduce before the language model: these spend as many at every layer.

    Attributes:
        cuts: before which layers tokens go, and the share that is left from there, as published.
        depth: layers of the model that they were published for; in another they lie at the same heights.
        renumbers: whether positions are counted anew over what is left, or kept as they were.
    """

    slots: ClassVar[tuple[Slot, ...]] = ("prune_layers",)
    depth: ClassVar[int] = 32
    renumbers: ClassVar[bool] = False

    cuts: tuple[Cut, ...] = ()

    def shape(self, layers: int, first: int = 1) -> Shape:
        """How the count falls over the layers of a model; see `Shape.of`."""
        return Shape.of(self.cuts, self.depth, layers, first)

    def entering(self, budget: int, layers: int, first: int = 1) -> int:
        """The most visual tokens that may enter the language model on a budget; see `Shape.entering`."""
        return self.shape(layers, first).entering(budget)

    def schedule(self, tokens: int, budget: int, layers: int, first: int = 1) -> Schedule:
        """How many each layer sees, their mean within the budget; see `Shape.schedule`."""
        return self.shape(layers, first).schedule(tokens, budget)

    def watched(self, layers: int, first: int = 1) -> range:
        """Layers whose transitions are summed up for it; see `LayerView.transitions`."""
        return range(0)

    def decide(self, view: LayerView, keep: int) -> Plan:
        """Decide about V visual tokens at one layer, so that `keep` (1..V - 1) are left.

        Outputs stand in the plan's order; one whose anchor lies before an earlier output's comes right
        behind that one, at its own anchor's position.
        """
        raise NotImplementedError


def keep_best(scores: Tensor, keep: int) -> Assignment:
    """Keep the tokens with the highest scores, in their order; the first of equals.

    Example:
        >>> keep_best(torch.tensor([0.1, 0.9, 0.5]), 2).anchor.tolist()
        [1, 2]
    """
    return Assignment.keep(best(scores, keep), len(scores))


def best(scores: Tensor, keep: int) -> Tensor:
    """(keep,) indices of the highest scores, ascending; the first of equals."""
    return scores.argsort(descending=True, stable=True)[:keep].sort().values


def others(stay: Tensor, count: int) -> Tensor:
    """(count - stays,) indices of the tokens that do not stay, ascending.

    Example:
        >>> others(torch.tensor([0, 2]), 4).tolist()
        [1, 3]
    """
    rest = torch.ones(count, dtype=torch.bool, device=stay.device)
    rest[stay] = False
    return rest.nonzero()[:, 0]


def decide_inside(method: InnerMethod, view: LayerView, keep: int) -> Plan:
    """Ask a method, and hold it to its count.

    Raises:
        RuntimeError: what it decided is not of these tokens, or leaves another number.
    """
    tokens = len(view.visual)
    plan = method.decide(view, keep)
    if plan.inputs != tokens or len(plan) != keep:
        raise RuntimeError(
            f"method {type(method).__name__} must leave {keep} of {tokens} tokens, got {len(plan)} of "
            f"{plan.inputs}: mend its decide"
        )
    return plan
