"""Put several videos and pictures into one prompt of a transformers video model, under one budget.

Of frames, every picture takes one, and the videos share the rest evenly: a question that compares videos
needs all of them. Tokens are shared by frames: in proportion to how much each frame bears on the question,
beside all frames of all clips, where the recipe shares so; else evenly. Each clip is then reduced alone, so
that nothing of one clip is ever merged into another.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from bvllm.inference.model import AskedQuestion, VisualTokens
from bvllm.methods import NONE
from bvllm.methods.names import MethodNames, reading_of
from bvllm.methods.select_frames.relevant import quality_of
from bvllm.model.backbones.several import ClipKind, check_clips
from bvllm.stages.allocate import BalancedShare, EvenShare, proportional
from bvllm.stages.patch_signals import PatchSignals
from bvllm.types import Budget, Clip, FrameSelection

if TYPE_CHECKING:
    from bvllm.inference.balanced import BalancedModel


class SeveralInOne:
    """What a `BalancedModel` does with several clips; see `ReadsSeveral`."""

    @property
    def _one(self) -> "BalancedModel":
        """Itself, by what it does with one clip."""
        return cast("BalancedModel", self)

    def check_clips(self, kinds: Sequence[ClipKind], methods: MethodNames) -> None:
        """Refuse clips that the prompt cannot hold together; see `ReadsSeveral`."""
        check_clips(self._one.model.config, kinds)
        filled = self._one.methods(methods)
        if filled["prune_layers"] != NONE:
            raise ValueError(
                f"prune_layers must be 'none' for several clips, got {filled['prune_layers']!r}: ask about "
                "one video"
            )
        if "image" in kinds and reading_of(filled):
            named = [
                n for slot, n in filled.items() if n != NONE and slot in ("sample_tokens", "merge_tokens")
            ]
            raise ValueError(
                f"a method for pictures must go without the tower's attention, got {' and '.join(named)}: "
                "choose another, or leave the pictures out"
            )

    def select_several(
        self,
        clips: Sequence[Clip],
        kinds: Sequence[ClipKind],
        asked: AskedQuestion,
        budget: Budget,
        methods: MethodNames,
    ) -> list[FrameSelection]:
        """Choose frames of several clips under one budget; see `ReadsSeveral`."""
        quotas = self._frames(clips, kinds, budget, methods)
        chosen = [
            self._one.select(clip.features, clip.seconds, asked, Budget(budget.tokens, quota), methods)
            for clip, quota in zip(clips, quotas, strict=True)
        ]
        scorer = self._one.scorer
        if scorer is None:
            return chosen
        # Beside the frames of all clips, not of its own: a clip that says nothing of the question gets less.
        found = [scorer.relevance(clip.features, asked.question.stem) for clip in clips]
        quality = quality_of(torch.cat(found))
        each = torch.split(quality / quality.max(), [len(f) for f in found])
        return [replace(c, scores=q[c.frames]) for c, q in zip(chosen, each, strict=True)]

    def _frames(
        self, clips: Sequence[Clip], kinds: Sequence[ClipKind], budget: Budget, methods: MethodNames
    ) -> list[int]:
        """How many frames of each clip may be chosen."""
        most, policy = budget.frames, self._one.pipeline(methods).policy
        if isinstance(policy, BalancedShare):
            most = min(most, policy.frames(budget.tokens, self._one.tokens_per_frame))
        there = torch.tensor([1 if kind == "image" else len(clip) for clip, kind in zip(clips, kinds)])
        shares: list[int] = proportional(torch.ones(len(clips)), there, most).tolist()
        return shares

    def picture_features(self, pictures: Tensor) -> Tensor:
        """Visual tokens of pictures, each in one view: (t, N, D)."""
        with torch.inference_mode():
            return torch.cat([self._one.encoder.picture(picture[None]) for picture in pictures])

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
        """Turn the chosen frames of all clips into visual tokens within one budget; see `ReadsSeveral`."""
        tails = [self._one.prompt.tail(kind) for kind in kinds]
        each = [p.shape[1] for p in patches]
        by_score = not isinstance(self._one.pipeline(methods).policy, EvenShare | None)
        shares = share_tokens(selections, each, tails, budget.tokens, by_score=by_score)
        made = [
            self._one.reduce(p, s, asked, Budget(tokens, budget.frames), methods, signals, tail=tail)
            for p, s, tokens, signals, tail in zip(patches, selections, shares, seen, tails, strict=True)
        ]
        return VisualTokens.of_clips(made, selections)


def share_tokens(
    selections: Sequence[FrameSelection],
    each: Sequence[int],
    tails: Sequence[int],
    tokens: int,
    *,
    by_score: bool,
) -> list[int]:
    """How many tokens each clip may keep of a budget for all: at least 1, and none more than it has.

    Args:
        selections: the chosen frames of each clip; scores compare frames of all clips.
        each: N of each clip's frames.
        tails: tokens behind each clip's last frame that are of no frame.
        tokens: of all clips.
        by_score: whether frames share by their scores, or evenly.

    Example:
        >>> chosen = [FrameSelection.of(torch.arange(n), torch.arange(4.0)) for n in (4, 1)]
        >>> share_tokens(chosen, [9, 9], [0, 0], 20, by_score=False), share_tokens(
        ...     chosen, [9, 9], [0, 0], 3, by_score=False)
        ([16, 4], [2, 1])
    """
    frames = torch.tensor([len(s) for s in selections])
    room = tokens - sum(tails)
    if room < len(selections):  # without what ends a clip
        tails, room = [0] * len(tails), tokens
    if room < int(frames.sum()):  # fewer tokens than frames, which are thinned evenly
        shares: list[int] = proportional(frames.float(), frames, room).tolist()
    else:
        scores = torch.cat([s.scores.detach().float().cpu() for s in selections])
        wanted = scores if by_score else torch.ones(len(scores))
        most = torch.tensor(each).repeat_interleave(frames)
        counts = torch.split(proportional(wanted, most, room), frames.tolist())
        shares = [int(c.sum()) for c in counts]
    return [share + tail for share, tail in zip(shares, tails, strict=True)]
