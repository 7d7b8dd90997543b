"""Teach nano's fresh token sampler to say what a frame holds, thing by thing, before any answer.

The language model was warmed up on things told in words: a vector is the sum of a thing's words and of where
it is (`nano.language`). Here the R tokens of a frame learn to be such vectors, in whatever order suits them:
tokens and things are paired, the likest first, so no two tokens share a target, and the things that
the question is about are paired first. Where a frame holds more than R things, the question decides which are
told. No language model runs, so a step costs a third of one through it. A model without a token sampler
learns so, too: its tokens are the projector's or a baseline connector's, as many as it has for a frame; and
so does a Dynamic-VLM whose compressor has queries (`nano.dynamic.align`).

That the world knows what a frame holds is ours; the authors' released code starts the sampler from
InstructBLIP's Q-Former, the text does not say. DETR pairs so, too (Carion et
al., arXiv 2005.12872), by the best assignment; ours is greedy and needs no solver.
"""

from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.alignment import read_frames
from bvllm.nano.busy_examples import BusyExample, told_thing
from bvllm.nano.examples import Told
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where
from bvllm.nano.loop import Control, StageLoop
from bvllm.nano.pairing import pair
from bvllm.nano.steps import TrainingClip, clips, question_tokens
from bvllm.nano.tellings import Tellings
from bvllm.nano.tuning import free_only
from bvllm.synthetic.sampling import describe

TRAINED = ("places", "token_sampler", "multi_modal_projector")
STEPS = 6000
CLIPS, FRAMES = 64, 2  # of a step, and of each clip
BUSY = 0.85  # share of busy examples
SECONDS = (8.0, 40.0)
ASKED_WEIGHT = 4.0  # of a thing that the question is about, beside any other
EMPTY_WEIGHT = 0.1  # of a token that no thing is left for


def told_of(clip: TrainingClip, time: int) -> tuple[list[Told], int]:
    """All that a frame holds, and how many of the first are what the question is about."""
    example = clip.example
    if not isinstance(example, BusyExample):
        event = example.timeline.shown_at(time)
        return [Told(describe(event.needle if event else None))], 1
    shown, age = example.timeline.at(time), time - example.timeline.at(time).start
    asked = example.timeline.number_at(time) in set(example.question.needles)
    about = set(map(id, example.question.about)) if asked else set()
    anchor = shown.scene.things[0]
    there = shown.scene.seen(age)
    first = [t for t in there if id(t) in about or t is anchor]
    rest = [t for t in there if not (id(t) in about or t is anchor)]
    return [told_thing(shown.scene, t, age) for t in (*first, *rest)], len(first)


def match_tokens(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    where: Where,
    *,
    minutes: float,
    steps: int = STEPS,
    batch: int = CLIPS,
    queries: int | None = None,
    lr: float = 1.5e-3,
    seed: int = 0,
    control: Control | None = None,
) -> None:
    """Train sampler, projector and what adds places, in place.

    Args:
        where: what tells of places, as the LLM was warmed up with it.
        steps, minutes: the most of each.
        batch: clips of a step.
        queries: how many frames of a clip are planned, of which some are read; the model's own L* where None.
    """
    model.set_attn_implementation("eager")  # whose backward pass is the faster one on a CPU
    loop = StageLoop(
        "matching",
        free_only(model, TRAINED),
        steps=steps,
        minutes=minutes,
        lr=lr,
        warmup=100,
        decay=0.01,
        seed=seed,
        control=control,
    )
    rng = np.random.default_rng((loop.seed, 79))
    tellings = Tellings(model.model.language_model.get_input_embeddings().weight, tokenizer, where)
    queries = queries or model.config.num_selected_frames
    stream = clips(bank, "train", SECONDS, queries, loop.seed, BUSY)
    model.train()
    for _ in loop:
        drawn = list(islice(stream, batch))
        loss, asked, cosine = match_loss(model, tokenizer, bank, drawn, tellings, rng)
        loss.backward()
        loop.descend()
        loop.record(loss=loss.item(), asked=asked, cosine=cosine)
    model.eval()


def match_loss(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    batch: list[TrainingClip],
    tellings: Tellings,
    rng: np.random.Generator,
) -> tuple[Tensor, float, float]:
    """Of some frames of each clip: the loss, the share of the asked that is not explained, and the mean
    cosine between tokens of a frame."""
    ids, mask = question_tokens(tokenizer, batch)
    times = [sorted(rng.permutation(clip.oracle)[:FRAMES].tolist()) for clip in batch]
    rows = torch.tensor([int(c.rows[t]) for c, own in zip(batch, times, strict=True) for t in own])
    of_clip = torch.tensor([k for k, own in enumerate(times) for _ in own])
    made = read_frames(model, bank.patches[rows].float(), ids[of_clip], mask[of_clip])
    held = [told_of(c, t) for c, own in zip(batch, times, strict=True) for t in own]
    wanted, weight, asked = pair_frames(made, held, tellings)
    errors = (made - wanted).square().mean(dim=-1)
    loss = (errors * weight).sum() / weight.sum() / tellings.variance
    with torch.no_grad():
        unit = F.normalize(made - made.mean(dim=0), dim=-1)
        each = made.shape[1]
        alike = ((unit @ unit.mT).sum(dim=(1, 2)) - each) / max(1, each * (each - 1))
    return loss, asked, alike.mean().item()


def pair_frames(
    made: Tensor, held: list[tuple[list[Told], int]], tellings: Tellings
) -> tuple[Tensor, Tensor, float]:
    """What each token of each frame is to become, in whatever order suits the tokens.

    Args:
        made: (F, R, D) tokens.
        held: what each frame holds, and how many of the first are asked about; they are paired before others.

    Returns:
        (F, R, D) targets, (F, R) their weights, and the share of the asked that is not explained, 0 where
        nothing is asked about.
    """
    targets = tellings.vectors([one for told, _ in held for one in told]).split([len(t) for t, _ in held])
    nothing = tellings.vectors([Told(describe(None))])
    wanted, weight, asked = nothing.repeat(*made.shape[:2], 1), torch.full(made.shape[:2], EMPTY_WEIGHT), []
    for frame, ((_, first), target) in enumerate(zip(held, targets, strict=True)):
        cost = torch.cdist(made[frame].detach(), target).square().numpy()
        own, things = (torch.from_numpy(k) for k in pair(cost, first))
        wanted[frame, own] = target[things]
        weight[frame, own] = torch.where(things < first, ASKED_WEIGHT, 1.0)
        if first:
            asked.append(float(cost[own[things < first], things[things < first]].mean()))
    unexplained = float(np.mean(asked)) / made.shape[-1] / tellings.variance if asked else 0.0
    return wanted, weight, unexplained
