"""Hold what a control has right of a task beside guessing, and say whether it found a shortcut."""

from collections.abc import Sequence
from dataclasses import dataclass

from bvllm.evaluation.evaluate import Share
from experiments.controls.promises import MARGIN, PROMISES, Control


@dataclass(frozen=True)
class Result:
    """What one control has right of one task.

    Attributes:
        by: what it answers by: a trained model, or a rule.
        promised: whether it must be no better than a guess.
        guessing: mean of one over the number of options.
        right: share of right answers, with its interval.
    """

    control: Control
    task: str
    by: str
    promised: bool
    guessing: float
    right: Share

    @property
    def shortcut(self) -> bool:
        """Whether it is right more often than a guess by more than the margin."""
        return self.right.mean - MARGIN > self.guessing

    @classmethod
    def of(
        cls, control: Control, task: str, by: str, options: Sequence[int], won: Sequence[float]
    ) -> "Result":
        """From the number of options of each question, and what was won in each."""
        guessing = sum(1 / count for count in options) / len(options)
        return cls(control, task, by, task in PROMISES[control], guessing, Share.of(won))

    def line(self) -> str:
        """A row of a Markdown table."""
        share = self.right
        verdict = ("SHORTCUT" if self.shortcut else "kept") if self.promised else ""
        right = f"{100 * share.mean:.0f} ({100 * share.low:.0f}-{100 * share.high:.0f}) | {share.count}"
        guess = f"{100 * self.guessing:.0f}"
        return f"| {self.control} | {self.task} | {self.by} | {right} | {guess} | {verdict} |"


HEAD = "| control | task | by | right, % | questions | guessing, % | promise |\n|---|---|---|---|---|---|---|"
