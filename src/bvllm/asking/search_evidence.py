"""Write the moments of a search as a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from bvllm.asking.find import SearchResult
from bvllm.common.text import shown
from bvllm.index import IndexedVideo
from bvllm.index.search.moments import Moment
from bvllm.inference.evidence.contact_sheet import ContactSheet, Tile, tile_size
from bvllm.inference.evidence.write import write_sheet
from bvllm.video import LOCAL_LIMITS, SamplingPlan, fetch_frames
from bvllm.video.frame_map import FrameMap


def write_search_evidence(
    path: str | Path, query: str, found: SearchResult, videos: Sequence[IndexedVideo], files: Sequence[Path]
) -> Path:
    """Write the frames of the moments, best first, into one page or picture.

    Args:
        path: `.html` or `.png`.
        query, found: what was searched and what came of it.
        videos, files: the entries that were searched, and the file of each.

    Raises:
        ValueError: the path cannot be written, or nothing was found.
        VideoError: a file is not there any more, or another by now.
        OSError: writing fails.
    """
    if not found.moments:
        raise ValueError("evidence must show a moment, got none: search for something else")
    pictures = {
        number: _pictures([m for m in found.moments if m.video == number], videos[number], files[number])
        for number in {moment.video for moment in found.moments}
    }
    several = len(videos) > 1
    tiles = tuple(
        Tile(
            pictures[moment.video][moment.frame],
            None,
            moment.frame,
            moment.seconds,
            f"{moment.score:.2f}" + (f", {shown(files[moment.video].name)}" if several else ""),
        )
        for moment in found.moments
    )
    count = "1 moment" if len(tiles) == 1 else f"{len(tiles)} moments"
    sheet = ContactSheet(
        question=query,
        options=(),
        answer=count,
        letter=None,
        cost=f"of {found.frames} frames in {len(videos)} video{'s' * (len(videos) > 1)}",
        notes=tuple(f"unknown word: {word}" for word in found.unknown),
        tiles=tiles,
        duration=None if several else max(videos[0].meta.duration, 1e-3),
        curve=(),
    )
    return write_sheet(path, sheet)


def _pictures(moments: Sequence[Moment], video: IndexedVideo, file: Path) -> dict[int, Image.Image]:
    """The frames of one video, fetched from its file."""
    width, height = tile_size(video.meta.info)
    start, end = video.key.part
    frame_map = FrameMap.from_arrays(video.frame_map) if video.frame_map else None
    frames: Tensor = fetch_frames(
        file,
        [moment.frame for moment in moments],
        frame_map,
        plan=SamplingPlan(fps=video.meta.fps, start=start, end=end),
        limits=LOCAL_LIMITS,
        size=(height, width),
    )
    return {
        moment.frame: Image.fromarray(frame.permute(1, 2, 0).numpy())
        for moment, frame in zip(moments, frames)
    }
