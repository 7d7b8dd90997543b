"""Score a variant's answers by the likeliest option."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.replies import likeliest_replies, with_evidence
from bvllm.nano.steps import TrainingClip, mix_patches, question_tokens, select_batch
from bvllm.synthetic.tokenizer import ASSISTANT, USER
from experiments.reproduction.at_inference import choosing
from experiments.reproduction.questions import Column, Exam
from experiments.reproduction.scale import World

BATCH = 16


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
    liked = likeliest_options(model, tokenizer, batch, visual.pooler_output, evidence=True)
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
        prompts = with_evidence(language_model, model.lm_head.weight, tokenizer, prompts)
    options = [
        [tokenizer(words, add_special_tokens=False).input_ids for words in clip.example.question.options]
        for clip in batch
    ]
    return likeliest_replies(language_model, model.lm_head.weight, prompts, options)


def prompt_of(
    tokenizer: PreTrainedTokenizerBase, embed: nn.Module, clip: TrainingClip, tokens: Tensor
) -> Tensor:
    """What comes before the reply, as in training: (S, D)."""
    before = tokenizer(USER, add_special_tokens=False).input_ids
    after = tokenizer(clip.example.prompt + ASSISTANT, add_special_tokens=False).input_ids
    text = embed(torch.tensor(before + after))
    return torch.cat([text[: len(before)], tokens.to(text.dtype), text[len(before) :]])
