"""One picture or video of a row to frames with their seconds; anything wrong with it makes the row bad."""

from dataclasses import replace

import torch
from torch import Tensor

from bvllm.data.dialogue import Media
from bvllm.data.faults import BadRow, FaultKind
from bvllm.video import FrameChunk, Limits, SamplingPlan, VideoError, read_video

KIND_OF: dict[str, FaultKind] = {
    "missing": "missing",
    "outside_root": "outside_root",
}  # every other VideoError is "media"


def read_media(
    media: Media, where: str, plan: SamplingPlan, size: tuple[int, int], limits: Limits | None = None
) -> FrameChunk:
    """All wanted frames: (T, 3, h, w) uint8 and (T,) seconds.

    Args:
        media: what to open.
        where: the row, for messages.
        plan: which frames of a video to keep; a picture has one.
        size: (height, width) of every frame.
        limits: what reading may cost; the folder is confined to `media.root` in any case.

    Errors:
        BadRow where the file cannot be read, ends early, or is no picture where one was promised.
    """
    limits = replace(limits or Limits(), root=media.root)
    plan = SamplingPlan(fps=None) if media.kind == "image" else plan
    pixels: list[Tensor] = []
    seconds: list[Tensor] = []
    try:
        with read_video(media.source, plan, limits, size) as stream:
            for chunk in stream:
                pixels.append(chunk.pixels)
                seconds.append(chunk.seconds)
                if media.kind == "image" and sum(map(len, seconds)) > 1:
                    raise _bad(where, media, "media", "an image must be one picture, got several frames")
            report = stream.report
    except VideoError as error:
        raise _bad(where, media, KIND_OF.get(error.kind, "media"), str(error)) from None
    if report.truncated:
        why = report.first("truncated", "limit", "io") or "no warning"
        raise _bad(where, media, "truncated", f"a file must be whole, got {why}")
    if not pixels:
        raise _bad(where, media, "media", "a file must give a frame, got none")
    return FrameChunk(torch.cat(pixels), torch.cat(seconds))


def _bad(where: str, media: Media, kind: FaultKind, reason: str) -> BadRow:
    name = f"{len(media.source)} bytes" if isinstance(media.source, bytes) else str(media.source)
    return BadRow(where, kind, f"{media.kind} {name}: {reason}")
