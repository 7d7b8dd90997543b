"""The nouns: a clip of frames, the frames chosen from it, visual tokens, the budget they must fit, and
signals.

Letters used for shapes everywhere in this package:
    T frames of a clip, L queries, F chosen frames, N patches per frame, R tokens per frame,
    C vision channels, K tokens, Q text tokens, D language-model width.
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.pooling import square
from bvllm.primitives.reduction import Reduction


@dataclass(frozen=True)
class Clip:
    """The frames of one video as the first pass keeps them, one vector each, oldest first.

    Attributes:
        features: (T, C) what the frame slots may compare: [CLS], or whatever the model keeps of a frame.
        seconds: (T,) presentation time of each frame.

    Raises:
        ValueError: the parts do not have one entry per frame.

    Example:
        >>> len(Clip(torch.zeros(3, 8), seconds=torch.tensor([0.0, 1.0, 2.0])))
        3
    """

    features: Tensor
    seconds: Tensor

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise ValueError(
                f"features must be (frames, channels), got shape {tuple(self.features.shape)}: "
                "give one vector for each frame"
            )
        _one_each(len(self), "frame", seconds=self.seconds)

    def __len__(self) -> int:
        return len(self.features)


class Step(NamedTuple):
    """One reduction that tokens went through, kept so that `origin` can trace them.

    Attributes:
        plan: what was decided; a tensor (F, R, N) says how much of each of N patches went into each of the R
            tokens of each of F frames.
        size: (inputs,) how much each input counted in a mean; None where the plan holds the weights itself.
    """

    plan: Assignment | Reduction | Tensor
    size: Tensor | None = None

    def reduction(self) -> Reduction:
        """The step as weights."""
        if isinstance(self.plan, Tensor):
            return Reduction.blocks(self.plan.detach().float())
        return self.plan if isinstance(self.plan, Reduction) else self.plan.reduction(self.size)


WHENCE = ("seconds", "frame", "row", "column", "chosen")  # of a token made of several, those of its anchor


@dataclass(frozen=True)
class Tokens:
    """Visual tokens of one video, in reading order (frame, then row, then column).

    Attributes:
        features: (K, C) one vector per token.
        seconds: (K,) presentation time of the frame each token comes from.
        size: (K,) how many tokens of the encoder each one stands for.
        frame: (K,) place of that frame in the sampled sequence.
        row, column: (K,) the patch it comes from, or the one that weighs most in it.
        chosen: (K,) which of the chosen frames that is: its row of S. Where duplicates do not merge, several
            stand on one sampled frame.
        steps: what the tokens went through, from the patches of the chosen frames on; see `origin`.

    Raises:
        ValueError: the parts do not have one entry per token.

    Example:
        >>> tokens = Tokens.of(torch.zeros(3, 4, 8), seconds=torch.tensor([0.0, 1.0, 2.0]))
        >>> len(tokens), tokens.row.tolist()[:4]
        (12, [0, 0, 1, 1])
    """

    features: Tensor
    seconds: Tensor
    size: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor
    chosen: Tensor
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise ValueError(
                f"features must be (tokens, channels), got shape {tuple(self.features.shape)}: "
                "flatten frames and patches into one axis"
            )
        _one_each(len(self), "token", **{name: getattr(self, name) for name in ("size", *WHENCE)})

    @classmethod
    def of(
        cls,
        patches: Tensor,
        seconds: Tensor,
        frames: Tensor | None = None,
        *,
        size: Tensor | None = None,
        columns: int | None = None,
    ) -> "Tokens":
        """Every patch of F frames as a token: F frames of N patches become F*N tokens in reading order.

        Args:
            patches: (F, N, C).
            seconds: (F,) times of the frames.
            frames: (F,) their places in the sampled sequence; None counts from 0.
            size: (F,) how many sampled frames each stands for; None is 1.
            columns: patches in a row of the grid; None takes a square, or one row where N is no square.

        Raises:
            ValueError: the parts do not fit, or the columns do not divide N.
        """
        if patches.ndim != 3:
            raise ValueError(
                f"patches must be (frames, patches, channels), got shape {tuple(patches.shape)}: "
                "give the patches of every frame an axis of their own"
            )
        count, each = patches.shape[:2]
        columns = square(each) if columns is None else columns
        if columns < 1 or each % columns:
            raise ValueError(
                f"columns must divide the {each} patches of a frame, got {columns}: pass the grid's width"
            )
        frames = torch.arange(count, device=patches.device) if frames is None else frames
        size = torch.ones(count, device=patches.device) if size is None else size
        _one_each(count, "frame", seconds=seconds, frames=frames, size=size)
        patch = torch.arange(each, device=patches.device).repeat(count)
        return cls(
            patches.flatten(0, 1),
            seconds.repeat_interleave(each),
            size.repeat_interleave(each),
            frames.repeat_interleave(each),
            patch // columns,
            patch % columns,
            torch.arange(count, device=patches.device).repeat_interleave(each),
        )

    def __len__(self) -> int:
        return len(self.features)

    def reduce(self, plan: Assignment | Reduction) -> "Tokens":
        """Carry out a plan over the token axis; place and time are those of the anchor."""
        anchor = plan.anchor
        return replace(
            self,
            features=plan.combine(self.features, self.size),
            size=plan.count(self.size),
            steps=(*self.steps, Step(plan, self.size)),
            **{name: getattr(self, name)[anchor] for name in WHENCE},
        )

    def at(self, index: Tensor) -> "Tokens":
        """Some of the tokens, as they are: what a method sees that decides frame by frame.

        What they went through is left out: a plan made for them is carried out on all.
        """
        some = {name: getattr(self, name)[index] for name in ("features", "size", *WHENCE)}
        return replace(self, steps=(), **some)

    def by_frame(self) -> tuple[Tensor, Tensor]:
        """(K,) the number of each token's group, from 0, and (groups,) how many tokens each has.

        Tokens of one chosen frame belong together, as long as nothing else stands between.

        Example:
            >>> twice = Tokens.of(torch.zeros(2, 2, 8), torch.zeros(2), frames=torch.tensor([5, 5]))
            >>> [part.tolist() for part in twice.by_frame()]
            [[0, 0, 1, 1], [2, 2]]
        """
        _, group, counts = torch.unique_consecutive(self.chosen, return_inverse=True, return_counts=True)
        return group, counts

    @property
    def origin(self) -> Reduction:
        """What every token is made of: weights over the patches of the chosen frames, (K x F N).

        The product of all steps. Sizes, spans of time, places and the mask of used patches follow from it;
        with `FrameSelection.reduction` before it, it reaches the sampled frames of the video.
        """
        if not self.steps:
            index = torch.arange(len(self), device=self.features.device)
            return Reduction(index, index, torch.ones(len(self), device=index.device), len(self), len(self))
        first, *rest = (step.reduction() for step in self.steps)
        for later in rest:
            first = first.then(later)
        return first


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
        sources: (F,) how many sampled frames each row stands for; None is 1: queries that agree on a frame do
            not make more of it, frames that a method merged do.

    Raises:
        ValueError: the parts do not have one entry per chosen frame.
    """

    weights: Tensor
    frames: Tensor
    seconds: Tensor
    size: Tensor
    scores: Tensor
    logits: Tensor
    sources: Tensor | None = None

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

    @classmethod
    def of(cls, frames: Tensor, seconds: Tensor) -> "FrameSelection":
        """Frames that were chosen outright, each as likely as any other.

        Args:
            frames: (F,) indices into the sampled frames, ascending.
            seconds: (T,) presentation times of all sampled frames.

        Example:
            >>> FrameSelection.of(torch.tensor([1, 3]), torch.arange(4.0)).seconds.tolist()
            [1.0, 3.0]
        """
        total, device = len(seconds), seconds.device
        return cls(
            functional.one_hot(frames, total).float(),
            frames,
            seconds[frames],
            torch.ones(len(frames), device=device),
            torch.full((len(frames),), 1 / total, device=device),
            torch.zeros(len(frames), total, device=device),
        )

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def is_mixture(self) -> bool:
        """Whether a row mixes frames, as it does while the choice is learned, or where frames were merged."""
        if self.weights.requires_grad:
            return True
        one_each = (self.weights != 0).sum(dim=-1) == 1
        return not bool((one_each & (self.weights.amax(dim=-1) == 1)).all())

    @property
    def source_count(self) -> Tensor:
        """(F,) `sources`, filled in."""
        return torch.ones_like(self.size) if self.sources is None else self.sources

    def reduce(self, plan: Assignment | Reduction) -> "FrameSelection":
        """Carry out a plan over the rows: merged rows stand on the anchor's frame, in its place in time."""
        anchor = plan.anchor
        sources = self.source_count
        plan_weights = plan if isinstance(plan, Reduction) else plan.reduction(sources)
        row, old = plan_weights.output, plan_weights.input
        best = self.scores.new_zeros(len(plan)).scatter_reduce(0, row, self.scores[old], "amax")
        return replace(
            self,
            weights=plan.combine(self.weights, sources),
            frames=self.frames[anchor],
            seconds=self.seconds[anchor],
            size=plan.count(self.size),
            scores=best,
            sources=plan.count(sources),
        )

    def reduction(self) -> Reduction:
        """The rows as weights over the sampled frames, (F x T)."""
        return Reduction.dense(self.weights.detach().float())


