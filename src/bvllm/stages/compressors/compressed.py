"""Hold what a compressor made of one frame."""

from typing import NamedTuple

from torch import Tensor

from bvllm.primitives.reduction import Reduction


class Compressed(NamedTuple):
    """The tokens of one frame.

    Attributes:
        features: (k, C).
        plan: (k x N) what every token is made of.
    """

    features: Tensor
    plan: Reduction
