"""Limit what one video may cost: numbers a server can lower and a user can raise."""

import math
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Ceilings for one video.

    A file beyond them is refused (`VideoError.kind == "limit"`); one that runs into them
    while being read gives what it gave so far, with `report.truncated` set and a warning that names the
    limit.

    Args:
        max_bytes: size of the file.
        max_pixels: width x height of one frame of a moving picture; the default is 8K.
        max_image_pixels: the same for a still image; the default admits a 48-megapixel photo.
        max_seconds: presentation time from the first frame on.
        max_decoded_frames: frames that the decoder may put out, kept or not.
        max_wall_seconds: time spent opening and reading, the consumer's own time left out.
        max_errors: decoding errors after which we stop trying.
        root: a folder that the file must really lie in, links resolved; None allows any.

    Example:
        >>> Limits(max_seconds=600.0).max_seconds
        600.0
    """

    max_bytes: int = 8 << 30
    max_pixels: int = 7680 * 4320
    max_image_pixels: int = 50_000_000
    max_seconds: float = 24 * 3600.0
    max_decoded_frames: int = 3_000_000
    max_wall_seconds: float = 900.0
    max_errors: int = 64
    root: str | Path | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = self.__dict__[field.name]
            if field.name != "root" and not (value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"{field.name} must be positive and finite, got {value}: raise it or leave it out"
                )


# `Limits()` is what a server can afford for any upload. A user who names a local file, or indexes it, knows
# its size and can stop the command: it reads up to a day of video, however long that takes.
LOCAL_LIMITS = Limits(max_bytes=1 << 40, max_decoded_frames=6_000_000, max_wall_seconds=7 * 24 * 3600.0)
PATIENT = LOCAL_LIMITS  # the older name, kept for one release
