"""Say when a question or a video lies outside of what a small model was trained on.

A model that knows one small world answers questions about anything else with the same assurance, and nothing
in its probabilities says so. Its folder therefore carries what it knows: the words, the wordings of its
questions, and a linear probe that tells frames which show something of its world from frames that do not.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bvllm.common.files import replace_file
from bvllm.common.text import Question

FILE = "knowledge.json"  # beside the weights of a model that has one
_WORD = re.compile(r"[^\W\d_]{2,}")
_NAME = r"[a-z0-9]+(?: [a-z0-9]+){0,3}"  # one to four words or numbers
_NAMES = rf"{_NAME}(?:, {_NAME}){{0,3}}"  # what may stand in the place of `{{}}`: a name, or up to four
MOST_NAMED = 5


@dataclass(frozen=True)
class Knowledge:
    """What a model was trained on.

    Args:
        about: what it knows, in a few words; stands in brackets behind its doubts.
        words: every word that it has met.
        questions: the wordings of its questions; `{}` stands for a name of one to four words, or four names.
        sight: (C,) weights of the probe on a frame's feature.
        bias: of the probe; above 0 a frame shows something of the model's world.

    Raises:
        ValueError: a part is empty or of another type.

    Example:
        >>> words = ("which", "colour", "is", "the", "star")
        >>> some = Knowledge("it knows a red star", words, ("which colour is the {}?",), (1.0,), 0.0)
        >>> some.doubts(Question("which colour is the dog?"), torch.ones(2, 1))
        ('the model does not know the word "dog" (it knows a red star)',)
        >>> some.doubts(Question("Which colour is the star?"), torch.ones(2, 1))
        ()
    """

    about: str
    words: tuple[str, ...]
    questions: tuple[str, ...]
    sight: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        texts = (self.about, *self.words, *self.questions)
        if not all(isinstance(text, str) and text for text in texts) or not (self.words and self.questions):
            raise ValueError(
                f"{FILE} must hold words and questions, got an empty list or no texts: write it anew"
            )
        if not self.sight or not all(isinstance(x, float) for x in (*self.sight, self.bias)):
            raise ValueError(f"{FILE} must hold the probe as numbers, got something else: write it anew")

    def doubts(self, question: Question, features: Tensor) -> tuple[str, ...]:
        """Why an answer would be a guess, each reason a clause.

        Args:
            features: (T, C) of all sampled frames.

        Returns:
            Nothing where the question and the video are of the kind that the model was trained on.
        """
        found = [self._about_words(question), self._about_sight(features)]
        if found[0] is None:
            found[0] = self._about_wording(question.stem)
        doubts = [doubt for doubt in found if doubt is not None]
        return (*doubts[:-1], f"{doubts[-1]} ({self.about})") if doubts else ()

    def _about_words(self, question: Question) -> str | None:
        words = _WORD.findall(" ".join((question.stem, *question.options)).lower())
        unknown = [word for word in dict.fromkeys(words) if word not in self._known]
        if not unknown:
            return None
        named = ", ".join(f'"{word}"' for word in unknown[:MOST_NAMED])
        more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
        return f"the model does not know the word{'s' * (len(unknown) > 1)} {named}{more}"

    def _about_wording(self, stem: str) -> str | None:
        if self._wordings.fullmatch(_plain(stem)):
            return None
        return "the model was trained on no question that is worded like this"

    def _about_sight(self, features: Tensor) -> str | None:
        scores = features.float().cpu() @ torch.tensor(self.sight) + self.bias
        if bool((scores > 0).any()):
            return None
        return "nothing in the video looks like what the model was trained to see"

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.words)

    @cached_property
    def _wordings(self) -> re.Pattern[str]:
        forms = (re.escape(_plain(form)).replace(r"\{\}", _NAMES) for form in self.questions)
        return re.compile("|".join(forms))

    def save(self, folder: Path) -> None:
        """Write `knowledge.json` into a model's folder."""
        replace_file(folder / FILE, (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def load(cls, folder: str | Path, channels: int) -> "Knowledge | None":
        """Read it back; None where the folder has none, or the model lies on a hub.

        Args:
            channels: C of a frame's feature.

        Raises:
            ValueError: the file is not of this form, or its probe is for other features.
        """
        file = Path(folder, FILE)
        if not file.is_file():
            return None
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            known = cls(
                found["about"],
                _texts(found["words"]),
                _texts(found["questions"]),
                tuple(found["sight"]),
                found["bias"],
            )
        except (TypeError, KeyError, AttributeError, RecursionError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{FILE} must hold words, questions and a probe, got {error!r}: write it anew"
            ) from error
        if len(known.sight) != channels:
            raise ValueError(
                f"{FILE} must hold {channels} weights, one for each channel, got {len(known.sight)}: "
                "take the file that belongs to the model"
            )
        return known


def _texts(found: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError(type(found).__name__)
    return tuple(found)


def _plain(text: str) -> str:
    """A question as it is compared: lower case, single spaces, no mark at its end."""
    return " ".join(text.lower().split()).rstrip(" ?.!")
