"""Read what a vision tower attends to, without leaving fused attention: recomputed in the layers asked for.

Fused kernels give no attention map, and asking transformers for all of them turns them off in every layer.
Here the tower runs as always; a hook on the layers that a method names keeps what enters their attention, and
that module's own code runs once more on it, with an attention function that keeps queries and keys. Nothing
of the model is changed, and the hook is gone afterwards, whatever happens.
"""

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.reading import Looker, Reading

KEEPER = "bvllm_keeps_queries_and_keys"
QUERIES_AT_A_TIME = 256  # rows of a map that exist together, of every head: N x N numbers never do

# By `model_type` of a tower's configuration: where its layers are, and their attention.
LAYERS: dict[str, tuple[str, str]] = {
    "clip_vision_model": ("encoder.layers", "self_attn"),
    "siglip_vision_model": ("encoder.layers", "self_attn"),
    "instructblip_vision_model": ("encoder.layers", "self_attn"),
    "blip_2_vision_model": ("encoder.layers", "self_attn"),
    "dinov2": ("encoder.layer", "attention"),
    "dinov2_with_registers": ("encoder.layer", "attention"),
    "internvl_vision": ("encoder.layer", "attention"),
    "smolvlm_vision": ("encoder.layers", "self_attn"),
    "video_llama_3_vision": ("encoder.layers", "self_attn"),
    "qwen2_vl_vision": ("blocks", "attn"),
    "qwen2_5_vl_vision": ("blocks", "attn"),
    "qwen3_vl_vision": ("blocks", "attn"),
}
WITH_CLS = frozenset(
    (
        "clip_vision_model",
        "instructblip_vision_model",
        "blip_2_vision_model",
        "dinov2",
        "dinov2_with_registers",
        "internvl_vision",
    )
)


@dataclass(frozen=True)
class Asked:
    """One call of an attention function: queries and keys (t, heads, N, d), its scale and its mask."""

    query: Tensor
    key: Tensor
    scale: float
    mask: Tensor | None


def lookers_of(tower: PreTrainedModel) -> frozenset[Looker]:
    """Whose attention can be read in a tower; nothing where its layers are not known.

    Example:
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> tiny = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=8, patch_size=4))
        >>> sorted(lookers_of(tiny))
        ['cls', 'received']
    """
    kind = str(tower.config.model_type)
    if kind not in LAYERS:
        return frozenset()
    found: set[Looker] = {"received"}
    if kind in WITH_CLS:
        found.add("cls")
    if _head_of(tower) is not None:
        found.add("head")
    return frozenset(found)


