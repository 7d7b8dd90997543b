"""Open a path, bytes or a file object as a checked, seekable file, and let FFmpeg read that file only.

A video file may be a playlist in disguise: by default FFmpeg follows it to other files and into the
network, whatever its name. So FFmpeg gets a reader without a name, a short list of containers and codecs,
and no protocol at all. Options that FFmpeg does not know are ignored without a word; `self_test` therefore
proves once per process that ours are honoured.
"""

import errno
import io
import os
import re
import stat
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import av
import av.error
import av.logging
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream as AvVideoStream

from .errors import Kind, VideoError
from .limits import Limits

FileSource = str | Path | bytes | BinaryIO
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,20}://")
COPY_BYTES = 1 << 20
OPEN_ERRORS: dict[int, tuple[Kind, str]] = {
    errno.ENOENT: ("missing", "exist"),
    errno.ENOTDIR: ("missing", "exist"),
    errno.ENAMETOOLONG: ("missing", "have a shorter name"),
    errno.EACCES: ("permission", "be readable"),
    errno.EPERM: ("permission", "be readable"),
    errno.ELOOP: ("not_regular", "be a regular file"),
    errno.ENXIO: ("not_regular", "be a regular file"),
    errno.EISDIR: ("not_regular", "be a regular file"),
}
# Names of demuxers.
FORMATS = "mov,matroska,avi,mpegts,flv,asf,mpeg,ogg,ivf,gif,apng,webp_pipe,png_pipe,jpeg_pipe,h264,hevc"
CODECS = (
    "h264,hevc,libdav1d,av1,vp8,vp9,mpeg4,mpeg1video,mpeg2video,mjpeg,gif,webp,png,apng,prores,h263,flv1,flv,"
    "wmv1,wmv2,wmv3,vc1,msmpeg4v3,msmpeg4,ffv1,qtrle,theora,rawvideo"
)
PROBED_AUDIO = "aac,mp3,mp3float,opus,vorbis,ac3,flac,pcm_s16le"  # read while probing, never decoded
PROBING = {
    "protocol_whitelist": "none",  # no protocol has this name: our reader needs none
    "max_streams": "32",
    "probesize": "5000000",
    "analyzeduration": "5000000",
    "max_probe_packets": "500",
}
IO_TIMEOUT_SECONDS = 5.0
PADDING_PIXELS = 1 << 16
STILL_FORMATS = frozenset({"png_pipe", "jpeg_pipe", "webp_pipe"})


def open_source(source: FileSource, limits: Limits) -> BinaryIO:
    """An open binary file at position 0, with at least one byte and at most `limits.max_bytes`.

    Raises:
        VideoError: of kind missing, not_regular, permission, empty, limit, outside_root, io or usage.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        file: BinaryIO = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), limits)
    elif callable(getattr(source, "read", None)):
        file = _seekable(source, limits)
    else:
        raise VideoError(
            "usage",
            f"video must be a path, bytes, a binary file or FrameList, got {type(source).__name__}: pass one",
        )
    check_size(_size(file), limits)
    return file


def check_readable(source: FileSource, limits: Limits) -> None:
    """Refuse a file that cannot be read at all, without reading it; errors as for `open_source`."""
    file = open_source(source, limits)
    if isinstance(source, str | os.PathLike):
        file.close()


def _open_path(path: str, limits: Limits) -> BinaryIO:
    """Opened by us, not by FFmpeg: no pipe that blocks, no device, no folder, nothing outside the root."""
    if URL.match(path) and not os.path.lexists(path):
        raise VideoError("usage", "video must be a local file, got a URL: download it first")
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
    )
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        kind, rule = OPEN_ERRORS.get(error.errno or 0, ("io", "be readable"))
        remedy = "ask for the right to read it" if kind == "permission" else "check the path"
        raise VideoError(kind, f"video must {rule}, got {path!r}: {remedy}") from None
    except ValueError:
        raise VideoError(
            "missing", "video path must hold no NUL character, got one: check the path"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VideoError(
                "not_regular", f"video must be a regular file, got {path!r}: name the file itself"
            )
        check_size(status.st_size, limits)
        _check_root(descriptor, path, limits)
        return os.fdopen(descriptor, "rb")
    except BaseException:  # also on an interrupt: a descriptor must not leak
        os.close(descriptor)
        raise


def _check_root(descriptor: int, path: str, limits: Limits) -> None:
    """Compares what was opened, not what the name says by now: a link swapped in between changes nothing."""
    if limits.root is None:
        return
    link = f"/proc/self/fd/{descriptor}"
    real = os.path.realpath(link if os.path.lexists(link) else path)
    root = os.path.realpath(limits.root)
    if os.path.commonpath([real, root]) != root:
        raise VideoError(
            "outside_root", f"video must lie inside the allowed folder, got {path!r}: move it there"
        )


def check_size(size: int, limits: Limits) -> None:
    """Refuse a size of nothing, or above the limit: `VideoError` of kind empty or limit."""
    if size == 0:
        raise VideoError(
            "empty", "video must hold bytes, got none: check that the upload or download finished"
        )
    if size > limits.max_bytes:
        raise VideoError(
            "limit", f"video must have at most {limits.max_bytes} bytes, got {size}: raise Limits.max_bytes"
        )


def _size(file: BinaryIO) -> int:
    try:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        raise VideoError(
            "io", "video file object must be open and seekable, got one that is not: reopen it"
        ) from None
    return size


def _seekable(file: BinaryIO, limits: Limits) -> BinaryIO:
    """The file itself, or a copy of a pipe's bytes in an unnamed temporary file."""
    try:
        if not isinstance(file.read(0), bytes):
            raise VideoError("usage", 'video file must be binary, got text: open it with mode "rb"')
        if file.seekable():
            return file
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - handed on, closed by the reader
        while block := file.read(COPY_BYTES):
            copy.write(block)
            if copy.tell() > limits.max_bytes:
                break
    except (OSError, ValueError, AttributeError):
        raise VideoError("io", "video file object must be readable, got one that fails: reopen it") from None
    return copy


