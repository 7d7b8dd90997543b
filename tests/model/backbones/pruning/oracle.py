"""What pruning inside must equal: all tokens stay, and those that were dropped are masked from there on."""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bvllm.model.backbones.pruning.applier import Dropped


@contextmanager
def masked(model, visual: Tensor, real: Tensor, dropped: Sequence[Dropped], *, renumbers: bool = False):
    """Run the whole length through every layer, with masks of its own for each; no cache may be used.

    Args:
        visual, real: (B, S) of the prompts; what is written behind them is real, and no visual token.
        dropped: what a pruning did; merged tokens are made anew from the states of this run.
    """
    decoder = model.get_decoder()
    state = {}

    def hook(number):
        def run(module, args, kwargs):
            states = args[0].clone()
            rows, length = states.shape[:2]
            if number == 0:
                more = length - visual.shape[1]
                state["alive"] = torch.cat([real, real.new_ones(rows, more)], dim=1)
                state["rank"] = torch.arange(length).double().repeat(rows, 1)
                state["left"] = [row.nonzero()[:, 0] for row in visual]
            alive, rank = state["alive"], state["rank"]
            for cut in (d for d in dropped if d.layer == number):
                places = state["left"][cut.row]
                anchors = places[cut.plan.anchor]
                made = cut.plan.combine(states[cut.row, places], torch.ones(len(places)))
                alive[cut.row, places] = False
                alive[cut.row, anchors] = True
                states[cut.row, anchors] = made
                # Where a token stands now, which an earlier cut may have moved behind text between frames.
                behind = rank[cut.row, anchors]
                behind = behind.cummax(dim=0).values if len(anchors) else behind
                rank[cut.row, anchors] = behind + torch.arange(len(anchors)) / 1e4
                state["left"][cut.row] = anchors
            seen = (rank[:, None, :] <= rank[:, :, None]) & alive[:, None]
            seen |= torch.eye(length, dtype=torch.bool)
            kwargs = {**kwargs, "attention_mask": seen[:, None]}
            if renumbers:
                order = torch.where(alive, rank, torch.inf).argsort(dim=1)
                positions = order.argsort(dim=1)
                kwargs["position_embeddings"] = decoder.rotary_emb(states, positions)
            return (states, *args[1:]), kwargs

        return run

    handles = [
        layer.register_forward_pre_hook(hook(k), with_kwargs=True) for k, layer in enumerate(decoder.layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
