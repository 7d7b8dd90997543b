"""Small parts that the tests of the stages are built from."""

import torch
from transformers import InstructBlipQFormerConfig

from bvllm.stages.qformer import QFormer
from bvllm.stages.resampler import Resampler

STATES, WIDTH, QUERIES, WORDS = 12, 16, 4, 30


def a_config(**changes):
    sizes = {
        "vocab_size": WORDS,
        "hidden_size": WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "encoder_hidden_size": STATES,
        "max_position_embeddings": 10,
    }
    return InstructBlipQFormerConfig(**{**sizes, **changes})


def a_qformer(**changes):
    return QFormer(a_config(**changes), QUERIES).eval()


def a_resampler():
    return Resampler(STATES, WIDTH, QUERIES).eval()


READERS = {"qformer": a_qformer, "resampler": a_resampler}


def a_question(batch=1, length=5):
    return torch.randint(1, WORDS, (batch, length)), torch.ones(batch, length, dtype=torch.long)


def ragged(lengths):
    """Frames, mask and seconds of clips of these lengths; padding holds NaN, which nothing may touch."""
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    frames = torch.randn(*mask.shape, STATES).masked_fill(~mask[..., None], torch.nan)
    return frames, mask, torch.arange(max(lengths)).repeat(len(lengths), 1) * 0.5
