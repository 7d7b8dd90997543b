"""Let a model say what its answer rests on, before the options are compared, as `bvllm ask` does."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from bvllm.model import BVLLMForConditionalGeneration
from bvllm.synthetic.tokenizer import END

LONGEST = 40  # tokens of evidence


@torch.inference_mode()
def evidence_of(
    model: BVLLMForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, prompts: list[Tensor]
) -> list[Tensor]:
    """What the likeliest reply to each prompt says up to its "=": ids, none where it says no "=".

    Args:
        prompts: (S, D) of each, visual tokens included.
    """
    language_model = model.model.language_model
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
        following = (last @ model.lm_head.weight.mT).argmax(dim=-1)
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
    return [_up_to(row, equals, end) for row in rows]


def _up_to(row: Tensor, equals: int, end: int) -> Tensor:
    """What was said up to the first "="; nothing where the reply ended without."""
    places = [(row == mark).nonzero()[:1] for mark in (equals, end)]
    first, over = (int(place) if len(place) else len(row) for place in places)
    return row[: first + 1] if first < min(over, len(row)) else row[:0]
