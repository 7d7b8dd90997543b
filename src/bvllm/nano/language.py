"""Warm up nano's language model on videos given as captions, before it sees one.

A plain frame is one vector: the sum of the words of its caption ("one red star top left") and the clock
embedding of its time, much as visual tokens will be; a busy one has a vector for each thing that is told,
with its place. The question and the answer follow, or a drill (`nano.drills`). What is learned here (order,
counting, reading the clock, looking up) is what a pre-trained LLM brings along in the paper.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.captions import (
    IGNORE,
    NOWHERE,
    SPLITS,
    CaptionBatch,
    CaptionedVideo,
    CaptionEncoder,
    all_examples,
    batches_of,
    oracle_frames,
)
from bvllm.nano.drills import comparison_drills, lookup_drills
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.packed import run_packed

CLOCK = "clock.safetensors"  # beside a language model's own weights
WHERE = "where.safetensors"  # beside a language model, what places are told to it by
WAVES = 4  # lengths of waves that tell a place, across and down
QUESTION_WEIGHT = 0.1  # the question names what the captions show, so learning to say it teaches to look back
LOOKUPS, COMPARISONS = 0.4, 0.25  # of what is told, drills of these kinds, where there are busy scenes
TOLD_BUSY = 0.8  # of the questions, those about busy scenes
BLOCK, BLOCK_SEED = 50, 7919  # steps whose examples follow from one seed, and what is between two seeds

T = TypeVar("T")


class Where(nn.Module):
    """Where a thing is, and how large, as a vector to add to its words; for telling, no part of a model.

    Waves of several lengths, as positions are often told: from the bare numbers the vectors of opposite
    corners came out nearer to each other than any two words, and places were hardly read.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 + 4 * WAVES, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, places: Tensor) -> Tensor:
        """(K, 3) -> (K, D); zeros for what has no place."""
        nowhere = (places == torch.tensor(NOWHERE)).all(dim=-1, keepdim=True)
        angles = (places[:, :2, None] * torch.pi * torch.arange(1, WAVES + 1)).flatten(1)
        where: Tensor = self.layers(torch.cat([4 * places, 2 * angles.sin(), 2 * angles.cos()], dim=-1))
        return where.masked_fill(nowhere, 0.0)


def embed_captions(batch: CaptionBatch, table: Tensor, clock: ClockEmbedding, where: Where) -> Tensor:
    """(B, S, D): text as usual; what tells of a frame is the sum of its words, its place and the clock."""
    embedded = F.embedding(batch.ids, table)
    frames = F.embedding_bag(batch.words, table, batch.offsets, mode="sum") + clock(batch.seconds)
    frames = frames + where(batch.places)
    return embedded.masked_scatter(batch.captioned[..., None], frames)


