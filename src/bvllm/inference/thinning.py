"""Choose which frames of an endless stream to keep: the newest, and the past thinned evenly."""

from bisect import bisect_left


class Thinning:
    """Decides, frame by frame, which one to let go.

    The newest `recent` frames always stay. Of those before them, every `stride`-th stays, counted from the
    first frame of all; where that is too many, every other one goes, the oldest first, and once all have gone
    the stride is doubled. So neighbours in the past are one stride or two apart, the past is never forgotten,
    and what is kept depends on the number of frames alone.

    Args:
        most: frames to keep.
        recent: the newest ones that are all kept; at most half of `most`.

    Raises:
        ValueError: `most` or `recent` is out of range.

    Example:
        >>> thinning = Thinning(most=6, recent=2)
        >>> gone = [thinning.add() for _ in range(16)]
        >>> thinning.kept
        [0, 4, 8, 12, 14, 15]
    """

    def __init__(self, most: int, recent: int) -> None:
        if recent < 1:
            raise ValueError(f"recent must be at least 1, got {recent}: the newest frame is always kept")
        if most < 2 * recent or most < 4:
            raise ValueError(
                f"most must be at least 4 and twice the {recent} recent frames, got {most}: raise it"
            )
        self.most, self.recent, self.stride = most, recent, 1
        self.kept: list[int] = []
        self._count = 0

    def add(self) -> int | None:
        """Take one more frame; the number of the frame to let go, or None where there is room."""
        self.kept.append(self._count)
        self._count += 1
        if len(self.kept) <= self.most:
            return None
        gone = self._superfluous()
        del self.kept[bisect_left(self.kept, gone)]
        return gone

    def _superfluous(self) -> int:
        past = self.kept[: -self.recent]
        for step in (self.stride, 2 * self.stride):
            for number in past:
                if number % step:
                    return number
        self.stride *= 2
        return self._superfluous()
