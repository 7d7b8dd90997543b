"""Whether VideoLLaMA2's own tokens are read when its connector is paired for longer.

python -m experiments.reproduction.longer_pairing miniature      # the folder of `make reproduce`

Looks for a cause behind Table 1 in miniature, where that baseline stays near guessing, pictures included. It
is paired for so many times the steps, tuned on answers as in the table, and asked about pictures and short
videos. Prints for each seed what is left unexplained of the asked things after pairing (`pairing_error`), and
right answers in %.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bvllm.common.processes import processes
from bvllm.common.threads import usable_cores
from experiments.reproduction.pairing_error import unexplained
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.run import exam_of
from experiments.reproduction.scale import Scale
from experiments.reproduction.score import score
from experiments.reproduction.train import TrainingContext, feature_bank
from experiments.reproduction.variants import VIDEOLLAMA2

LONGER, SEEDS = 3, (1, 2, 3)  # times the steps
ASKED = ("image", "short")


def read_after(home: Path, scale: Scale, seed: int) -> str:
    """A line of figures."""
    torch.set_num_threads(1)
    shop = TrainingContext.open(home, replace(scale, matching_steps=LONGER * scale.matching_steps))
    model = shop.instruct(VIDEOLLAMA2, seed, lambda line: None)
    bank, exam = exam_of(home, scale, model.config.num_selected_frames)
    asked = {column: clips for column, clips in exam.items() if column.duration in ASKED}
    marks = score(model, shop.tokenizer, feature_bank(bank, model), asked)
    said = [f"seed {seed}: {unexplained(shop, VIDEOLLAMA2, seed):.3f} unexplained"]
    for world, duration in asked:
        own = [m.right for m in marks if (m.world, m.duration) == (world, duration)]
        said.append(f"{world} {duration} {100 * np.mean(own):.1f}")
    return ", ".join(said)


def main() -> None:
    """Train what is lacking, and print."""
    home = Path(sys.argv[1])
    scale = scale_of(home)
    with processes(min(len(SEEDS), usable_cores())) as pool:
        for waiting in [pool.submit(read_after, home, scale, seed) for seed in SEEDS]:
            print(waiting.result(), flush=True)


if __name__ == "__main__":
    main()
