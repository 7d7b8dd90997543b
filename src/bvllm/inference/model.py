"""Define the one interface through which index, sessions, streams, search and evidence ask a model.

B-VLLM is its first implementation (`bvllm.inference.loading`). A further family is one more class with these
methods; nothing that calls them changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from bvllm.common.subtitles import Cue
from bvllm.common.text import Question
from bvllm.inference.hearing import Hear
from bvllm.inference.session import PromptCache
from bvllm.inference.turns import Turn
from bvllm.methods.names import MethodNames
from bvllm.model import BVLLMVisualOutput
from bvllm.model.backbones.several import ClipKind
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.reading import Reading
from bvllm.types import Budget, Clip, FrameSelection, Questions

# Visual tokens of one clip, ready for the language model, with where each of them comes from.
VisualTokens = BVLLMVisualOutput


@dataclass(frozen=True)
class AskedQuestion:
    """A question as a model reads it: tokenised once, for selection and sampling alike.

    Attributes:
        question: the user's words, options apart.
        tokens: of the stem; None where the model chooses frames without reading it.
        left_out: tokens at the stem's beginning that do not fit what chooses and samples frames.
        subtitles: what stands beside the video in the prompt; no part of the question.
        turns: the conversation that the question ends, where it is about several clips; empty where one video
            stands before the question.
    """

    question: Question
    tokens: Questions | None
    left_out: int = 0
    subtitles: tuple[Cue, ...] = ()
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class ModelCost:
    """What one question costs with a model, in counts; nothing here is a measured time.

    Attributes:
        parameters: weights of the whole model.
        weight_bytes: what they take in memory.
        feature_bytes: what is kept of every sampled frame.
        frame_bytes: pixels of one frame at the tower's size.
        patches_per_frame: pieces that the tower cuts a frame into.
        frames: the most that are chosen; None where all are.
        tokens: the most visual tokens that the language model is given.
    """

    parameters: int
    weight_bytes: int
    feature_bytes: int
    frame_bytes: int
    patches_per_frame: int
    frames: int | None
    tokens: int


class VideoModel(Protocol):
    """A model, with all that belongs to it, that can be asked about videos.

    Attributes:
        name: what it was asked for by.
        device: where it runs.
        frame_size: (height, width) that its vision tower takes.
        chunk: how many frames `frame_features` takes at a time.
        patch_step: how many `patch_features` takes at a time for what one gives not to depend on the others.
        fingerprint: the same only where the same frames give the same features; may read all weights.
        most_frames: the most that its selector can choose.
        reads_question: whether frames are chosen by a selector that reads the question.
        budget: what a question may cost where the caller names no budget.
        layers: modules before each of which a question may be given up (`stop_points`).
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def frame_size(self) -> tuple[int, int]: ...
    @property
    def chunk(self) -> int: ...
    @property
    def patch_step(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def most_frames(self) -> int: ...
    @property
    def reads_question(self) -> bool: ...
    @property
    def budget(self) -> Budget: ...
    @property
    def layers(self) -> Sequence[nn.Module]: ...

    def methods(self, methods: MethodNames) -> dict[str, str]:
        """The name of the method in every slot, with other methods in some.

        Raises:
            ValueError: a method does not go with this model; the message says why.
        """
        ...

    def frame_features(self, frames: Tensor) -> Tensor:
        """First pass: at most `chunk` frames, (t, 3, height, width) uint8 -> (t, C) float32 on the CPU."""
        ...

    def feature_dtype(self, channels: int) -> torch.dtype:
        """What a feature is kept as without losing anything."""
        ...

    def patch_features(self, frames: Tensor) -> Tensor:
        """Second pass: at most `patch_step` frames, (t, 3, height, width) uint8 -> (t, N, C)."""
        ...

    def read_patches(self, frames: Tensor, reading: Reading) -> tuple[Tensor, PatchSignals]:
        """As `patch_features`, and what the vision tower attends to meanwhile.

        Args:
            reading: what the methods in the token slots go by; asked for only where they go by any.

        Raises:
            ValueError: the tower gives no such attention.
        """
        ...

    def read(self, question: Question) -> AskedQuestion:
        """Tokenise a question, once."""
        ...

    def knows_word(self, word: str) -> bool:
        """Whether a word means anything to the part that reads questions."""
        ...

    def doubts(self, asked: AskedQuestion, features: Tensor) -> tuple[str, ...]:
        """Why an answer would be a guess: what of the question or the video the model was never trained on.

        Args:
            features: (T, C) of all sampled frames.

        Returns:
            Reasons, each a clause; nothing where the model cannot tell.
        """
        ...

    def select(
        self, features: Tensor, seconds: Tensor, asked: AskedQuestion, budget: Budget, methods: MethodNames
    ) -> FrameSelection:
        """Choose frames of one video: (T, C) features and (T,) seconds, by the question."""
        ...

    def reduce(
        self,
        patches: Tensor,
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
        seen: PatchSignals | None = None,
    ) -> VisualTokens:
        """Turn the chosen frames into visual tokens within the budget.

        Args:
            patches: (n, N, C) of `frames_needed(selection)`: the distinct frames that any row stands on.
            seen: what `read_patches` read of the same frames; passed on only where methods go by it.
        """
        ...

    def fit_subtitles(self, asked: AskedQuestion, visual: VisualTokens, max_new_tokens: int) -> AskedQuestion:
        """The question with as many of its subtitles as the prompt has room for, near chosen frames first."""
        ...

    def generate(
        self,
        asked: AskedQuestion,
        visual: VisualTokens,
        max_new_tokens: int,
        prompt: PromptCache | None = None,
        hear: Hear | None = None,
    ) -> str:
        """What the language model says, greedily.

        Args:
            prompt: keys and values of an earlier question about the same visual tokens; used and kept.
            hear: is told of every token as it is said.
        """
        ...

    def option_scores(
        self, asked: AskedQuestion, visual: VisualTokens, said: str, prompt: PromptCache | None = None
    ) -> list[float]:
        """How likely each option of the question is as the reply: log-probabilities, in the options' order.

        Args:
            said: what `generate` gave; evidence in front of its last "=" is kept in front of every option.
            prompt: as for `generate`.
        """
        ...

    def cost(self, budget: Budget) -> ModelCost:
        """What a question costs at most, counted."""
        ...


@runtime_checkable
class ReducesStream(Protocol):
    """A model that needs no two frames' patches at the same time: memory then follows the budget.

    Attributes:
        scores_patches: whether what is kept of a frame goes by scores that the model was trained to give.
    """

    @property
    def scores_patches(self) -> bool: ...

    def reduce_stream(
        self,
        patches: Iterable[Tensor],
        selection: FrameSelection,
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
        scored: Iterable[Tensor] | None = None,
    ) -> VisualTokens:
        """As `VideoModel.reduce`, of patches that come one by one: (N, C) of each row of the selection.

        Args:
            scored: as many, whose scores choose in the place of a frame's own; only where `scores_patches`.
        """
        ...


@runtime_checkable
class ReadsSeveral(Protocol):
    """A model that can be given several videos, and pictures beside them, in one prompt."""

    def check_clips(self, kinds: Sequence[ClipKind], methods: MethodNames) -> None:
        """Refuse clips that its prompt cannot hold together.

        Raises:
            ValueError: it cannot, or a method does not go with several clips; the message says why.
        """
        ...

    def select_several(
        self,
        clips: Sequence[Clip],
        kinds: Sequence[ClipKind],
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
    ) -> list[FrameSelection]:
        """Choose frames of several clips, at least one of each, under one budget, at least their number."""
        ...

    def picture_features(self, pictures: Tensor) -> Tensor:
        """As `patch_features`, of pictures: (t, 3, height, width) uint8 -> (t, N, C)."""
        ...

    def reduce_several(
        self,
        patches: Sequence[Tensor],
        kinds: Sequence[ClipKind],
        selections: Sequence[FrameSelection],
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
        seen: Sequence[PatchSignals | None],
    ) -> VisualTokens:
        """Turn chosen frames of all clips into visual tokens within one budget; see `VideoModel.reduce`."""
        ...
