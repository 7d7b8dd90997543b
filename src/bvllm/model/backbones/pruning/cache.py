"""Keys and values that are of another length in every layer, with what each layer still holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig


@dataclass(frozen=True)
class Held:
    """What a layer holds of a batch of prompts, once tokens are gone.

    Attributes:
        real: (B, L) False where a shorter prompt is padded, on the left.
        gone: (B,) how many places of each prompt are no longer there.
        padded: whether any is; known here, so that no accelerator is asked at every token.
    """

    real: Tensor
    gone: Tensor
    padded: bool

    def rows(self, change: Callable[[Tensor], Tensor]) -> "Held":
        """The same for other rows of the batch."""
        return Held(change(self.real), change(self.gone), self.padded)


class PrunedCache(DynamicCache):
    """The keys and values of one call of a model whose layers see fewer and fewer visual tokens.

    It stands for that call: hooks act on what is computed with it, or with a copy of it, and on nothing else.

    Args:
        config: of the language model.
        owner: what drops the tokens.

    Attributes:
        held: by layer, from the first that sees fewer tokens on.
    """

    def __init__(self, config: PreTrainedConfig, owner: Any) -> None:
        super().__init__(config=config)
        self.owner = owner
        self.held: dict[int, Held] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """As upstream.

        Raises:
            RuntimeError: the hooks that go with it are gone, or sit in another model.
        """
        if self.owner.closed:
            raise RuntimeError(
                "past_key_values must be used while tokens are dropped, got a cache of a block that has "
                "ended: generate inside `with prune_inside(...)`"
            )
        if not self.owner.begun:
            raise RuntimeError(
                "past_key_values must be used with the model whose tokens are dropped, got a cache that "
                "another model writes to: open a block of its own for that one"
            )
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """As upstream, for beams."""
        super().reorder_cache(beam_idx)
        self._rows(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """As upstream."""
        super().batch_repeat_interleave(repeats)
        self._rows(lambda x: x.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """As upstream."""
        super().batch_select_indices(indices)
        self._rows(lambda x: x[indices])

    def crop(self, tokens_to_remove: int) -> None:
        """As upstream, but not into the prompt.

        Raises:
            ValueError: tokens of the prompt would go.
        """
        for layer, held in self.held.items():
            written = self.layers[layer].get_seq_length() - held.real.shape[1]
            if abs(tokens_to_remove) > written:
                raise ValueError(
                    f"tokens_to_remove must be at most the {written} written behind the prompt, got "
                    f"{tokens_to_remove}: layers hold other parts of the prompt; read it again"
                )
        super().crop(tokens_to_remove)

    def _rows(self, change: Callable[[Tensor], Tensor]) -> None:
        self.held = {layer: held.rows(change) for layer, held in self.held.items()}


def layer_mask(held: Held, new: int, queries: int, attention: str, dtype: torch.dtype) -> Tensor | None:
    """The causal mask of a layer, in the form that its attention takes.

    Args:
        held: of the prompts, L places each.
        new: how many places were written behind them.
        queries: Q, of the last places.
        attention: "sdpa" or "eager".
        dtype: of the states.

    Returns:
        (B, 1, Q, L + new): True, or 0, where a query may look; None where sdpa needs to be told nothing. A
        place of padding looks at itself, for a softmax over nothing is no number.
    """
    keys = held.real.shape[1] + new
    if attention == "sdpa" and queries in (1, keys) and not held.padded:
        return None
    real = torch.cat([held.real, held.real.new_ones(len(held.real), new)], dim=1)
    place = torch.arange(keys, device=real.device)
    asking = place[keys - queries :, None]
    seen = ((place <= asking) & real[:, None]) | (place == asking)
    seen = seen[:, None]
    if attention == "sdpa":
        return seen
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)


def check_padding(mask: Tensor | None, real: Tensor) -> None:
    """Hold the model to the padding that the block was told of.

    Args:
        mask: (B or 1, 1, Q, S) that the first layer is given, in either form; None hides nothing.
        real: (B, S) False where there is padding.

    Raises:
        ValueError: what the prompts' last places may look at is something else.
    """
    seen = torch.ones_like(real) if mask is None else mask[:, 0, -1]
    seen = (seen if seen.dtype == torch.bool else seen == 0).expand_as(real)
    if not torch.equal(seen, real):
        raise ValueError(
            f"attention_mask must be the same for the block and for the model, got {int(seen.sum())} places "
            f"that are read and {int(real.sum())} that are counted: pass the prompts' own to both"
        )
