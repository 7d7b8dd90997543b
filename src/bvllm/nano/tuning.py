"""Tune nano's selection and instruction stages on cached features of the frozen tower."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.clock import ClockEmbedding
from bvllm.nano.captions import BUSY_SHARE
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where, caption_batches, caption_loss
from bvllm.nano.loop import Control, Paced, StageLoop
from bvllm.nano.probe import probe
from bvllm.nano.steps import StepLoss, TrainingClip, clips, question_tokens, select_batch, step_loss
from bvllm.stages.sample_tokens import TokenSampler
from bvllm.synthetic.busy.spatial import SPATIAL

CAPTION_WEIGHT = 0.2  # of each of the three parts of a batch of captioned videos
PROBED, PROBE_SECONDS, PROBE_SEED = 96, 45.0, 9_000_001
GROUPS = 6  # batches that are drawn together and sorted by length of the video


@dataclass(frozen=True)
class TuningStage:
    """One stage of training.

    Attributes:
        name: for the log and the checkpoint.
        trained: names of the sub-modules of `BVLLMModel` that learn; all else is frozen.
        steps: the most optimizer steps.
        minutes: the most time; the learning rate follows whichever of the two runs out first.
        lr: highest learning rate; cosine down to 3 % of it.
        batch: clips a step.
        seconds: shortest and longest video.
        oracle: (first, last) share of clips with planned instead of selected frames, linear in between.
        selection_weight: weight of the selector's own loss; the paper has none, but the world knows the
            needle's frame.
        told: videos given as captions that each step adds, so that what was learned from them is kept; 0, or
            at least 3, since a batch of them is split in three.
        answers: whether the answer is learned at all; without, only the selector is.
        looking_weight: of the loss on where the tokens look, on questions about things of busy scenes; the
            paper has none, but the world knows where they are.
        busy: share of busy examples, where there are busy scenes.
    """

    name: str
    trained: tuple[str, ...]
    steps: int
    minutes: float
    lr: float
    batch: int = 40
    seconds: tuple[float, float] = (8, 3600)
    oracle: tuple[float, float] = (0.0, 0.0)
    selection_weight: float = 1.0
    answers: bool = True
    told: int = 0
    looking_weight: float = 0.0
    busy: float = BUSY_SHARE


ALIGNMENT = TuningStage(
    "alignment",
    ("places", "token_sampler", "multi_modal_projector"),
    steps=2500,
    minutes=14,
    lr=1.5e-3,
    batch=48,
    seconds=(8, 40),
    oracle=(1.0, 1.0),
    selection_weight=0.0,
    looking_weight=0.25,
    busy=0.75,
)
SELECTION = TuningStage("selection", ("frame_selector",), steps=1500, minutes=8, lr=2e-3, answers=False)
INSTRUCTION = TuningStage(
    "instruction",
    ("frame_selector", "places", "token_sampler", "multi_modal_projector", "clock", "language_model"),
    steps=4000,
    minutes=38,
    lr=5e-4,
    oracle=(0.4, 0.1),
    told=24,
)


def batches(bank: FeatureCache, stage: TuningStage, queries: int, seed: int) -> Iterator[list[TrainingClip]]:
    """Endless batches; clips of a batch have videos of like length, so that padding is small."""
    stream = clips(bank, "train", stage.seconds, queries, seed, stage.busy)
    rng = np.random.default_rng((seed, 31))
    while True:
        group = sorted(islice(stream, stage.batch * GROUPS), key=lambda c: len(c.rows))
        for k in rng.permutation(GROUPS).tolist():
            yield group[k * stage.batch : (k + 1) * stage.batch]


def tune(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    stage: TuningStage,
    *,
    seed: int,
    where: Where | None = None,
    probing: bool = True,
    control: Control | None = None,
) -> None:
    """Train one stage in place.

    Args:
        where: what tells of places (see `language`), for videos told in words; needed where busy scenes are.
        probing: look now and then, by the clock, at what the sampler's tokens carry (`probe`); False where
            stages must repeat themselves, or where a frame has no tokens of its own.
    """
    model.set_attn_implementation("eager")  # whose backward pass is the faster one on a CPU
    parameters = free_only(model, stage.trained)
    loop = StageLoop(
        stage.name,
        parameters,
        steps=stage.steps,
        minutes=stage.minutes,
        lr=stage.lr,
        warmup=100,
        decay=0.02,
        seed=seed,
        control=control,
    )
    stream = batches(bank, stage, model.config.num_selected_frames, loop.seed)
    rng = np.random.default_rng((loop.seed, 37))
    where = where or Where(model.config.text_config.hidden_size)
    stories = caption_batches(tokenizer, stage.told, loop.seed, bank.busy)
    examined = _examined(bank, model.config.num_selected_frames) if probing else []
    watch = Paced(PROBE_SECONDS)
    model.train()
    model.model.vision_tower.eval()
    for share in loop:
        oracle = stage.oracle[0] + (stage.oracle[1] - stage.oracle[0]) * share
        loss = _one(model, tokenizer, bank, next(stream), stage, oracle, rng)
        total = loss.selection * stage.selection_weight + (loss.answer if stage.answers else 0.0)
        if loss.looking is not None:
            total = total + loss.looking * stage.looking_weight
            loop.record(looking=loss.looking.item())
        total.backward()
        for part in next(stories) if stage.told else ():
            clock = cast(ClockEmbedding, model.model.clock)  # nano always has one
            (CAPTION_WEIGHT * caption_loss(model.model.language_model, clock, where, part).loss).backward()
        loop.descend()
        loop.record(
            answer=loss.answer.item(),
            right=loss.right.item(),
            selection=loss.selection.item(),
            recall=loss.recall.item(),
            frames=loss.frames,
        )
        if stage.answers and examined and watch.due():
            seen = probe(model, tokenizer, bank, examined)
            loop.record(**{f"exam_{name}": value for name, value in seen.items()})
    model.eval()


def free_only(model: BVLLMForConditionalGeneration, names: tuple[str, ...]) -> list[nn.Parameter]:
    """Freeze all but the named sub-modules, of those the model has; returns what is left to train."""
    model.requires_grad_(False)
    for name, module in model.model.named_children():
        module.requires_grad_(name in names)
    return [p for p in model.parameters() if p.requires_grad]


def _one(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    batch: list[TrainingClip],
    stage: TuningStage,
    oracle: float,
    rng: np.random.Generator,
) -> StepLoss:
    if stage.answers:
        looking = stage.looking_weight > 0 and isinstance(model.model.token_sampler, TokenSampler)
        return step_loss(model, tokenizer, bank, batch, oracle=oracle, rng=rng, looking=looking)
    ids, mask = question_tokens(tokenizer, batch)
    _, selection, recall = select_batch(model, bank, batch, ids, mask)
    return StepLoss(torch.zeros(()), selection, torch.zeros(()), recall, 0.0)


def _examined(bank: FeatureCache, queries: int) -> list[TrainingClip]:
    """Clips with spatial questions that are looked at again and again while a stage runs."""
    if bank.busy is None:
        return []
    stream = clips(bank, "train", (8, 24), queries, PROBE_SEED, 1.0)
    spatial = (c for c in stream if c.example.question.task in SPATIAL)
    return list(islice(spatial, PROBED))
