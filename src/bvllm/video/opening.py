"""Open a checked video any number of times, also side by side."""

from dataclasses import dataclass, replace
from threading import Lock

from av.container import InputContainer
from av.video.stream import VideoStream as AvVideoStream

from .errors import VideoError
from .growing import GrowingFile, GrowingReader
from .limits import Limits
from .memory import admit_pictures
from .mp4 import Structure, inspect_structure
from .photo import Photo, read_photo
from .safe_open import (
    STILL_FORMATS,
    FileSource,
    NamelessReader,
    View,
    choose_stream,
    file_fails,
    open_container,
    open_source,
    prepare_decoder,
)


@dataclass(frozen=True)
class Opened:
    """A container at its first packet, and the stream to read, its decoder bound to the limits.

    Attributes:
        passed_over: other video streams, covers aside.
    """

    container: InputContainer
    stream: AvVideoStream
    passed_over: int
    still: bool
    max_pixels: int
    reader: NamelessReader

    def check(self) -> None:
        """Raises what came up while FFmpeg was reading: to be called after each packet."""
        self.reader.check()

    def close(self) -> None:
        """Frees what FFmpeg holds.

        Its threads come to rest first: PyAV frees a decoder without letting go of the interpreter, and a
        thread that wanted to log something then would wait for ever.
        """
        self.stream.codec_context.flush_buffers()
        self.container.close()


class VideoFile:
    """Bytes that were checked before FFmpeg sees them.

    Raises:
        VideoError: see `open_source` and `inspect_structure`.
    """

    def __init__(self, source: FileSource | GrowingFile, limits: Limits) -> None:
        self.growing = source if isinstance(source, GrowingFile) else None
        if isinstance(source, GrowingFile):
            self._file = source.open(limits)
        else:
            self._file = open_source(source, limits)
        self._owned = self._file is not source
        self._limits = limits
        self._lock = Lock()
        self._readers: list[NamelessReader] = []
        try:
            self.structure, self.photo = self._inspect()
        except BaseException:  # also on an interrupt: a descriptor must not leak
            self.close()
            raise

    def inspect_again(self) -> None:
        """Once a growing file was read to its end: where that end was to be, its bytes say only now."""
        if self.growing is not None:
            self.structure, self.photo = self._inspect()

    @property
    def failed(self) -> bool:
        """Whether the disk or the file object gave up in the middle."""
        return any(reader.failed for reader in self._readers)

    def open(self, threads: int = 1) -> Opened:
        """Opens the video anew, with a place in the file of its own.

        Raises:
            VideoError: it is none of an allowed format and codec, or beyond the limits.
        """
        reader, limits = self._reader(), self._limits
        self._readers.append(reader)
        try:
            container = open_container(
                reader,
                max_pixels=max(limits.max_pixels, limits.max_image_pixels),
                threads=threads,
                mp4_checked=self.structure.is_mp4,
                in_time=self.growing is None,
            )
        except VideoError as error:
            if error.kind == "corrupt":
                self.inspect_again()
                raise error if self.structure.described else _unfinished() from None
            raise
        try:
            stream, passed_over = choose_stream(container)
            still = container.format.name in STILL_FORMATS
            max_pixels = limits.max_image_pixels if still else limits.max_pixels
            if (codec := stream.codec_context) is not None:  # None: no decoder for it, said below
                admit_pictures(codec.width * codec.height)
            prepare_decoder(stream, max_pixels=max_pixels, threads=threads)
        except BaseException:  # as above
            container.close()
            raise
        return Opened(container, stream, passed_over, still, max_pixels, reader)

    def close(self) -> None:
        """Closes the file if we opened it."""
        if self._owned:
            self._file.close()

    def _reader(self) -> NamelessReader:
        structure = self.structure
        if self.growing is None:
            return NamelessReader(View(self._file, self._lock), structure.readable)
        return GrowingReader(self.growing, self._file, self._lock, self._limits, is_mp4=structure.is_mp4)

    def _inspect(self) -> tuple[Structure, Photo]:
        """What can be learnt from the bytes before FFmpeg sees them."""
        try:
            structure, photo = inspect_structure(self._file), read_photo(self._file)
            self._file.seek(0)
        except VideoError:
            raise
        except Exception:  # a caller's file object may raise anything
            raise file_fails() from None
        if photo.animated:
            raise VideoError(
                "unsupported_codec",
                "a WebP file must hold one picture, got an animation, which FFmpeg does not decode: convert "
                "it to GIF or mp4",
            )
        if photo.end is not None:
            structure = replace(structure, ends_early=False, readable=photo.end)
        return structure, photo


def _unfinished() -> VideoError:
    return VideoError(
        "corrupt",
        "mp4 must hold a header (moov), got one that was not written to its end: copy or record it again",
    )
