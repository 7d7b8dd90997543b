"""Examine dynamic-nano on both worlds at several budgets, on more questions than files can be made for.

    python -m experiments.dynamic_exam [MODEL] [--budgets 16,64,256,2048] [--questions 300] [--seed 77]
        [--seconds 8..64] [--out exam.json]

Scenes of seeds that no training uses are drawn and seen by the tower once; a video is a choice of those
frames, one a second, as in training (`experiments/nano_exam.py` does the same for nano, with the same
questions). Every question has its options; the model first says what its answer rests on, and then the one
whose words are the likeliest is its answer. The same questions are asked at every budget. Intervals are
Wilson's, at 95 %.
"""

import argparse
import json
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np

from bvllm.evaluation.evaluate import Share
from bvllm.inference.loading import load_model
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.nano.busy_examples import busy_examples
from bvllm.nano.dynamic.exam import option_likelihoods
from bvllm.nano.dynamic.steps import DynamicClip
from bvllm.nano.examples import examples
from bvllm.nano.feature_cache import FeatureCache
from experiments.nano_exam import draw_bank

WORLDS = ("plain", "busy")


def drawn(
    bank: FeatureCache, world: str, seconds: tuple[float, float], count: int, seed: int
) -> list[DynamicClip]:
    """Questions with options, all tasks alike, about videos of these lengths."""
    rng = np.random.default_rng((seed, 59))
    assert bank.busy is not None
    source = (
        busy_examples(bank.busy, seconds, seed, weights={})
        if world == "busy"
        else examples("test", seconds, seed, weights={})
    )
    asked = (
        DynamicClip(one.with_options(), bank.clip_rows(one, rng))
        for one in source
        if one.question.task != "listing" and bank.can_show(one)
    )
    return list(islice(asked, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="dynamic-nano")
    parser.add_argument("--budgets", type=_numbers, default=[16, 64, 256, 2048])
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--seconds", type=_range, default=(8.0, 64.0), help="shortest..longest")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loaded = load_model(options.model)
    model, tokenizer = loaded.model, loaded.processor.tokenizer
    if not isinstance(model, DynamicVLMForConditionalGeneration):
        parser.error(f"model must be a Dynamic-VLM, got {options.model!r}: name its folder")
    model = model.float().eval()
    bank, told = draw_bank(model, options.seed), {}
    for world in WORLDS:
        asked = drawn(bank, world, options.seconds, options.questions, options.seed)
        for budget in options.budgets:
            likely = option_likelihoods(model, tokenizer, bank, asked, budget)
            right = [
                int(each.argmax()) == clip.example.question.right
                for each, clip in zip(likely, asked, strict=True)
            ]
            by_task = defaultdict(list)
            for clip, one in zip(asked, right, strict=True):
                by_task[clip.example.question.task].append(one)
            tasks = ", ".join(f"{t} {100 * np.mean(r):.0f} ({len(r)})" for t, r in sorted(by_task.items()))
            share = Share.of(right)
            told[f"{world} {budget}"] = [100 * share.mean, share.count]
            print(
                f"{world} at {budget}: {100 * share.mean:.1f} % "
                f"({100 * share.low:.0f}-{100 * share.high:.0f}) of {share.count}: {tasks}",
                flush=True,
            )
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def _range(text: str) -> tuple[float, float]:
    first, last = text.split("..")
    return float(first), float(last)


if __name__ == "__main__":
    main()
