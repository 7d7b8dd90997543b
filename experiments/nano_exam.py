"""Examine nano on both worlds, at lengths that cannot be encoded as files in the time there is.

    python -m experiments.nano_exam [MODEL] [--questions 300] [--seed 77] [--out exam.json]

Scenes of seeds that no training uses are drawn, compressed and seen by the tower once; a video of any length
is a choice of those frames, as in training. `bvllm eval` measures the same on real files, where an hour takes
minutes to draw. Every question has its options; the model first says what its answer rests on, up to "=", and
then the one whose words are the likeliest is its answer, much as `bvllm ask` does (which also takes letters
and other spellings). Intervals are Wilson's, at 95 %.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.evaluation.evaluate import Share
from bvllm.inference.loading import load_model
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.model.vision_tower import patch_columns
from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.examples import examples
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.nano.frame_dataset import draw_pool
from bvllm.nano.looks import aims
from bvllm.nano.steps import (
    TrainingClip,
    hard_selection,
    mix_patches,
    question_tokens,
    select_batch,
    wanted_frames,
)
from bvllm.stages.pipeline import thin_evenly
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.types import FrameSelection
from experiments.reproduction.score import likeliest_options

LENGTHS = {"64 s": (8.0, 64.0), "10 min": (600.0, 600.0), "1 h": (3600.0, 3600.0)}
# Spatial questions whose answer takes two things or more; the others ask for one.
OF_TWO = ("relation", "counting", "odd", "binding")
PLAIN_SCENES, BUSY_SCENES = 300, 1500
BATCH = 20
Swap = Callable[[BVLLMVisualOutput], list[Tensor]]


@dataclass(frozen=True)
class Marked:
    """One question, answered.

    Attributes:
        task: of the question.
        right: whether the likeliest option is the right one.
        found: whether a frame that shows what is asked was chosen.
        frames, tokens: what was spent.
        crowded: whether an asked scene holds more things than a frame has tokens.
    """

    task: str
    right: bool
    found: bool
    frames: int
    tokens: int
    crowded: bool


def draw_bank(model: BVLLMForConditionalGeneration, seed: int) -> FeatureCache:
    """Frames of both worlds that no training has seen, as the model's tower sees them."""
    side = model.config.vision_config.image_size
    plain = draw_pool(PLAIN_SCENES, split="test", seed=seed, image_size=side)
    busy = draw_busy_pool(BUSY_SCENES, seed=seed, image_size=side)
    return FeatureCache.encode(plain, model.model, mean=NANO_MEAN, std=NANO_STD, busy=busy)


def clips(
    bank: FeatureCache, world: str, length: str, queries: int, seed: int, tasks: tuple[str, ...] = ()
) -> Iterator[TrainingClip]:
    """Endless questions with options about videos of a length."""
    rng = np.random.default_rng((seed, 59))
    assert bank.busy is not None
    source: Iterator[AnyExample] = (
        busy_examples(bank.busy, LENGTHS[length], seed, weights={})
        if world == "busy"
        else examples("test", LENGTHS[length], seed, weights={})
    )
    for drawn in source:
        question = drawn.question
        if question.task == "listing" or (tasks and question.task not in tasks) or not bank.can_show(drawn):
            continue
        example = drawn.with_options()
        yield TrainingClip(example, bank.clip_rows(example, rng), wanted_frames(example, queries), [])


@torch.inference_mode()
def mark(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    asked: list[TrainingClip],
    *,
    swap: Swap | None = None,
    other_question: bool = False,
    uniform: bool = False,
) -> list[Marked]:
    """Ask everything.

    Args:
        swap: other visual tokens in place of the model's.
        other_question: the token sampler reads the next clip's question; the selector reads the clip's own.
        uniform: L* frames, evenly spaced, in place of the fewer that the selector chooses.
    """
    found: list[Marked] = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        ids, mask = question_tokens(tokenizer, batch)
        if uniform:
            chosen = [evenly(len(clip.rows), model.config.num_selected_frames) for clip in batch]
        else:
            chosen, _, _ = select_batch(model, bank, batch, ids, mask)
        patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(batch, chosen, strict=True)])
        read = (ids.roll(1, 0), mask.roll(1, 0)) if other_question else (ids, mask)
        visual = model.model.reduce_to_budget(patches, chosen, *read)
        tokens = visual.pooler_output if swap is None else swap(visual)
        liked = likeliest_options(model, tokenizer, batch, tokens, evidence=True)
        for clip, selection, seen, option in zip(batch, chosen, tokens, liked, strict=True):
            found.append(_marked(model, clip, selection, len(seen), option))
    return found


def _marked(
    model: BVLLMForConditionalGeneration,
    clip: TrainingClip,
    selection: FrameSelection,
    tokens: int,
    option: int,
) -> Marked:
    question, chosen = clip.example.question, set(selection.frames.tolist())
    shown = set(clip.example.asked_frames())
    crowded = isinstance(clip.example, BusyExample) and any(
        len(clip.example.timeline.shown[k].scene.things) > model.config.tokens_per_frame
        for k in question.needles
    )
    right = option == question.right
    return Marked(question.task, right, not shown or bool(chosen & shown), len(chosen), tokens, crowded)


