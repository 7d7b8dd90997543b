"""Whether a selector on means of patches catches up with one on [CLS] when it is trained for longer.

python -m experiments.reproduction.longer_selection miniature      # the folder of `make reproduce`

Looks for a cause behind Tables 4 and 7 in miniature, where both have as many steps. Prints, for each feature
and number of steps, how often a frame that shows what is asked was chosen, in % of the exam's videos.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bvllm.common.processes import processes
from bvllm.common.threads import usable_cores
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import question_tokens, select_batch
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.questions import Exam
from experiments.reproduction.run import exam_of
from experiments.reproduction.scale import WORLDS, Scale
from experiments.reproduction.score import BATCH
from experiments.reproduction.train import TrainingContext, feature_bank
from experiments.reproduction.variants import FULL, QFORMER_MEAN, Variant

LONGER, SEEDS = 3, (1, 2, 3)  # times the steps


def found_after(home: Path, scale: Scale, variant: Variant, seed: int, times: int) -> dict[str, float]:
    """By world, the share of videos of which a frame that shows what is asked was chosen."""
    torch.set_num_threads(1)
    longer = replace(scale.selection, steps=times * scale.selection.steps)
    shop = TrainingContext.open(home, replace(scale, selection=longer))
    checkpoint = shop.select(variant, seed, lambda line: None)
    assert checkpoint is not None  # both learn to select
    model = shop.start(variant, seed)
    model.model.load_state_dict(load_file(checkpoint), strict=False)
    bank, asked = exam_of(home, scale, model.config.num_selected_frames)
    return found(model.eval(), shop, feature_bank(bank, model), asked)


@torch.inference_mode()
def found(
    model: BVLLMForConditionalGeneration, shop: TrainingContext, bank: FeatureCache, asked: Exam
) -> dict[str, float]:
    """The same of a model."""
    hits: dict[str, list[bool]] = {world: [] for world in WORLDS}
    for column, hit in _hits(model, shop, bank, asked):
        hits[column].append(hit)
    return {world: float(np.mean(some)) for world, some in hits.items()}


def _hits(
    model: BVLLMForConditionalGeneration, shop: TrainingContext, bank: FeatureCache, asked: Exam
) -> Iterator[tuple[str, bool]]:
    for column, clips in asked.items():
        for start in range(0, len(clips), BATCH):
            batch = [clip for clip in clips[start : start + BATCH] if len(clip.rows) > 1]
            if not batch:
                continue
            selections, _, _ = select_batch(model, bank, batch, *question_tokens(shop.tokenizer, batch))
            for clip, selection in zip(batch, selections, strict=True):
                if shown := set(clip.example.asked_frames()):
                    yield column.world, bool(shown & set(selection.frames.tolist()))


def main() -> None:
    """Train what is lacking, and print."""
    home = Path(sys.argv[1])
    scale = scale_of(home)
    jobs = list(product((FULL, QFORMER_MEAN), (1, LONGER), SEEDS))
    with processes(usable_cores()) as pool:
        waiting = [pool.submit(found_after, home, scale, v, seed, times) for v, times, seed in jobs]
        shares = [future.result() for future in waiting]
    for variant, times in product((FULL, QFORMER_MEAN), (1, LONGER)):
        own = [share for (v, t, _), share in zip(jobs, shares, strict=True) if (v, t) == (variant, times)]
        said = (f"{world} {' '.join(f'{100 * share[world]:.1f}' for share in own)}" for world in WORLDS)
        print(f"{variant.name}, {times * scale.selection.steps} steps: {'; '.join(said)}")


if __name__ == "__main__":
    main()
