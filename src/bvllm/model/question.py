"""The question apart from its options: only the first tells which frames to look for."""

import re

OPTION = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.)])\s+(\S.*)")
FEWEST_OPTIONS = 2  # one line that begins with "A. " may be prose


def split_options(text: str) -> tuple[str, list[str]]:
    """Cut off the options: the last lines, where they read "A. ...", "B. ..." or "(A) ...", "(B) ...".

    Options name what might be seen, so a frame selector that read them would look for the wrong answers,
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
