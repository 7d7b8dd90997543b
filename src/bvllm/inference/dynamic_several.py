"""Put several videos and pictures into one prompt of a Dynamic-VLM, under one budget.

As the processor does it: the clips share the budget frame by frame, each video is thinned to what the model
reads of one, and a picture is a clip of one frame with a grid of its own. Frames are compressed each on its
own, so nothing of one clip is ever merged into another.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.inference.plain_words import plain_words
from bvllm.inference.turns import Turn
from bvllm.methods.names import MethodNames
from bvllm.model.backbones.several import ClipKind
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.pipeline import mixed
from bvllm.types import Budget, Clip, FrameSelection, Tokens
from bvllm.video.chat_parts import Message

if TYPE_CHECKING:
    from bvllm.inference.dynamic import LoadedDynamic


class SeveralOnOneBudget:
    """What a `LoadedDynamic` does with several clips; see `ReadsSeveral`."""

    @property
    def _one(self) -> "LoadedDynamic":
        """Itself, by what it does with one clip."""
        return cast("LoadedDynamic", self)

    def check_clips(self, kinds: Sequence[ClipKind], methods: MethodNames) -> None:
        """Refuse methods that do not go with several clips; see `ReadsSeveral`. Any clips do."""
        filled = self._one.methods(methods)
        for slot, own in (("sample_tokens", "dynamic"), ("merge_tokens", "none")):
            if filled[slot] != own:
                raise ValueError(
                    f"{slot} must be {own!r} for several clips, got {filled[slot]!r}: ask about one video"
                )

    def select_several(
        self,
        clips: Sequence[Clip],
        kinds: Sequence[ClipKind],
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
    ) -> list[FrameSelection]:
        """Choose frames of several clips under one budget; see `ReadsSeveral`.

        Where no method chooses, all frames stay that the budget has a token for; `budget.frames` is of each
        video, as the model's `max_frames` is.
        """
        plan = self._one.processor.plan([len(clip) for clip in clips], budget.tokens, budget.frames)
        return [
            self._one.select(clip.features, clip.seconds, asked, Budget(len(kept), budget.frames), methods)
            for clip, kept in zip(clips, plan.kept, strict=True)
        ]

    def picture_features(self, pictures: Tensor) -> Tensor:
        """(t, 3, height, width) uint8 -> (t, N, C): a picture is a frame like any other."""
        one = self._one
        return torch.cat([one.patch_features(some) for some in torch.split(pictures, one.patch_step)])

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
        """Turn the frames of all clips into visual tokens within one budget; see `ReadsSeveral`."""
        one = self._one
        grids = one.model.config.frame_grids(sum(map(len, selections)), budget.tokens)
        made: list[VisualTokens] = []
        for found, selection in zip(patches, selections, strict=True):
            own, grids = grids[: len(selection)], grids[len(selection) :]
            made.append(one.compressed(iter(self._rows(found, selection)), selection, own))
        return VisualTokens.of_clips(made, selections)

    def _rows(self, patches: Tensor, selection: FrameSelection) -> Tensor:
        """(n, N, C) patches of the distinct frames of a clip -> one (N, C) for each row of its selection."""
        return mixed(lambda _: patches.to(self._one.device), selection)

    def _conversation(self, turns: Sequence[Turn], tokens: Sequence[Tokens]) -> dict[str, Tensor]:
        """The ids and mask of a conversation whose clips are visual tokens already."""
        processor = self._one.processor
        chat: list[Message] = [
            {
                "role": turn.role,
                "content": [
                    {"type": "text", "text": plain_words(part, processor.tokenizer)}
                    if isinstance(part, str)
                    else {"type": part.kind}
                    for part in turn.parts
                ],
            }
            for turn in turns
        ]
        return processor.prompt_of_clips(chat, [frames_of(one) for one in tokens])


def frames_of(tokens: Tokens) -> tuple[list[int], list[float]]:
    """How many tokens each frame of a clip has, and when it is shown."""
    _, counts = tokens.by_frame()
    first = counts.cumsum(0) - counts
    return counts.tolist(), tokens.seconds[first].tolist()
