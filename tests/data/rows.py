"""Rows, pictures and videos small enough to follow by hand."""

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bvllm.data.dialogue import Dialogue, Media, Turn


def llava(*said: str, **fields) -> dict:
    """A row in LLaVA's form; speakers alternate, the person begins."""
    turns = [{"from": ("human", "gpt")[k % 2], "value": words} for k, words in enumerate(said)]
    return {"id": "x", **fields, "conversations": turns}


def dialogue(*said: str, media: tuple[Media, ...] = ()) -> Dialogue:
    """The same as a dialogue; media stand first in the first question."""
    turns = [Turn(("user", "assistant")[k % 2], (words,)) for k, words in enumerate(said)]
    return Dialogue("x", (Turn("user", (*media, said[0])), *turns[1:]), "rows.json:1 (row 0)")


def write(path: Path, rows: list) -> Path:
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def picture(path: Path, *, side: int = 20, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def video(path: Path, *, frames: int = 6, fps: int = 2) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = 32
        stream.codec_context.thread_count = 2  # else the bytes follow the number of cores
        for k in range(frames):
            image = np.full((32, 32, 3), 40 * (k % 6), dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return path
