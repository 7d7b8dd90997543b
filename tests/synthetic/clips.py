"""Small clips for tests that need footage."""

from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, colours: list[tuple[int, int, int]], *, rate: int = 4, side: int = 64) -> Path:
    """A clip of flat frames, one colour each."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        for colour in colours:
            picture = np.full((side, side, 3), colour, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
