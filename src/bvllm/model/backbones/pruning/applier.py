"""Drop visual tokens between the layers of a language model, while one prompt is read and answered.

    with prune_inside(model, FastV(), ids == placeholder, budget=64) as pruning:
        model.generate(**given, past_key_values=pruning.cache)

Hooks in front of the layers gather what stays. They act on calls with `pruning.cache`, or a copy of it, and
on no others: the model may answer elsewhere at the same time. They are gone when the block ends, however it
ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from bvllm.model.backbones.pruning.cache import Held, PrunedCache, check_padding, layer_mask
from bvllm.model.backbones.pruning.decoders import Decoder, decoder_of
from bvllm.model.backbones.pruning.scoring import LayerProjections, transition
from bvllm.model.backbones.pruning.stream import Stream
from bvllm.primitives.assignment import Assignment
from bvllm.stages.prune_layers import InnerMethod, LayerView, Plan, decide_inside
from bvllm.stages.schedule import Schedule


@dataclass(frozen=True)
class Dropped:
    """What became of one prompt's visual tokens in front of one layer.

    Attributes:
        layer, row: where.
        plan: over the tokens that the layer before it saw.
        kept: (V',) which of the entering visual tokens the ones that are left stand on.
    """

    layer: int
    row: int
    plan: Plan
    kept: Tensor


@contextmanager
def prune_inside(
    model: PreTrainedModel,
    method: InnerMethod,
    visual: Tensor,
    budget: int | Sequence[int],
    *,
    attention_mask: Tensor | None = None,
    tail: int = 0,
) -> Iterator["InnerPruning"]:
    """Drop visual tokens inside the language model, for the prompts that are read with its cache.

    Args:
        model: a video model of transformers, or ours.
        method: which tokens, before which layers.
        visual: (B, S) where the prompts' visual tokens stand; what else is a placeholder stays.
        budget: visual tokens of every prompt, or of each, the mean over the layers.
        attention_mask: (B, S) of prompts that are padded, on the left.
        tail: places right behind a prompt's visual tokens that are of no frame: they stay, and are no words
            of the question.

    Raises:
        ValueError: tokens cannot be dropped inside this model, it is in training, more enter than the method
            brings down to the budget, or prompts are padded on the right.
    """
    decoder = decoder_of(model)
    if model.training:
        raise ValueError(
            "model must be in evaluation for tokens to be dropped inside it, got one in training: call "
            "model.eval()"
        )
    layers = len(decoder.layers)
    budgets = [budget] * len(visual) if isinstance(budget, int) else list(budget)
    schedules = [
        method.schedule(count, most, layers, decoder.first)
        for count, most in zip(visual.sum(dim=1).tolist(), budgets, strict=True)
    ]
    real = torch.ones_like(visual, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    if bool((real[:, 1:] < real[:, :-1]).any()):
        raise ValueError(
            "attention_mask must be padded on the left, got padding on the right: set the tokenizer's "
            "padding_side to 'left'"
        )
    pruning = InnerPruning(decoder, method, visual & real, real, schedules, tail)
    handles: list[RemovableHandle] = []
    try:
        pruning.attach(handles)
        yield pruning
    finally:
        pruning.closed = True
        for handle in handles:
            handle.remove()


class InnerPruning:
    """One reading of a batch of prompts, and what is written behind them.

    Attributes:
        cache: to be passed as `past_key_values`.
        dropped: what became of the tokens, once the prompts are read.
        closed: whether the block has ended.
    """

    def __init__(
        self,
        decoder: Decoder,
        method: InnerMethod,
        visual: Tensor,
        real: Tensor,
        schedules: Sequence[Schedule],
        tail: int = 0,
    ) -> None:
        self.cache = PrunedCache(decoder.module.config, self)
        self.dropped: list[Dropped] = []
        self.closed = False
        self._decoder, self._method, self._schedules = decoder, method, list(schedules)
        self._visual, self._real, self._tail = visual, real, tail
        self._renumbers = method.renumbers and not decoder.kind.rotary_3d
        self._watched = method.watched(len(decoder.layers), decoder.first)
        self._stream: Stream | None = None
        self._held: Held | None = None  # by the layers from the last cut on
        self._inputs: list[tuple[Tensor, Tensor]] = []
        self._entered: Tensor | None = None  # what entered the layer before
        self._reading: tuple[int, int] | None = None  # thread and layer, while the prompts are read

    def __deepcopy__(self, memo: dict[int, Any]) -> "InnerPruning":
        """A copied cache goes on with the same hooks."""
        return self

    @property
    def begun(self) -> bool:
        """Whether its hooks have met a prompt."""
        return self._stream is not None

    @property
    def tokens_per_layer(self) -> list[tuple[int, ...]]:
        """For each prompt, how many visual tokens every layer sees."""
        return [schedule.counts for schedule in self._schedules]

    def attach(self, handles: list[RemovableHandle]) -> None:
        """Put hooks in front of the layers, and around the parts of those that are watched.

        Args:
            handles: each is added as soon as it is there, so that an error leaves none behind.
        """
        layer: Any
        for number, layer in enumerate(self._decoder.layers):
            handles.append(layer.register_forward_pre_hook(self._in_front_of(number), with_kwargs=True))
            if number in self._watched:
                for part in (layer.self_attn, layer.mlp):
                    handles.append(part.register_forward_hook(self._around(number), with_kwargs=True))

    def _in_front_of(self, number: int) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: Any = None) -> Any:
            # Another thread may be in a call while hooks are removed; torch then passes no keywords.
            cache = None if kwargs is None else kwargs.get("past_key_values")
            if not isinstance(cache, PrunedCache) or cache.owner is not self:
                return None
            if kwargs.get("use_cache") is False:
                raise ValueError(
                    "use_cache must be on where tokens are dropped inside the language model, got False: "
                    "what is written would be read with a prompt that is no longer whole; leave it out"
                )
            states, rest = (args[0], args[1:]) if args else (kwargs["hidden_states"], ())
            named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            if cache.layers[number].get_seq_length() == 0:
                states, changed = self._read(number, states, named)
            else:
                changed = self._go_on(number, states, named, cache)
            return (states, *rest), {**named, **changed}

        return hook

    def _around(self, number: int) -> Any:
        def hook(module: Any, args: tuple[Any, ...], kwargs: Any, output: Any = None) -> None:
            if output is None or self._reading != (get_ident(), number) or self._stream is None:
                return
            before = args[0] if args else kwargs["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            stream, added = self._stream, torch.zeros_like(self._stream.transitions)
            for row in range(len(before)):
                start = stream.start(row)
                added[row, start:] = transition(before[row, start:], after[row, start:])
            self._stream = replace(stream, transitions=stream.transitions + added)

        return hook

    def _read(self, number: int, states: Tensor, named: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The prompts in front of a layer, for the first time: drop what goes here."""
        if number == 0:
            self._begin(states, named)
        assert self._stream is not None  # layers are called in order
        stream = self._stream
        plans = [self._plan(number, row, states, stream) for row in range(len(states))]
        if any(plan is not None for plan in plans):
            states, stream = stream.cut(states, plans)
            if self._renumbers:
                stream = self._count_anew(states, stream)
            self.dropped += [
                Dropped(number, row, plan, stream.origin[row])
                for row, plan in enumerate(plans)
                if plan is not None
            ]
        self._stream, self._entered = stream, states
        self._reading = (get_ident(), number)
        if not self.dropped:
            return states, {}
        if number == self.dropped[-1].layer:
            self._held = Held(stream.real, stream.gone, not bool(stream.real.all()))
        assert self._held is not None  # tokens went here, or before
        self.cache.held[number], length = self._held, states.shape[1]
        changed = {
            "attention_mask": layer_mask(self._held, 0, length, self._decoder.attention, states.dtype),
            "position_embeddings": (stream.cos, stream.sin),
        }
        if named.get("position_ids") is not None:  # without gaps, which tell packed prompts apart
            positions = torch.arange(length, device=states.device)
            changed["position_ids"] = positions[None].expand(len(states), -1)
        return states, changed

    def _begin(self, states: Tensor, named: dict[str, Any]) -> None:
        rows, times = len(self._real), len(states) // len(self._real)
        if states.shape[1] != self._real.shape[1] or len(states) != rows * times:
            raise ValueError(
                f"prompts must be read whole, as {tuple(self._real.shape)} places, got "
                f"{tuple(states.shape[:2])}: pass the prompt that the visual tokens were marked in, in one "
                "piece"
            )
        self._visual, self._real = (
            x.to(states.device).repeat_interleave(times, dim=0) for x in (self._visual, self._real)
        )
        self._schedules = [schedule for schedule in self._schedules for _ in range(times)]
        check_padding(named.get("attention_mask"), self._real)
        self._stream = Stream.begin(self._visual, self._real, *named["position_embeddings"])
        length = states.shape[1]
        self._inputs = [
            (states[row, places], states[row, length - self._words_behind(places, length) :].clone())
            for row, places in enumerate(self._stream.visual)
        ]

    def _words_behind(self, visual: Tensor, length: int) -> int:
        """How many columns of text stand behind the last visual token and what is of no frame."""
        return max(0, length - int(visual[-1]) - 1 - self._tail) if len(visual) else 0

    def _plan(self, number: int, row: int, states: Tensor, stream: Stream) -> Plan | None:
        keep, there = self._schedules[row].counts[number], len(stream.visual[row])
        if keep >= there:
            return None
        if not keep:
            return Assignment.keep(torch.arange(0, device=states.device), there)
        return decide_inside(self._method, self._view(number, row, states, stream), keep)

    def _view(self, number: int, row: int, states: Tensor, stream: Stream) -> LayerView:
        assert self._entered is not None  # tokens go before no first layer
        start, visual = stream.start(row), stream.visual[row]
        layers, kind = self._decoder.layers, self._decoder.kind
        cos, sin = stream.cos[row, start:], stream.sin[row, start:]
        own = states[row, start:]
        seen, asked = self._inputs[row]
        # The question is what it was when the prompt came in, its last places: padding stands in front, and
        # text never goes. Behind the last token that is left there may be times of frames that lost theirs.
        places = torch.arange(len(own), device=states.device)
        return LayerView(
            states=own,
            visual=visual - start,
            question=places[len(own) - len(asked) :],
            before=LayerProjections(layers[number - 1], kind, self._entered[row, start:], cos, sin),
            own=LayerProjections(layers[number], kind, own, cos, sin),
            visual_inputs=seen,
            question_inputs=asked,
            final_norm=self._decoder.module.norm,
            transitions=stream.transitions[row, visual],
        )

    def _count_anew(self, states: Tensor, stream: Stream) -> Stream:
        """Positions 0, 1, 2, ... over what is left of each prompt."""
        positions = (stream.real.cumsum(dim=1) - 1).clamp_min(0)
        cos, sin = self._decoder.module.rotary_emb(states, positions)
        return replace(stream, cos=cos, sin=sin)

    def _go_on(
        self, number: int, states: Tensor, named: dict[str, Any], cache: PrunedCache
    ) -> dict[str, Any]:
        """What is written behind the prompts, in front of a layer that holds part of them."""
        self._reading = self._entered = None
        held = cache.held.get(number)
        if held is None:
            return {}
        queries = states.shape[1]
        new = cache.layers[number].get_seq_length() + queries - held.real.shape[1]
        changed: dict[str, Any] = {
            "attention_mask": layer_mask(held, new, queries, self._decoder.attention, states.dtype)
        }
        if self._renumbers:
            positions = named["position_ids"].expand(len(states), -1) - held.gone[:, None]
            changed["position_embeddings"] = self._decoder.module.rotary_emb(states, positions)
        return changed
