"""Warm up nano's language model on videos given as captions, before it sees one.

A frame is one vector: the sum of the words of its caption ("one red star top left") and the clock embedding
of its time, much as visual tokens will be. The question and the answer follow. What is learned here (order,
counting, reading the clock, matching options) is what a pre-trained LLM brings along in the paper.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from bvllm.model.clock import ClockEmbedding
from bvllm.nano.examples import Example, examples
from bvllm.nano.loop import Control, StageLoop
from bvllm.synthetic.sampling import describe
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER
from bvllm.synthetic.vocabulary import COLOURS

IGNORE = -100
QUESTION_WEIGHT = 0.3  # the question names what the captions show, so learning to say it teaches to look back
SPLITS = 3  # parts of a batch, by length


@dataclass(frozen=True)
class CaptionedVideo:
    """One example in tokens.

    Attributes:
        frames: for each captioned frame, the ids of its caption's words.
        seconds: when each of those frames is shown.
        ids: the question and the reply.
        labels: the reply's ids in their places, IGNORE elsewhere.
    """

    frames: list[list[int]]
    seconds: list[float]
    ids: list[int]
    labels: list[int]

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

    def encode(self, example: Example, shown: list[int], rng: np.random.Generator) -> CaptionedVideo:
        """The frames `shown` in words, then the question and its answer; colours trade names at random.

        A shape meets only some colours in the training split. Without the trade, the LLM would learn which,
        and disbelieve its eyes when a test video shows another.
        """
        trade = dict(zip(self.colours, rng.permutation(self.colours).tolist(), strict=True))
        events = [example.timeline.shown_at(t) for t in shown]
        frames = [self.tokens(describe(event.needle if event else None)) for event in events]
        prompt = self.tokens(example.prompt) + self.tokens(ASSISTANT)
        reply = self.tokens(example.reply) + self.tokens(END)
        frames = [[trade.get(w, w) for w in words] for words in frames]
        text = [trade.get(w, w) for w in prompt + reply]
        labels = [IGNORE] * len(prompt) + text[len(prompt) :]
        return CaptionedVideo(frames, [float(t) for t in shown], text, labels)


def oracle_frames(example: Example, rng: np.random.Generator) -> list[int]:
    """Frames that a good selector would choose: all that show what is asked, and some that do not."""
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
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    captioned: Tensor
    seconds: Tensor
    words: Tensor
    offsets: Tensor


def collate(batch: list[CaptionedVideo], start: int, pad: int) -> CaptionBatch:
    """Lay out every example as: `start`, its frames, its text."""
    longest = max(len(t) for t in batch)
    ids, labels = torch.full((len(batch), longest), pad), torch.full((len(batch), longest), IGNORE)
    mask, captioned = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate(batch):
        text = 1 + len(example.frames)
        ids[row, 0] = start
        ids[row, text : len(example)] = torch.tensor(example.ids)
        labels[row, text : len(example)] = torch.tensor(example.labels)
        mask[row, : len(example)] = 1
        captioned[row, 1:text] = True
    captions = [words for example in batch for words in example.frames]
    offsets = torch.tensor([0, *(len(words) for words in captions)])[:-1].cumsum(0)
    seconds = torch.tensor([s for example in batch for s in example.seconds])
    return CaptionBatch(ids, labels, mask, captioned, seconds, torch.tensor(sum(captions, [])), offsets)


def embed_captions(batch: CaptionBatch, table: Tensor, clock: ClockEmbedding) -> Tensor:
    """(B, S, D): text as usual; a captioned frame is the sum of its caption's words, plus the clock."""
    embedded = F.embedding(batch.ids, table)
    frames = F.embedding_bag(batch.words, table, batch.offsets, mode="sum") + clock(batch.seconds)
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
    control: Control | None = None,
) -> tuple[Qwen2Model, ClockEmbedding]:
    """Train nano's LLM and clock on captioned videos of 8 s to an hour.

    Returns:
        The LLM (its head is tied to its embedding) and the clock.
    """
    torch.manual_seed(seed)
    language_model = Qwen2Model._from_config(config, attn_implementation="eager").train()
    clock = ClockEmbedding(config.hidden_size)
    nn.init.normal_(clock.minutes.weight, std=config.initializer_range)
    nn.init.normal_(clock.seconds.weight, std=config.initializer_range)
    parameters = [*language_model.parameters(), *clock.parameters()]
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
    stream = caption_batches(tokenizer, batch, loop.seed)
    for _ in loop:
        for part in next(stream):
            loss, right = caption_loss(language_model, clock, part)
            (loss / SPLITS).backward()
            loop.record(loss=loss.item(), right=right.item())
        loop.descend()
    return language_model.eval(), clock


def caption_loss(
    language_model: Qwen2Model, clock: ClockEmbedding, batch: CaptionBatch
) -> tuple[Tensor, Tensor]:
    """The loss of a part of a batch, and the share of its replies that are right in every token."""
    table = language_model.embed_tokens.weight
    embedded = embed_captions(batch, table, clock)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = language_model(
            inputs_embeds=embedded, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state.float()
    loss, right = answer_loss(hidden, table, batch.labels)
    question = batch.mask.bool() & ~batch.captioned & (batch.labels == IGNORE)
    asked, _ = answer_loss(hidden, table, torch.where(question, batch.ids, IGNORE))
    return loss + QUESTION_WEIGHT * asked, right


def caption_batches(
    tokenizer: PreTrainedTokenizerBase, batch: int, seed: int
) -> Iterator[list[CaptionBatch]]:
    """Endless batches of captioned videos, each in SPLITS parts of like length, so that little is padding."""
    encoder, rng = CaptionEncoder(tokenizer), np.random.default_rng((seed, 19))
    stream = examples("train", (8, 3600), seed)
    start = tokenizer.convert_tokens_to_ids(USER)
    while True:
        videos = sorted(
            (encoder.encode(e, oracle_frames(e, rng), rng) for e in islice(stream, batch)), key=len
        )
        parts = np.array_split(np.arange(batch), SPLITS)
        yield [collate([videos[k] for k in part], start, tokenizer.pad_token_id) for part in parts]
