"""Record where the sampled frames of a video lie in its file, so that any can be fetched again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from .packet_map import PacketMap, PacketRange

VERSION = 1
DEEPEST = 16  # pictures that a decoder of H.264 or H.265 may hold back
PER_FRAME = ("pts", "packets", "sizes", "groups")


@dataclass(frozen=True, eq=False)
class FrameMap:
    """The sampled frames of one video, in order; about 32 bytes each.

    Args:
        tick: seconds per unit of pts.
        depth: pictures that the decoder buffers to put them in order.
        nonref: the decoder may skip pictures that no other refers to.
        pts: (T,) int64 presentation times of the frames, ascending.
        packets: (T,) int64 numbers of their packets in decoding order.
        sizes: (T,) int64 bytes of those packets.
        groups: (T,) int64 row of `entries` where decoding has to begin.
        entries: (E, 3) int64 number, pts and bytes of packets where decoding may begin.

    Raises:
        ValueError: the arrays do not fit each other.
    """

    tick: Fraction
    depth: int
    nonref: bool
    pts: NDArray[np.int64]
    packets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    groups: NDArray[np.int64]
    entries: NDArray[np.int64]

    def __post_init__(self) -> None:
        rows = [self.__dict__[name] for name in PER_FRAME]
        fits = all(row.dtype == np.int64 and row.shape == self.pts.shape for row in (self.pts, *rows))
        shaped = self.pts.ndim == 1 and self.entries.ndim == 2 and self.entries.shape[1] == 3
        if not (fits and shaped and 0 <= self.depth <= DEEPEST and self._in_range()):
            raise ValueError("frame map must hold rows that fit each other, got others: read the video again")

    def __len__(self) -> int:
        return len(self.pts)

    def packet(self, number: int) -> tuple[int, int] | None:
        """pts and bytes of a packet; None if the map does not hold it."""
        return self._known.get(number)

    def ranges(self, wanted: Sequence[int]) -> list[PacketRange]:
        """Ranges to decode for these frames, given as ascending numbers among the sampled ones."""
        ranges = []
        for group, members in groupby(wanted, lambda frame: int(self.groups[frame])):
            frames = list(members)
            stop = max(int(self.packets[frame]) for frame in frames)
            ranges.append(
                PacketRange(int(self.entries[group, 0]), stop, tuple(int(self.pts[f]) for f in frames))
            )
        return ranges

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """All fields, as arrays to store in a file of tensors."""
        stream = np.array([VERSION, self.tick.numerator, self.tick.denominator, self.depth, self.nonref])
        return {
            "stream": stream.astype(np.int64),
            **{name: self.__dict__[name] for name in (*PER_FRAME, "entries")},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.int64]]) -> "FrameMap":
        """Build the map from the arrays of `to_arrays`.

        Raises:
            ValueError: arrays are missing, of another version or damaged.
        """
        missing = [name for name in ("stream", *PER_FRAME, "entries") if name not in arrays]
        if missing:
            raise ValueError(f"frame map must hold {', '.join(missing)}, got none: read the video again")
        stream = [int(value) for value in arrays["stream"]]
        if len(stream) != 5 or stream[0] != VERSION or stream[2] < 1:
            raise ValueError(
                f"frame map must be of version {VERSION}, got {stream[:1]}: read the video again"
            )
        rows = {name: np.asarray(arrays[name]) for name in (*PER_FRAME, "entries")}
        return cls(Fraction(stream[1], stream[2]), stream[3], bool(stream[4]), **rows)

    @classmethod
    def of(cls, packet_map: PacketMap, pts: Sequence[int]) -> "FrameMap":
        """The map of the frames with these pts, ascending."""
        times = np.array(pts, np.int64)
        packets = packet_map.shown[np.searchsorted(packet_map.pts[packet_map.shown], times)].astype(np.int64)
        used, groups = np.unique(
            np.searchsorted(packet_map.pts[packet_map.entries], times, side="right") - 1, return_inverse=True
        )
        entries = packet_map.entries[used]
        return cls(
            packet_map.tick,
            packet_map.depth,
            packet_map.nonref,
            times,
            packets,
            packet_map.sizes[packets].astype(np.int64),
            groups.reshape(-1).astype(np.int64),
            np.stack([entries, packet_map.pts[entries], packet_map.sizes[entries].astype(np.int64)], axis=1),
        )

    @cached_property
    def _known(self) -> dict[int, tuple[int, int]]:
        frames = zip(self.packets.tolist(), zip(self.pts.tolist(), self.sizes.tolist()))
        return {**dict(frames), **{number: (pts, size) for number, pts, size in self.entries.tolist()}}

    def _in_range(self) -> bool:
        if not len(self.pts):
            return True
        low, high = int(self.groups.min()), int(self.groups.max())
        if low < 0 or high >= len(self.entries) or bool((np.diff(self.pts) <= 0).any()):
            return False
        starts = self.entries[self.groups, 0]
        return bool((starts >= 0).all() and (self.packets >= starts).all())
