"""Write a question and its reply as a turn of a conversation, for training."""

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from bvllm.nano.captions import IGNORE
from bvllm.nano.feature_cache import AnyExample
from bvllm.synthetic.tokenizer import ASSISTANT, END, USER


class Turn(NamedTuple):
    """A question and a reply.

    Attributes:
        ids: its tokens.
        labels: the reply's ids in their places, IGNORE elsewhere.
        no_answer: True where a reply names its option's letter, or where nothing is answered.
    """

    ids: list[int]
    labels: list[int]
    no_answer: list[bool]


def write_turn(tokenizer: PreTrainedTokenizerBase, example: AnyExample) -> Turn:
    """A turn as the chat template writes it, end of the reply included."""
    question = ids_of(tokenizer, USER) + ids_of(tokenizer, example.prompt) + ids_of(tokenizer, ASSISTANT)
    reply = ids_of(tokenizer, example.reply + END)
    said = len(ids_of(tokenizer, example.question.answer))
    lettered = example.reply != example.question.answer
    return Turn(
        question + reply,
        [IGNORE] * len(question) + reply,
        [False] * (len(question) + said) + [lettered] * (len(reply) - said),
    )


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text, without any that mark its ends."""
    found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return found
