"""Report what an automatic budget is worth, against the largest budget and a fixed one of equal cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bvllm.evaluation.calibrate import LEAST_SAVED, MOST_LOST, Outcome, Progress, Trials, try_budgets
from bvllm.evaluation.evaluate import Loss, Share
from bvllm.evaluation.tasks.base import Item
from bvllm.inference.auto_budget import AutoBudget
from bvllm.inference.model import VideoModel


@dataclass(frozen=True)
class Row:
    """One way to spend tokens.

    Attributes:
        title: in words.
        right: share of right answers, with its interval.
        tokens: mean of a question, all passes together.
    """

    title: str
    right: Share
    tokens: float

    @classmethod
    def of(cls, title: str, outcome: Outcome) -> "Row":
        return cls(title, Share.of(outcome.right.astype(float).tolist()), outcome.mean_tokens)


@dataclass(frozen=True)
class Calibration:
    """Steps, and what they are worth on one split.

    Attributes:
        steps: budgets and margin.
        split: whose questions were asked.
        fixed: each budget alone; the largest last.
        auto: the steps.
        rival: of the fixed budgets that cost no more than `auto`, the one that is right most often; one that
            costs as much as `auto` is among them.
        lost: of accuracy, by the steps against the largest budget, paired.
        ahead: of accuracy, by the steps against the rival, paired.
    """

    steps: AutoBudget
    split: str
    fixed: tuple[Row, ...]
    auto: Row
    rival: Row
    lost: Loss
    ahead: Loss

    @property
    def saved(self) -> float:
        """Share of the tokens of the largest budget."""
        return 1 - self.auto.tokens / self.fixed[-1].tokens

    def why_not(self, *, most_lost: float = MOST_LOST) -> str | None:
        """What speaks against the steps, in one line; None where nothing does.

        There must be two or more, they must save half of the tokens and lose no more than this, and be
        right more often than the best fixed budget that costs no more: else a fixed budget does the same.
        """
        if len(self.steps.tokens) < 2:
            [only] = self.steps.tokens
            return f"steps must be two or more, got one of {only} tokens: ask with --budget {only}"
        if self.saved < LEAST_SAVED or self.lost.mean > most_lost + 1e-9:
            return (
                f"steps must save half of the tokens at a loss of {100 * most_lost:g} points at most, got "
                f"{100 * self.saved:.0f} % at {100 * self.lost.mean:.1f} points on split {self.split!r}: "
                "keep a fixed budget for this model"
            )
        if self.ahead.mean <= 0:
            return (
                "steps must be right more often than the best fixed budget of their cost, got "
                f"{100 * self.ahead.mean:.1f} points on split {self.split!r}: keep a fixed budget for this "
                "model"
            )
        return None

    def is_worth_it(self, *, most_lost: float = MOST_LOST) -> bool:
        """Whether nothing speaks against the steps; see `why_not`."""
        return self.why_not(most_lost=most_lost) is None

    def table(self) -> str:
        """The figures as a Markdown table, and what they come to."""
        lines = [
            f"| {self.split}: {self.auto.right.count} questions | right | tokens, all passes |",
            "|---|---|---|",
        ]
        for row in (*self.fixed, self.rival, self.auto):
            share = f"{100 * row.right.mean:.1f} % ({100 * row.right.low:.0f}-{100 * row.right.high:.0f})"
            lines.append(f"| {row.title} | {share} | {row.tokens:.0f} |")
        lines.append(
            f"\nThe steps save {100 * self.saved:.0f} % of the tokens of the largest budget and lose "
            f"{_points(self.lost)} points; against the best fixed budget of their cost they win "
            f"{_points(self.ahead)}."
        )
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """Plain numbers, strings, lists and dictionaries."""
        return {**asdict(self), "saved": self.saved}


def weigh(
    steps: AutoBudget,
    trials: Trials,
    items: Sequence[Item],
    loaded: VideoModel,
    *,
    frames: int | None = None,
    fps: float = 1.0,
    progress: Progress | None = None,
) -> Calibration:
    """What steps are worth on trials, and beside a fixed budget of equal mean cost, which is asked once more.

    Args:
        steps: of budgets that were tried.
        trials: of the items.
        items, loaded, frames, fps, progress: see `try_budgets`.
    """
    auto, full = trials.auto(steps), trials.fixed(trials.budgets[-1])
    equal = max(1, int(auto.mean_tokens))
    again = try_budgets(items, loaded, [equal], frames=frames, fps=fps, progress=progress)
    rivals = [(f"{equal} tokens, as much as the steps", again.fixed(equal))]
    rivals += [(f"{tokens} tokens", trials.fixed(tokens)) for tokens in trials.budgets]
    title, rival = max(
        (pair for pair in rivals if pair[1].mean_tokens <= max(auto.mean_tokens, equal)),
        key=lambda pair: pair[1].accuracy,
    )
    ladder = ", ".join(map(str, steps.tokens))
    return Calibration(
        steps,
        items[0].split,
        tuple(Row.of(f"{tokens} tokens", trials.fixed(tokens)) for tokens in trials.budgets),
        Row.of(f"steps of {ladder}; margin {steps.least_margin:.3g}", auto),
        Row.of(f"best fixed of that cost: {title}", rival),
        Loss.of(_pairs(full, auto)),
        Loss.of(_pairs(auto, rival)),
    )


def _pairs(one: Outcome, other: Outcome) -> list[tuple[bool, bool]]:
    return list(zip(one.right.tolist(), other.right.tolist(), strict=True))


def _points(value: Loss) -> str:
    """With the interval."""
    return f"{100 * value.mean:.1f} ({100 * value.low:.1f} to {100 * value.high:.1f})"
