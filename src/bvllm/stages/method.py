"""Define what a method is: options in its fields, facts in its class, one decision in `assign`.

A method decides for one video at a time and returns a value; the pipeline carries it out. It never sees a
model: what it may know beside the frames or tokens comes as `Signals`. Adding one is a file in
`bvllm/methods/` and a line in its table.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.reduction import Reduction
from bvllm.stages.reading import NOTHING, Reading
from bvllm.types import Clip, SignalName, Signals, Tokens

Slot = Literal["select_frames", "merge_frames", "sample_tokens", "merge_tokens", "prune_layers"]
# Whether exactly `keep` are left (all, where there are no more), at most `keep`, or all in another order.
Lands = Literal["exact", "below", "reorders"]
# What leaves a token slot: weighted sums of patches, or what a trained module made of them.
Kind = Literal["patches", "queries"]

NO_SIGNALS = Signals()


@dataclass(frozen=True)
class Method:
    """Facts that every method states.

    Attributes:
        slots: where in the pipeline it fits.
        paper: address of the paper, or "ours".
        needs: signals without which it cannot decide.
        reads: whose attention that is, in which layers of the vision tower, and whether keys go with it.
        lands: "exact" on the count it was given, "below" it, or "reorders" only.
        kind: what leaves a token slot; a projector that was trained on one kind cannot read the other.
        conserves: whether every token goes into one that is left, whole, so that sizes sum to what they did,
            as long as the budget has a token for each frame.
        learned: whether it has trained weights, which a model must bring.
        across: whether it weighs tokens of different frames against one another, or shares out grids: it then
            sees the whole clip, and shares the tokens out by itself, even where a budget policy has counted
            them frame by frame.
        blind: whether it decides without the features of the frames: the first pass over them is then left
            out.
    """

    slots: ClassVar[tuple[Slot, ...]]
    paper: ClassVar[str]
    needs: ClassVar[frozenset[SignalName]] = frozenset()
    reads: ClassVar[Reading] = NOTHING
    lands: ClassVar[Lands] = "exact"
    kind: ClassVar[Kind] = "patches"
    conserves: ClassVar[bool] = False
    learned: ClassVar[bool] = False
    across: ClassVar[bool] = False
    blind: ClassVar[bool] = False


@dataclass(frozen=True)
class FrameMethod(Method):
    """A hard reduction of frames: for `select_frames` or `merge_frames`."""

    def assign(self, clip: Clip, keep: int, signals: Signals) -> Assignment | Reduction:
        """Decide what becomes of each of T frames, so that at most `keep` (1..T) are left."""
        raise NotImplementedError


@dataclass(frozen=True)
class TokenMethod(Method):
    """A hard reduction of tokens: for `sample_tokens` or `merge_tokens`."""

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        """Decide what becomes of each of K tokens, so that at most `keep` (1..K) are left."""
        raise NotImplementedError


def decide(
    method: FrameMethod | TokenMethod, x: Clip | Tokens, keep: int, signals: Signals
) -> Assignment | Reduction:
    """Ask a method, hold it to what it states of itself, and put what it leaves in the order of its inputs.

    Raises:
        MethodRefused: it needs a signal that is not there.
        ValueError: `keep` is below 1.
        RuntimeError: what it decided is not of these inputs, or leaves another number than it states.
    """
    name = type(method).__name__
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}: raise the budget")
    signals.require(method.needs, name)
    keep = min(keep, len(x))
    plan = method.assign(x, keep, signals)  # type: ignore[arg-type]  # frames to frame methods: by the slot
    if plan.inputs != len(x):
        raise RuntimeError(
            f"method {name} must decide about all {len(x)} inputs, got a plan for {plan.inputs}: "
            "mend its assign"
        )
    wrong = {
        "exact": len(plan) != keep,
        "below": not 1 <= len(plan) <= keep,
        "reorders": len(plan) != len(x),
    }
    if wrong[method.lands]:
        raise RuntimeError(
            f"method {name} must land {method.lands!r}, as it states, for keep={keep} of {len(x)}, got "
            f"{len(plan)}: mend its assign, or what it states"
        )
    if method.lands == "reorders" or not bool((plan.anchor.diff() < 0).any()):
        return plan
    return (plan if isinstance(plan, Reduction) else plan.reduction()).in_order()