def evenly(frames: int, most: int) -> FrameSelection:
    """At most so many of a clip's frames, evenly spaced."""
    return hard_selection(thin_evenly(frames, min(frames, most)).anchor.tolist(), frames)


def copied(visual: BVLLMVisualOutput) -> list[Tensor]:
    """The first token of every frame in the place of all its tokens."""
    features = []
    for tokens, given in zip(visual.tokens, visual.pooler_output, strict=True):
        row, counts = tokens.by_frame()
        features.append(given[(counts.cumsum(0) - counts)[row]])
    return features


def nothing(visual: BVLLMVisualOutput) -> list[Tensor]:
    """Zeros: what the question alone gives away."""
    return [torch.zeros_like(given) for given in visual.pooler_output]


@torch.inference_mode()
def looks(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    asked: list[TrainingClip],
) -> dict[str, float]:
    """Where the tokens of the asked frames look, and how much they differ.

    `times_area` is the attention on the patches of the asked thing over their share of the frame, on
    questions about one thing; `cosine` is between the tokens of a frame with the mean over frames taken off.
    """
    grid, each = patch_columns(model.config.vision_config), model.config.tokens_per_frame
    ratios, tokens, distinct = [], [], []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        ids, mask = question_tokens(tokenizer, batch)
        chosen, _, _ = select_batch(model, bank, batch, ids, mask)
        patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(batch, chosen, strict=True)])
        visual = model.model.reduce_to_budget(patches, chosen, ids, mask)
        assert visual.attention is not None
        for clip, selection, maps, sampled in zip(
            batch, chosen, visual.attention, visual.tokens, strict=True
        ):
            tokens.append(sampled.features.unflatten(0, (-1, each)))
            distinct += [len(set(row)) for row in maps.argmax(dim=-1).tolist()]
            if len(clip.example.question.about) != 1:
                continue
            for aim, each_map in zip(aims(clip.example, selection, grid), maps, strict=True):
                if aim is not None:
                    there = aim > 0
                    ratios.append(float(each_map.mean(dim=0)[there].sum() / there.float().mean()))
    every = torch.cat(tokens).float()
    unit = F.normalize(every - every.mean(dim=0), dim=-1)
    alike = ((unit @ unit.mT).sum(dim=(1, 2)) - each) / max(1, each * (each - 1))
    return {
        "cosine": alike.mean().item(),
        "distinct patches": float(np.mean(distinct)),
        "times_area": float(np.mean(ratios)) if ratios else float("nan"),
    }


def share(marks: list[Marked]) -> str:
    """Right answers in per cent, with their interval."""
    right = Share.of([m.right for m in marks])
    return f"{100 * right.mean:.1f} % ({100 * right.low:.0f}-{100 * right.high:.0f}) of {right.count}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    loaded = load_model(options.model)
    model, tokenizer = loaded.model.float().eval(), loaded.processor.tokenizer
    bank = draw_bank(model, options.seed)
    queries, told = model.config.num_selected_frames, {}

    def ask(name: str, marks: list[Marked]) -> None:
        told[name] = [100 * float(np.mean([m.right for m in marks])), len(marks)]
        by_task = defaultdict(list)
        for m in marks:
            by_task[m.task].append(m.right)
        tasks = ", ".join(f"{t} {100 * np.mean(r):.0f} ({len(r)})" for t, r in sorted(by_task.items()))
        found = 100 * np.mean([m.found for m in marks])
        frames, tokens = np.mean([m.frames for m in marks]), np.mean([m.tokens for m in marks])
        spent = f"{frames:.1f} frames, {tokens:.0f} tokens"
        print(f"{name}: {share(marks)}, found {found:.0f} %, {spent}: {tasks}", flush=True)

    for world in ("plain", "busy"):
        for number, length in enumerate(LENGTHS):
            some = list(islice(clips(bank, world, length, queries, options.seed + number), options.questions))
            ask(f"{world} {length}", mark(model, tokenizer, bank, some))
            if LENGTHS[length][1] > queries:  # frames do not all fit
                ask(f"{world} {length}, uniform frames", mark(model, tokenizer, bank, some, uniform=True))
    spatial = list(
        islice(clips(bank, "busy", "64 s", queries, options.seed, tuple(SPATIAL)), options.questions)
    )
    plain = mark(model, tokenizer, bank, spatial)
    ask("spatial", plain)
    for name, swap in (("copies", copied), ("blind", nothing)):
        swapped = mark(model, tokenizer, bank, spatial, swap=swap)
        ask(f"spatial, {name}", swapped)
        ask(f"of two things, {name}", [m for m in swapped if m.task in OF_TWO])
    ask("of two things", [m for m in plain if m.task in OF_TWO])
    other = mark(model, tokenizer, bank, spatial, other_question=True)
    ask("crowded", [m for m in plain if m.crowded])
    ask("crowded, other question", [m for m in other if m.crowded])
    seen = looks(model, tokenizer, bank, spatial)
    print(seen)
    told |= {name: [value, len(spatial)] for name, value in seen.items()}
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
