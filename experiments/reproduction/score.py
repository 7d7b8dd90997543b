"""Ask every variant the same questions of both worlds, and score it by the likeliest option."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, Qwen2Model

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.busy_examples import BusyExample, busy_examples
from bvllm.nano.busy_pool import BusyPool
from bvllm.nano.examples import Example, examples, put_words
from bvllm.nano.feature_cache import AnyExample, FeatureCache
from bvllm.nano.steps import (
    TrainingClip,
    mix_patches,
    question_tokens,
    select_batch,
    wanted_frames,
)
from bvllm.synthetic.busy.tasks import SPATIAL, Shown, ask_scene
from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.draft import Question
from bvllm.synthetic.tokenizer import ASSISTANT, USER
from experiments.reproduction.at_inference import choosing
from experiments.reproduction.evidence import evidence_of
from experiments.reproduction.scale import DURATIONS, WORLDS, World

BATCH = 16
FAMILIES: dict[World, dict[str, tuple[str, ...]]] = {
    "busy": {
        "space": tuple(SPATIAL),
        "time": ("arrival", "motion", "order", "when", "next", "repetition"),
    },
    "plain": {
        "retrieval": ("retrieval_edit", "retrieval_insert1", "retrieval_insert2"),
        "ordering": ("ordering_edit", "ordering_insert1", "ordering_insert2"),
        "counting": ("counting_edit1", "counting_edit2", "counting_insert"),
        "attributes": ("existence", "colour", "position"),
        "time": ("direction", "when"),
    },
}
OF_AN_IMAGE = ("retrieval_edit", "retrieval_insert1", "retrieval_insert2", "colour", "position", "existence")
SCENES_TRIED = 200  # for a spatial question about a single frame


class Column(NamedTuple):
    """Which questions: of which world, about videos of which length."""

    world: World
    duration: str


Exam = dict[Column, list[TrainingClip]]


@dataclass(frozen=True)
class ScoredAnswer:
    """One question, answered.

    Attributes:
        world, duration, task: what it counts for.
        right: whether the right option's words were the likeliest reply.
        found: whether a frame that shows what is asked was chosen; None where nothing is to be found.
        frames, tokens: what was spent.
        options: how many there were to choose from.
    """

    world: World
    duration: str
    task: str
    right: bool
    found: bool | None
    frames: int
    tokens: int
    options: int


def questions(bank: FeatureCache, queries: int, count: int, seed: int) -> Exam:
    """`count` questions with options of each world and duration; the same for every variant.

    Args:
        queries: L*, for which a clip says what frames it would want; what is asked does not depend on it.
    """
    columns = [Column(world, duration) for world in WORLDS for duration in DURATIONS]
    return {
        column: list(islice(_clips(bank, column, queries, seed + place), count))
        for place, column in enumerate(columns)
    }


def _clips(bank: FeatureCache, column: Column, queries: int, seed: int) -> Iterator[TrainingClip]:
    rng = np.random.default_rng((seed, 53))
    image = column.duration == "image"
    for drawn in _drawn(bank, column, seed):
        task = drawn.question.task
        if task == "listing" or not bank.can_show(drawn):
            continue
        if image and isinstance(drawn, Example) and task not in OF_AN_IMAGE:
            continue
        example = drawn.with_options()
        rows, target = bank.clip_rows(example, rng), wanted_frames(example, queries)
        if image:
            rows, target = rows[[_telling_frame(example, rng)]], torch.zeros(queries, dtype=torch.long)
        yield TrainingClip(example, rows, target, [])


def _drawn(bank: FeatureCache, column: Column, seed: int) -> Iterator[AnyExample]:
    seconds = DURATIONS[column.duration]
    if column.world == "plain":
        return examples("test", seconds, seed)
    assert bank.busy is not None  # every bank here has both worlds
    return (
        busy_images(bank.busy, seed)
        if column.duration == "image"
        else busy_examples(bank.busy, seconds, seed)
    )


def busy_images(pool: BusyPool, seed: int) -> Iterator[BusyExample]:
    """Endless spatial questions about the first frame of a scene, as often of each task.

    The first, since answers are worked out from where things stand when the scene begins.

    Raises:
        ValueError: no question fits any scene.
    """
    rng = np.random.default_rng((seed, 61))
    while True:
        asked = 0
        for task in rng.permutation(list(SPATIAL)).tolist():
            found = _about_a_frame(pool, task, rng)
            if found is not None:
                asked += 1
                yield found
        if not asked:
            raise ValueError(
                f"busy scenes must allow a spatial question, got {len(pool.scenes)} that do not: draw more"
            )


def _about_a_frame(pool: BusyPool, task: str, rng: np.random.Generator) -> BusyExample | None:
    fit = [scene for scene in pool.scenes if scene.kind == SPATIAL[task][0]]
    for _ in range(SCENES_TRIED if fit else 0):
        scene = fit[int(rng.integers(len(fit)))]
        question: Question | None = ask_scene(rng, scene, task)
        if question is not None:
            timeline = BusyTimeline(1.0, (Shown(scene, 0.0, 1.0),), (question,))
            return BusyExample(timeline, question, *put_words(question, with_options=True))
    return None


def _telling_frame(example: AnyExample, rng: np.random.Generator) -> int:
    """A frame that shows what is asked; any, where the right answer is that nothing does."""
    shown = example.asked_frames() or range(example.frames)
    return int(rng.choice(shown))


@torch.inference_mode()
def score(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    asked: Exam,
    *,
    softly: bool = False,
) -> list[ScoredAnswer]:
    """Ask everything, in batches of like length.

    Args:
        softly: let frames be mixed by `config.choice` instead of chosen by the arg-max.
    """
    model.eval()
    marked: list[ScoredAnswer] = []
    with choosing(model, softly=softly):
        for column, clips in asked.items():
            for start in range(0, len(clips), BATCH):
                marked += _mark_batch(model, tokenizer, bank, column, clips[start : start + BATCH])
    return marked


def _mark_batch(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    bank: FeatureCache,
    column: Column,
    batch: list[TrainingClip],
) -> list[ScoredAnswer]:
    ids, mask = question_tokens(tokenizer, batch)
    selections, _, _ = select_batch(model, bank, batch, ids, mask)
    patches = torch.cat([mix_patches(bank, c, s) for c, s in zip(batch, selections, strict=True)])
    visual = model.model.reduce_to_budget(patches, selections, ids, mask)
    liked = likeliest_options(model, tokenizer, batch, visual.pooler_output)
    marked = []
    for clip, selection, tokens, option in zip(batch, selections, visual.lengths, liked, strict=True):
        question, shown = clip.example.question, set(clip.example.asked_frames())
        chosen = set(selection.frames.tolist())
        found = bool(chosen & shown) if shown and len(clip.rows) > 1 else None
        marked.append(
            ScoredAnswer(
                *column,
                question.task,
                option == question.right,
                found,
                len(chosen),
                tokens,
                len(question.options),
            )
        )
    return marked


def likeliest_options(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    batch: list[TrainingClip],
    visual: list[Tensor],
    *,
    evidence: bool = False,
) -> list[int]:
    """For each clip the option whose words are the likeliest reply (see `likeliest_replies`).

    Args:
        visual: of each clip, the tokens that the language model sees.
        evidence: the model first says what its answer rests on, which then stands in front of every option.
    """
    language_model = model.model.language_model
    embed = language_model.get_input_embeddings()
    prompts = [prompt_of(tokenizer, embed, clip, tokens) for clip, tokens in zip(batch, visual, strict=True)]
    if evidence:
        said = evidence_of(model, tokenizer, prompts)
        prompts = [torch.cat([p, embed(ids)]) for p, ids in zip(prompts, said, strict=True)]
    options = [
        [tokenizer(words, add_special_tokens=False).input_ids for words in clip.example.question.options]
        for clip in batch
    ]
    return likeliest_replies(language_model, model.lm_head.weight, prompts, options)


def likeliest_replies(
    language_model: Qwen2Model, head: Tensor, prompts: list[Tensor], replies: list[list[list[int]]]
) -> list[int]:
    """For each prompt the likeliest of its replies, by the mean over their tokens.

    Each prompt runs once; its keys and values serve all its replies.

    Args:
        language_model: decoder without a head.
        head: (V, D).
        prompts: (S, D) each, embedded.
        replies: for each prompt, the ids of what may follow.
    """
    lengths = torch.tensor([len(p) for p in prompts])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    first = language_model(
        inputs_embeds=pad_sequence(prompts, batch_first=True), attention_mask=mask, use_cache=True
    )
    most = max(map(len, replies))
    words = [torch.tensor(own[min(k, len(own) - 1)]) for own in replies for k in range(most)]
    ids = pad_sequence(words, batch_first=True)
    real = torch.arange(ids.shape[1]) < torch.tensor([len(w) for w in words])[:, None]
    first.past_key_values.batch_repeat_interleave(most)
    then = language_model(
        inputs_embeds=language_model.get_input_embeddings()(ids),
        attention_mask=torch.cat([mask.repeat_interleave(most, 0), real.long()], dim=1),
        position_ids=lengths.repeat_interleave(most)[:, None] + torch.arange(ids.shape[1]),
        past_key_values=first.past_key_values,
        use_cache=True,
    )
    before = first.last_hidden_state[torch.arange(len(prompts)), lengths - 1].repeat_interleave(most, 0)
    hidden = torch.cat([before[:, None], then.last_hidden_state[:, :-1]], dim=1)
    logs = (hidden @ head.mT).log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]
    score = (logs * real).sum(dim=1) / real.sum(dim=1)
    return [int(s[: len(own)].argmax()) for s, own in zip(score.split(most), replies, strict=True)]


def prompt_of(
    tokenizer: PreTrainedTokenizerBase, embed: nn.Module, clip: TrainingClip, tokens: Tensor
) -> Tensor:
    """What comes before the reply, as in training: (S, D)."""
    before = tokenizer(USER, add_special_tokens=False).input_ids
    after = tokenizer(clip.example.prompt + ASSISTANT, add_special_tokens=False).input_ids
    text = embed(torch.tensor(before + after))
    return torch.cat([text[: len(before)], tokens.to(text.dtype), text[len(before) :]])
