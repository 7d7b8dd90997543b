"""Generate on packed prompts, without the gaps of unused placeholders; further turns go on from a cache."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from bvllm.model.outputs import BVLLMVisualOutput
from bvllm.model.packing import Packing

PIXELS = (
    "pixel_values_videos",
    "video_num_frames",
    "video_seconds",
    "qformer_input_ids",
    "qformer_attention_mask",
    "video_budget",
)
_PROMPT = "bvllm_prompt"  # attribute of a cache


class PackedPrompt(NamedTuple):
    """What a cache was begun with.

    Attributes:
        ids: (B, S) as the caller wrote them.
        packing: how they were closed up.
    """

    ids: Tensor
    packing: Packing


def remember_prompt(cache: Cache | None, ids: Tensor | None, packing: Packing | None) -> None:
    """Note in a cache which places of the caller's prompt it holds, for a further turn."""
    if cache is not None and ids is not None and packing is not None:
        setattr(cache, _PROMPT, PackedPrompt(ids, packing))


class PackedGeneration:
    """`generate` for a model whose prompts hold placeholders for visual tokens.

    To be inherited beside `GenerationMixin`, which transformers looks for among a class's own bases.
    """

    config: Any
    model: Any
    generation_config: Any
    get_video_features: Any

    @torch.no_grad()
    def generate(self, inputs: Tensor | None = None, **kwargs: Any) -> Any:
        """`GenerationMixin.generate` on the packed prompt; what comes back begins with the caller's own.

        Pixels are encoded once, before anything else. Lengths are counted on the packed prompt, so use
        `max_new_tokens`; a streamer that does not skip the prompt sees the packed one. A further turn passes
        the whole conversation so far and the cache of the turn before as `past_key_values`, without pixels.

        Args:
            inputs: (B, S) prompts, or `input_ids` by name.
            **kwargs: the processor's outputs, or `mm_encoder_outputs`, and generation settings.

        Raises:
            ValueError: pixels and a cache that holds a clip were given, or a cache of another prompt.
        """
        ids = kwargs.pop("input_ids", None) if inputs is None else inputs
        visual = (kwargs.get("mm_encoder_outputs") or {}).get("video")
        budget, cache = kwargs.get("video_budget"), kwargs.get("past_key_values")
        begun = cache is not None and cache.get_seq_length() > 0
        if begun and (visual is not None or kwargs.get("pixel_values_videos") is not None):
            raise ValueError(
                "pixel_values_videos must be left out of a further turn, got them beside past_key_values, "
                "which hold the clip already: pass input_ids, attention_mask and past_key_values alone"
            )
        if kwargs.get("pixel_values_videos") is not None:
            visual = self.get_video_features(**{k: kwargs.pop(k) for k in PIXELS if k in kwargs})
        kwargs["suppress_tokens"] = self._never_written(kwargs)
        mask = kwargs.pop("attention_mask", None)
        if mask is None and ids is not None and not begun:
            mask = self.model.inferred_mask(ids)
        if visual is None:
            return self._without_pixels(
                ids, mask, {k: v for k, v in kwargs.items() if k not in PIXELS}, begun=begun
            )
        packing = self.model.packing(ids, mask, self.model.used_placeholders(ids, visual, budget), left=True)
        # Only the features: what else the output holds is not ours to copy for every beam.
        kwargs["mm_encoder_outputs"] = {"video": BVLLMVisualOutput(list(visual.pooler_output))}
        return self._packed(ids, mask, packing, kwargs)

    def _without_pixels(
        self, ids: Tensor | None, mask: Tensor | None, settings: dict[str, Any], *, begun: bool
    ) -> Any:
        """A prompt of words alone, or a further turn whose clips are in the cache."""
        cache, packing = settings.get("past_key_values"), None
        if not begun:
            self.model._check_nothing_to_see(ids)
        elif ids is not None:
            prompt: PackedPrompt | None = getattr(cache, _PROMPT, None)
            if prompt is None:
                self._check_cached(ids, cache)
            else:
                packing = _longer(prompt, ids, mask)
        return self._packed(ids, mask, packing, settings)

    def _packed(
        self, ids: Any, mask: Tensor | None, packing: Packing | None, settings: dict[str, Any]
    ) -> Any:
        """Generate on packed rows; the rows that come back begin as the caller wrote them."""
        if packing is not None or mask is not None:
            settings["attention_mask"] = mask if packing is None else packing.mask
        if packing is None:
            return super().generate(ids, **settings)  # type: ignore[misc]  # of the class beside this one
        packed = packing.pack(ids, self._padding_id())
        output = super().generate(packed, **settings)  # type: ignore[misc]
        whole = isinstance(output, Tensor)
        for cache in (settings.get("past_key_values"), None if whole else output.get("past_key_values")):
            remember_prompt(cache, ids, packing)
        sequences = output if whole else output.sequences
        prompts = ids.repeat_interleave(len(sequences) // len(ids), dim=0)
        sequences = torch.cat([prompts, sequences[:, packed.shape[1] :]], dim=1)
        if whole:
            return sequences
        output.sequences = sequences
        return output

    def _check_cached(self, ids: Tensor, cache: Any) -> None:
        """Refuse a cache that cannot hold the clips of a prompt as it is written."""
        places = (ids == self.config.video_token_id).nonzero()
        if len(places) and int(places[:, 1].max()) >= cache.get_seq_length():
            raise ValueError(
                "past_key_values must hold every clip of the prompt, got a cache that ends before one: pass "
                "what generate returned for the turn before, or leave it out and pass the pixels"
            )

    def _never_written(self, settings: dict[str, Any]) -> list[int]:
        """Tokens that no answer may hold: a placeholder would wait for a clip that is not there."""
        config = settings.get("generation_config") or self.generation_config
        given = settings.get("suppress_tokens", config.suppress_tokens)
        return sorted({*(given or ()), self.config.video_token_id, self.config.image_token_id})

    def _padding_id(self) -> int:
        """What stands in front of shorter prompts; attention never sees it."""
        padding = self.generation_config.pad_token_id
        return 0 if padding is None else int(padding)


def _longer(prompt: PackedPrompt, ids: Tensor, mask: Tensor | None) -> Packing:
    """The packing of a prompt that a further turn makes longer.

    Raises:
        ValueError: the ids do not begin with that prompt.
    """
    width = prompt.ids.shape[1]
    if (
        ids.shape[0] != len(prompt.ids)
        or ids.shape[1] <= width
        or not torch.equal(ids[:, :width], prompt.ids)
    ):
        raise ValueError(
            f"input_ids must begin with the {width} tokens that past_key_values were made from, got others: "
            "pass the whole conversation so far, or leave the cache out"
        )
    behind = torch.ones_like(ids[:, width:], dtype=torch.bool) if mask is None else mask[:, width:].bool()
    keep = torch.cat([prompt.packing.keep, behind], dim=1)
    filled = torch.cat([prompt.packing.filled, behind], dim=1)
    first = prompt.packing.filled.shape[1]
    places = first + torch.arange(behind.shape[1], device=ids.device).expand(len(ids), -1)
    return Packing(keep, filled, torch.cat([prompt.packing.source, places], dim=1))
