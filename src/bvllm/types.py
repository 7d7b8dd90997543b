"""The nouns: a clip of frames, the frames chosen from it, visual tokens, and the budget they must fit.

Letters used for shapes everywhere in this package:
    T frames of a clip, L queries, F chosen frames, N patches per frame, R tokens per frame,
    C vision channels, K tokens, Q text tokens, D language-model width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment


@dataclass(frozen=True)
class Clip:
    """Encoded frames of one video, oldest first.

    Attributes:
        features: (T, N, C) patches of each frame.
        seconds: (T,) presentation time of each frame.
        size: (T,) how many source frames each one stands for.
        index: (T,) place of each frame in the sampled sequence.

    Errors:
        ValueError where the parts do not have one entry per frame.

    Example:
        >>> clip = Clip.of(torch.zeros(3, 4, 8), seconds=torch.tensor([0.0, 1.0, 2.0]))
        >>> len(clip), len(clip.tokens()), clip.tokens().row.tolist()[:4]
        (3, 12, [0, 0, 1, 1])
    """

    features: Tensor
    seconds: Tensor
    size: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        if self.features.ndim != 3:
            raise ValueError(
                f"features must be (frames, patches, channels), got shape {tuple(self.features.shape)}: "
                "give the patches of every frame an axis of their own"
            )
        _one_each(len(self), "frame", seconds=self.seconds, size=self.size, index=self.index)

    @classmethod
    def of(cls, features: Tensor, seconds: Tensor) -> "Clip":
        """A clip of untouched frames: every one stands for itself."""
        frames = torch.arange(len(features), device=features.device)
        return cls(features, seconds, torch.ones(len(features), device=features.device), frames)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def columns(self) -> int:
        """Width of the grid of patches where nobody says: a square's, or all N where N is no square."""
        patches = self.features.shape[1]
        side = math.isqrt(patches)
        return side if side * side == patches else patches

    def reduce(self, plan: Assignment) -> "Clip":
        """Carry out a plan over the frame axis."""
        return Clip(
            plan.mean(self.features, self.size),
            self.seconds[plan.anchor],
            plan.sum(self.size),
            self.index[plan.anchor],
        )

    def tokens(self, columns: int | None = None) -> "Tokens":
        """Forget the frame axis: T frames of N patches become T*N tokens in reading order.

        Args:
            columns: patches in one row of the grid; None takes `self.columns`.
        """
        patches = self.features.shape[1]
        columns = self.columns if columns is None else columns
        if columns < 1 or patches % columns:
            raise ValueError(
                f"columns must divide the {patches} patches of a frame, got {columns}: pass the grid's width"
            )
        patch = torch.arange(patches, device=self.features.device).repeat(len(self))
        return Tokens(
            self.features.flatten(0, 1),
            self.seconds.repeat_interleave(patches),
            self.size.repeat_interleave(patches),
            self.index.repeat_interleave(patches),
            patch // columns,
            patch % columns,
        )


@dataclass(frozen=True)
class Tokens:
    """Visual tokens of one video, in reading order (frame, then row, then column).

    Attributes:
        features: (K, C) one vector per token.
        seconds: (K,) presentation time of the frame each token comes from.
        size: (K,) how many tokens of the encoder each one stands for.
        frame: (K,) place of that frame in the sampled sequence.
        row, column: (K,) the patch it comes from, or the one it looked at most.

    Errors:
        ValueError where the parts do not have one entry per token.
    """

    features: Tensor
    seconds: Tensor
    size: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise ValueError(
                f"features must be (tokens, channels), got shape {tuple(self.features.shape)}: "
                "flatten frames and patches into one axis"
            )
        _one_each(
            len(self),
            "token",
            seconds=self.seconds,
            size=self.size,
            frame=self.frame,
            row=self.row,
            column=self.column,
        )

    def __len__(self) -> int:
        return len(self.features)

    def reduce(self, plan: Assignment) -> "Tokens":
        """Carry out a plan over the token axis; place and time are those of the anchor."""
        return Tokens(
            plan.mean(self.features, self.size),
            self.seconds[plan.anchor],
            plan.sum(self.size),
            self.frame[plan.anchor],
            self.row[plan.anchor],
            self.column[plan.anchor],
        )


@dataclass(frozen=True)
class FrameSelection:
    """The frames of one video that were chosen for one question, oldest first.

    Attributes:
        weights: (F, T) rows of S after sorting and merging; one-hot where the choice was hard.
        frames: (F,) sampled frame each row stands on: the arg-max of the row.
        seconds: (F,) presentation time of that frame.
        size: (F,) how many queries agree on it.
        scores: (F,) how sure the surest of these queries is: its probability of that frame, in [0, 1].
        logits: (L, T) what every query thinks of every frame.

    Errors:
        ValueError where the parts do not have one entry per chosen frame.
    """

    weights: Tensor
    frames: Tensor
    seconds: Tensor
    size: Tensor
    scores: Tensor
    logits: Tensor

    def __post_init__(self) -> None:
        for name, value in (("weights", self.weights), ("logits", self.logits)):
            if value.ndim != 2:
                raise ValueError(
                    f"{name} must be a matrix over the frames, got shape {tuple(value.shape)}: "
                    "select for one clip at a time"
                )
        if self.weights.shape[1] != self.logits.shape[1]:
            raise ValueError(
                f"weights must cover the {self.logits.shape[1]} frames of the logits, "
                f"got {self.weights.shape[1]}: take both from one clip"
            )
        _one_each(
            len(self),
            "chosen frame",
            frames=self.frames,
            seconds=self.seconds,
            size=self.size,
            scores=self.scores,
        )

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class Budget:
    """How much of one video the language model may be given: an upper bound, never a ratio.

    Attributes:
        tokens: visual tokens in all (theta in the paper, Sec. 3.4: 512).
        frames: frames that may be chosen (L* in the paper, Sec. 3.2: 32).

    Errors:
        ValueError where either is below 1.

    Source: B-VLLM (arXiv 2412.09919), Sec. 4.

    Example:
        >>> Budget(tokens=512).per_frame(5)
        102
    """

    tokens: int = 512
    frames: int = 32

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("frames", self.frames)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"budget.{name} must be a whole number of at least 1, got {value!r}: ask for more"
                )

    def per_frame(self, frames: int) -> int:
        """Even share of one frame, at least 1: the fewer frames are left, the more tokens each may keep."""
        if frames < 1:
            raise ValueError(
                f"frames must be at least 1, got {frames}: share the budget among frames that are there"
            )
        return max(1, self.tokens // frames)


def _one_each(count: int, noun: str, **parts: Tensor) -> None:
    for name, value in parts.items():
        if value.shape != (count,):
            raise ValueError(
                f"{name} must have one entry for each {noun} ({count}), got shape {tuple(value.shape)}: "
                "cut or repeat it to match the features"
            )
