"""Find out which words of a query a model knows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from bvllm.inference.balanced import BalancedModel
from bvllm.inference.loading import ModelError
from bvllm.inference.model import VideoModel
from bvllm.inference.model_name import resolve_model
from bvllm.inference.scorer import Scorer
from bvllm.model.text_encoder import TextEncoder

WORD = re.compile(r"[^\W_]+")
# Words that no picture shows: that they are unknown says nothing.
EMPTY = frozenset(
    "a an and are at by for from has in is it its of on one or that the there this to was with".split()
)


class QueryEncoder(Protocol):
    """The text side of a model of pictures and words, in the space of its frames' features."""

    def known(self, text: str) -> list[str]:
        """Those words of a text that mean something to it."""

    def __call__(self, texts: list[str]) -> Tensor:
        """(n, C) of unit length, or zeros for a text of which nothing is known."""


@dataclass(frozen=True)
class ScorerWords:
    """The text side of a wrapped model's scorer."""

    scorer: Scorer

    def known(self, text: str) -> list[str]:
        """The words or pieces of a text that mean something."""
        return self.scorer.known(text)

    def __call__(self, texts: list[str]) -> Tensor:
        """(n, C) of unit length."""
        return torch.stack([self.scorer.question_features(text) for text in texts])


class UnknownWords(ValueError):
    """Not a word of a query means anything to the model."""


def query_encoder(model: str, loaded: VideoModel) -> QueryEncoder | None:
    """What reads a query for a model: its scorer's text side, or its tower's; None where it has neither.

    Raises:
        ModelError: a file is damaged.
    """
    if isinstance(loaded, BalancedModel):
        return None if loaded.scorer is None else ScorerWords(loaded.scorer)
    return text_encoder_of(model)


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
