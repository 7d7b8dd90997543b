"""Examine a control: accuracy by task beside guessing, and where it found a shortcut."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.captions import IGNORE, CaptionedVideo, CaptionEncoder, collate
from bvllm.nano.language import embed_captions
from bvllm.nano.replies import likeliest_replies, with_evidence
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tokenizer import USER
from experiments.controls.learning import ToldModel
from experiments.controls.promises import Control
from experiments.controls.result import Result
from experiments.controls.telling import Telling, tell

BATCH = 16
MODEL = "model"  # what a result is by


def questions(examples: Iterator[BusyExample], each: int) -> list[BusyExample]:
    """The first `each` questions of every task."""
    found: dict[str, list[BusyExample]] = defaultdict(list)
    for example in examples:
        of_task = found[example.question.task]
        if len(of_task) < each:
            of_task.append(example)
        if len(found) == len(BUSY_TASKS) and all(len(some) == each for some in found.values()):
            break
    return [example for some in found.values() for example in some]


def examine(
    model: ToldModel,
    tokenizer: PreTrainedTokenizerFast,
    control: Control,
    examples: Sequence[BusyExample],
    seed: int,
) -> list[Result]:
    """Ask a control everything: the likeliest option is its answer, as `bvllm ask` answers."""
    rng = np.random.default_rng((seed, 73))
    told = [tell(control, example, rng) for example in examples]
    return _results(control, examples, answers(model, tokenizer, examples, told))


@torch.inference_mode()
def answers(
    model: ToldModel,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[BusyExample],
    told: Sequence[Telling],
    *,
    evidence: bool = False,
) -> list[bool]:
    """Whether the likeliest option of each question is right.

    Args:
        told: what the model is told of each video.
        evidence: it first says what its answer rests on, which then stands in front of every option.
    """
    encoder, right = CaptionEncoder(tokenizer), [False] * len(examples)
    laid_out = [encoder.lay_out(e, things, {}) for e, things in zip(examples, told, strict=True)]
    order = sorted(range(len(examples)), key=lambda k: len(laid_out[k]))
    decoder, head = model.language_model, model.language_model.embed_tokens.weight
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        prompts = _prompts(model, tokenizer, [laid_out[k] for k in numbers])
        if evidence:
            prompts = with_evidence(decoder, head, tokenizer, prompts)
        replies = [[encoder.tokens(option) for option in examples[k].question.options] for k in numbers]
        for k, option in zip(numbers, likeliest_replies(decoder, head, prompts, replies), strict=True):
            right[k] = option == examples[k].question.right
    return right


def _prompts(
    model: ToldModel, tokenizer: PreTrainedTokenizerFast, told: list[CaptionedVideo]
) -> list[Tensor]:
    """What comes before each reply: (S, D)."""
    lengths = [sum(label == IGNORE for label in one.labels) for one in told]
    cut = [replace(one, ids=one.ids[:n], labels=one.labels[:n]) for one, n in zip(told, lengths, strict=True)]
    batch = collate(cut, tokenizer.convert_tokens_to_ids(USER), tokenizer.pad_token_id)
    rows = embed_captions(batch, model.language_model.embed_tokens.weight, model.clock, model.where)
    return [row[: len(one)] for row, one in zip(rows, cut, strict=True)]


def _results(control: Control, examples: Sequence[BusyExample], right: list[bool]) -> list[Result]:
    by_task = defaultdict(list)
    for example, won in zip(examples, right, strict=True):
        by_task[example.question.task].append((len(example.question.options), won))
    return [
        Result.of(control, task, MODEL, *zip(*by_task[task], strict=True))
        for task in BUSY_TASKS
        if by_task[task]
    ]