class MethodRefused(ValueError):
    """A method needs what a model does not give, or cannot run in it: no other question will change that."""


FRAME_SEED = 7919  # a prime: what is drawn in one frame must not repeat in the next
SignalName = Literal[
    "question", "relevance", "attention", "keys", "grid", "seconds", "tokens_per_frame", "state"
]
SIGNALS: tuple[SignalName, ...] = get_args(SignalName)


@dataclass(frozen=True)
class Signals:
    """What a method may see beside the frames or tokens it decides about. What a model cannot give is None.

    Attributes:
        question: (Q, C) features of the question's words, in the space of the frames' features.
        relevance: (T,) in a frame slot, (F,) in a token slot: how much each frame bears on the question, >=
            0. A scorer's is its cosine c as (c + 1) / 2.
        attention: (K,) attention that each token received in the vision tower, from [CLS] or from the others.
        keys: (K, d) keys of the tower's attention, one for each token.
        grid: rows and columns of the patches of a frame.
        seconds: (K,) or (T,) presentation times.
        tokens_per_frame: (F,) how many tokens each frame may keep, where a budget policy set it.
        state: what a method left for its next call in the same stream; any type of the method's own.
        seed: of whatever is drawn at random.

    Example:
        >>> Signals(grid=(4, 4)).given
        ('grid',)
    """

    question: Tensor | None = None
    relevance: Tensor | None = None
    attention: Tensor | None = None
    keys: Tensor | None = None
    grid: tuple[int, int] | None = None
    seconds: Tensor | None = None
    tokens_per_frame: Tensor | None = None
    state: object | None = None
    seed: int = 0

    @property
    def given(self) -> tuple[SignalName, ...]:
        """Names of the signals that are there."""
        return tuple(name for name in SIGNALS if getattr(self, name) is not None)

    def at(self, index: Tensor, frame: int) -> "Signals":
        """What is there for the tokens of one frame, and for that frame; its random numbers are its own."""
        cut = {
            name: value[index]
            for name in ("attention", "keys", "seconds")
            if (value := getattr(self, name)) is not None
        }
        for name in ("relevance", "tokens_per_frame"):
            if (value := getattr(self, name)) is not None:
                cut[name] = value[frame : frame + 1]
        return replace(self, **cut, seed=(self.seed + FRAME_SEED * frame) % 2**63)

    def require(self, needs: frozenset[SignalName], method: str) -> None:
        """Refuse to run a method without what it needs.

        Raises:
            MethodRefused: a signal is missing.
        """
        missing = [name for name in SIGNALS if name in needs and getattr(self, name) is None]
        if missing:
            raise MethodRefused(
                f"a model for method {method} must give {' and '.join(missing)}, got one that gives "
                f"{', '.join(self.given) or 'none'}: choose another method, or another model"
            )


class Questions(NamedTuple):
    """One question for each clip of a batch, as tokens of the Q-Formers' tokenizer.

    Shapes: ids, mask (B, Q).
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Budget:
    """How much of one video the language model may be given: an upper bound, never a ratio.

    Attributes:
        tokens: visual tokens in all (theta in the paper, Sec. 3.1 and 3.4, which names no default).
        frames: frames that may be chosen (L* in the paper, Sec. 3.2; 32 in Sec. 7.4).

    Raises:
        ValueError: either is below 1.

    Source: B-VLLM (arXiv 2412.09919), Sec. 3.1, 3.2, 3.4 and 7.4.

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

    def with_parts(self, tokens: int | None = None, frames: int | None = None) -> "Budget":
        """This budget with another part; None keeps what is there."""
        return Budget(self.tokens if tokens is None else tokens, self.frames if frames is None else frames)

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
