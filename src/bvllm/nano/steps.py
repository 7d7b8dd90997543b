"""Run one training step of nano on cached features: select, mix, reduce, answer."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.vision_tower import patch_columns
from bvllm.nano.busy_examples import BusyExample
from bvllm.nano.captions import BUSY_SHARE, IGNORE, all_examples
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.nano.language import answer_loss
from bvllm.nano.looks import aims, looking_loss, watched
from bvllm.nano.packed import run_packed
from bvllm.nano.pairing import pair
from bvllm.stages.pipeline import mixed
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER
from bvllm.synthetic.vocabulary import Split
from bvllm.types import FrameSelection

WEIGHT_EPSILON = 0.02  # frames that weigh less in every row of S are left out of the mixture
BUCKET_FRAMES = 9000  # frames in one padded call of the selector


@dataclass(frozen=True)
class TrainingClip:
    """An example with its frames.

    Attributes:
        rows: the dataset rows that make it up.
        target: a frame for each query by its zone of time (`wanted_frames`): of these `oracle` is made, and
            where nothing is asked for the selector learns them.
        oracle: frames that are planned in the place of chosen ones.
    """

    example: AnyExample
    rows: Tensor  # (T,)
    target: Tensor  # (L,)
    oracle: list[int]


# benchmarks/equal_dump.py reaches this class of older commits and of this one by its older name.
Clip = TrainingClip


def wanted_frames(example: AnyExample, queries: int) -> Tensor:
    """For each query the asked frame that is nearest to the query's zone of time.

    Query j watches over the j-th of L equal zones. With one needle all queries meet at it, with several each
    goes to its nearest, and where nothing is asked for they spread evenly over the video.
    """
    asked = np.array(example.key_frames() or range(example.frames))
    centres = (np.arange(queries) + 0.5) / queries * (example.frames - 1)
    return torch.from_numpy(asked[np.abs(asked[None] - centres[:, None]).argmin(axis=1)])


def clips(
    bank: FeatureCache,
    split: Split,
    seconds: tuple[float, float],
    queries: int,
    seed: int,
    busy: float = BUSY_SHARE,
) -> Iterator[TrainingClip]:
    """Endless training clips."""
    rng = np.random.default_rng((seed, 29))
    for example in all_examples(bank.busy, seconds, seed, split=split, busy=busy):
        if not bank.can_show(example):
            continue
        crowded = isinstance(example, BusyExample)
        extra = [t for t in example.other_frames() if rng.random() < (0.1 if crowded else 0.3)]
        bare = rng.integers(0, example.frames, int(rng.integers(0, 2 if crowded else 4))).tolist()
        target = wanted_frames(example, queries)
        asked = [] if crowded else example.asked_frames()  # of a scene, its ends are in the target
        oracle = sorted({*target.tolist(), *asked, *extra, *bare})[:queries]
        yield TrainingClip(example, bank.clip_rows(example, rng), target, oracle)


def question_tokens(tokenizer: PreTrainedTokenizerBase, batch: list[TrainingClip]) -> tuple[Tensor, Tensor]:
    """The questions without their options, as both Q-Formers read them: (B, Q) ids and mask."""
    text = tokenizer(
        [c.example.question.stem for c in batch], padding=True, return_tensors="pt", add_special_tokens=False
    )
    return text.input_ids, text.attention_mask


@dataclass(frozen=True)
class StepLoss:
    """What one batch cost: the answer's loss, the selector's, and the shares that were right."""

    answer: Tensor
    selection: Tensor
    right: Tensor
    recall: Tensor
    frames: float
    looking: Tensor | None = None


def select_batch(
    model: BVLLMForConditionalGeneration,
    bank: FeatureCache,
    batch: list[TrainingClip],
    ids: Tensor,
    mask: Tensor,
) -> tuple[list[FrameSelection], Tensor, Tensor]:
    """Run the selector over a batch in padded buckets; also its loss and its recall.

    A selector that learns chooses softly; a frozen one as at inference, by the arg-max, and far fewer frames.
    """
    selector, before = model.model.frame_selector, model.model.training
    if selector is not None and not any(p.requires_grad for p in selector.parameters()):
        model.model.training = False
    try:
        return _select_buckets(model, bank, batch, ids, mask)
    finally:
        model.model.training = before


def _select_buckets(
    model: BVLLMForConditionalGeneration,
    bank: FeatureCache,
    batch: list[TrainingClip],
    ids: Tensor,
    mask: Tensor,
) -> tuple[list[FrameSelection], Tensor, Tensor]:
    found: dict[int, FrameSelection] = {}
    bucket: list[int] = []
    order = sorted(range(len(batch)), key=lambda k: len(batch[k].rows))
    for position, k in enumerate(order):
        bucket.append(k)
        following = len(batch[order[position + 1]].rows) if position + 1 < len(order) else 0
        if not following or following * (len(bucket) + 1) > BUCKET_FRAMES:
            rows = [bank.seen(model.model, batch[b].rows) for b in bucket]
            times = [torch.arange(len(r)).double() for r in rows]
            chosen = model.model.select(rows, times, ids[bucket], mask[bucket])
            found.update(zip(bucket, chosen, strict=True))
            bucket = []
    selections = [found[k] for k in range(len(batch))]
    losses = [torch.zeros(())]  # where frames are chosen without learning, there is nothing to teach
    if model.model.frame_selector is not None:
        losses = [shared_frames_loss(s.logits, c) for s, c in zip(selections, batch, strict=True)]
    hits = [
        len(set(s.logits.argmax(-1).tolist()) & set(c.example.asked_frames())) > 0
        for s, c in zip(selections, batch, strict=True)
        if c.example.asked
    ]
    return selections, torch.stack(losses).mean(), torch.tensor(hits).float().mean()


def shared_frames_loss(logits: Tensor, clip: TrainingClip) -> Tensor:
    """How far the queries are from the frames that are asked for: the mean cross-entropy over them.

    Each query is given a key frame that it likes (`pair`), so that each key frame has as many queries as any
    other, or one more. Which query finds what is left to them: a question that names five signs can be shared
    among them sign by sign. Given by zones of time instead, every query must look for all five at once, and
    at 10 minutes half of the scenes of such questions were missed. Where nothing is asked for, the queries
    spread evenly over the video, as `TrainingClip.target` has it.

    Args:
        logits: (L, T).
    """
    scores, target = logits.float().log_softmax(dim=-1), clip.target
    # Of a part of a video, as of a picture in an exam, `target` alone knows the frames.
    whole_video = len(clip.rows) == clip.example.frames
    keys = clip.example.key_frames() if whole_video else []
    if keys:
        shared = torch.tensor(keys).repeat(-(-len(logits) // len(keys)))
        # What is left over is shared out last: otherwise a frame might be nobody's.
        alike = len(logits) // len(keys) * len(keys)
        queries, places = pair(-scores.detach()[:, shared].numpy(), first=alike)
        target = shared[torch.from_numpy(places[queries.argsort()])]
    return F.nll_loss(scores, target)


def hard_selection(chosen: list[int], frames: int) -> FrameSelection:
    """A selection of given frames, as the selector would return it."""
    return FrameSelection.of(torch.tensor(chosen), torch.arange(frames).double())


def mix_patches(bank: FeatureCache, clip: TrainingClip, selection: FrameSelection) -> Tensor:
    """V* = S V over the frames that weigh anything: (F, N, C)."""
    return mixed(lambda frames: bank.patches[clip.rows[frames]].float(), selection, least=WEIGHT_EPSILON)


def step_loss(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    batch: list[TrainingClip],
    *,
    oracle: float,
    rng: np.random.Generator,
    looking: bool = False,
) -> StepLoss:
    """Forward pass of a batch.

    Args:
        oracle: share of the clips whose frames come from the plan instead of the selector, so that the rest
            of the model learns from good frames while the selector does not find them yet.
        looking: also measure whether the tokens look at what is asked; needs a trained token sampler.
    """
    ids, mask = question_tokens(tokenizer, batch)
    planned = [hard_selection(c.oracle, len(c.rows)) for c in batch]
    selection_loss, recall = torch.zeros(()), torch.tensor(torch.nan)
    used = planned
    if oracle < 1:
        selections, selection_loss, recall = select_batch(model, bank, batch, ids, mask)
        used = [p if rng.random() < oracle else s for p, s in zip(planned, selections, strict=True)]
    patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(batch, used, strict=True)])
    with ExitStack() as stack:
        maps = stack.enter_context(watched(model.model.token_sampler)) if looking else []
        visual = model.model.reduce_to_budget(patches, used, ids, mask)
    looks = None
    if looking:
        grid = patch_columns(model.config.vision_config)
        wanted = [aim for c, s in zip(batch, used, strict=True) for aim in aims(c.example, s, grid)]
        looks = looking_loss(maps[0], wanted)
    hidden, labels = run_language_model(model, tokenizer, batch, visual.pooler_output)
    answer, right = answer_loss(hidden.float(), model.lm_head.weight, labels)
    frames = sum(len(s.frames) for s in used) / len(used)
    return StepLoss(answer, selection_loss, right, recall, frames, looks)


def run_language_model(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    batch: list[TrainingClip],
    visual: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Visual tokens, question and answer through the LLM: hidden states (B, S, D) and labels (B, S)."""
    language_model = model.model.language_model
    embed = language_model.get_input_embeddings()
    rows, labels = [], []
    for clip, tokens in zip(batch, visual, strict=True):
        before = tokenizer(USER, add_special_tokens=False).input_ids
        after = tokenizer(clip.example.prompt + ASSISTANT, add_special_tokens=False).input_ids
        reply = tokenizer(clip.example.reply + END, add_special_tokens=False).input_ids
        text = embed(torch.tensor(before + after + reply))
        rows.append(torch.cat([text[: len(before)], tokens.to(text.dtype), text[len(before) :]]))
        labels.append(torch.tensor([IGNORE] * (len(before) + len(tokens) + len(after)) + reply))
    embedded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORE)
    attention = torch.nn.utils.rnn.pad_sequence(
        [torch.ones(len(r), dtype=torch.long) for r in rows], batch_first=True
    )
    return run_packed(language_model, embedded, attention), padded
