"""Examine nano's language model alone: busy videos told in words, thing by thing, in place of frames.

    python -m experiments.told_exam [--model nano] [--questions 100] [--seed 78] [--out F.json]

What is wrong here no sampler mends. Frames are those that a good selector would choose; of each, as many
things are told as the sampler has tokens, what is asked about among them. The model says its evidence, then
the likeliest option is its answer, as `bvllm ask` answers.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from bvllm.evaluation.evaluate import Share
from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.captions import CaptionEncoder, oracle_frames
from bvllm.nano.replies import likeliest_replies, with_evidence
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.exam import BATCH, prompts_of
from experiments.controls.learning import ToldModel, compose_pool, start_of

SCENES = 1500
SECONDS = (8.0, 3600.0)  # log-uniform, as in training


def questions(pool: BusyPool, each: int, seed: int) -> list[BusyExample]:
    """`each` questions with options of every task."""
    found: dict[str, list[BusyExample]] = {task: [] for task in BUSY_TASKS}
    for example in busy_examples(pool, SECONDS, seed, weights={}):
        of_task = found.get(example.question.task)  # a listing is of none
        if of_task is not None and len(of_task) < each:
            of_task.append(example.with_options())
        if all(len(some) == each for some in found.values()):
            break
    return [example for some in found.values() for example in some]


@torch.inference_mode()
def examine(
    model: ToldModel, tokenizer: PreTrainedTokenizerFast, asked: list[BusyExample], seed: int
) -> list[bool]:
    """Whether each answer is right."""
    encoder, rng = CaptionEncoder(tokenizer), np.random.default_rng((seed, 83))
    told = []
    for example in asked:
        frames = oracle_frames(example, rng)
        told.append(
            encoder.lay_out(example, [(float(t), x) for t in frames for x in example.told(t, rng)], {})
        )
    decoder, head = model.language_model, model.language_model.embed_tokens.weight
    order, right = sorted(range(len(told)), key=lambda k: len(told[k])), [False] * len(told)
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        prompts = prompts_of(model, tokenizer, [told[k] for k in numbers])
        prompts = with_evidence(decoder, head, tokenizer, prompts)
        replies = [[encoder.tokens(option) for option in asked[k].question.options] for k in numbers]
        for k, option in zip(numbers, likeliest_replies(decoder, head, prompts, replies), strict=True):
            right[k] = option == asked[k].question.right
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="a nano, or the folder of its stage `language`")
    parser.add_argument("--questions", type=int, default=100, help="of each task")
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.questions < 1:
        parser.error(f"--questions must be at least 1, got {options.questions}")
    tokenizer = build_tokenizer()
    asked = questions(compose_pool(SCENES, options.seed), options.questions, options.seed)
    right = examine(start_of(options.model, tokenizer), tokenizer, asked, options.seed)
    figures = {}
    for task in BUSY_TASKS:
        of_task = [won for example, won in zip(asked, right, strict=True) if example.question.task == task]
        share = Share.of(of_task)
        figures[task] = {"right": share.mean, "low": share.low, "high": share.high, "questions": len(of_task)}
        print(f"{task}: {100 * share.mean:.0f} % ({100 * share.low:.0f}-{100 * share.high:.0f})", flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
