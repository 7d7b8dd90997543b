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
    rows = [f"{second}s: {token * count}" for count, second in zip(counts, written_seconds(seconds))]
    return SEPARATOR.join(rows) + "\n"


def written_seconds(seconds: Sequence[float]) -> list[str]:
    """Seconds to a tenth; finer, down to a thousandth, where frames would else have the same.

    Example:
        >>> written_seconds([0.0, 1.5, 3599.96]), written_seconds([0.0, 0.04, 0.08])
        (['0', '1.5', '3600'], ['0', '0.04', '0.08'])
    """
    for digits in range(1, 4):
        found = [f"{second:.{digits}f}".rstrip("0").removesuffix(".") for second in seconds]
        if len(set(found)) == len(found):
            break
    return found
