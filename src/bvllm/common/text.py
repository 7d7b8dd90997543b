"""Parse and write questions with options, letters, clocks and names of files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

LETTERS = "ABCDEFGH"
OPTION = re.compile(r"(?:\(\s*([A-Z]|\d)\s*\)|([A-Z]|\d)\s*[.):])\s*(\S.*)")
FEWEST_OPTIONS = 2  # one line that begins with "A. " may be prose
_HEADING = re.compile(r"(?:options?|choices?)\s*:?", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """What a user asks, taken apart once.

    Attributes:
        stem: the question proper; the only part that the frame selector reads.
        options: what to choose from, without letters; empty for an open question.
        tail: an instruction below the options, which the language model reads.

    Example:
        >>> Question.parse("which colour?\\nA. red\\nB. blue")
        Question(stem='which colour?', options=('red', 'blue'), tail='')
    """

    stem: str
    options: tuple[str, ...] = ()
    tail: str = ""

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
        found = text if isinstance(text, Question) else split_prompt(text)
        if options and found.options:
            raise ValueError(
                f"options must come from one place, got {len(found.options)} in the question and "
                f"{len(options)} beside it: leave out one of the two"
            )
        stem, choices = found.stem.strip(), [" ".join(choice.split()) for choice in options or found.options]
        if not stem:
            raise ValueError(f"question must hold words, got {text!r}: write what you want to know")
        if choices and not (2 <= len(choices) <= len(LETTERS) and all(choices)):
            raise ValueError(f"options must be 2 to {len(LETTERS)} texts, got {choices}: add or remove some")
        return cls(stem, tuple(choices), found.tail)

    @property
    def written(self) -> str:
        """The question with its options below it, as the language model reads it."""
        written = join_options(self.stem, self.options)
        return f"{written}\n{self.tail}" if self.tail else written


@dataclass(frozen=True)
class SplitPrompt:
    """A prompt taken apart.

    Attributes:
        stem: the question proper.
        options: what to choose from, without letters or numbers; empty where none were found.
        tail: what stands below the options, as "Answer with the option's letter ... directly."
    """

    stem: str
    options: tuple[str, ...] = ()
    tail: str = ""


def split_prompt(text: str) -> SplitPrompt:
    """Find the options in a prompt: lines that read "A. ...", "A: ...", "(A) ..." or "1. ...", one for each.

    Options name what might be shown, so a frame selector that read them would choose frames of wrong answers,
    too. Letters must begin with A, numbers with 1, and follow one another, blank lines aside; instructions
    may follow, but no question. Anything else is part of the question.

    Example:
        >>> split_prompt("Which colour?\\nA. red\\nB. blue\\nThe best answer is:")
        SplitPrompt(stem='Which colour?', options=('red', 'blue'), tail='The best answer is:')
        >>> split_prompt("What does the sign say?").options
        ()
    """
    lines = text.strip().split("\n")
    block = _option_lines(lines)
    if len(block) < FEWEST_OPTIONS:
        return SplitPrompt(text.strip())
    above, below = lines[: block[0][0]], lines[block[-1][0] + 1 :]
    while above and (not above[-1].strip() or _HEADING.fullmatch(above[-1].strip())):
        above.pop()
    tail = "\n".join(below).strip()
    stem = "\n".join(above).strip()
    is_list = not stem and "1" in lines[block[0][0]].strip()[:2]  # "1. ..." below no question is no choice
    if is_list or "?" in tail or len(block) > len(LETTERS):
        return SplitPrompt(text.strip())
    return SplitPrompt(stem, tuple(option for _, option in block), tail)


def _option_lines(lines: list[str]) -> list[tuple[int, str]]:
    """The last block of options: (number of the line, option without its mark) of each."""
    block: list[tuple[int, str]] = []
    marks: list[str] = []
    for number in reversed(range(len(lines))):
        match = OPTION.fullmatch(lines[number].strip())
        if match:
            marks.insert(0, match[1] or match[2])
            block.insert(0, (number, match[3]))
            if marks[0] in "A1":
                break
        elif block and lines[number].strip():
            break  # prose between options
    wanted = LETTERS if marks and marks[0] == "A" else "12345678"
    return block if "".join(marks) == wanted[: len(marks)] else []


def split_options(text: str) -> tuple[str, list[str]]:
    """A question without its options, and the options: the older form of `split_prompt`, without the tail.

    Example:
        >>> split_options("Which colour?\\nA. red\\nB. blue")
        ('Which colour?', ['red', 'blue'])
    """
    found = split_prompt(text)
    return found.stem, list(found.options)


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


def local_path(name: str) -> str:
    """The path that a `file://` address names; any other text is the path itself.

    Example:
        >>> local_path("file:///videos/a%20b.mp4"), local_path("a.mp4")
        ('/videos/a b.mp4', 'a.mp4')
    """
    return unquote(urlsplit(name).path) if name.startswith("file://") else name


def first_sentence(error: Exception) -> str:
    """What an error says, in one line: its first, and the next where that ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


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
