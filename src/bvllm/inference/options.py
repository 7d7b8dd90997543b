"""Score options by how likely the language model is to give them as its reply."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedModel

TINY = 1e-300  # for what differences of rounded numbers leave
MOST_STATE_BYTES = 256 << 20  # keys and values that replies side by side may copy


class ReplyForm(NamedTuple):
    """A way in which a reply names an option.

    Attributes:
        text: what the reply begins with.
        ends: whether it must end there: "A" alone names an option, "A man" does not.
    """

    text: str
    ends: bool = False


def reply_forms(option: str, letter: str) -> list[ReplyForm]:
    """The ways in which a reply usually names an option; no reply is of two of them.

    What follows the option's words does not count: a model may say the right words and the wrong letter.

    Example:
        >>> [form.text for form in reply_forms("red", "A")]
        ['red', '(A)', 'A.', 'A)', 'A']
    """
    return [
        ReplyForm(option),
        ReplyForm(f"({letter})"),
        ReplyForm(f"{letter}."),
        ReplyForm(f"{letter})"),
        ReplyForm(letter, ends=True),
    ]


def option_log_probabilities(scores: Tensor, replies: list[list[int]], options: int) -> list[float]:
    """Sum the forms of each option; what an option shares with a longer one is the longer one's.

    Args:
        scores: (options x forms,) log-probabilities that a reply begins so, the forms of an option in a row.
        replies: their token ids.
        options: how many there are.

    Example:
        >>> option_log_probabilities(torch.tensor([0.5, 0.25, 0.25]).log(), [[1], [1, 2], [3]], 3)[0] < -1.38
        True
    """
    shares = scores.double().exp()
    own = shares.clone()
    for k, reply in enumerate(replies):
        for other, longer in enumerate(replies):
            if (
                len(longer) > len(reply)
                and longer[: len(reply)] == reply
                and not _between(reply, longer, replies)
            ):
                own[k] -= shares[other]
    return [float(part.sum().clamp(min=TINY).log()) for part in own.chunk(options)]


def _between(reply: list[int], longer: list[int], replies: list[list[int]]) -> bool:
    """Whether a third reply lies between two, so that it already takes what they share."""
    return any(
        len(reply) < len(third) < len(longer)
        and third[: len(reply)] == reply
        and longer[: len(third)] == third
        for third in replies
    )


def reply_scores(
    model: PreTrainedModel, prompt: Tensor, states: DynamicCache, replies: list[list[int]], **given: Any
) -> Tensor:
    """Log-probability that what follows a prompt begins with each reply: (replies,) float32.

    Args:
        prompt: (1, S) the part of the prompt that `states` does not hold yet, at least one token; afterwards
            `states` holds it.
        states: keys and values of what comes before.
        replies: token ids of what each reply begins with.
        **given: what else belongs to that part of the prompt, such as visual tokens.
    """
    first = (
        model(prompt, past_key_values=states, use_cache=True, **given)
        .logits[0, -1]
        .float()
        .log_softmax(dim=-1)
    )
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
