"""Reckon how long each table takes, from the CPU time of a few steps of each stage.

python -m experiments.reproduction.reckoning miniature      # a folder of `make reproduce`, of any scale

A process on one core is timed by what it computes (`time.process_time`), not by the clock, so other work
beside it counts little. Shared stages count once for each seed, as they are trained.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bvllm.synthetic.tokenizer import build_tokenizer
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.run import exam_of
from experiments.reproduction.scale import DURATIONS, MINIATURE, WORLDS, Scale
from experiments.reproduction.score import score
from experiments.reproduction.table import Table
from experiments.reproduction.tables import ALL_TABLES
from experiments.reproduction.train import TrainingContext, checkpoint_path
from experiments.reproduction.variants import FULL, LLAMA_VID, NO_MODULE, SELECTION_ONLY, VIDEOLLAMA2, Variant

STEPS = 3  # of each stage that are timed
SEEDS = {"table3": 5, "table3_cause": 5}  # of the other tables three
CORES = 2


@dataclass(frozen=True)
class Seconds:
    """CPU time of a step of pairing, selection and instruction, and of a question of the exam."""

    pair: float
    select: float
    instruct: float
    question: float


def measured(home: Path, variant: Variant) -> Seconds:
    """Of steps of the miniature's size, on the banks of a folder."""
    scale = scale_of(home)
    few = replace(
        MINIATURE,
        matching_steps=STEPS,
        selection=replace(MINIATURE.selection, steps=STEPS),
        instruction=replace(MINIATURE.instruction, steps=STEPS),
    )
    shop = replace(TrainingContext.open(home, scale), scale=few)
    for checkpoint in (shop.checkpoint(variant, 0, pairing=pairing) for pairing in (True, False)):
        checkpoint.unlink(missing_ok=True)  # of an earlier reckoning
    pair = _timed(lambda: shop.pair(variant, 0, _silent)) / STEPS
    select = _timed(lambda: shop.select(variant, 0, _silent)) / STEPS
    started = time.process_time()
    model = shop.instruct(variant, 0, _silent)
    instruct = (time.process_time() - started) / STEPS
    bank, asked = exam_of(home, scale, model.config.num_selected_frames)
    count = sum(map(len, asked.values()))
    question = _timed(lambda: score(model, shop.tokenizer, bank, asked)) / count
    return Seconds(pair, select, instruct, question)


def core_minutes(table: Table, scale: Scale, seeds: int, seconds: Callable[[Variant], Seconds]) -> float:
    """Of all that a table trains and asks, in a folder that has the banks and the language model alone."""
    tokenizer = build_tokenizer()
    trained = list(dict.fromkeys(v.trained for v in table.variants))
    shared = {}
    for variant in trained:
        pairing_time = seconds(variant).pair * scale.matching_steps
        selecting = seconds(FULL).select * _selection_steps(variant, scale)
        for pairing, cost in ((True, pairing_time), (False, selecting)):
            shared[checkpoint_path(Path(), scale, tokenizer, variant, 0, pairing=pairing)] = cost
    questions = scale.questions * len(DURATIONS) * len(WORLDS)
    instructed = sum(seconds(v).instruct * scale.instruction.steps for v in trained)
    asked = sum(seconds(v.trained).question * questions for v in dict.fromkeys((*trained, *table.variants)))
    return seeds * (sum(shared.values()) + instructed + asked) / 60


def _selection_steps(variant: Variant, scale: Scale) -> int:
    if not variant.learns_selection:
        return 0
    reads = dict(variant.changes).get("frame_feature") == "qformer"
    return scale.selection.steps + (scale.reader_steps if reads else 0)


def _like(variant: Variant) -> Variant:
    """The measured one that costs most like it: by what makes its tokens, and whether frames are learned."""
    changes = dict(variant.changes)
    if "connector" in changes and changes.get("token_sampler") == "none":
        return VIDEOLLAMA2 if changes["connector"] == dict(VIDEOLLAMA2.changes)["connector"] else LLAMA_VID
    if changes.get("token_sampler") == "none":
        return SELECTION_ONLY if variant.learns_selection else NO_MODULE
    return FULL


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _silent(line: str) -> None:
    """Losses of three steps say nothing."""


def main() -> None:
    torch.set_num_threads(1)
    home = Path(sys.argv[1])
    found = {}
    for variant in (FULL, NO_MODULE, SELECTION_ONLY, LLAMA_VID, VIDEOLLAMA2):
        own = found[variant] = measured(home, variant)
        each = f"pair {own.pair:.2f}, select {own.select:.2f}, instruct {own.instruct:.2f}"
        print(f"{variant.name}: {each} s a step; {own.question:.3f} s a question", flush=True)
    for table in ALL_TABLES:
        seeds = SEEDS.get(table.name, 3)
        minutes = core_minutes(table, MINIATURE, seeds, lambda v: found[_like(v)])
        print(f"{table.name}, {seeds} seeds: {minutes / CORES:.0f} minutes of {CORES} cores", flush=True)


if __name__ == "__main__":
    main()
