"""Define `VideoError`: what can go wrong with a video, with a kind that a program can act on."""

from typing import Literal, get_args

Kind = Literal[
    "missing",  # no such file
    "not_regular",  # a folder, a pipe, a device, a link to itself
    "permission",  # the file may not be read
    "empty",  # no bytes
    "no_video",  # audio, subtitles or a cover picture only
    "unsupported_container",  # a playlist, or a file type that is not on the list
    "unsupported_codec",  # a codec that is not on the list
    "corrupt",  # nothing in it can be decoded
    "limit",  # larger than the limits allow
    "outside_root",  # leads out of the folder it must stay in
    "io",  # the disk or the file object failed
    "changed",  # not the video that it was when it was read before
    "usage",  # the caller passed something that is no video
]
KINDS: tuple[str, ...] = get_args(Kind)


class VideoError(Exception):
    """A video that cannot be read, and why.

    The message is one line made of our own words: no text of FFmpeg's reaches it, since
    that may hold addresses and paths.

    Args:
        kind: one of `KINDS`.
        message: one line for the person who gave the file.

    Example:
        >>> error = VideoError("empty", "video must hold bytes, got an empty file: upload it again")
        >>> error.kind, str(error)
        ('empty', 'video must hold bytes, got an empty file: upload it again')
    """

    def __init__(self, kind: Kind, message: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}: use one of those")
        super().__init__(message)
        self.kind: Kind = kind

    def __reduce__(self) -> tuple[type["VideoError"], tuple[Kind, str]]:
        return type(self), (self.kind, str(self))
