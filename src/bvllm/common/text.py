"""Parse and write questions with options, letters, clocks and names of files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LETTERS = "ABCDEFGH"
OPTION = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.)])\s+(\S.*)")
FEWEST_OPTIONS = 2  # one line that begins with "A. " may be prose
_CLOSING_LETTER = re.compile(r"\(\s*[A-H]\s*\)\s*\.?\s*$")


@dataclass(frozen=True)
class Question:
    """What a user asks, taken apart once.

    Attributes:
        stem: the question proper; the only part that the frame selector reads.
        options: what to choose from, without letters; empty for an open question.

    Example:
        >>> Question.parse("which colour?\\nA. red\\nB. blue")
        Question(stem='which colour?', options=('red', 'blue'))
    """

    stem: str
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: "str | Question", options: Sequence[str] | None = None) -> "Question":
        """The question proper and its options; a question that was parsed before comes back as it is.

        Args:
            text: the user's text; options may stand below it, one a line, as `A. red`.
            options: what to choose from, in place of options in the text.

        Raises:
            ValueError: there is no question, or the options are too few, too many or empty.
        """
        if isinstance(text, Question) and not options:
            return text
        stem, written = (text.stem, list(text.options)) if isinstance(text, Question) else split_options(text)
        if options and written:
            raise ValueError(
                f"options must come from one place, got {len(written)} in the question and {len(options)} "
                "beside it: leave out one of the two"
            )
        stem, choices = stem.strip(), [" ".join(choice.split()) for choice in options or written]
        if not stem:
            raise ValueError(f"question must hold words, got {text!r}: write what you want to know")
        if choices and not (2 <= len(choices) <= len(LETTERS) and all(choices)):
            raise ValueError(f"options must be 2 to {len(LETTERS)} texts, got {choices}: add or remove some")
        return cls(stem, tuple(choices))

    @property
    def written(self) -> str:
        """The question with its options below it, as the language model reads it."""
        return join_options(self.stem, self.options)


def split_options(text: str) -> tuple[str, list[str]]:
    """Cut off the options: the last lines, where they read "A. ...", "B. ..." or "(A) ...", "(B) ...".

    Options name what might be shown, so a frame selector that read them would choose frames of wrong answers,
    too. Letters must begin with A and follow the alphabet; anything else is part of the question.

    Returns:
        The question without its options, and the options without their letters.

    Example:
        >>> split_options("Which colour?\\nA. red\\nB. blue")
        ('Which colour?', ['red', 'blue'])
        >>> split_options("What does the sign say?")
        ('What does the sign say?', [])
    """
    lines = text.rstrip().split("\n")
    options: list[str] = []
    letters: list[str] = []
    while lines and (match := OPTION.fullmatch(lines[-1].strip())):
        letters.insert(0, match[1] or match[2])
        options.insert(0, match[3])
        lines.pop()
        if letters[0] == "A":
            break
    in_order = letters == [chr(ord("A") + k) for k in range(len(letters))]
    if len(options) < FEWEST_OPTIONS or not in_order:
        return text.strip(), []
    return "\n".join(lines).strip(), options


def format_clock(seconds: float) -> str:
    """Seconds as mm:ss, or h:mm:ss from an hour on.

    Example:
        >>> format_clock(75.4), format_clock(3600)
        ('01:15', '1:00:00')
    """
    whole = int(seconds + 1e-3)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def join_options(stem: str, options: list[str] | tuple[str, ...]) -> str:
    """A question with its options below it, one a line; `split_options` takes them apart again.

    Example:
        >>> join_options("which colour?", ["red", "blue"])
        'which colour?\\nA. red\\nB. blue'
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"options must be at most {len(LETTERS)}, got {len(options)}: leave some out")
    return "\n".join([stem, *(f"{LETTERS[k]}. {option}" for k, option in enumerate(options))])


def parse_letter(text: str) -> str | None:
    """The letter that an answer chooses: the last one in brackets, or an answer that is a letter.

    Example:
        >>> parse_letter("00:04, 00:19 = 2 (C)"), parse_letter("B."), parse_letter("a red star")
        ('C', 'B', None)
    """
    bracketed: list[str] = re.findall(r"\(\s*([A-H])\s*\)", text)
    if bracketed:
        return bracketed[-1]
    alone = re.fullmatch(r"\s*([A-H])[.)]?\s*", text)
    return alone[1] if alone else None


def named_letter(text: str, choices: Sequence[str]) -> str | None:
    """The option that an answer names: by its words where they are those of one option, else by its letter.

    What follows the last "=" is the answer, what stands before it is evidence; a letter in brackets may
    close it.
    """
    said = _plain_words(_CLOSING_LETTER.sub("", text.rpartition("=")[2]))
    named = [letter for letter, choice in zip(LETTERS, choices) if _plain_words(choice) == said]
    if len(named) == 1:
        return named[0]
    letter = parse_letter(text)
    return letter if letter is not None and letter in LETTERS[: len(choices)] else None


def shown(path: str | Path) -> str:
    """A file's name that keeps to its line, whatever it is made of.

    Example:
        >>> shown("a\\nb.mp4")
        'a\\\\nb.mp4'
    """
    return printable(str(path), keep="")


def printable(text: str, keep: str = "\n\t") -> str:
    """A text without what a terminal or a log would take for orders: letters, spaces, what `keep` lists.

    Control characters, escapes and marks that turn the direction of writing are shown as escapes.

    Example:
        >>> printable("red\\x1b[2J\\u202estar\\n")
        'red\\\\x1b[2J\\\\u202estar\\n'
    """
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)


def _plain_words(text: str) -> str:
    return " ".join(text.casefold().strip(" .").split())
