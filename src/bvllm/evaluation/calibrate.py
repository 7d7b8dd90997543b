"""Calibrate `--budget auto` for one model: which budgets it tries, and how sure the last answer must be.

Every question of a validation split is answered at every budget once. From these answers follows what any
ladder of budgets with any margin would have answered and spent, so the best is found by looking at all.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bvllm.evaluation.evaluate import says_right
from bvllm.evaluation.tasks.base import Item
from bvllm.inference.ask import answer, encode_video
from bvllm.inference.auto_budget import AutoBudget, Measured, holds_all, margin_of
from bvllm.inference.encode import EncodedVideo
from bvllm.inference.model import VideoModel
from bvllm.inference.session import Session
from bvllm.types import Budget

MOST_LOST = 0.01  # of accuracy, against the largest budget
LEAST_SAVED = 0.5  # of the tokens of the largest budget
MOST_MARGINS = 400  # that are compared for one ladder
Progress = Callable[[int, int], None]


class Outcome(NamedTuple):
    """What a way to spend tokens gave on Q questions.

    Attributes:
        right: (Q,) whether each answer was right.
        tokens: (Q,) visual tokens of all its passes.
    """

    right: NDArray[np.bool_]
    tokens: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def mean_tokens(self) -> float:
        """Of a question, all passes together."""
        return float(self.tokens.mean())


@dataclass(frozen=True)
class Trials:
    """What Q questions gave at each of B budgets.

    Attributes:
        budgets: ascending.
        margins: (Q, B) how sure each answer was.
        right: (Q, B) whether it was right.
        tokens: (Q, B) visual tokens of each pass.
        whole: (Q, B) whether the model was given all there is, so that no larger budget is tried.
    """

    budgets: tuple[int, ...]
    margins: NDArray[np.float64]
    right: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.margins)

    def fixed(self, budget: int) -> Outcome:
        """One pass at a budget, whatever the question."""
        place = self.budgets.index(budget)
        return Outcome(self.right[:, place], self.tokens[:, place])

    def auto(self, steps: AutoBudget) -> Outcome:
        """All passes until an answer is sure enough, as `answer_auto` makes them."""
        places = [self.budgets.index(tokens) for tokens in steps.tokens]
        right, tokens, _ = self._outcomes(places, np.array([steps.least_margin]))
        return Outcome(right[0], tokens[0])

    def _outcomes(
        self, places: Sequence[int], margins: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """(M, Q) right answers, tokens and last steps of a ladder under each of M margins."""
        own = np.array(places)
        stops = (self.margins[None, :, own] >= margins[:, None, None]) | self.whole[None, :, own]
        stops[..., -1] = True
        last, question = stops.argmax(axis=-1), np.arange(len(self))
        spent = self.tokens[:, own].cumsum(axis=1)
        return self.right[question, own[last]], spent[question, last], last


def try_budgets(
    items: Sequence[Item],
    loaded: VideoModel,
    budgets: Sequence[int],
    *,
    frames: int | None = None,
    fps: float = 1.0,
    progress: Progress | None = None,
) -> Trials:
    """Answer every question at every budget, each video encoded once.

    Args:
        items: of one benchmark; those with no right option among theirs tell nothing and are passed over.
        loaded: any model behind `VideoModel`.
        budgets: ascending.
        frames, fps: as for `answer`.
        progress: called with (questions done, all questions).

    Raises:
        ValueError: no question can be right, or budgets do not rise.
        VideoError: a video cannot be read.
    """
    AutoBudget(tuple(budgets))  # refuses what does not rise
    asked = [item for item in items if item.answer is not None]
    if not asked:
        raise ValueError("data must hold questions with a right option, got none: name another split")
    rows: list[list[_Try]] = []
    for (video, part), group in groupby(asked, key=lambda item: (item.video, item.part)):
        with closing(encode_video(video, loaded, fps=fps, part=part)) as encoded:
            session = Session()
            for item in group:
                given = [Budget(tokens, frames or loaded.budget.frames) for tokens in budgets]
                rows.append([_try(item, encoded, loaded, budget, session) for budget in given])
                if progress is not None:
                    progress(len(rows), len(asked))
    margins, right, tokens, whole = (np.array(part) for part in zip(*(zip(*row) for row in rows)))
    return Trials(tuple(budgets), margins, right, tokens, whole)


class _Try(NamedTuple):
    """One answer: a row of `Trials` at one budget."""

    margin: float
    right: bool
    tokens: int
    whole: bool


def _try(item: Item, encoded: EncodedVideo, loaded: VideoModel, budget: Budget, session: Session) -> _Try:
    found = answer(
        encoded,
        item.question,
        loaded,
        budget=budget,
        options=item.options,
        subtitles=item.subtitles,
        session=session,
    )
    sure = margin_of(found.likelihoods, found.options)
    assert sure is not None  # there are options
    return _Try(sure, says_right(found.letter, found, item), found.tokens, holds_all(found))


def find_steps(trials: Trials, *, most_lost: float = MOST_LOST) -> AutoBudget:
    """The budgets and the margin that spend least and lose at most so much accuracy.

    Every ladder of the budgets is looked at. One that may be kept comes first: it stops at different steps
    for different questions, saves half of the tokens, and is right more often than every fixed budget that
    costs no more. Among those, what is lost is counted with a standard error on top: the best of many
    ladders is the luckiest, too, and on other questions loses more than where it was chosen. The cheapest
    that even so loses no more than it may is found; where there is none, the one that then loses least.
    Where no ladder may be kept, one of any kind is found, of one step, too: where margins tell nothing, a
    fixed budget, in the worst case the largest.

    Args:
        trials: of a validation split.
        most_lost: of accuracy, against the largest budget.

    Returns:
        The steps, with what they were worth here. A margin lies in the middle between the answers that it
        divides.
    """
    full = trials.fixed(trials.budgets[-1])
    fixed = [trials.fixed(budget) for budget in trials.budgets]
    best: tuple[tuple[bool, float, float], int, float, tuple[int, ...]] | None = None
    for count in range(1, len(trials.budgets) + 1):
        for places in combinations(range(len(trials.budgets)), count):
            margins = _between(trials.margins[:, places[:-1]])
            right, tokens, last = trials._outcomes(places, margins)
            accuracy, costs = right.mean(axis=1), tokens.mean(axis=1)
            lost = full.accuracy - accuracy
            unsure = (right != full.right).mean(axis=1) - lost**2  # variance of one question's loss
            above = lost + np.sqrt(np.maximum(unsure, 0) / len(trials)) - (most_lost + 1e-9)
            good = (last.min(axis=1) < last.max(axis=1)) & (costs <= (1 - LEAST_SAVED) * full.mean_tokens)
            for one in fixed:
                good &= (one.mean_tokens > costs) | (one.accuracy < accuracy)
            for place in np.flatnonzero(lost <= most_lost + 1e-9):
                cost = float(costs[place])
                rank = (False, max(0.0, float(above[place])), cost) if good[place] else (True, cost, cost)
                found = (rank, count, -float(margins[place]), places)
                best = found if best is None else min(best, found)
    assert best is not None  # the largest budget alone loses nothing
    steps = AutoBudget(tuple(trials.budgets[k] for k in best[3]), -best[2])
    auto = trials.auto(steps)
    measured = Measured(len(trials), auto.accuracy, auto.mean_tokens, full.accuracy, full.mean_tokens)
    return replace(steps, measured=measured)


def _between(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) numbers that divide some margins in every way, or in many; of none, 0."""
    known = np.unique(margins)
    if not len(known):
        return np.zeros(1)
    middle = (known[1:] + known[:-1]) / 2
    if len(middle) > MOST_MARGINS:
        middle = middle[np.linspace(0, len(middle) - 1, MOST_MARGINS).round().astype(int)]
    return np.array([0.0, *middle, 1.0])
