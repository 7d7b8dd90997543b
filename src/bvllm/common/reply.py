"""Read which option a free reply names: one rule, for everything that counts replies."""

import re
from collections.abc import Sequence

from bvllm.common.text import LETTERS

ANSWER_TOKENS = 64  # of an answer at most, where nobody says; an embedded model's longest has 47

# A letter in front, told from the article in "A man ...": something closes it, or nothing follows.
_LEADING = re.compile(r"(?:\(\s*([A-H])\s*\)|([A-H])(?=\s*(?:[.):,;]|$)))")
_BRACKETED = re.compile(r"\(\s*([A-H])\s*\)")
_ANNOUNCED = re.compile(
    r"\b(?:answer|option|choice)\b(?:\s+(?:is|would be|should be))?\s*:?\s*\(?\s*([A-H])\b(?!\s+[a-z])",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"\(\s*[A-H]\s*\)\s*\.?\s*$")
_MARKUP = re.compile(r"[*_`#]+")


def named_letter(reply: str, options: Sequence[str]) -> str | None:
    """The option that a reply names; None where it names none, or several.

    In this order: a letter in front ("B.", "(B), because ..."); the words of one option and nothing else
    (behind evidence and "=", and in front of a letter in brackets, if there are any); the last letter in
    brackets; a letter behind "answer is", "answer:" or "option"; the words of exactly one option, anywhere.
    Only letters of options that are there count.

    Source: the rules of five benchmarks and the ways in which each goes wrong, tried on their prompts.

    Example:
        >>> replies = ("**B**", "00:04 = blue (A)", "It is A man.", "a red star")
        >>> [named_letter(reply, ["red", "blue"]) for reply in replies]
        ['B', 'B', None, 'A']
    """
    said, letters = _MARKUP.sub("", reply).strip(), LETTERS[: len(options)]
    front = _LEADING.match(said)
    if front and (letter := front[1] or front[2]) in letters:
        return letter
    whole = {_plain(said), _plain(_CLOSING.sub("", said)), _plain(_CLOSING.sub("", said.rpartition("=")[2]))}
    named = [letter for letter, option in zip(letters, options) if _plain(option) in whole]
    if len(named) == 1:
        return named[0]
    bracketed: list[str] = [letter for letter in _BRACKETED.findall(said) if letter in letters]
    if bracketed:
        return bracketed[-1]
    announced: list[str] = [
        letter.upper() for letter in _ANNOUNCED.findall(said) if letter.upper() in letters
    ]
    if announced:
        return announced[-1]
    held = [letter for letter, option in zip(letters, options) if _holds(_plain(said), _plain(option))]
    return held[0] if len(held) == 1 else None


def parse_letter(reply: str) -> str | None:
    """The letter that a reply in nano's form ends with, in brackets, or is.

    Example:
        >>> parse_letter("00:04, 00:19 = 2 (C)"), parse_letter("B."), parse_letter("a red star")
        ('C', 'B', None)
    """
    bracketed: list[str] = _BRACKETED.findall(reply)
    if bracketed:
        return bracketed[-1]
    alone = re.fullmatch(r"\s*([A-H])[.)]?\s*", reply)
    return alone[1] if alone else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().strip(" .").split())


def _holds(text: str, words: str) -> bool:
    """Whether the words stand in a text as words."""
    return bool(words) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None
