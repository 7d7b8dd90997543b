"""GRT: a key frame for each scene, and of the others what moved (arXiv 2509.14199)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.matching import cosine
from bvllm.stages.by_frame import frame_means, frame_slices, partners
from bvllm.stages.merge_tokens import merge_in_rounds, wide_means
from bvllm.stages.method import Slot, TokenMethod
from bvllm.types import Signals, Tokens


@dataclass(frozen=True)
class GRT(TokenMethod):
    """Keep the key frame of each scene whole; of the other frames, what differs from it; the rest joins it.

    A frame belongs to the scene whose key frame its mean token resembles most, if enough, else it opens one;
    so a scene that comes back is one with what it was before. A token that differs little from the one in its
    place in the key frame is static, and is averaged into that.

    From threshold to count: the gate opens for the tokens that differ most, as many as the budget has left
    beside the key frames. Where key frames alone are more than that, the two most alike scenes become one,
    and again; where one key frame is more, its tokens are merged by bipartite matching.

    The paper gates pixels, before patches are encoded, which saves the encoder's time, too; a stage sees
    features.

    Attributes:
        scene: cosine of mean tokens from which two frames are of one scene; ours, as is the measure: the
            paper compares distributions of tokens.

    Source: from the abstract of Gated Residual Tokenization (arXiv 2509.14199); its method's code is not
    public.

    Example:
        >>> frames = torch.eye(3).repeat(3, 1, 1)
        >>> frames[2, 0] = torch.tensor([1.0, 1.0, 0.0])
        >>> GRT().assign(Tokens.of(frames, torch.arange(3.0)), 4, Signals()).target.tolist()
        [0, 1, 2, 0, 1, 2, 3, 1, 2]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2509.14199"
    conserves: ClassVar[bool] = True
    across: ClassVar[bool] = True

    scene: float = 0.9

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places, x = frame_slices(tokens), tokens.features.detach()
        key = _key_frames(
            cosine(frame_means(tokens, places)), [p.stop - p.start for p in places], keep, self.scene
        )
        into = torch.arange(len(tokens), device=x.device)
        residual = torch.full((len(tokens),), torch.inf, device=x.device)
        for place, k in zip(places, key):
            if places[k] != place:
                alike, into[place] = partners(x, place, places[k])
                residual[place] = 1 - alike
        opened = residual.argsort(descending=True, stable=True)[:keep]  # tokens of key frames come first
        into[opened] = opened
        plan = Assignment.merge(into)
        if len(plan) > keep:
            joined = wide_means(plan, x, tokens.size)
            plan = plan.then(merge_in_rounds(tokens.reduce(plan), keep, joined))
        return plan


def _key_frames(alike: torch.Tensor, sizes: list[int], keep: int, scene: float) -> list[int]:
    """The key frame of each frame.

    Args:
        alike: (F, F) cosine of frames.
        sizes: tokens of each frame.
        keep: at most as many tokens stand in key frames, if one frame is no more.
        scene: cosine from which two frames are of one scene.
    """
    key = [0]
    for k in range(1, len(sizes)):
        opened = sorted(set(key))
        best = max(opened, key=lambda other: float(alike[k, other]))
        key.append(best if float(alike[k, best]) >= scene else k)
    while len(opened := sorted(set(key))) > 1 and sum(sizes[k] for k in opened) > keep:
        pairs = [(float(alike[a, b]), a, b) for i, a in enumerate(opened) for b in opened[i + 1 :]]
        _, a, b = max(pairs, key=lambda pair: pair[0])
        key = [a if k == b else k for k in key]
    return key
