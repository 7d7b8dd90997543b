"""Score a model on a benchmark: right answers, and right frames found."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Unpack

from bvllm.common.files import replace_file
from bvllm.common.text import LETTERS, Question
from bvllm.evaluation.ablate import ablated, check_ablations
from bvllm.evaluation.tasks import Item, task_of
from bvllm.inference.answer import answer, method_names
from bvllm.inference.ask import Answer, EncodedVideo, VideoModel, encode_video, load_model
from bvllm.methods.names import OWN, MethodNames, Slots
from bvllm.types import Budget

DURATIONS = (
    (16.0, "up to 16 s"),
    (64.0, "up to 64 s"),
    (180.0, "up to 3 min"),
    (600.0, "up to 10 min"),
    (3600.0, "up to 1 h"),
)
LONGER = "over 1 h"
NORMAL_95 = 1.959964  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Scored:
    """One row, answered.

    Attributes:
        right: the likeliest option is the right one, for the options as they stand.
        own_words: the free words name the right option; None where they name none.
        circular: right under every rotation of the options (VNBench); None where they were not rotated.
        recall: share of the asked needles of which a frame was chosen; None where there is nothing to find.
        frames: distinct frames that were chosen.
        reply: what the model said in its own words.
        ablated: for each ablation, whether the likeliest option is still the right one.
    """

    id: str
    task: str
    seconds: float
    right: bool
    own_words: bool | None
    circular: bool | None
    recall: float | None
    frames: int
    reply: str
    ablated: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Share:
    """A mean with its 95 % interval (Wilson's, which stays within 0..1 for few and for extreme outcomes)."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Share":
        n = len(values)
        if not n:
            return cls(math.nan, math.nan, math.nan, 0)
        p, z2 = sum(values) / n, NORMAL_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = NORMAL_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return cls(p, max(0.0, centre - half), min(1.0, centre + half), n)


@dataclass(frozen=True)
class Mean:
    """A plain mean with its 95 % interval by the normal approximation."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        n = len(values)
        if not n:
            return cls(math.nan, math.nan, math.nan, 0)
        mean = sum(values) / n
        half = NORMAL_95 * math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, n - 1) / n)
        return cls(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Loss:
    """The share of right answers that a swap costs, with its 95 % interval for pairs.

    The interval is Newcombe's (1998, method 10): Wilson's two intervals, drawn together as far as the pairs
    agree. It stays within -1..1, and is not empty where no pair differs.
    """

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[bool, bool]]) -> "Loss":
        """From (right as it is, right with the swap) of every question.

        Example:
            >>> loss = Loss.of([(True, True)] * 90 + [(False, False)] * 10)
            >>> loss.mean, round(loss.low, 2), round(loss.high, 2)
            (0.0, -0.03, 0.03)
        """
        n = len(pairs)
        if not n:
            return cls(math.nan, math.nan, math.nan, 0)
        before, after = (Share.of([float(pair[k]) for pair in pairs]) for k in (0, 1))
        both = sum(one and other for one, other in pairs) / n
        spread = before.mean * (1 - before.mean) * after.mean * (1 - after.mean)
        agree = (both - before.mean * after.mean) / math.sqrt(spread) if spread else 0.0
        mean = before.mean - after.mean
        ends = (
            (before.mean - before.low, after.high - after.mean),
            (before.high - before.mean, after.mean - after.low),
        )
        down, up = (math.sqrt(max(0.0, a * a - 2 * agree * a * b + b * b)) for a, b in ends)
        return cls(mean, mean - down, mean + up, n)


@dataclass(frozen=True)
class Figure:
    """One figure of a report, over all rows and cut by task and by duration; keyed by their names."""

    overall: Share | Mean
    by_task: dict[str, Share | Mean]
    by_duration: dict[str, Share | Mean]


@dataclass(frozen=True)
class LossFigure:
    """What one ablation costs, over all rows and by task."""

    overall: Loss
    by_task: dict[str, Loss]


@dataclass(frozen=True)
class Report:
    """Every scored row, and the settings that gave it."""

    rows: tuple[Scored, ...]
    settings: dict[str, str | int | float]

    def figures(self) -> dict[str, Figure]:
        """`accuracy`, `own_words` (a reply that names no option is wrong), `circular`, `selection_recall`,
        `distinct_frames`.
        """
        return {
            "accuracy": self._cut(lambda r: float(r.right), Share.of),
            "own_words": self._cut(lambda r: float(bool(r.own_words)), Share.of),
            "circular": self._cut(lambda r: None if r.circular is None else float(r.circular), Share.of),
            "selection_recall": self._cut(lambda r: r.recall, Share.of),
            "distinct_frames": self._cut(lambda r: float(r.frames), Mean.of),
        }

    def _cut(
        self, value: Callable[[Scored], float | None], summary: Callable[[Sequence[float]], Share | Mean]
    ) -> Figure:
        def of(rows: Iterable[Scored]) -> Share | Mean:
            return summary([v for v in map(value, rows) if v is not None])

        tasks = sorted({r.task for r in self.rows})
        there = {duration_name(r.seconds) for r in self.rows}
        lengths = [name for name in (*(name for _, name in DURATIONS), LONGER) if name in there]
        return Figure(
            of(self.rows),
            {task: of(r for r in self.rows if r.task == task) for task in tasks},
            {name: of(r for r in self.rows if duration_name(r.seconds) == name) for name in lengths},
        )

    @property
    def unread_replies(self) -> int:
        """How many replies in the model's own words name no option."""
        return sum(row.own_words is None for row in self.rows)

    def losses(self) -> dict[str, LossFigure]:
        """What each ablation costs, paired by question: what makes a question hard widens no interval."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.ablated))
        tasks = sorted({row.task for row in self.rows})
        return {
            name: LossFigure(
                _loss(self.rows, name), {t: _loss([r for r in self.rows if r.task == t], name) for t in tasks}
            )
            for name in names
        }

    def _table_of_losses(self) -> list[str]:
        losses = self.losses()
        if not losses:
            return []
        tasks = list(next(iter(losses.values())).by_task)
        lines = ["", "Points that are lost where one part's input is swapped:", ""]
        lines += [f"| | {' | '.join(losses)} |", "|---" * (len(losses) + 1) + "|"]
        rows = [("**overall**", [figure.overall for figure in losses.values()])]
        rows += [(task, [figure.by_task[task] for figure in losses.values()]) for task in tasks]
        return lines + [f"| {title} | {' | '.join(map(_points, cut))} |" for title, cut in rows]

    def as_json(self) -> object:
        """Plain numbers, strings, lists and dictionaries; means that do not exist are None.

        Durations are keyed by the most seconds that a row of them has, or "longer".
        """
        keys = {name: f"{limit:g}" for limit, name in DURATIONS} | {LONGER: "longer"}
        figures = {
            name: {
                "overall": asdict(figure.overall),
                "by_task": {task: asdict(value) for task, value in figure.by_task.items()},
                "by_duration": {keys[span]: asdict(value) for span, value in figure.by_duration.items()},
            }
            for name, figure in self.figures().items()
        }
        losses = {name: asdict(figure) for name, figure in self.losses().items()}
        return no_nan(
            {
                **figures,
                **({"losses": losses} if losses else {}),
                "unread_replies": self.unread_replies,
                "settings": self.settings,
                "rows": [asdict(r) for r in self.rows],
            }
        )

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_json(), indent=1)

    def save(self, path: Path) -> None:
        """Write the JSON under a temporary name and rename it."""
        replace_file(path, (self.to_json() + "\n").encode())

    def table(self) -> str:
        """The figures as a Markdown table: one row for everything, then one per duration and per task."""
        figures = list(self.figures().values())
        rows = [("**overall**", [f.overall for f in figures])]
        rows += [(name, [f.by_duration[name] for f in figures]) for name in figures[0].by_duration]
        rows += [(name, [f.by_task[name] for f in figures]) for name in figures[0].by_task]
        lines = [
            "| | questions | accuracy | own words | circular | needle found | frames |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [f"| {title} | {cut[0].count} | {' | '.join(map(_cell, cut))} |" for title, cut in rows]
        lines += self._table_of_losses()
        if self.unread_replies:
            total = len(self.rows)
            lines.append(
                f"\n{self.unread_replies} of {total} replies in the model's own words name no option."
            )
        return "\n".join(lines)


def _loss(rows: Sequence[Scored], name: str) -> Loss:
    return Loss.of([(row.right, row.ablated[name]) for row in rows if name in row.ablated])


def _points(value: Loss) -> str:
    """Points lost, with the interval."""
    if not value.count:
        return "-"
    return f"{100 * value.mean:.1f} ({100 * value.low:.0f} to {100 * value.high:.0f})"


def _cell(value: Share | Mean) -> str:
    if not value.count:
        return "-"
    if isinstance(value, Mean):
        return f"{value.mean:.1f}"
    return f"{100 * value.mean:.1f} % ({100 * value.low:.0f}-{100 * value.high:.0f})"


def no_nan(value: object) -> object:
    """The same for JSON, which knows no NaN: None in its place."""
    if isinstance(value, dict):
        return {k: no_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [no_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def duration_name(seconds: float) -> str:
    """The row of the table that a video of this length is counted in."""
    return next((name for limit, name in DURATIONS if seconds <= limit), LONGER)


def evaluate(
    data: Path,
    *,
    task: str = "world",
    model: str | VideoModel = "nano",
    budget: Budget | None = None,
    tokens: int | None = None,
    frames: int | None = None,
    select: str = "learned",
    fps: float = 1.0,
    circular: bool = True,
    progress: Callable[[int, int], None] | None = None,
    media_root: Path | None = None,
    ablations: Sequence[str] = (),
    methods: MethodNames | None = None,
    **slots: Unpack[Slots],
) -> Report:
    """Ask every question of a benchmark, each video encoded once.

    Args:
        data: the folder of the benchmark, or one of its files where it has several.
        task: which benchmark, by its name in `bvllm.evaluation.tasks.TASKS`.
        model: `nano`, a folder or a hub id; or a model that was loaded, whatever its family.
        budget: the token budget of every question; None takes the model's own.
        tokens, frames: another part of that budget.
        select: the older way to name `select_frames`; "learned" is the model's own.
        fps: frames to sample per second, where a question does not say how its video is sampled.
        circular: also ask under every rotation of the options.
        progress: called with (questions done, all questions).
        media_root: folder that the questions name their videos from; the benchmark's own where None. A video
            outside of it is refused.
        ablations: also ask with one part's input swapped, each by its name in
            `bvllm.evaluation.ablate.ABLATIONS`.
        methods, **slots: a method for any slot of the pipeline, as for `answer`.

    Raises:
        ValueError: a task, a method or an ablation is unknown, a method does not go with the model, or the
            data are not as the benchmark's layout says.
        FileNotFoundError: a video is missing; raised before any question is asked.
    """
    items = task_of(task).read(data, media_root)
    names, swaps = method_names(select, methods, slots), check_ablations(ablations)
    loaded = load_model(model) if isinstance(model, str) else model
    budget = (budget or loaded.budget).with_parts(tokens, frames)
    filled = loaded.methods(names)
    scored: list[Scored] = []
    for (video, part), group in groupby(items, key=lambda item: (item.video, item.part)):
        with closing(encode_video(video, loaded, fps=fps, part=part)) as encoded:
            for item in group:
                ask = partial(score, item, encoded, budget=budget, methods=names)
                other = _other_question(items, len(scored))
                changed = {
                    name: ask(ablated(name, loaded, loaded.read(other)), circular=False).right
                    for name in swaps
                }
                scored.append(replace(ask(loaded, circular=circular), ablated=changed))
                if progress is not None:
                    progress(len(scored), len(items))
    settings: dict[str, str | int | float] = {
        "model": model if isinstance(model, str) else model.name,
        "tokens": budget.tokens,
        "frames": budget.frames,
        "select": "learned" if names.select_frames is None else names.select_frames,
        **filled,
        "seed": names.seed,
        "fps": fps,
        "split": items[0].split,
    }
    if task != "world":
        settings["task"] = task
    return Report(tuple(scored), settings)


def _other_question(items: Sequence[Item], number: int) -> Question:
    """A question of another row, half the benchmark away, that says something else where there is one."""
    following = (items[(number + len(items) // 2 + k) % len(items)] for k in range(len(items)))
    mine = items[number]
    other = next((item for item in following if item.question != mine.question), mine)
    return Question(other.question)


def score(
    item: Item,
    encoded: EncodedVideo,
    loaded: VideoModel,
    *,
    budget: Budget,
    circular: bool,
    methods: MethodNames = OWN,
) -> Scored:
    """Ask one question, in every rotation of its options."""
    count = len(item.options)
    replies = [
        answer(
            encoded,
            item.question,
            loaded,
            budget=budget,
            options=item.options[turn:] + item.options[:turn],
            methods=methods,
            subtitles=item.subtitles,
        )
        for turn in range(count if circular else 1)
    ]
    right = [says_right(reply.letter, reply, item) for reply in replies]
    first = replies[0]
    chosen = [frame.seconds for frame in first.frames]
    found = [any(start - 1e-3 <= s < end - 1e-3 for s in chosen) for start, end in item.needles]
    recall = sum(found) / len(found) if found else None
    rotated = all(right) if circular else None
    own = None if first.own_letter is None else says_right(first.own_letter, first, item)
    return Scored(
        item.id, item.task, item.seconds, right[0], own, rotated, recall, len(chosen), first.free_text
    )


def says_right(letter: str | None, reply: Answer, item: Item) -> bool:
    """Whether the option of this letter, as the reply was offered it, is right; equal options both are."""
    if letter is None or item.answer is None:
        return False
    return reply.options[LETTERS.index(letter)] == " ".join(item.options[item.answer].split())
