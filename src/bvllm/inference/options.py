"""Score options by how likely the language model is to give them as its reply."""

import copy

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

MOST_STATE_BYTES = 256 << 20  # keys and values that replies side by side may copy


def reply_forms(option: str, letter: str) -> list[str]:
    """The ways in which a reply usually names an option; a model's training decides which it likes.

    Example:
        >>> reply_forms("red", "A")
        ['red', 'red (A)', 'A', '(A)', 'A.', 'A. red']
    """
    return [option, f"{option} ({letter})", letter, f"({letter})", f"{letter}.", f"{letter}. {option}"]


def reply_scores(
    model: PreTrainedModel, prompt: Tensor, states: DynamicCache, replies: list[list[int]]
) -> Tensor:
    """Log-probability of each whole reply behind a prompt: (replies,) float32.

    Args:
        prompt: (1, S) the part of the prompt that `states` does not hold yet, at least one token; afterwards
            `states` holds it.
        states: keys and values of what comes before.
        replies: token ids, the end of the reply included: so no reply is part of another.
    """
    first = model(prompt, past_key_values=states, use_cache=True).logits[0, -1].float().log_softmax(dim=-1)
    size = sum(layer.keys.nbytes + layer.values.nbytes for layer in states.layers)
    rows = max(1, min(len(replies), MOST_STATE_BYTES // max(1, size)))
    found = [
        _scores(model, first, states, replies[start : start + rows]) for start in range(0, len(replies), rows)
    ]
    return torch.cat(found)


def _scores(model: PreTrainedModel, first: Tensor, states: DynamicCache, replies: list[list[int]]) -> Tensor:
    """Of replies side by side, padded on the right, where padding changes nothing before it."""
    device = first.device
    ids = pad_sequence([torch.tensor(reply) for reply in replies], batch_first=True).to(device)
    lengths = torch.tensor([len(reply) for reply in replies], device=device)
    real = torch.arange(ids.shape[1], device=device) < lengths[:, None]
    scores = first[ids[:, 0]]
    if ids.shape[1] > 1:
        shared = copy.deepcopy(states)
        shared.batch_repeat_interleave(len(replies))
        logits = model(ids[:, :-1], past_key_values=shared, use_cache=True).logits.float().log_softmax(dim=-1)
        then = logits.gather(-1, ids[:, 1:, None])[..., 0]
        scores = scores + (then * real[:, 1:]).sum(dim=1)
    return scores
