"""Find out which words of a query a model knows."""

import re
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from bvllm.inference.loading import ModelError
from bvllm.inference.model_name import resolve_model
from bvllm.model.text_encoder import TextEncoder

WORD = re.compile(r"[^\W_]+")
# Words that no picture shows: that they are unknown says nothing.
EMPTY = frozenset(
    "a an and are at by for from has in is it its of on one or that the there this to was with".split()
)


class UnknownWords(ValueError):
    """Not a word of a query means anything to the model."""


def text_encoder_of(model: str) -> TextEncoder | None:
    """The text side of a model's tower; None where it has none, or lies on a hub.

    Raises:
        ModelError: its file is damaged.
    """
    try:
        return TextEncoder.load(Path(resolve_model(model)))
    except OSError:
        return None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"the word tower of model {model!r} cannot be loaded: its file is damaged"
        ) from error


def unknown_words(query: str, knows: Callable[[str], bool]) -> tuple[str, ...]:
    """The words of a query that mean nothing to the model, each once; small words are passed over.

    Raises:
        UnknownWords: none means anything.

    Example:
        >>> unknown_words("a red zebra", {"red"}.__contains__)
        ('zebra',)
    """
    words = list(dict.fromkeys(WORD.findall(query.lower())))
    unknown = tuple(word for word in words if not knows(word))
    if len(unknown) == len(words):
        raise UnknownWords(
            f"query must hold a word that the model knows, got {query!r}: say it in other words"
        )
    return tuple(word for word in unknown if word not in EMPTY)