class TowerReader:
    """Keeps what enters the attention of some layers of a tower while it runs, and reads maps from it.

    Args:
        tower: of a kind in `LAYERS`.
        reading: what is wanted.
        layer: the hidden state that the patches are, counted as transformers does; -1 is what leaves the last
            layer.

    Raises:
        ValueError: the tower has no such attention, or fewer layers.
    """

    def __init__(self, tower: PreTrainedModel, reading: Reading, layer: int = -1) -> None:
        lookers = lookers_of(tower)
        self.reading, self.looker = reading, reading.looker_of(lookers)
        if not lookers or (reading.lookers and self.looker is None):
            raise ValueError(
                f"vision tower must give attention of {' or '.join(reading.lookers) or 'its layers'}, got a "
                f"{tower.config.model_type} that gives {', '.join(sorted(lookers)) or 'none'}: "
                "choose another method, or another model"
            )
        where, name = LAYERS[str(tower.config.model_type)]
        blocks = tower.get_submodule(where)
        assert isinstance(blocks, nn.ModuleList)
        last = range(len(blocks) + 1)[layer]
        if not last:
            raise ValueError(
                f"layer must be what leaves a layer of the vision tower, got {layer}, which enters it: "
                "choose another method, or patches of a later layer"
            )
        self._blocks = [block.get_submodule(name) for block in blocks[max(0, last - reading.layers) : last]]
        self._head = _head_of(tower) if self.looker == "head" else None
        self._seen: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Run the tower inside of this; the hooks of other threads stay out of it."""
        with ExitStack() as hooks:
            watched = [*self._blocks, *([] if self._head is None else [self._head])]
            self._seen = [hooks.enter_context(_calls_of(module)) for module in watched]
            yield

    def run(
        self, encode: Callable[[Tensor], Tensor], chunks: Iterable[Tensor], prefix: int
    ) -> tuple[Tensor, PatchSignals]:
        """Encode frames, some at a time, and read each time what was asked for; see `read`."""
        encoded, seen = [], []
        for chunk in chunks:
            with self.watching():
                encoded.append(encode(chunk))
            seen.append(self.read(prefix))
        return torch.cat(encoded), PatchSignals.of_frames(seen)

    def read(self, prefix: int) -> PatchSignals:
        """What was asked for, of the patches behind a prefix of [CLS] and registers, in the tower's order.

        Raises:
            RuntimeError: the tower did not run while it was watched.
        """
        if not self._seen or not all(self._seen):
            raise RuntimeError("tower must run while it is watched, got no call: run it inside `watching`")
        keys = None
        if self.reading.keys:
            asked = _asked(self._blocks[-1], *self._seen[len(self._blocks) - 1][-1])
            keys = torch.cat([one.key.float().mean(dim=1) for one in asked], dim=1)[:, prefix:]
        return PatchSignals(self._attention(prefix), keys)

    def _attention(self, prefix: int) -> Tensor | None:
        if self.looker is None:
            return None
        if self._head is not None:
            [hidden, *_], _ = self._seen[-1][-1]
            return _probe_attention(self._head, hidden)[:, prefix:]
        sums = []
        for block, calls in zip(self._blocks, self._seen):
            asked = _asked(block, *calls[-1])
            maps = [cls_attention(a) if self.looker == "cls" else received_attention(a) for a in asked]
            sums.append(torch.cat(maps, dim=1))
        return torch.stack(sums).sum(dim=0)[:, prefix:]


def cls_attention(asked: Asked) -> Tensor:
    """(t, N) how much the first token attends to each one: the mean over the heads, in float32."""
    return _rows(asked, slice(0, 1)).sum(dim=1)


def received_attention(asked: Asked) -> Tensor:
    """(t, N) how much attention each token gets: the mean over heads and queries, some queries at a time."""
    count = asked.query.shape[2]
    total = sum(
        _rows(asked, slice(start, start + QUERIES_AT_A_TIME)).sum(dim=1)
        for start in range(0, count, QUERIES_AT_A_TIME)
    )
    assert isinstance(total, Tensor)  # there is a query
    return total / count


def _rows(asked: Asked, rows: slice) -> Tensor:
    """(t, n, N) some rows of the map, the mean over the heads."""
    scores = asked.query[:, :, rows].float() @ asked.key.float().mT * asked.scale
    if asked.mask is not None:
        mask = asked.mask[:, :, rows] if asked.mask.shape[2] > 1 else asked.mask
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1).mean(dim=1)


def _head_of(tower: nn.Module) -> nn.Module | None:
    """SigLIP's pooling head, where the tower has one."""
    for name, module in tower.named_children():
        if name == "head" and isinstance(module.attention, nn.MultiheadAttention):
            return module
    return None


def _probe_attention(head: nn.Module, hidden: Tensor) -> Tensor:
    """(t, N) how much the probe of a pooling head attends to each patch: the mean over the heads."""
    probe = head.get_parameter("probe").expand(len(hidden), -1, -1)
    _, weights = head.get_submodule("attention")(probe, hidden, hidden, need_weights=True)
    found: Tensor = weights[:, 0].float()
    return found


@contextmanager
def _calls_of(module: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What a module is called with meanwhile, by this thread."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    owner = threading.get_ident()

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() == owner:
            calls.append((args, kwargs))

    hook = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def _asked(module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Asked]:
    """Queries and keys of an attention module for what it was called with, by its own code.

    A copy of the module runs, which shares its weights and has another attention function. What positions,
    norms and windows do to queries and keys is in it.
    """
    AttentionInterface.register(KEEPER, _keep)
    twin = copy.copy(module)
    config: Any = copy.copy(module.config)
    config._attn_implementation = KEEPER
    twin.config = config
    found: list[Asked] = []
    twin.__dict__["asked"] = found
    with torch.no_grad():
        type(module).forward(twin, *args, **kwargs)
    return found


def _keep(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """In the place of an attention function: keep what it was asked, and attend to nothing."""
    if key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    module.__dict__["asked"].append(Asked(query, key, scale, attention_mask))
    return torch.zeros_like(query).transpose(1, 2), None