class View:
    """A place of its own in a file that several readers share; `lock` is theirs together."""

    def __init__(self, file: BinaryIO, lock: Lock) -> None:
        self._file = file
        self._lock = lock
        self._at = 0

    def read(self, size: int) -> bytes:
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            with self._lock:
                self._at = self._file.seek(offset, whence)
        else:
            at = offset + (self._at if whence == io.SEEK_CUR else 0)
            if at < 0:
                raise ValueError(f"offset must not be before the file, got {at}: seek to 0 or beyond")
            self._at = at
        return self._at

    def tell(self) -> int:
        return self._at


class NamelessReader:
    """Reads from a file and has no name: nothing is guessed from it, no relative path starts at it.

    Its methods never raise: PyAV would keep the exception and raise it later, out of place and without a
    type, or lose it. An error that is no fault of the file waits in `caught` until the caller of FFmpeg calls
    `check`.
    """

    def __init__(self, file: BinaryIO | View, end: int | None = None) -> None:
        self._file = file
        self._end = end  # bytes from here on are kept back
        self.failed = False
        self.caught: BaseException | None = None

    def check(self) -> None:
        """Raises what came up while FFmpeg was reading; nothing that was read since is to be believed."""
        if self.caught is not None:
            raise self.caught

    def read(self, size: int) -> bytes:
        try:
            room = size if self._end is None else max(0, min(size, self._end - self._file.tell()))
            return self._file.read(room)
        except Exception:  # a caller's file object may raise anything
            self.failed = True
        except BaseException as error:  # Ctrl-C
            self.caught = error
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            if whence == io.SEEK_END and self._end is not None:
                return self._file.seek(self._end + offset)
            return self._file.seek(offset, whence)
        except Exception:  # as above; FFmpeg also seeks to absurd places in damaged files
            pass
        except BaseException as error:  # as above
            self.caught = error
        return -errno.EINVAL

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        """Left to the owner of the file."""


def open_container(
    reader: NamelessReader, *, max_pixels: int, threads: int, mp4_checked: bool, in_time: bool = True
) -> InputContainer:
    """An opened container of an allowed format; mp4 only if its tables were checked first.

    Args:
        in_time: a disk that takes seconds to answer is an error.

    Raises:
        VideoError: of kind unsupported_container, corrupt, limit or io.
    """
    self_test()
    decoder = {**_decoder_options(max_pixels), "threads": str(threads)}
    decoder["codec_whitelist"] += f",{PROBED_AUDIO}"
    try:
        container = av.open(
            reader,
            mode="r",
            options=decoder,
            container_options={
                **PROBING,
                "format_whitelist": FORMATS if mp4_checked else FORMATS.removeprefix("mov,"),
            },
            metadata_errors="replace",  # a title in Latin-1 is no reason to refuse the pictures
            timeout=(IO_TIMEOUT_SECONDS, IO_TIMEOUT_SECONDS) if in_time else None,
            io_open=_deny,
        )
    except (av.FFmpegError, MemoryError, OverflowError, ValueError, RuntimeError) as error:
        reader.check()
        raise _open_error(error, failed=reader.failed) from None
    if reader.caught is not None:  # FFmpeg took it for the end of the file
        container.close()
        reader.check()
    return container


