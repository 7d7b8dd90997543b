"""DyCoke: keep one frame of every few whole, and of the others what is new (arXiv 2411.15024)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bvllm.primitives.assignment import Assignment
from bvllm.stages.by_frame import frame_slices, likeness
from bvllm.stages.merge_tokens import equal_shares
from bvllm.stages.method import Slot, TokenMethod
from bvllm.stages.pipeline import thin_evenly
from bvllm.types import Signals, Tokens

WINDOW = 4  # frames, of which the first stays whole


@dataclass(frozen=True)
class DyCoke(TokenMethod):
    """Keep the first of every four frames whole; of the others, the tokens least like their place before.

    In a window of four, the second frame is compared with the first, the third with the first, the fourth
    with the third, each token with the one in its place. Despite its name the method ("temporal token
    merging") merges nothing.

    From ratio to count: the paper drops 70 % of each compared frame. Here whole frames are kept as they are
    and what is left of the budget is shared equally among the others. Where whole frames alone are more than
    the budget, the window doubles (of eight, the fifth frame is compared with the first, and so on) until
    they fit; a single frame that does not fit is thinned evenly.

    The second step of DyCoke, which prunes the cache while words are generated, is not here.

    Attributes:
        released: as the authors' code: the last frame of an odd number is lost (unless the budget has room
            for more than all others), and the last whole window is left with two whole frames. Its first
            version also pruned each second frame by how alike the pair before it was, an index that is off
            by one, which the authors confirmed (issue 3), and so it is not followed here.

    Source: DyCoke (arXiv 2411.15024), through its released code (`dycole_ttm`) and LightCompress's copy; the
    paper's text was not at hand.

    Example:
        >>> frames = torch.eye(3).repeat(2, 1, 1)
        >>> frames[1, 2] = frames[1, 0]  # the third place changes
        >>> DyCoke().assign(Tokens.of(frames, torch.arange(2.0)), 4, Signals()).anchor.tolist()
        [0, 1, 2, 5]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2411.15024"
    across: ClassVar[bool] = True

    released: bool = False

    def assign(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment:
        places = frame_slices(tokens)
        size = [place.stop - place.start for place in places]
        if self.released:
            other, window = _pairs_of_the_code(len(places)), WINDOW // 2  # its last window is half as wide
        else:
            other, window = _pairs(len(places), WINDOW), WINDOW
        while sum(size[k] for k, j in enumerate(other) if j == k) > keep and window < len(places):
            window *= 2
            other = _pairs(len(places), window)
        if size[0] >= keep:  # not even one frame fits whole
            return Assignment.keep(thin_evenly(size[0], keep, tokens.features.device).anchor, len(tokens))
        mask = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.features.device)
        compared = [k for k, j in enumerate(other) if j != k]
        for k, j in enumerate(other):
            mask[places[k]] = j == k
        shares = equal_shares([size[k] for k in compared], keep - int(mask.sum()))
        for k, share in zip(compared, shares):
            alike = likeness(tokens.features, places[k], places[other[k]])
            mask[places[k].start + alike.argsort(stable=True)[:share]] = True
        if room := keep - int(mask.sum()):  # more than all frames but the lost one hold
            mask[places[-1].start + thin_evenly(size[-1], room, mask.device).anchor] = True
        return Assignment.keep(mask.nonzero()[:, 0], len(tokens))


def _pairs(frames: int, window: int) -> list[int]:
    """The frame that each is compared with; itself where it stays whole.

    Example:
        >>> _pairs(6, 4)
        [0, 0, 0, 2, 4, 4]
    """
    return [k if not k % window else k & (k - 1) for k in range(frames)]


def _pairs_of_the_code(frames: int) -> list[int]:
    """The same as the authors' code has it; a last frame without a partner is left out.

    Example:
        >>> _pairs_of_the_code(9), _pairs_of_the_code(4)
        ([0, 0, 0, 2, 4, 4, 4, 6], [0, 0, 2, 2])
    """
    other = _pairs(max(1, frames - frames % 2), 2)
    for first in range(0, frames - 4, 4):
        other[first + 2] = first
    return other
