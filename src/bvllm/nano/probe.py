"""Measure what the tokens of the sampler carry while it learns: swap them, and see what the answers lose."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.captions import IGNORE
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import TrainingClip, hard_selection, mix_patches, question_tokens, run_language_model


@torch.no_grad()
def probe(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    clips: list[TrainingClip],
) -> dict[str, float]:
    """What the tokens of some clips carry, their frames given: shares of replies whose words are right.

    The letter of an option does not count: a language model learns it last, and it would hide the rest.

    `right` as they are, `copies` with the first token of each frame over the others, `other` with the next
    clip's question given to the sampler; `cosine` between the tokens of a frame with the mean over frames
    taken off, and `distinct`, how many patches are some token's most attended.
    """
    ids, mask = question_tokens(tokenizer, clips)
    selections = [hard_selection(clip.oracle, len(clip.rows)) for clip in clips]
    patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(clips, selections, strict=True)])
    seen = model.model.reduce_to_budget(patches, selections, ids, mask)
    other = model.model.reduce_to_budget(patches, selections, ids.roll(1, 0), mask.roll(1, 0))
    each = model.config.tokens_per_frame
    copies = [
        x.unflatten(0, (-1, each))[:, :1].expand(-1, each, -1).flatten(0, 1) for x in seen.pooler_output
    ]
    tokens = torch.cat([t.features for t in seen.tokens]).float().unflatten(0, (-1, each))
    unit = F.normalize(tokens - tokens.mean(dim=0), dim=-1)
    alike = ((unit @ unit.mT).sum(dim=(1, 2)) - each) / max(1, each * (each - 1))
    maps = torch.cat(seen.attention) if seen.attention else torch.zeros(1, 1, 1)
    return {
        "right": _right(model, tokenizer, clips, seen.pooler_output),
        "copies": _right(model, tokenizer, clips, copies),
        "other": _right(model, tokenizer, clips, other.pooler_output),
        "cosine": alike.mean().item(),
        "distinct": float(np.mean([len(set(row)) for row in maps.argmax(dim=-1).tolist()])),
    }


def _right(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    clips: list[TrainingClip],
    visual: list[Tensor],
) -> float:
    hidden, labels = run_language_model(model, tokenizer, clips, visual)
    logits = hidden[:, :-1].float() @ model.lm_head.weight.float().mT
    for row, clip in enumerate(clips):
        labels[row, (labels[row] != IGNORE).nonzero()[:, 0][spoken_words(tokenizer, clip) :]] = IGNORE
    target = labels[:, 1:]
    fine = (logits.argmax(-1) == target) | (target == IGNORE)
    return fine.all(dim=1).float().mean().item()


def spoken_words(tokenizer: PreTrainedTokenizerBase, clip: TrainingClip) -> int:
    """How many tokens of a reply are its words, before the letter and the end."""
    return len(tokenizer(clip.example.question.answer, add_special_tokens=False).input_ids)
