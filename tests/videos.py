"""A tiny random model and a few seconds of video: enough for everything but sense."""

from pathlib import Path

import av
import numpy as np
import pytest

from bvllm.inference.ask import LoadedModel
from tests.model import tiny

SECONDS, RATE = 40, 2


def write_video(path: Path, seconds: int, rate: int = RATE) -> Path:
    """Flat colours with a bright square that wanders; two frames a second, so that half are skipped."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(seconds * rate):
            picture = np.empty((64, 96, 3), dtype=np.uint8)
            picture[:] = rng.integers(0, 200, 3)
            left = 8 * k % 80
            picture[24:40, left : left + 16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> Path:
    """40 seconds; `SECONDS` frames at 1 fps."""
    return write_video(tmp_path_factory.mktemp("video") / "video.mp4", SECONDS)


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return LoadedModel(tiny.model(), tiny.processor(), "tiny")
