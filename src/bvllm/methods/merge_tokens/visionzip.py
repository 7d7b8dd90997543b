"""VisionZip: keep what [CLS] attends to, and gather the rest into a few tokens (arXiv 2412.04467)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bvllm.primitives.assignment import Assignment
from bvllm.primitives.choice import strongest
from bvllm.primitives.matching import cosine
from bvllm.primitives.reduction import Reduction
from bvllm.stages.each_frame import PictureMethod
from bvllm.stages.method import Slot
from bvllm.stages.reading import Reading
from bvllm.types import SignalName, Signals, Tokens


@dataclass(frozen=True)
class VisionZip(PictureMethod):
    """Keep the dominant patches of each frame, and merge the others into contextual tokens.

    Dominant are those with the most attention of [CLS]. Of the rest, evenly spaced ones become centres; each
    other patch joins the centre whose key is most like its own. Of 64 tokens 54 are dominant and 10
    contextual, as in all three settings of the authors (162 + 30, 108 + 20, 54 + 10), where [CLS] is one of
    the dominant ones; a slot of the pipeline sees patches only, so that their 64 tokens are 63 here. Where a
    tower has no [CLS], the attention that a patch receives from all others counts, as in the authors' variant
    for Qwen2.5-VL, which makes a fourteenth of the tokens contextual.

    Attributes:
        contextual: share of the tokens that are contextual.
        released: a contextual token is its centre plus the mean of what joined it, as in the authors' code,
            and so about twice as long as a patch; else it lies halfway between the two, which is ours.

    Source: VisionZip (arXiv 2412.04467), through its released code; the paper's text was not at hand.

    Example:
        >>> tokens = Tokens.of(torch.eye(4)[None], torch.zeros(1))
        >>> seen = Signals(attention=torch.tensor([0.1, 0.6, 0.2, 0.1]), keys=torch.eye(4))
        >>> VisionZip(contextual=0.5).assign(tokens, 2, seen).combine(tokens.features)[1].tolist()
        [0.5, 0.0, 0.25, 0.25]
    """

    slots: ClassVar[tuple[Slot, ...]] = ("merge_tokens", "sample_tokens")
    paper: ClassVar[str] = "https://arxiv.org/abs/2412.04467"
    needs: ClassVar[frozenset[SignalName]] = frozenset({"attention", "keys"})
    reads: ClassVar[Reading] = Reading(("cls", "received"), keys=True)

    contextual: float = 10 / 64
    released: bool = False

    def assign_frame(self, tokens: Tokens, keep: int, signals: Signals) -> Assignment | Reduction:
        assert signals.attention is not None  # `decide` checks what a method needs
        assert signals.keys is not None
        centres = min(keep, max(round(keep * self.contextual), int(keep > 1)))
        dominant = strongest(signals.attention, keep - centres).sort().values
        if not centres:
            return Assignment.keep(dominant, len(tokens))
        rest = torch.ones(len(tokens), dtype=torch.bool, device=dominant.device)
        rest[dominant] = False
        others = rest.nonzero()[:, 0]
        place, joins = joined_to_centres(signals.keys[others].detach(), centres)
        return mixed_with_centres(len(tokens), dominant, others[place], others, joins, released=self.released)


def joined_to_centres(keys: Tensor, centres: int) -> tuple[Tensor, Tensor]:
    """Evenly spaced centres among n patches, and the centre that each patch joins by its key.

    Returns:
        (centres,) patches that are centres, and (n,) the number of the centre of each; a centre's is its own.

    Example:
        >>> joined_to_centres(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), 2)
        (tensor([0, 2]), tensor([0, 1, 1, 0]))
    """
    step = max(1, len(keys) // centres)
    place = torch.arange(0, len(keys), step, device=keys.device)[:centres]
    joins = cosine(keys, keys[place]).argmax(dim=-1)
    joins[place] = torch.arange(len(place), device=keys.device)
    return place, joins


def mixed_with_centres(
    count: int, kept: Tensor, centre: Tensor, others: Tensor, joins: Tensor, *, released: bool
) -> Reduction:
    """Patches that stay, and centres with the mean of what joined them.

    Args:
        count: patches in all.
        kept: (D,) those that stay as they are.
        centre: (c,) the centres.
        others: (n,) all that are not kept, centres among them.
        joins: (n,) the number of the centre that each joins.
        released: add the mean to the centre; else both count one half.
    """
    is_centre = torch.isin(others, centre)
    joined = torch.bincount(joins[~is_centre], minlength=len(centre)).float()
    own = torch.ones_like(joined) if released else torch.where(joined > 0, 0.5, 1.0)
    # A token stands at the place of its largest weight: its centre's, not that of the only one that joined.
    own = torch.where(joined == 1, torch.nextafter(own, own + 1), own)
    share = (1.0 if released else 0.5) / joined.clamp_min(1)
    staying = torch.arange(len(kept), device=kept.device)
    numbers = len(kept) + torch.arange(len(centre), device=kept.device)
    return Reduction.of(
        torch.cat([staying, numbers, len(kept) + joins[~is_centre]]),
        torch.cat([kept, centre, others[~is_centre]]),
        torch.cat([torch.ones(len(kept), device=kept.device), own, share[joins[~is_centre]]]),
        len(kept) + len(centre),
        count,
    )
