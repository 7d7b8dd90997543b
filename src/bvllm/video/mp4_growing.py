"""Decide how much of an mp4 that is being written FFmpeg may read."""

from .mp4 import READERS, File, Mp4, box_lengths, inspect_mp4, judge, walk_boxes


class WholeBoxes:
    """How much of an mp4 that is being written may be read: boxes that are whole and hold what they claim.

    Each box is parsed once.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._found = Mp4(0)
        self._end = 0
        self._all: int | None = None

    def within(self, size: int, *, last: bool) -> int:
        """Bytes that may be read.

        Args:
            size: bytes that are there.
            last: there will be no more: a cut box is read as far as it goes, a fragment's header excepted.

        Raises:
            VideoError: as for `inspect_mp4`.
        """
        if last and self._all is None:
            found = inspect_mp4(self._file, size)
            self._all = size if found is None or found.cut_fragment is None else found.cut_fragment
        if self._all is not None:
            return self._all
        while self._end + 8 <= size:
            self._file.seek(self._end)
            left = size - self._end
            # One without a length ends where the file will: beyond the bytes written so far.
            head = self._file.read(16)
            length, header = box_lengths(head, left + 1)
            if not header <= length <= left:
                break
            boxes, self._found.size = self._found.boxes, size
            walk_boxes(self._file, self._found, self._end, self._end + length, depth=0)
            if self._found.boxes > boxes + 1 or head[4:8] in READERS:  # others claim nothing
                judge(self._found)
            self._end += length
        return self._end
