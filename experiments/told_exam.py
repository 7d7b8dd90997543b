"""Examine nano's language model alone: busy videos told in words, thing by thing, in place of frames.

    python -m experiments.told_exam [--model nano] [--questions 100] [--seed 78] [--out F.json]

What is wrong here no sampler mends. Frames are those that a good selector would choose; of each, as many
things are told as the sampler has tokens, what is asked about among them. The model says its evidence, then
the likeliest option is its answer, as `bvllm ask` answers.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from bvllm.evaluation.evaluate import Share
from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.captions import oracle_frames
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.controls.exam import answers, questions
from experiments.controls.learning import ToldModel, compose_pool, start_of
from experiments.controls.telling import SECONDS

SCENES = 1500


def examine(
    model: ToldModel, tokenizer: PreTrainedTokenizerFast, examples: list[BusyExample], seed: int
) -> list[bool]:
    """Whether each answer is right."""
    rng, told = np.random.default_rng((seed, 83)), []
    for example in examples:
        frames = oracle_frames(example, rng)
        told.append([(float(time), thing) for time in frames for thing in example.told(time, rng)])
    return answers(model, tokenizer, examples, told, evidence=True)


def asked(pool: BusyPool, seed: int) -> Iterator[BusyExample]:
    """Endless questions with options, of all tasks alike."""
    for example in busy_examples(pool, SECONDS, seed, weights={}):
        if example.question.task != "listing":
            yield example.with_options()


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
    examples = questions(asked(compose_pool(SCENES, options.seed), options.seed), options.questions)
    right = examine(start_of(options.model, tokenizer), tokenizer, examples, options.seed)
    figures = {}
    for task in BUSY_TASKS:
        of_task = [won for example, won in zip(examples, right, strict=True) if example.question.task == task]
        share = Share.of(of_task)
        figures[task] = {"right": share.mean, "low": share.low, "high": share.high, "questions": len(of_task)}
        print(f"{task}: {100 * share.mean:.0f} % ({100 * share.low:.0f}-{100 * share.high:.0f})", flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
