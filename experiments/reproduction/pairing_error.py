"""How much of the asked things the tokens of each system leave unexplained after pairing.

python -m experiments.reproduction.pairing_error miniature      # the folder of `make reproduce`

Looks for a cause behind Table 1 in miniature: which bridge tells best what a frame holds, before the language
model has met it, on busy scenes of the exam. 0 is every asked thing told exactly, 1 about as far off as
things are from one another.
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from bvllm.nano.matching import SECONDS, match_loss
from bvllm.nano.steps import clips
from bvllm.nano.tellings import Tellings
from experiments.reproduction.prepare import scale_of
from experiments.reproduction.train import TrainingContext, banks_of, pairing_of
from experiments.reproduction.variants import (
    FULL,
    LLAMA_VID,
    LLAMA_VID_OURS,
    NO_MODULE,
    VIDEOLLAMA2,
    VIDEOLLAMA2_OURS,
    Variant,
)

CLIPS, CHUNK, SEED = 256, 16, 1


@torch.inference_mode()
def unexplained(shop: TrainingContext, variant: Variant, seed: int = SEED) -> float:
    """The mean over asked things: squared error of the token that is paired with it, over their variance."""
    (_, exam), model = banks_of(shop.scale), shop.start(pairing_of(variant), seed)
    model.model.load_state_dict(load_file(shop.checkpoint(variant, seed, pairing=True)), strict=False)
    model.eval()
    bank, rng = exam.read(shop.home), np.random.default_rng(SEED)
    table = model.model.language_model.get_input_embeddings().weight
    tellings = Tellings(table, shop.tokenizer, shop.where)
    asked = clips(bank, "test", SECONDS, model.config.num_selected_frames, SEED, busy=1.0)
    chunks = [list(islice(asked, CHUNK)) for _ in range(CLIPS // CHUNK)]
    found = [match_loss(model, shop.tokenizer, bank, some, tellings, rng)[1] for some in chunks]
    return float(np.mean(found))


if __name__ == "__main__":
    home = Path(sys.argv[1])
    workshop = TrainingContext.open(home, scale_of(home))
    for system in (FULL, NO_MODULE, LLAMA_VID, LLAMA_VID_OURS, VIDEOLLAMA2, VIDEOLLAMA2_OURS):
        print(f"{system.name}: {unexplained(workshop, system):.3f}")