def answer_loss(hidden: Tensor, head: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the answer tokens alone, and the share of answers that are right in every token."""
    here = labels[:, 1:] != IGNORE
    logits = (hidden[:, :-1][here] @ head.mT.to(hidden.dtype)).float()
    target = labels[:, 1:][here]
    wrong = torch.zeros(here.shape, dtype=torch.bool)
    wrong[here] = logits.argmax(-1) != target
    return F.cross_entropy(logits, target), (~wrong.any(dim=1)).float().mean()


def warm_up_language(
    tokenizer: PreTrainedTokenizerBase,
    config: Qwen2Config,
    *,
    steps: int,
    batch: int = 72,
    lr: float = 1.5e-3,
    seed: int = 0,
    minutes: float = math.inf,
    pool: BusyPool | None = None,
    start: tuple[Qwen2Model, ClockEmbedding, Where] | None = None,
    control: Control | None = None,
) -> tuple[Qwen2Model, ClockEmbedding, Where]:
    """Train nano's LLM and clock on captioned videos of 8 s to an hour.

    Args:
        start: an LLM, a clock and what tells of places, all trained already, to go on from; None starts from
            nothing.
        pool: busy scenes to tell of in half of the examples; None tells of plain videos alone.

    Returns:
        The LLM (its head is tied to its embedding), the clock, and what places are told by.
    """
    torch.manual_seed(seed)
    language_model, clock, where = start or _untrained(config)
    language_model.train()
    parameters = [*language_model.parameters(), *clock.parameters(), *where.parameters()]
    loop = StageLoop(
        "language",
        parameters,
        steps=steps,
        minutes=minutes,
        lr=lr,
        warmup=200,
        decay=0.05,
        seed=seed,
        control=control,
    )
    stream = resumable(lambda block: caption_batches(tokenizer, batch, seed + block, pool), loop.step)
    for _ in loop:
        for part in next(stream):
            found = caption_loss(language_model, clock, where, part)
            (found.loss / SPLITS).backward()
            loop.record(loss=found.loss.item(), right=found.right.item(), words=found.words.item())
        loop.descend()
    return language_model.eval(), clock, where


def _untrained(config: Qwen2Config) -> tuple[Qwen2Model, ClockEmbedding, Where]:
    language_model = Qwen2Model._from_config(config, attn_implementation="eager")
    clock = ClockEmbedding(config.hidden_size)
    nn.init.normal_(clock.minutes.weight, std=config.initializer_range)
    nn.init.normal_(clock.seconds.weight, std=config.initializer_range)
    return language_model, clock, Where(config.hidden_size)


class CaptionLoss(NamedTuple):
    """What a part of a batch of told videos cost.

    Attributes:
        loss: of replies, and a little of questions.
        right: share of the replies that are right in every token.
        words: the same without the letter of an option, which is learned last; an evaluation counts words.
    """

    loss: Tensor
    right: Tensor
    words: Tensor


def caption_loss(
    language_model: Qwen2Model, clock: ClockEmbedding, where: Where, batch: CaptionBatch
) -> CaptionLoss:
    """The loss of a part of a batch, and the shares of its replies that are right."""
    table = language_model.embed_tokens.weight
    embedded = embed_captions(batch, table, clock, where)
    hidden = run_packed(language_model, embedded, batch.mask)
    loss, right = answer_loss(hidden, table, batch.labels)
    question = batch.mask.bool() & ~batch.captioned & (batch.labels == IGNORE)
    asked, _ = answer_loss(hidden, table, torch.where(question, batch.ids, IGNORE))
    with torch.no_grad():
        _, words = answer_loss(hidden, table, batch.labels.masked_fill(batch.letters, IGNORE))
    return CaptionLoss(loss + QUESTION_WEIGHT * asked, right, words)


def resumable(stream: Callable[[int], Iterator[T]], step: int) -> Iterator[T]:
    """What an endless stream gives from a step on, the same wherever it was taken up.

    Every BLOCK steps have a stream of their own, so that going on draws less than a block again.

    Args:
        stream: from the seed of a block, which differs from block to block, to what its steps are given.
        step: the first that is wanted.

    Example:
        >>> draw = lambda seed: (seed + k for k in count())
        >>> list(islice(resumable(draw, BLOCK - 1), 2)) == [BLOCK - 1, BLOCK_SEED]
        True
    """
    for block in count(step // BLOCK):
        yield from islice(stream(BLOCK_SEED * block), max(0, step - BLOCK * block), BLOCK)


def caption_batches(
    tokenizer: PreTrainedTokenizerBase, batch: int, seed: int, pool: BusyPool | None = None
) -> Iterator[list[CaptionBatch]]:
    """Endless batches of captioned videos, each in SPLITS parts of like length, so that little is padding.

    With busy scenes most are drills (`nano.drills`).
    """
    return batches_of(_videos(CaptionEncoder(tokenizer), seed, pool), tokenizer, batch)


def _videos(encoder: CaptionEncoder, seed: int, pool: BusyPool | None) -> Iterator[CaptionedVideo]:
    rng = np.random.default_rng((seed, 19))
    asked = (
        encoder.encode(example, oracle_frames(example, rng), rng)
        for example in all_examples(pool, (8, 3600), seed, busy=TOLD_BUSY)
    )
    if pool is None:
        yield from asked
        return
    streams = (lookup_drills(pool, encoder, seed), comparison_drills(pool, encoder, seed), asked)
    shares = (LOOKUPS, COMPARISONS, 1 - LOOKUPS - COMPARISONS)
    while True:
        yield next(streams[int(rng.choice(len(streams), p=shares))])
