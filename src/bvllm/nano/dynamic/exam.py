"""Ask dynamic-nano about clips of scenes that it never saw, while it trains and afterwards."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.captions import IGNORE
from bvllm.nano.dynamic.steps import DynamicClip, dynamic_clips, dynamic_loss, embed_batch, write_batch
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.replies import reply_likelihoods, with_evidence

TOGETHER = 16  # clips at a time
ROOM = 8192  # visual tokens at a time


def exam_clips(
    bank: FeatureCache, seconds: tuple[float, float], count: int, seed: int, *, busy: bool
) -> list[DynamicClip]:
    """So many clips of one world, no listings: those are for training alone."""
    stream: Iterator[DynamicClip] = dynamic_clips(bank, "val", seconds, seed, 1.0 if busy else 0.0)
    asked = (
        clip
        for clip in stream
        if clip.example.question.task != "listing" and isinstance(clip.example, BusyExample) == busy
    )
    return list(islice(asked, count))


@torch.no_grad()
def right_words(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[DynamicClip],
    tokens: int,
) -> list[bool]:
    """Whether the words of each reply are right at a budget, letters apart, each given those before."""
    was, found = model.training, [False] * len(clips)
    model.eval()
    order = sorted(range(len(clips)), key=lambda k: len(clips[k].rows))
    for start in range(0, len(order), TOGETHER):
        some = order[start : start + TOGETHER]
        batch = write_batch(model, tokenizer, bank, [clips[k] for k in some], [tokens] * len(some))
        for k, right in zip(some, dynamic_loss(model, batch).each.tolist(), strict=True):
            found[k] = bool(right)
    model.train(was)
    return found


def with_options(clips: Iterable[DynamicClip]) -> Iterator[DynamicClip]:
    """The same clips, each asked with its options; none without."""
    for clip in clips:
        if len(clip.example.question.options) > 1:
            yield replace(clip, example=clip.example.with_options())


@torch.no_grad()
def option_likelihoods(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[DynamicClip],
    tokens: int | Sequence[int],
    *,
    most_frames: int | None = None,
) -> list[Tensor]:
    """How likely each option is among all, after the model's own evidence: (options,) of each clip.

    Args:
        clips: asked with options, see `with_options`.
        tokens: the budget, one for all or one for each clip.
        most_frames: of a clip; the model's own where None.
    """
    model.eval()
    found: list[Tensor] = [torch.zeros(0)] * len(clips)
    order = sorted(range(len(clips)), key=lambda k: len(clips[k].rows))
    budgets = [tokens] * len(clips) if isinstance(tokens, int) else list(tokens)
    together = max(1, min(TOGETHER, ROOM // max(budgets, default=1)))
    for start in range(0, len(order), together):
        some = order[start : start + together]
        few, own = [clips[k] for k in some], [budgets[k] for k in some]
        of_batch = _likelihoods(model, tokenizer, bank, few, own, most_frames)
        for k, likely in zip(some, of_batch, strict=True):
            found[k] = likely
    return found


def _likelihoods(
    model: DynamicVLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[DynamicClip],
    budgets: list[int],
    most_frames: int | None,
) -> list[Tensor]:
    """Of a few clips: each first says its evidence, which then stands in front of every option."""
    batch = write_batch(model, tokenizer, bank, clips, budgets, most_frames)
    lengths = [int((row != IGNORE).nonzero()[0]) for row in batch.labels]  # of each prompt
    embeds = embed_batch(model, batch)
    decoder, head = model.model.language_model, model.lm_head.weight
    prompts = [row[:length] for row, length in zip(embeds, lengths, strict=True)]
    prompts = with_evidence(decoder, head, tokenizer, prompts)
    replies = [
        [tokenizer(option, add_special_tokens=False).input_ids for option in clip.example.question.options]
        for clip in clips
    ]
    return [s.softmax(dim=0) for s in reply_likelihoods(decoder, head, prompts, replies)]


def by_task(clips: list[DynamicClip], right: list[bool]) -> dict[str, tuple[int, int]]:
    """How many replies were right of how many, by task."""
    found: dict[str, tuple[int, int]] = {}
    for clip, one in zip(clips, right, strict=True):
        good, all_ = found.get(clip.example.question.task, (0, 0))
        found[clip.example.question.task] = (good + one, all_ + 1)
    return dict(sorted(found.items()))