def choose_stream(container: InputContainer) -> tuple[AvVideoStream, int]:
    """The stream to read, and how many others there are; the others are switched off.

    No cover; of several a moving picture before a still one, then the default, then the largest.
    """
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        raise VideoError(
            "no_video", "file must hold a video stream, got none: it may be audio or subtitles only"
        )
    chosen = max(streams, key=_preference)
    for stream in container.streams:
        if stream is not chosen:
            stream.discard = Discard.all
    return chosen, len(streams) - 1


def prepare_decoder(stream: AvVideoStream, *, max_pixels: int, threads: int) -> None:
    """Sets the limits on the decoder itself: those given to `av.open` do not reach it.

    Raises:
        VideoError: of kind unsupported_codec or limit.
    """
    context = stream.codec_context
    known = context is not None and context.codec is not None
    name = context.codec.name if known else "one that FFmpeg does not know"
    if name not in CODECS.split(","):
        raise VideoError(
            "unsupported_codec", f"codec must be on the list of allowed ones, got {name}: convert the video"
        )
    if context.width * context.height > max_pixels:
        raise too_large(max_pixels)
    context.options = _decoder_options(max_pixels)
    context.thread_count = threads
    context.thread_type = "SLICE" if threads == 1 else "AUTO"


def too_large(max_pixels: int) -> VideoError:
    """The error for a picture beyond the limit; one sentence for all the places that notice."""
    return VideoError(
        "limit",
        f"picture must have at most {max_pixels} pixels, got more: raise max_pixels or max_image_pixels",
    )


def file_fails() -> VideoError:
    """The error for a disk or a caller's file object that gives up."""
    return VideoError("io", "video file must be readable, got one that fails: check the disk or reopen it")


def said(error: BaseException) -> str:
    """What FFmpeg logged with an error. To classify it only: it may hold paths and addresses."""
    return f"{error} {getattr(error, 'log', '')}"


@cache
def self_test() -> None:
    """Proves that this build of FFmpeg honours the options that bind it. Takes a millisecond or two.

    Raises:
        RuntimeError: one is not honoured; then no video is opened at all.
    """
    av.logging.set_level(av.logging.PANIC)  # quiet, but errors keep their log, by which we classify them
    for what, honoured in (
        ("format_whitelist", _refuses_playlist()),
        ("max_pixels", _refuses_gif({"max_pixels": "4"}, because="pixel")),
        ("codec_whitelist", _refuses_gif({"codec_whitelist": "h264"}, because="hitelist")),
    ):
        if not honoured:
            raise RuntimeError(
                f"FFmpeg must honour {what}, got a build that ignores it: install av from its wheel"
            )


def _refuses_playlist() -> bool:
    playlist = NamelessReader(io.BytesIO(b"ffconcat version 1.0\nfile none\n"))
    try:
        av.open(
            playlist, mode="r", container_options={**PROBING, "format_whitelist": FORMATS}, io_open=_deny
        ).close()
    except av.FFmpegError as error:
        return "hitelist" in said(error)
    return False


# A picture of 3 x 3 pixels, all of it.
TINY_GIF = b"GIF89a\x03\0\x03\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x03\0\x03\0\0\x02\x03\x44\x02\x05\0;"


def _refuses_gif(options: dict[str, str], because: str) -> bool:
    with av.open(NamelessReader(io.BytesIO(TINY_GIF)), mode="r", format="gif") as container:
        context = container.streams.video[0].codec_context
        context.options = options
        try:
            for packet in container.demux(video=0):
                packet.decode()
        except (av.FFmpegError, ValueError) as error:
            return because in said(error)
    return False


def _decoder_options(max_pixels: int) -> dict[str, str]:
    # Decoders count the padding of their buffers as well; the exact limit is checked on every frame.
    padded = max_pixels + max_pixels // 4 + PADDING_PIXELS
    return {"max_pixels": str(padded), "codec_whitelist": CODECS}


def _preference(stream: AvVideoStream) -> tuple[bool, bool, int]:
    context = stream.codec_context
    area = context.width * context.height if context is not None else 0
    # Zero frames: the header does not say.
    return stream.frames != 1, bool(stream.disposition & Disposition.default), area


def _deny(url: str, flags: int, options: dict[str, str]) -> None:
    raise PermissionError("a video may not open other files")


def _open_error(error: BaseException, *, failed: bool) -> VideoError:
    if failed:
        return file_fails()
    if "hitelist" in said(error):
        return VideoError(
            "unsupported_container",
            "file must be a video of an allowed type, got another: convert it to mp4, or a picture to PNG",
        )
    if isinstance(error, av.error.ExitError):
        return VideoError(
            "limit", "file must open within seconds, got one that does not: copy it to a faster disk"
        )
    if isinstance(error, MemoryError | OverflowError):
        return VideoError("limit", "file must open in little memory, got one that does not: convert it")
    return VideoError(
        "corrupt", "file must be a video, got data that no allowed format fits: check or convert it"
    )
