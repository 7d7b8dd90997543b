"""Ask dynamic-nano about clips of scenes that it never saw, while it trains and afterwards."""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.captions import IGNORE
from bvllm.nano.dynamic.steps import DynamicClip, dynamic_clips, dynamic_loss, embed_batch, write_batch
from bvllm.nano.feature_cache import FeatureCache

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


def with_options(clips: list[DynamicClip]) -> list[DynamicClip]:
    """The same clips, each asked with its options."""
    return [
        DynamicClip(clip.example.with_options(), clip.rows)
        for clip in clips
        if len(clip.example.question.options) > 1
    ]


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
    """How likely the words of each option are, as a reply begins, among all: (options,) of each clip.

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
    """Of a few clips: the prompts run once, their keys and values serve all options."""
    batch = write_batch(model, tokenizer, bank, clips, budgets, most_frames)
    lengths = [int((row != IGNORE).nonzero()[0]) for row in batch.labels]  # of each prompt
    embeds = embed_batch(model, batch)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    decoder = model.model.language_model
    first = decoder(inputs_embeds=embeds[:, : max(lengths)], attention_mask=mask, use_cache=True)
    options = [clip.example.question.options for clip in clips]
    most = max(map(len, options))
    replies = [
        tokenizer(own[k], add_special_tokens=False).input_ids
        for own in options
        for k in (min(j, len(own) - 1) for j in range(most))
    ]
    ids = pad_sequence([torch.tensor(reply) for reply in replies], batch_first=True)
    real = torch.arange(ids.shape[1]) < torch.tensor([len(reply) for reply in replies])[:, None]
    first.past_key_values.batch_repeat_interleave(most)
    before = torch.tensor(lengths)
    then = decoder(
        inputs_embeds=model.get_input_embeddings()(ids),
        attention_mask=torch.cat([mask.repeat_interleave(most, 0), real.long()], dim=1),
        position_ids=before.repeat_interleave(most)[:, None] + torch.arange(ids.shape[1]),
        past_key_values=first.past_key_values,
        use_cache=True,
    )
    last = first.last_hidden_state[torch.arange(len(clips)), before - 1].repeat_interleave(most, 0)
    hidden = torch.cat([last[:, None], then.last_hidden_state[:, :-1]], dim=1)
    logs = model.lm_head(hidden).float().log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]
    score = (logs * real).sum(dim=1)
    return [s[: len(o)].softmax(dim=0) for s, o in zip(score.split(most), options, strict=True)]


def by_task(clips: list[DynamicClip], right: list[bool]) -> dict[str, tuple[int, int]]:
    """How many replies were right of how many, by task."""
    found: dict[str, tuple[int, int]] = {}
    for clip, one in zip(clips, right, strict=True):
        good, all_ = found.get(clip.example.question.task, (0, 0))
        found[clip.example.question.task] = (good + one, all_ + 1)
    return dict(sorted(found.items()))
