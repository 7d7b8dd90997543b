"""How much of a frame's caption the tokens of each system leave unexplained after alignment.

python -m experiments.reproduction.alignment_error miniature      # the folder of `make reproduce`

Looks for a cause behind Table 1 in miniature: which bridge reads a single frame best, before the language
model has met it. 0 is a perfect reading, 1 the mean of all captions.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from bvllm.nano.alignment import caption_targets, random_questions, read_frames
from experiments.reproduction.feature_caches import read_bank
from experiments.reproduction.scale import MINIATURE
from experiments.reproduction.train import EXAM_BANK, TrainingContext
from experiments.reproduction.variants import FULL, LLAMA_VID_B, NO_MODULE, VIDEOLLAMA2_B, Variant

FRAMES, CHUNK, SEED = 256, 16, 1


@torch.inference_mode()
def unexplained(shop: TrainingContext, variant: Variant) -> float:
    """The mean over a frame's tokens against its caption: squared error over the captions' variance."""
    model, bank = shop.start(variant, SEED), read_bank(shop.home / EXAM_BANK)
    checkpoint = shop.checkpoint_path(shop.home, shop.scale, shop.tokenizer, variant, SEED, alignment=True)
    model.model.load_state_dict(load_file(checkpoint), strict=False)
    model.eval()
    targets = caption_targets(model, shop.tokenizer, bank)
    ids, mask = random_questions(shop.tokenizer, SEED)
    noise = torch.Generator().manual_seed(SEED)
    rows = torch.randint(0, len(bank.pool), (FRAMES,), generator=noise)
    asked = torch.randint(0, len(ids), (FRAMES,), generator=noise)
    pairs = zip(rows.split(CHUNK), asked.split(CHUNK), strict=True)
    read = [read_frames(model, bank.patches[r].float(), ids[a], mask[a]).mean(dim=1) for r, a in pairs]
    return float((torch.cat(read) - targets[rows]).square().mean() / targets.var())


if __name__ == "__main__":
    workshop = TrainingContext.open(Path(sys.argv[1]), MINIATURE)
    for system in (FULL, NO_MODULE, LLAMA_VID_B, VIDEOLLAMA2_B):
        print(f"{system.name}: {unexplained(workshop, system):.3f}")
