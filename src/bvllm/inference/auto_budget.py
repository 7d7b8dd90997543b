"""Answer at a small budget first, and go up only where the model is unsure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bvllm.common.files import AUTO_BUDGET, replace_file
from bvllm.common.text import Question
from bvllm.inference.answer import answer
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.model import VideoModel
from bvllm.inference.results import Answer, BudgetStep
from bvllm.types import Budget


@dataclass(frozen=True)
class Measured:
    """What a margin was worth on the questions by which it was found.

    Attributes:
        questions: how many.
        accuracy, tokens: share of right answers, and mean visual tokens of all passes together.
        accuracy_full, tokens_full: the same at the largest budget alone.
    """

    questions: int
    accuracy: float
    tokens: float
    accuracy_full: float
    tokens_full: float

    @property
    def saved(self) -> float:
        """Share of the tokens of the largest budget."""
        return 1 - self.tokens / self.tokens_full


@dataclass(frozen=True)
class AutoBudget:
    """Budgets to try, least first, and how sure an answer must be to be the last.

    With options an answer is as sure as the likeliest option is ahead of the next; of an open question it is
    sure where two budgets in a row say the same.

    Attributes:
        tokens: budgets, ascending.
        least_margin: in [0, 1]; between the likelihoods of the two likeliest options.
        frames: the most that may be chosen; None takes the model's own.
        measured: by `bvllm calibrate`, on a validation split; None where nobody did for this model.
        scorer: what chose the frames then; None where the model did it alone.
        pipeline: by which methods; None where they were the model's own.
        fps: frames a second of the videos then.

    Raises:
        ValueError: no budget, budgets that do not rise, or a margin outside [0, 1].

    Source: ours.

    Example:
        >>> AutoBudget((64, 512)).tokens
        (64, 512)
    """

    tokens: tuple[int, ...] = (64, 256, 1024)
    least_margin: float = 0.8
    frames: int | None = None
    measured: Measured | None = None
    scorer: str | None = None
    pipeline: str | None = None
    fps: float = 1.0

    def __post_init__(self) -> None:
        if not self.tokens or list(self.tokens) != sorted(set(self.tokens)) or self.tokens[0] < 1:
            raise ValueError(
                f"tokens must be one or more rising budgets, got {self.tokens}: write the least first"
            )
        if not 0 <= self.least_margin <= 1:
            raise ValueError(
                f"least_margin must lie in [0, 1], got {self.least_margin}: it compares probabilities"
            )

    def save(self, folder: Path) -> None:
        """Write `auto_budget.json` into a model's folder."""
        replace_file(folder / AUTO_BUDGET, (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path) -> "AutoBudget":
        """Read it back; the defaults, which were calibrated for no model, where the folder has none.

        Raises:
            ValueError: the file is not of this form.
        """
        file = Path(folder, AUTO_BUDGET)
        return cls.read(file) if file.is_file() else cls()

    @classmethod
    def read(cls, file: Path) -> "AutoBudget":
        """What `save` wrote.

        Raises:
            ValueError: the file is not of this form
            OSError: it cannot be read.
        """
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            measured, frames = found.get("measured"), found.get("frames")
            return cls(
                tuple(map(int, found["tokens"])),
                float(found["least_margin"]),
                None if frames is None else int(frames),
                measured=None if measured is None else Measured(**measured),
                scorer=found.get("scorer"),
                pipeline=found.get("pipeline"),
                fps=float(found.get("fps", 1.0)),
            )
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{file.name} must hold rising tokens and a least_margin, got {error!r}: write it anew "
                "with `bvllm calibrate`"
            ) from error


def answer_auto(
    encoded: EncodedVideo,
    question: str | Question,
    loaded: VideoModel,
    budget: AutoBudget,
    *,
    options: Sequence[str] | None = None,
    **settings: Any,
) -> Answer:
    """As `answer`, at the least of some budgets that the model itself finds enough.

    Args:
        encoded, question, loaded, options: see `answer`.
        budget: budgets to try.
        **settings: of `answer`.

    Returns:
        The last answer; its `budget_steps` say what was tried, and `tokens_spent` what all of it cost.

    Raises:
        ValueError: as `answer` does.
    """
    parsed = Question.parse(question, options)
    steps: list[BudgetStep] = []
    before: Answer | None = None
    for tokens in budget.tokens:
        given = Budget(tokens, budget.frames or loaded.budget.frames)
        found = answer(encoded, parsed, loaded, budget=given, **settings)
        sure = margin_of(found.likelihoods, found.options)
        if not found.options:
            sure = None if before is None else float(before.free_text == found.free_text)
        steps.append(BudgetStep(tokens, found.tokens, sure))
        before = found
        if (sure is not None and sure >= budget.least_margin) or holds_all(found):
            break
    assert before is not None  # there is a budget
    return replace(before, budget_steps=tuple(steps))


def margin_of(likelihoods: Sequence[float], options: Sequence[str]) -> float | None:
    """How far the likeliest option is ahead of the next; equal options count as one.

    Example:
        >>> margin_of((0.5, 0.3, 0.2), ("red", "blue", "red"))
        0.4
    """
    together: dict[str, float] = {}
    for option, share in zip(options, likelihoods, strict=True):
        together[option] = together.get(option, 0.0) + share
    if not together:
        return None
    first, *rest = sorted(together.values(), reverse=True)
    return round(first - (rest[0] if rest else 0.0), 6)


def holds_all(found: Answer) -> bool:
    """Whether no budget can add to an answer: it had every patch of all frames, or of all that were chosen.

    Where a selector chooses and all patches of its frames fill less than the budget, a larger one changes
    nothing.
    """
    if found.tokens == found.frames_total * found.patches_per_frame:
        return True
    whole = found.tokens == len(found.frames) * found.patches_per_frame
    return found.used.select == "learned" and whole and found.tokens < found.used.tokens
