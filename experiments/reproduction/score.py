"""Score a variant's answers by the likeliest option."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, Qwen2Model

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.steps import TrainingClip, mix_patches, question_tokens, select_batch
from bvllm.synthetic.tokenizer import ASSISTANT, USER
from experiments.reproduction.at_inference import choosing
from experiments.reproduction.evidence import evidence_of
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
