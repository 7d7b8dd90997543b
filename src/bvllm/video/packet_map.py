"""Map where the pictures of a stream lie and what each needs, if its packets prove that seeking is exact.

Why the result is the same as that of decoding everything: the frames that a decoder gives are among the
packets (one each, each with its packet's time), in ascending order. A plan takes the first frame at or after
a target, so a missing frame changes the choice only if it was chosen itself, and `RangeDecoder` checks every
chosen frame. The pixels are the same because a range begins at an entry, which needs no earlier packet, and
leaves out only pictures that no other picture refers to.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from .decode import SMALLEST_STEP
from .packets import Packets

LARGEST_EXACT = 1 << 53  # beyond, float64 skips whole numbers


@dataclass(frozen=True)
class PacketRange:
    """One stretch to decode: from packet `entry` to packet `stop`, both included, for some frames in it.

    Args:
        entry, stop: numbers of packets in decoding order.
        wanted: pts of the frames, ascending.
    """

    entry: int
    stop: int
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class PacketMap:
    """The packets of a stream of which we can decode any frame without decoding the whole.

    Shapes: pts, sizes (packets,) in decoding order; shown (packets,) numbers of the packets in the order they
        are shown; seconds (packets,) since the first frame, in that order; entries (groups,) numbers of the
        packets where decoding may begin.
    """

    tick: Fraction
    depth: int
    nonref: bool
    pts: NDArray[np.int64]
    sizes: NDArray[np.int32]
    durations: NDArray[np.int32]
    shown: NDArray[np.int32]
    seconds: NDArray[np.float64]
    entries: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pts)

    def packet(self, number: int) -> tuple[int, int]:
        """pts and bytes of a packet, counted in decoding order."""
        return int(self.pts[number]), int(self.sizes[number])

    def shows(self, pts: Sequence[int]) -> bool:
        """Whether frames with these times, and no time twice, are all in the stream."""
        times = np.array(pts, np.int64)
        return bool(np.isin(times, self.pts).all() and (np.diff(times) > 0).all())

    def pts_shown(self, place: int) -> int:
        """Time of the frame at a place in the order of display, in ticks."""
        return int(self.pts[self.shown[place]])

    def ranges(self, wanted: Sequence[int]) -> list[PacketRange]:
        """Ranges to decode for frames with these pts, ascending; leading pictures go to the range before."""
        ordered = self.pts[self.shown]
        starts = self.pts[self.entries].tolist()
        ranges = []
        for group, members in groupby(wanted, lambda pts: bisect_right(starts, pts) - 1):
            frames = tuple(members)
            places = self.shown[np.searchsorted(ordered, frames)]
            ranges.append(PacketRange(int(self.entries[group]), int(places.max()), frames))
        return ranges


def prove(packets: Packets, tick: Fraction, depth: int) -> PacketMap | None:
    """Build the packet map of a stream; None where its packets do not prove that seeking is exact.

    Args:
        tick: seconds per unit of pts.
        depth: pictures that the decoder holds back to put them in order.
    """
    if packets.rules is None or not packets.whole or not packets.entries:
        return None
    pts = np.frombuffer(packets.pts, np.int64)
    shown = np.argsort(pts, kind="stable").astype(np.int32)
    ordered = pts[shown]
    clean = (
        packets.entries[0] == 0
        and bool((np.diff(ordered) > 0).all())
        and int(abs(ordered[[0, -1]]).max()) * tick.numerator < LARGEST_EXACT
        and _held_back(shown) <= depth
        # B pictures, yet display order equals decoding order: the container lost the true times.
        and not (packets.reorders and depth and not _held_back(shown))
    )
    if not clean:
        return None
    # Exactly what FrameClock makes of a clean clock: seconds by the container, less those of the first frame.
    clock = ordered * tick.numerator / tick.denominator
    seconds = clock + (0.0 - clock[0])
    if not (seconds[1:] >= seconds[:-1] + SMALLEST_STEP / 2).all():
        return None
    return PacketMap(
        tick,
        depth,
        packets.rules.nonref and not packets.layered,
        pts,
        np.frombuffer(packets.sizes, np.int32),
        np.frombuffer(packets.durations, np.int32),
        shown,
        seconds,
        _entries(np.array(packets.entries, np.int64), pts, leading=packets.rules.leading),
    )


def _entries(entries: NDArray[np.int64], pts: NDArray[np.int64], *, leading: bool) -> NDArray[np.int64]:
    """Keep entries that divide the video: all before is shown before, all after (but leading) after."""
    latest_before = np.concatenate([[pts[0] - 1], np.maximum.accumulate(pts)[:-1]])[entries]
    divides = latest_before < pts[entries]
    if not leading:
        earliest_after = np.minimum.accumulate(pts[::-1])[::-1][entries]
        divides &= earliest_after == pts[entries]
    return entries[divides]


def _held_back(shown: NDArray[np.int32]) -> int:
    """Reorder depth: the largest (decode index - display index) over all frames."""
    return int((shown - np.arange(len(shown), dtype=np.int32)).max())
