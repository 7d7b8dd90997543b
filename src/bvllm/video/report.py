"""Hold what a video is, and what was done with it."""

from dataclasses import asdict, dataclass

from .read_warnings import VideoWarning, WarningKind


@dataclass(frozen=True)
class VideoInfo:
    """What the container and the first frame say.

    `width` and `height` are those of the picture as shown: upright, with square pixels. `duration_seconds`,
    `frames` and `frame_rate` are the container's claims and may be wrong or None; the report has what was
    found.
    """

    container: str
    codec: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    rotation: int  # clockwise degrees that were undone, after mirroring
    mirrored: bool
    pixel_format: str
    duration_seconds: float | None
    frame_rate: float | None
    frames: int | None
    bytes: int
    still: bool

    @classmethod
    def of_pictures(
        cls,
        kind: str,
        size: tuple[int, int],
        *,
        frames: int | None = None,
        seconds: float | None = None,
        still: bool = False,
    ) -> "VideoInfo":
        """What there is to say of pictures that come without a container.

        Args:
            kind: where they come from, in the place of a container's name.
            size: (height, width).
            frames, seconds: how many there are and how long they last; None where that is still open.
        """
        height, width = size
        return cls(
            container=kind,
            codec="none",
            width=width,
            height=height,
            stored_width=width,
            stored_height=height,
            rotation=0,
            mirrored=False,
            pixel_format="rgb24",
            duration_seconds=seconds,
            frame_rate=None,
            frames=frames,
            bytes=0,
            still=still,
        )


@dataclass(frozen=True)
class VideoReport:
    """What was asked of a video and what it gave; complete once the stream was read to its end.

    `asked` targets were met by `got` frames; the other `skipped` ones fell on a frame that was kept
    already, or on nothing that could be decoded. `substituted` of the `decoded` frames had no usable time
    of their own. `sparse` says that only those were decoded that the kept ones need: the same frames, but
    damage in the others was not checked.
    """

    asked: int = 0
    got: int = 0
    skipped: int = 0
    substituted: int = 0
    decoded: int = 0
    damaged: int = 0  # packets that failed and frames that the decoder patched up
    seconds: float = 0.0  # from the first frame to the end of the last
    warnings: tuple[VideoWarning, ...] = ()  # worst first
    truncated: bool = False  # the file, or a limit, ended the video early
    complete: bool = False
    sparse: bool = False

    def first(self, *kinds: WarningKind) -> VideoWarning | None:
        """The worst warning of these kinds; None where there is none."""
        return next((warning for warning in self.warnings if warning.kind in kinds), None)

    def as_json(self) -> dict[str, object]:
        """The report as plain numbers, strings and lists: each warning in its line."""
        return {**asdict(self), "warnings": [str(warning) for warning in self.warnings]}
