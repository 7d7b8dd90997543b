"""Warm up nano's language model on videos given as captions, before it sees one.

A frame is one vector: the sum of the words of its caption ("one red star top left") and the clock embedding
of its time, much as visual tokens will be. The question and the answer follow. What is learned here (order,
counting, reading the clock, matching options) is what a pre-trained LLM brings along in the paper.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import Example, Told, examples
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.packed import run_packed
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER
from bvllm.synthetic.vocabulary import COLOURS, Split

IGNORE = -100
NOWHERE = (0.0, 0.0, 0.0)
WAVES = 4  # lengths of waves that tell a place, across and down
BUSY_SHARE = 0.6  # of the examples, where there are busy scenes
AnyExample = Example | BusyExample
QUESTION_WEIGHT = 0.3  # the question names what the captions show, so learning to say it teaches to look back
SPLITS = 3  # parts of a batch, by length
BLOCK, BLOCK_SEED = 50, 7919  # steps whose examples follow from one seed, and what is between two seeds

T = TypeVar("T")


@dataclass(frozen=True)
class CaptionedVideo:
    """One example in tokens.

    Attributes:
        frames: for each vector that tells of a frame, the ids of its words.
        seconds: when its frame is shown.
        places: where the thing is that it tells of (see `Told`), zeros where the words say all.
        ids: the question and the reply.
        labels: the reply's ids in their places, IGNORE elsewhere.
        letter: how many ids at the end name the option's letter and end the reply; 0 without options.
    """

    frames: list[list[int]]
    seconds: list[float]
    places: list[tuple[float, float, float]]
    ids: list[int]
    labels: list[int]
    letter: int = 0

    def __len__(self) -> int:
        return 1 + len(self.frames) + len(self.ids)


class CaptionEncoder:
    """Turns examples into captioned videos; each piece of text is tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}
        self.colours: list[int] = tokenizer.convert_tokens_to_ids(list(COLOURS))

    def tokens(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 50_000:
                self.known.clear()
            self.known[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.known[text]

    def encode(self, example: AnyExample, shown: list[int], rng: np.random.Generator) -> CaptionedVideo:
        """The frames `shown` in words, then the question and its answer; colours trade names at random.

        A shape meets only some colours in the training split. Without the trade, the LLM would learn which,
        and disbelieve its eyes when a test video shows another.
        """
        trade = self.trade(rng)
        told = [(float(t), one) for t in shown for one in example.told(t, rng)]
        return self.lay_out(example, told, trade)

    def trade(self, rng: np.random.Generator) -> dict[int, int]:
        """A random new name for every colour."""
        return dict(zip(self.colours, rng.permutation(self.colours).tolist(), strict=True))

    def lay_out(
        self, example: AnyExample, told: list[tuple[float, Told]], trade: dict[int, int]
    ) -> CaptionedVideo:
        """What is told, each with its second, then the question and its answer; words of `trade` replaced."""
        frames = [self.tokens(one.words) for _, one in told]
        places = [one.place or NOWHERE for _, one in told]
        prompt = self.tokens(example.prompt) + self.tokens(ASSISTANT)
        reply = self.tokens(example.reply) + self.tokens(END)
        frames = [[trade.get(w, w) for w in words] for words in frames]
        text = [trade.get(w, w) for w in prompt + reply]
        labels = [IGNORE] * len(prompt) + text[len(prompt) :]
        said = len(self.tokens(example.question.answer))
        lettered = example.reply != example.question.answer
        letter = len(reply) - said if lettered else 0
        return CaptionedVideo(frames, [t for t, _ in told], places, text, labels, letter)


def all_examples(
    pool: BusyPool | None,
    seconds: tuple[float, float],
    seed: int,
    *,
    split: Split = "train",
    busy: float = BUSY_SHARE,
) -> Iterator[AnyExample]:
    """Endless examples of both worlds; of the plain one alone where there are no busy scenes."""
    plain = examples(split, seconds, seed)
    if pool is None:
        yield from plain
        return
    rng, crowded = np.random.default_rng((seed, 53)), busy_examples(pool, seconds, seed)
    while True:
        yield next(crowded) if rng.random() < busy else next(plain)


def oracle_frames(example: AnyExample, rng: np.random.Generator) -> list[int]:
    """Frames that a good selector would choose: all that show what is asked, and some that do not.

    A scene of several seconds is shown by its first and its last frame, as the selector's queries find it.
    """
    if isinstance(example, BusyExample):
        return sorted({*example.key_frames(), *(t for t in example.other_frames() if rng.random() < 0.15)})
    chosen = set(example.asked_frames())
    chosen |= {t for t in example.other_frames() if rng.random() < 0.3}
    bare = int(rng.integers(0, 4)) if chosen else int(rng.integers(4, 12))
    return sorted(chosen | set(rng.integers(0, example.frames, bare).tolist()))


@dataclass(frozen=True)
class CaptionBatch:
    """Captioned videos side by side, padded on the right.

    Attributes:
        ids: (B, S) token ids; a captioned frame has the id of padding.
        labels: (B, S).
        mask: (B, S) 1 where there is anything.
        captioned: (B, S) True at the places of captioned frames.
        seconds: (frames,) of all captioned frames, in reading order.
        words, offsets: the captions' ids in a row, and where each caption begins.
        places: (frames, 3) see `Told`.
        letters: (B, S) True where a reply names its option's letter.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    captioned: Tensor
    seconds: Tensor
    words: Tensor
    offsets: Tensor
    places: Tensor
    letters: Tensor


def collate(batch: list[CaptionedVideo], start: int, pad: int) -> CaptionBatch:
    """Lay out every example as: `start`, its frames, its text."""
    longest = max(len(t) for t in batch)
    ids, labels = torch.full((len(batch), longest), pad), torch.full((len(batch), longest), IGNORE)
    mask, captioned = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    letters = torch.zeros_like(captioned)
    for row, example in enumerate(batch):
        text = 1 + len(example.frames)
        ids[row, 0] = start
        ids[row, text : len(example)] = torch.tensor(example.ids)
        labels[row, text : len(example)] = torch.tensor(example.labels)
        mask[row, : len(example)] = 1
        captioned[row, 1:text] = True
        letters[row, len(example) - example.letter : len(example)] = True
    captions = [words for example in batch for words in example.frames]
    offsets = torch.tensor([0, *(len(words) for words in captions)])[:-1].cumsum(0)
    seconds = torch.tensor([s for example in batch for s in example.seconds])
    # Videos of which nothing is told leave these empty, but not shapeless.
    places = torch.tensor([place for example in batch for place in example.places]).reshape(-1, 3)
    words = torch.tensor([word for caption in captions for word in caption], dtype=torch.long)
    return CaptionBatch(ids, labels, mask, captioned, seconds, words, offsets, places, letters)


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
    start: tuple[Qwen2Model, ClockEmbedding] | None = None,
    control: Control | None = None,
) -> tuple[Qwen2Model, ClockEmbedding, Where]:
    """Train nano's LLM and clock on captioned videos of 8 s to an hour.

    Args:
        start: an LLM and a clock that are trained already, to go on from; None starts from nothing.
        pool: busy scenes to tell of in half of the examples; None tells of plain videos alone.

    Returns:
        The LLM (its head is tied to its embedding), the clock, and what places are told by.
    """
    torch.manual_seed(seed)
    language_model, clock = start or _untrained(config)
    language_model.train()
    where = Where(config.hidden_size)
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


def _untrained(config: Qwen2Config) -> tuple[Qwen2Model, ClockEmbedding]:
    language_model = Qwen2Model._from_config(config, attn_implementation="eager")
    clock = ClockEmbedding(config.hidden_size)
    nn.init.normal_(clock.minutes.weight, std=config.initializer_range)
    nn.init.normal_(clock.seconds.weight, std=config.initializer_range)
    return language_model, clock


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
    """Endless batches of captioned videos, each in SPLITS parts of like length, so that little is padding."""
    encoder, rng = CaptionEncoder(tokenizer), np.random.default_rng((seed, 19))
    stream = all_examples(pool, (8, 3600), seed)
    return batches_of((encoder.encode(e, oracle_frames(e, rng), rng) for e in stream), tokenizer, batch)


def batches_of(
    videos: Iterator[CaptionedVideo], tokenizer: PreTrainedTokenizerBase, batch: int
) -> Iterator[list[CaptionBatch]]:
    """Batches of an endless stream, each in SPLITS parts of like length."""
    start = tokenizer.convert_tokens_to_ids(USER)
    while True:
        some = sorted(islice(videos, batch), key=len)
        parts = np.array_split(np.arange(batch), SPLITS)
        yield [collate([some[k] for k in part], start, tokenizer.pad_token_id) for part in parts]
