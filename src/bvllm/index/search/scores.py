"""Score every frame against a query: exact cosines, block by block."""

from collections import deque
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bvllm.common.threads import map_in_order, one_kernel_thread, usable_cores

# Frames that are compared together: a few megabytes, so that the second pass finds them in the cache.
BLOCK = 8192


def cosines(features: Tensor, query: Tensor) -> NDArray[np.float32]:
    """(T, C) x (C,) -> (T,): the cosine of every frame with the query; 0 for a frame of zeros.

    Features are read where they lie, once, and never copied as a whole.

    Args:
        features: (T, C) float32, float16 or bfloat16; may be mapped from a file.
        query: (C,) of any length but zero.

    Raises:
        ValueError: the widths differ.

    Example:
        >>> cosines(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([1.0, 0.0])).tolist()
        [1.0, 0.0]
    """
    return all_cosines([features], query)[0]


def all_cosines(videos: Iterable[Tensor], query: Tensor) -> list[NDArray[np.float32]]:
    """`cosines` of several videos, in one go: an hour of video is too little to set up threads for.

    Raises:
        ValueError: the widths differ.
    """
    videos = list(videos)
    for features in videos:
        check_width(features, query)
    unit = query.float() / query.float().norm()
    found = [torch.empty(len(features)) for features in videos]

    def score(place: tuple[int, int]) -> None:
        video, begin = place
        block = videos[video][begin : begin + BLOCK].float()
        lengths = torch.linalg.vector_norm(block, dim=1).clamp_(min=torch.finfo(torch.float32).tiny)
        found[video][begin : begin + BLOCK] = (block @ unit).div_(lengths)

    places = [(k, begin) for k, features in enumerate(videos) for begin in range(0, len(features), BLOCK)]
    threads = max(1, min(usable_cores(), len(places)))
    with one_kernel_thread():  # blocks run side by side; kernels that wait for each other would not
        deque(map_in_order(score, places, threads), maxlen=0)
    return [row.numpy() for row in found]


def check_width(features: Tensor, query: Tensor) -> None:
    """Refuse a query that has not as many channels as the frames.

    Raises:
        ValueError: the widths differ.
    """
    if features.shape[1:] != query.shape:
        raise ValueError(
            f"query must have the {features.shape[1]} channels of the features, got {tuple(query.shape)}: "
            "use the model that the index was made with"
        )
