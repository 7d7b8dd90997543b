"""Change a trained model's settings at inference, as the paper's Figures 3 and 5 do.

Sec. 5.3 asks how L*, R and theta "affect the performance of a trained model", and Sec. 8.2 varies L* of a
model that "was trained with L* = 32". Fewer queries are a part of the trained ones; more than were trained
there are none. What is beyond the paper and needs no weights of its own is tried the same way.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from bvllm.model import BVLLMForConditionalGeneration


@dataclass(frozen=True)
class AtInference:
    """What differs from the trained model; None is as it was trained.

    Attributes:
        frames: L*.
        tokens: R.
        budget: theta.
        tau, gamma: of a soft choice, eq. 1 without its noise. Inference takes the arg-max, whose rows are
            equal or have nothing in common, whatever tau and gamma are; so with either of them the choice is
            soft.
        second_choices, strength: `second_choices` and `least_strength` of `BVLLMConfig`.
        merge: `merge_tokens`.
    """

    frames: int | None = None
    tokens: int | None = None
    budget: int | None = None
    tau: float | None = None
    gamma: float | None = None
    second_choices: float | None = None
    strength: float | None = None
    merge: str | None = None

    @property
    def soft(self) -> bool:
        """Whether frames are mixed by eq. 1 instead of chosen by its limit."""
        return self.tau is not None or self.gamma is not None

    @property
    def name(self) -> str:
        """For files."""
        given = {"L": self.frames, "R": self.tokens, "theta": self.budget, "tau": self.tau}
        given |= {"gamma": self.gamma, "second": self.second_choices, "strength": self.strength}
        numbers = [f"{key}{value:g}" for key, value in given.items() if value is not None]
        return "-".join([*numbers, *([] if self.merge is None else [f"merge_{self.merge}"])])

    def applied(self, model: BVLLMForConditionalGeneration) -> BVLLMForConditionalGeneration:
        """A copy of a trained model with these numbers.

        Raises:
            ValueError: more queries are asked for than were trained.
        """
        own = model.config
        if self.frames is None and self.tokens is None:  # a model without a token sampler has no queries
            made = copy.deepcopy(model)
        else:
            made = fewer(model, self.frames or own.num_selected_frames, self.tokens or own.tokens_per_frame)
        for setting, value in (
            ("budget_tokens", self.budget),
            ("tau", self.tau),
            ("gamma", self.gamma),
            ("second_choices", self.second_choices),
            ("least_strength", self.strength),
            ("merge_tokens", self.merge),
        ):
            if value is not None:
                setattr(made.config, setting, value)
        if self.soft:
            made.config.choice = "softmax"
        return made


def fewer(model: BVLLMForConditionalGeneration, frames: int, tokens: int) -> BVLLMForConditionalGeneration:
    """The same trained model with some of its queries, evenly chosen: L* and R at inference (Fig. 3a).

    The first ones alone would not do: queries that lie near to each other may have learned to look alike.

    Raises:
        ValueError: more queries are asked for than were trained.
    """
    made = copy.deepcopy(model)
    for name, reader, count in (
        ("frames", made.model.frame_selector, frames),
        ("tokens", made.model.token_sampler, tokens),
    ):
        queries = reader.reader.queries
        trained = len(queries.weight)
        if not 1 <= count <= trained:
            raise ValueError(f"{name} must lie in 1..{trained}, got {count}: the model has as many queries")
        kept = (2 * torch.arange(count) + 1) * trained // (2 * count)
        queries.weight = torch.nn.Parameter(queries.weight.detach()[kept])
    made.config.num_selected_frames, made.config.tokens_per_frame = frames, tokens
    return made


@contextmanager
def choosing(model: BVLLMForConditionalGeneration, *, softly: bool) -> Iterator[None]:
    """Let a model that is otherwise in evaluation choose frames by `config.choice`, or by the arg-max."""
    before = model.model.training
    model.model.training = softly  # of this module alone: the parts stay in evaluation
    try:
        yield
    finally:
        model.model.training = before
