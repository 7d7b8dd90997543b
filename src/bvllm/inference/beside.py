"""Decide which subtitles stand beside a video in the prompt: where not all fit, those near chosen frames."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bvllm.common.subtitles import HEADER, Cue, read_subtitles, within

Subtitles = str | Path | Sequence[Cue]


def cues_of(given: Subtitles | None) -> tuple[Cue, ...]:
    """Cues from a file's name, or as they are.

    Raises:
        ValueError: the file cannot be read as subtitles.
    """
    if given is None:
        return ()
    return read_subtitles(given) if isinstance(given, str | Path) else tuple(given)


def shown_with(cues: Sequence[Cue], seconds: Sequence[float], step: float) -> tuple[Cue, ...]:
    """Cues of the part of the video that was sampled: from its first frame to the end of its last."""
    return within(cues, seconds[0], seconds[-1] + step) if len(seconds) else ()


def fitting(
    cues: Sequence[Cue], times: Sequence[float], room: int, count: Callable[[str], int]
) -> tuple[Cue, ...]:
    """As many cues as the prompt has room for, those nearest to the chosen frames first.

    Args:
        cues: in order.
        times: seconds of the chosen frames.
        room: tokens.
        count: tokens of a text.

    Example:
        >>> cues = [Cue(0, 1, "a"), Cue(5, 6, "b"), Cue(9, 10, "c")]
        >>> [cue.text for cue in fitting(cues, [6.5, 9.5], 5, lambda text: len(text.split()))]
        ['b', 'c']
    """
    left = room - count(HEADER + "\n")
    kept = []
    for cue in sorted(cues, key=lambda cue: min(_distance(cue, time) for time in times)):
        left -= count(cue.line + "\n")
        if left < 0:
            break
        kept.append(cue)
    chosen = set(map(id, kept))
    return tuple(cue for cue in cues if id(cue) in chosen)


def _distance(cue: Cue, time: float) -> float:
    return max(cue.start - time, time - cue.end, 0.0)
