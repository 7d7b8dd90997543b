"""Let a language model reply to prompts that are embedded already: what its answer rests on, then options."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bvllm.synthetic.tokenizer import END

LONGEST = 56  # tokens of evidence


@torch.no_grad()
def with_evidence(
    language_model: PreTrainedModel, head: Tensor, tokenizer: PreTrainedTokenizerBase, prompts: list[Tensor]
) -> list[Tensor]:
    """Prompts, each followed by what its likeliest reply says up to the "=", as `bvllm ask` has it.

    Args:
        language_model: decoder without a head, with `embed_tokens`.
        head: (V, D).
        prompts: (S, D) of each, visual tokens included.

    Returns:
        The prompts, longer where the reply says "=" before its end, and as they came where it does not.
    """
    embed = language_model.get_input_embeddings()
    equals, end = (tokenizer(mark, add_special_tokens=False).input_ids[0] for mark in ("=", END))
    lengths = torch.tensor([len(p) for p in prompts])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    given = language_model(
        inputs_embeds=pad_sequence(prompts, batch_first=True), attention_mask=mask, use_cache=True
    )
    last = given.last_hidden_state[torch.arange(len(prompts)), lengths - 1]
    said: list[Tensor] = []
    over = torch.zeros(len(prompts), dtype=torch.bool)
    for step in range(LONGEST):
        following = (last @ head.mT).argmax(dim=-1)
        said.append(following)
        over |= (following == equals) | (following == end)
        if over.all():
            break
        mask = torch.cat([mask, torch.ones(len(prompts), 1, dtype=torch.long)], dim=1)
        given = language_model(
            inputs_embeds=embed(following[:, None]),
            attention_mask=mask,
            position_ids=(lengths + step)[:, None],
            past_key_values=given.past_key_values,
            use_cache=True,
        )
        last = given.last_hidden_state[:, -1]
    rows = torch.stack(said, dim=1)
    evidence = [_up_to(row, equals, end) for row in rows]
    return [torch.cat([p, embed(ids)]) for p, ids in zip(prompts, evidence, strict=True)]


def _up_to(row: Tensor, equals: int, end: int) -> Tensor:
    """What was said up to the first "="; nothing where the reply ended without."""
    places = [(row == mark).nonzero()[:1] for mark in (equals, end)]
    first, over = (int(place) if len(place) else len(row) for place in places)
    return row[: first + 1] if first < min(over, len(row)) else row[:0]


@torch.no_grad()
def reply_likelihoods(
    language_model: PreTrainedModel, head: Tensor, prompts: list[Tensor], replies: list[list[list[int]]]
) -> list[Tensor]:
    """The log-likelihood of each reply to each prompt: (replies,) for each prompt, summed over tokens.

    Each prompt runs once; its keys and values serve all its replies.

    Args:
        language_model: decoder without a head, with `embed_tokens`.
        head: (V, D).
        prompts: (S, D) each, embedded.
        replies: for each prompt, the ids of what may follow.
    """
    embed = language_model.get_input_embeddings()
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
        inputs_embeds=embed(ids),
        attention_mask=torch.cat([mask.repeat_interleave(most, 0), real.long()], dim=1),
        position_ids=lengths.repeat_interleave(most)[:, None] + torch.arange(ids.shape[1]),
        past_key_values=first.past_key_values,
        use_cache=True,
    )
    before = first.last_hidden_state[torch.arange(len(prompts)), lengths - 1].repeat_interleave(most, 0)
    hidden = torch.cat([before[:, None], then.last_hidden_state[:, :-1]], dim=1)
    logs = (hidden @ head.mT).float().log_softmax(dim=-1).gather(-1, ids[..., None])[..., 0]
    score = (logs * real).sum(dim=1)
    return [s[: len(own)] for s, own in zip(score.split(most), replies, strict=True)]


def likeliest_replies(
    language_model: PreTrainedModel, head: Tensor, prompts: list[Tensor], replies: list[list[list[int]]]
) -> list[int]:
    """For each prompt the likeliest of its replies, by the mean over their tokens."""
    found = reply_likelihoods(language_model, head, prompts, replies)
    return [
        int((scores / torch.tensor([len(reply) for reply in own])).argmax())
        for scores, own in zip(found, replies, strict=True)
    ]
