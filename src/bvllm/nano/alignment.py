"""Align nano: visual tokens learn to be what the language model already reads.

The LLM was warmed up on frames given as captions, each the sum of its caption's word embeddings. Here token
sampler and projector learn to give just that sum for the frame itself, under any question. No LLM runs, so
fifty thousand frames cost a minute; the paper's first stage runs through the LLM instead (Sec. 7.1).
"""

from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.examples import examples
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.steps import hard_selection
from bvllm.nano.tuning import free_only
from bvllm.synthetic.sampling import describe

QUESTIONS = 4096  # stems that are drawn once and asked of random frames


def align(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    *,
    steps: int,
    minutes: float,
    frames: int = 256,
    lr: float = 2e-3,
    seed: int = 0,
    control: Control | None = None,
) -> None:
    """Train token sampler, projector and what adds places, in place.

    Args:
        frames: pool frames a step, each with a random question.
        steps, minutes: the most of each.
    """
    model.set_attn_implementation("eager")  # whose backward pass is the faster one on a CPU
    parameters = free_only(model, ("places", "token_sampler", "multi_modal_projector"))
    loop = StageLoop(
        "alignment",
        parameters,
        steps=steps,
        minutes=minutes,
        lr=lr,
        warmup=100,
        decay=0.01,
        seed=seed,
        control=control,
    )
    targets = caption_targets(model, tokenizer, bank)
    ids, mask = random_questions(tokenizer, seed)
    rng = np.random.default_rng((loop.seed, 41))
    for _ in loop:
        rows = torch.from_numpy(rng.integers(0, len(bank.pool), frames))
        asked = torch.from_numpy(rng.integers(0, len(ids), frames))
        features = read_frames(model, bank.patches[rows].float(), ids[asked], mask[asked])
        loss = F.mse_loss(features, targets[rows][:, None].expand_as(features)) / targets.var()
        loss.backward()
        loop.descend()
        loop.record(unexplained=loss.item())


def read_frames(model: BVLLMForConditionalGeneration, patches: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Single frames, each with its own question, as the language model would get them but for the clock.

    Args:
        patches: (F, N, C).
        ids, mask: (F, Q).

    Returns:
        (F, n, D), n as many as one frame has before any budget.
    """
    visual = model.model
    if model.config.connector is None:
        patches = visual.tell_places(patches)
        sampler = visual.token_sampler
        tokens = patches if sampler is None else sampler(patches, ids, mask)[0]
        return visual.multi_modal_projector(tokens)
    alone = [hard_selection([0], 1) for _ in patches]
    tokens = torch.stack(visual.reduce_to_budget(patches, alone, ids, mask).pooler_output)
    return tokens if visual.clock is None else tokens - visual.clock(torch.zeros(1)).detach()


def caption_targets(
    model: BVLLMForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, bank: FeatureCache
) -> Tensor:
    """(n, D) for each pool frame the sum of its caption's word embeddings."""
    table = cast(Tensor, model.get_input_embeddings().weight).detach()
    known: dict[str, Tensor] = {}
    rows = []
    for needle in bank.pool.needles:
        caption = describe(needle)
        if caption not in known:
            known[caption] = table[tokenizer(caption, add_special_tokens=False).input_ids].sum(dim=0)
        rows.append(known[caption])
    return torch.stack(rows)


def random_questions(tokenizer: PreTrainedTokenizerBase, seed: int) -> tuple[Tensor, Tensor]:
    """Stems of the world's questions: (QUESTIONS, Q) ids and mask."""
    stream = examples("train", (8, 3600), seed)
    stems = [next(stream).question.stem for _ in range(QUESTIONS)]
    text = tokenizer(stems, padding=True, return_tensors="pt", add_special_tokens=False)
    return text.input_ids, text.attention_mask
