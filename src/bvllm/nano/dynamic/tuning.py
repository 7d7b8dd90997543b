"""Tune dynamic-nano on answers, with another count of tokens a frame in every step."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.nano.captions import BUSY_SHARE
from bvllm.nano.dynamic.exam import by_task, right_words
from bvllm.nano.dynamic.steps import (
    DynamicClip,
    DynamicLoss,
    LikeLengths,
    SideDraw,
    dynamic_clips,
    dynamic_loss,
    write_batch,
)
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.halves import PARTS, gradients_of, put_mean, side_by_side
from bvllm.nano.loop import FLOOR, Control, Paced, StageLoop

EXAM_SECONDS = 600.0
WARMUP = 40  # steps


@dataclass(frozen=True)
class DynamicStage:
    """One stage.

    Attributes:
        name: for the log and the checkpoint.
        trained: names of the sub-modules of `DynamicVLMModel` that learn; all else is frozen.
        steps, minutes: the most of each.
        lr, floor: highest learning rate, from which a cosine goes down to `floor` of it.
        room: tokens of a step, text included: as many clips as fit.
        seconds: shortest and longest video.
        most: visual tokens of a clip, however many each frame may have.
        by_side: see `SideDraw`.
        fixed: tokens of a frame in every step, for a study; None draws them.
        busy: share of busy examples.
        native: share of the steps in which every frame has the tower's own grid, if `most` lets it.
        drilled: share of the busy clips that end in lookups (`nano.drills`), where frames are fine enough.
        pictures: share of the clips that are several pictures in place of a video.
        uneven: share of the busy clips of which a few frames are fine and all others coarse (`some_fine`).
        plain_most: the most of a budget that is drawn for each plain clip; None draws none.
    """

    name: str
    trained: tuple[str, ...]
    steps: int
    minutes: float
    lr: float
    floor: float = FLOOR
    room: int = 3500
    seconds: tuple[float, float] = (8, 24)
    most: int = 512
    by_side: bool = True
    fixed: int | None = None
    busy: float = BUSY_SHARE
    native: float = 0.0
    drilled: float = 0.0
    pictures: float = 0.0
    uneven: float = 0.0
    plain_most: int | None = None


class Exam(NamedTuple):
    """Clips of unseen scenes, asked now and then while a stage runs.

    Attributes:
        bank: their frames.
        worlds: clips of each world, by its name.
        tokens: the budget.
    """

    bank: FeatureCache
    worlds: dict[str, list[DynamicClip]]
    tokens: int = 256


def tune_dynamic(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    stage: DynamicStage,
    *,
    seed: int,
    exam: Exam | None = None,
    control: Control | None = None,
) -> None:
    """Train one stage in place."""
    model.set_attn_implementation("sdpa")  # at 640 tokens a clip 1.8 times as fast on a CPU as "eager"
    control = control or Control(log=lambda line: None)
    loop = StageLoop(
        stage.name,
        free_parts(model, stage.trained),
        steps=stage.steps,
        minutes=stage.minutes,
        lr=stage.lr,
        warmup=WARMUP,
        decay=0.02,
        seed=seed,
        floor=stage.floor,
        control=control,
    )
    rng, draw = np.random.default_rng((loop.seed, 73)), SideDraw(stage.by_side, stage.fixed, stage.native)
    stream = dynamic_clips(
        bank, "train", stage.seconds, loop.seed, stage.busy, turns=True, drilled=stage.drilled,
        pictures=stage.pictures, uneven=stage.uneven, plain_most=stage.plain_most,
    )  # fmt: skip
    queue = LikeLengths(stream, stage.room // PARTS, rng)
    watch = Paced(EXAM_SECONDS)
    model.train()

    def part_of(task: tuple[int, list[DynamicClip]]) -> tuple[DynamicLoss, tuple[Tensor | None, ...]]:
        each, clips = task
        budgets = [clip.budget(each, stage.most) for clip in clips]
        found = dynamic_loss(model, write_batch(model, tokenizer, bank, clips, budgets))
        return found, gradients_of(found.loss, loop.parameters)

    with side_by_side() as over:
        for _ in loop:
            each = draw.tokens(rng, model.config.native_grid)
            tasks = [(each, queue.take(each, stage.most)) for _ in range(PARTS)]
            losses, gradients = zip(*over(part_of, tasks), strict=True)
            put_mean(loop.parameters, gradients)
            loop.descend()
            loop.record(
                loss=float(np.mean([one.loss.item() for one in losses])),
                right=float(np.mean([one.right.item() for one in losses])),
                words=float(np.mean([one.words.item() for one in losses])),
                clips=sum(len(clips) for _, clips in tasks),
            )
            if exam is not None and watch.due():
                control.log(said(model, tokenizer, exam))
    model.eval()
    if exam is not None:
        control.log(said(model, tokenizer, exam))


def said(model: DynamicVLMForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, exam: Exam) -> str:
    """One line: words that are right, per world and task."""
    parts = []
    for world, clips in exam.worlds.items():
        right = right_words(model, tokenizer, exam.bank, clips, exam.tokens)
        tasks = ", ".join(f"{task} {good}/{all_}" for task, (good, all_) in by_task(clips, right).items())
        parts.append(f"{world} {100 * float(np.mean(right)):.0f} % ({tasks})")
    return f"unseen scenes at {exam.tokens} tokens: " + "; ".join(parts)


def free_parts(model: DynamicVLMForConditionalGeneration, names: tuple[str, ...]) -> list[nn.Parameter]:
    """Freeze all but the named sub-modules; returns what is left to train."""
    model.requires_grad_(False)
    for name, module in model.model.named_children():
        module.requires_grad_(name in names)
    return [p for p in model.parameters() if isinstance(p, nn.Parameter) and p.requires_grad]
