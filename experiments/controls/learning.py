"""Train nano's language model on told videos with one kind of knowledge taken away."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import nano_text
from bvllm.nano.busy_pool import BusyPool, pooled_scene
from bvllm.nano.captions import SPLITS, CaptionedVideo, CaptionEncoder, batches_of
from bvllm.nano.language import Where, caption_loss, resumable
from bvllm.nano.loop import Control as RunControl
from bvllm.nano.loop import StageLoop
from bvllm.nano.progress import is_done
from bvllm.nano.start import language_of
from bvllm.nano.train import Recipe, language_stage
from experiments.controls.promises import Control
from experiments.controls.telling import asked, tell

BATCH, RATE = 48, 1e-3


@dataclass(frozen=True)
class ToldModel:
    """A language model, and how times and places are told to it."""

    language_model: Qwen2Model
    clock: ClockEmbedding
    where: Where


def compose_pool(scenes: int, seed: int) -> BusyPool:
    """Scenes to put videos together from, without a single pixel."""
    drawn = tuple(pooled_scene(np.random.default_rng((seed, 43, number))) for number in range(scenes))
    lengths = np.array([scene.seconds for scene in drawn])
    return BusyPool(torch.zeros(0, 3, 1, 1, dtype=torch.uint8), drawn, lengths.cumsum() - lengths)


def start_of(name: str, tokenizer: PreTrainedTokenizerFast) -> ToldModel:
    """The model that a control goes on from.

    Args:
        name: a packaged model or its folder, or the folder of a finished stage `language`, whose way to tell
            places is then gone on from, too.

    Raises:
        ValueError: the name means nothing, or the model has other sizes than nano.
    """
    if is_done(Path(name)):
        return ToldModel(*language_stage(Path(name), tokenizer, Recipe(), resume=True))
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    return ToldModel(*language_of(name, tokenizer, config))


def told_videos(
    pool: BusyPool, tokenizer: PreTrainedTokenizerFast, control: Control, seed: int
) -> Iterator[CaptionedVideo]:
    """Endless videos, told as a control knows them; colours trade names at random, as in nano's training."""
    encoder, rng = CaptionEncoder(tokenizer), np.random.default_rng((seed, 71))
    for example in asked(pool, seed):
        yield encoder.lay_out(example, tell(control, example, rng), encoder.trade(rng))


def train(
    model: ToldModel,
    tokenizer: PreTrainedTokenizerFast,
    pool: BusyPool,
    control: Control,
    *,
    minutes: float,
    steps: int,
    seed: int,
    batch: int = BATCH,
    run: RunControl | None = None,
) -> int:
    """Train a control in place; returns the steps that it took."""
    torch.manual_seed(seed)
    model.language_model.train()
    parts = (model.language_model, model.clock, model.where)
    loop = StageLoop(
        control,
        [parameter for part in parts for parameter in part.parameters()],
        steps=steps,
        minutes=minutes,
        lr=RATE,
        warmup=50,
        decay=0.05,
        seed=seed,
        control=run,
    )
    stream = resumable(
        lambda block: batches_of(told_videos(pool, tokenizer, control, seed + block), tokenizer, batch), 0
    )
    for _ in loop:
        for part in next(stream):
            found = caption_loss(*parts, part)
            (found.loss / SPLITS).backward()
            loop.record(loss=found.loss.item(), right=found.right.item(), words=found.words.item())
        loop.descend()
    model.language_model.eval()
    return loop.step
