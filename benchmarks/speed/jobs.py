"""Define the timed jobs: a first and a second question, by this package and by the plain way."""

import tempfile
import time
from typing import Any

import torch

from benchmarks.speed.baseline import ask_all, decode_all, encode_all, preprocess
from benchmarks.speed.model import bench_model
from bvllm.asking.indexed import indexed_video
from bvllm.index import IndexFolder
from bvllm.inference.ask import LoadedModel, answer, encode_video

QUESTION = "which word is written in the video?"
SECOND = "what colour is the star?"


def prepare_first_question(*, model: str, **_: object) -> LoadedModel:
    return bench_model(model)


def first_question(loaded: LoadedModel, *, video: str, threads: int, **_: object) -> dict[str, Any]:
    """From the file to the first word, nothing known before."""
    encoded = encode_video(video, loaded, threads=threads)
    found = answer(encoded, QUESTION, loaded, max_new_tokens=1, threads=threads)
    return {"frames": [f.index for f in found.frames], "total": len(encoded), "timings": dict(found.timings)}


def prepare_first_and_second(*, model: str, **_: object) -> LoadedModel:
    return bench_model(model)


def first_and_second(loaded: LoadedModel, *, video: str, threads: int, **_: object) -> dict[str, Any]:
    """A first question, which makes the index, and a second one that a later process would ask."""
    with tempfile.TemporaryDirectory() as folder:
        first, frames = _asked(video, QUESTION, loaded, folder, threads)
        second, _ = _asked(video, SECOND, loaded, folder, threads)
    return {"frames": frames, **_named("first", first), **_named("second", second)}


def _asked(
    video: str, question: str, loaded: LoadedModel, folder: str, threads: int
) -> tuple[tuple[float, float], list[int]]:
    started = time.process_time(), time.perf_counter()
    seen = indexed_video(video, loaded, IndexFolder(folder), threads=threads)
    found = answer(seen, question, loaded, max_new_tokens=1, threads=threads)
    took = time.process_time() - started[0], time.perf_counter() - started[1]
    return took, [frame.index for frame in found.frames]


def _named(name: str, took: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_cpu": took[0], f"{name}_wall": took[1]}


def prepare_pass_one(*, model: str, **_: object) -> LoadedModel:
    return bench_model(model)


def pass_one(loaded: LoadedModel, *, video: str, threads: int, **_: object) -> dict[str, Any]:
    """Decode and encode alone; the features as one number, to tell whether two runs agree."""
    encoded = encode_video(video, loaded, threads=threads)
    bits = encoded.frame_features.view(torch.int32).to(torch.int64)
    return {"total": len(encoded), "checksum": int((bits * torch.arange(1, bits.shape[1] + 1)).sum())}


def prepare_keep_every_token(*, model: str, threads: int, **_: object) -> LoadedModel:
    torch.set_num_threads(threads)
    loaded = bench_model(model)
    return LoadedModel(loaded.model.to(torch.bfloat16), loaded.processor, loaded.name)


@torch.inference_mode()
def keep_every_token(loaded: LoadedModel, *, video: str, threads: int, **_: object) -> dict[str, Any]:
    """The plain way to the first word, then again from its pixels, which it keeps."""
    started = time.process_time(), time.perf_counter()
    pictures, seconds = decode_all(video, threads)
    pixels = preprocess(pictures, loaded)
    del pictures
    frames = ask_all(encode_all(pixels, seconds, loaded), QUESTION, loaded)
    took = time.process_time() - started[0], time.perf_counter() - started[1]
    again = time.process_time(), time.perf_counter()
    ask_all(encode_all(pixels, seconds, loaded), SECOND, loaded)
    second = time.process_time() - again[0], time.perf_counter() - again[1]
    return {"frames": frames, "total": len(seconds), **_named("first", took), **_named("second", second)}
