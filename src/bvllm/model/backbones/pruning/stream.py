"""Carry a batch of prompts through the layers while visual tokens leave it: states, places and positions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from bvllm.stages.prune_layers import Plan


@dataclass(frozen=True)
class Stream:
    """What is known of a batch of prompts where they enter a layer, padded on the left.

    Attributes:
        real: (B, L) False where there is padding.
        visual: for each prompt, (V,) the columns of its visual tokens, in the order of the prompt.
        origin: for each prompt, (V,) which of the entering visual tokens each stands on.
        cos, sin: (B, L, d) of the positions.
        transitions: (B, L) what watched layers changed so far, summed up.
        gone: (B,) how many places are no longer there.
    """

    real: Tensor
    visual: tuple[Tensor, ...]
    origin: tuple[Tensor, ...]
    cos: Tensor
    sin: Tensor
    transitions: Tensor
    gone: Tensor

    @classmethod
    def begin(cls, visual: Tensor, real: Tensor, cos: Tensor, sin: Tensor) -> "Stream":
        """Prompts in front of the first layer: visual (B, L) marks their visual tokens."""
        columns = tuple(row.nonzero()[:, 0] for row in visual)
        origin = tuple(torch.arange(len(places), device=visual.device) for places in columns)
        shape = (len(real), *cos.shape[-2:])
        empty = torch.zeros(real.shape, device=real.device)
        gone = torch.zeros(len(real), dtype=torch.long, device=real.device)
        return cls(real, columns, origin, cos.expand(shape), sin.expand(shape), empty, gone)

    def start(self, row: int) -> int:
        """The column of a prompt's first place."""
        return int((~self.real[row]).sum())

    def cut(self, states: Tensor, plans: Sequence[Plan | None]) -> "tuple[Tensor, Stream]":
        """Carry out a plan over the visual tokens of each prompt; None leaves one as it is.

        Args:
            states: (B, L, D) hidden states.
            plans: for each prompt.

        Returns:
            (B, L', D) states of what is left, padded on the left, and what is known of it.
        """
        rows = [self._cut_row(row, states[row], plan) for row, plan in enumerate(plans)]
        longest = max(len(row.source) for row in rows)
        pads = [longest - len(row.source) for row in rows]
        index = torch.stack([functional.pad(row.source, (pad, 0)) for row, pad in zip(rows, pads)])
        real = torch.stack([torch.arange(longest, device=self.real.device) >= pad for pad in pads])
        left = torch.stack([functional.pad(row.states, (0, 0, pad, 0)) for row, pad in zip(rows, pads)])
        wide = index[..., None].expand(-1, -1, self.cos.shape[-1])
        made = replace(
            self,
            real=real,
            visual=tuple(row.visual + pad for row, pad in zip(rows, pads)),
            origin=tuple(row.origin for row in rows),
            cos=self.cos.gather(1, wide),
            sin=self.sin.gather(1, wide),
            transitions=self.transitions.gather(1, index),
            gone=self.gone + self.real.sum(dim=1) - real.sum(dim=1),
        )
        return left, made

    def _cut_row(self, row: int, states: Tensor, plan: Plan | None) -> "_Row":
        start, visual, origin = self.start(row), self.visual[row], self.origin[row]
        columns = torch.arange(start, len(states), device=states.device)
        if plan is None:
            return _Row(states[start:], columns, visual - start, origin)
        text = columns[~torch.isin(columns, visual)]
        kept = visual[plan.anchor]
        ones = torch.ones(len(visual), device=states.device)
        made = torch.cat([states[text], plan.combine(states[visual], ones)])
        # In the plan's order: an output whose anchor lies before an earlier one's comes right behind that.
        key = torch.cat([text, kept.cummax(dim=0).values if len(kept) else kept])
        order = key.argsort(stable=True)
        is_visual = (torch.arange(len(key), device=states.device) >= len(text))[order]
        return _Row(
            made[order], torch.cat([text, kept])[order], is_visual.nonzero()[:, 0], origin[plan.anchor]
        )


@dataclass(frozen=True)
class _Row:
    """One prompt without padding: its states, the columns they stand on, its visual tokens' places."""

    states: Tensor
    source: Tensor
    visual: Tensor
    origin: Tensor
