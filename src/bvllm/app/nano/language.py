"""Language warm-up: nano's LLM learns to read a video that is told in words, before it sees one.

A video is a list of short captions ("one red star top left"), each with the clock embedding of its frame; the
question and the answer follow. What is learned here (order, counting, reading the clock, matching options)
is what a pre-trained LLM brings along in the paper.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from bvllm.app.nano.examples import Example, examples
from bvllm.app.nano.tokenizer import ASSISTANT, END, USER
from bvllm.data.world.sampling import describe
from bvllm.model.modeling_bvllm import ClockEmbedding

IGNORE = -100
QUESTION_WEIGHT = (
    0.5  # of the loss on the question itself: it names what the captions show, so it teaches to look back
)


@dataclass(frozen=True)
class Told:
    """One example as token ids: (S,) ids, (S,) seconds of each caption token or -1, (S,) labels."""

    ids: list[int]
    seconds: list[float]
    labels: list[int]


class Teller:
    """Turns examples into told videos; each piece of text is tokenized once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        if text not in self.known:
            if len(self.known) > 50_000:
                self.known.clear()
            self.known[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.known[text]

    def tell(self, example: Example, shown: list[int]) -> Told:
        """The frames `shown` in words, then the question and its answer."""
        ids, seconds = list(self.tokens(USER)), [-1.0]
        for t in shown:
            event = example.timeline.shown_at(t)
            words = self.tokens(describe(event.needle if event else None))
            ids += words
            seconds += [float(t)] * len(words)
        prompt = self.tokens(example.prompt) + self.tokens(ASSISTANT)
        reply = self.tokens(example.reply) + self.tokens(END)
        labels = [IGNORE] * (len(ids) + len(prompt)) + reply
        ids = ids + prompt + reply
        return Told(ids, seconds + [-1.0] * (len(ids) - len(seconds)), labels)


def oracle_frames(example: Example, rng: np.random.Generator) -> list[int]:
    """Frames that a good selector would choose: all that show what is asked, and some that do not."""
    chosen = set(example.asked_frames())
    chosen |= {t for t in example.other_frames() if rng.random() < 0.3}
    bare = int(rng.integers(0, 4)) if chosen else int(rng.integers(4, 12))
    return sorted(chosen | set(rng.integers(0, example.frames, bare).tolist()))


def collate(batch: list[Told], pad: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Right-padded (B, S) ids, seconds, labels and mask."""
    longest = max(len(t.ids) for t in batch)
    ids = torch.tensor([t.ids + [pad] * (longest - len(t.ids)) for t in batch])
    seconds = torch.tensor([t.seconds + [-1.0] * (longest - len(t.ids)) for t in batch])
    labels = torch.tensor([t.labels + [IGNORE] * (longest - len(t.ids)) for t in batch])
    return (
        ids,
        seconds,
        labels,
        torch.tensor([[1] * len(t.ids) + [0] * (longest - len(t.ids)) for t in batch]),
    )


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
    batch: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    minutes: float = math.inf,
    log: Callable[[str], None] = print,
) -> tuple[Qwen2Model, ClockEmbedding]:
    """Train nano's LLM and clock on told videos of 8 s to an hour.

    Returns:
        The LLM (its head is tied to its embedding) and the clock.
    """
    torch.manual_seed(seed)
    language_model = Qwen2Model._from_config(config, attn_implementation="eager").train()
    clock = ClockEmbedding(config.hidden_size)
    nn.init.normal_(clock.minutes.weight, std=config.initializer_range)
    nn.init.normal_(clock.seconds.weight, std=config.initializer_range)
    parameters = [*language_model.parameters(), *clock.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05, betas=(0.9, 0.98))
    stream, started = told_batches(tokenizer, batch, seed), time.monotonic()
    for step in range(steps):
        share = max(step / steps, (time.monotonic() - started) / 60 / minutes)
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = (
                lr * min(1.0, (step + 1) / 200) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * share)))
            )
        ids, seconds, labels, mask = next(stream)
        embedded = language_model.embed_tokens(ids)
        embedded = embedded + clock(seconds.clamp(min=0)) * (seconds >= 0)[..., None]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = language_model(
                inputs_embeds=embedded, attention_mask=mask, use_cache=False
            ).last_hidden_state
        loss, right = answer_loss(hidden.float(), language_model.embed_tokens.weight, labels)
        asked = torch.where((seconds < 0) & mask.bool() & (labels == IGNORE), ids, IGNORE)
        total = (
            loss + QUESTION_WEIGHT * answer_loss(hidden.float(), language_model.embed_tokens.weight, asked)[0]
        )
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0:
            log(
                f"language step {step}/{steps} loss {loss.item():.3f} right {right.item():.3f} {time.monotonic() - started:.0f} s"
            )
    return language_model.eval(), clock


def told_batches(
    tokenizer: PreTrainedTokenizerBase, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Endless batches of told videos, of similar length within a batch."""
    teller, rng = Teller(tokenizer), np.random.default_rng((seed, 19))
    stream = examples("train", (8, 3600), seed)
    while True:
        told = [teller.tell(e, oracle_frames(e, rng)) for e, _ in zip(stream, range(batch * 8), strict=False)]
        told.sort(key=lambda t: len(t.ids))
        for k in rng.permutation(8).tolist():
            yield collate(told[k * batch : (k + 1) * batch], tokenizer.pad_token_id)
