"""Examine dynamic-nano on both worlds at several budgets, on more questions than files can be made for.

    python -m experiments.dynamic_exam [MODEL] [--budgets 16,64,256,2048] [--length "64 s"] [--questions 300]
        [--seed 77] [--scorer nano] [--out exam.json]

Scenes of seeds that no training uses are drawn and seen by the tower once; a video is a choice of those
frames, one a second, as in training. The questions are those of `experiments/nano_exam.py`, with options, and
the same at every budget; the model first says what its answer rests on, and then the option whose words are
the likeliest is its answer. With `--scorer` that B-VLLM's selector chooses the frames first. Intervals are
Wilson's, at 95 %.
"""

import argparse
import json
from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bvllm.evaluation.evaluate import Share
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.loading import LoadedModel, load_model
from bvllm.nano.dynamic.exam import option_likelihoods
from bvllm.nano.dynamic.steps import DynamicClip
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import TrainingClip, question_tokens, select_batch
from experiments.nano_exam import BATCH, LENGTHS, clips, draw_bank

WORLDS = ("plain", "busy")
QUERIES = 32  # of the plans that clips come with, which no answer here depends on


def whole(asked: list[TrainingClip]) -> list[DynamicClip]:
    """Every frame of every clip."""
    return [DynamicClip(clip.example, clip.rows) for clip in asked]


@torch.inference_mode()
def chosen(selector: LoadedModel, bank: FeatureCache, asked: list[TrainingClip]) -> list[DynamicClip]:
    """The frames that a B-VLLM's selector chooses of every clip, one for each of its queries at most."""
    model, tokenizer, found = selector.model.float().eval(), selector.processor.tokenizer, []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        selections, _, _ = select_batch(model, bank, batch, *question_tokens(tokenizer, batch))
        for clip, selection in zip(batch, selections, strict=True):
            frames = selection.frames.cpu()
            found.append(DynamicClip(clip.example, clip.rows[frames], seconds=frames.double()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="dynamic-nano")
    parser.add_argument("--budgets", type=_numbers, default=[16, 64, 256, 2048])
    parser.add_argument("--length", choices=LENGTHS, default="64 s")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--scorer", help="a B-VLLM whose selector chooses the frames")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loaded = load_model(options.model, scorer=options.scorer)
    if not isinstance(loaded, LoadedDynamic):
        parser.error(f"model must be a Dynamic-VLM, got {options.model!r}: name its folder")
    model, tokenizer = loaded.model.float().eval(), loaded.processor.tokenizer
    model.set_attn_implementation("sdpa")  # as in training
    bank, told = draw_bank(model, options.seed), {}
    seed = options.seed + list(LENGTHS).index(options.length)
    for world in options.worlds:
        drawn = list(islice(clips(bank, world, options.length, QUERIES, seed), options.questions))
        asked = whole(drawn) if loaded.selector is None else chosen(loaded.selector, bank, drawn)
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


if __name__ == "__main__":
    main()
