"""Write the frames of a video into a prompt, each behind its second."""

from collections.abc import Sequence

SEPARATOR = "; "


def write_frames(token: str, counts: Sequence[int], seconds: Sequence[float] | None) -> str:
    """The placeholders of a clip, as `1s: <image>; 2s: <image>` with a line's end behind them.

    Args:
        token: the placeholder.
        counts: of each frame.
        seconds: of each frame, from the video's start; None writes no times, as for a picture.

    Source: Dynamic-VLM (arXiv 2412.09530), from the note. The released code writes the frame's number, from
        1; these are its true seconds, from 0.

    Example:
        >>> write_frames("*", [1, 2], [0.0, 1.5])
        '0s: *; 1.5s: **\\n'
    """
    if seconds is None:
        return "".join(token * count for count in counts)
    rows = [f"{round(second, 1):g}s: {token * count}" for count, second in zip(counts, seconds)]
    return SEPARATOR.join(rows) + "\n"
