"""Run a vision tower at the machine's speed: the stock one's layers, laid out anew.

q, k and v are one product; the pixels' mean and standard deviation live in the weights of the first product,
so that bytes go in; and the last layer runs for [CLS] alone where only [CLS] is wanted. On a CPU weights are
packed once, and activations and residuals are done while a product is written. On a GPU many frames go
through together, and the first pass can be compiled.

In bfloat16 torch's fused attention computes scores in float32 and is made for AMX. A CPU without it (AVX-512
alone) is faster with whole matrices: scores in float32, as the fused kernel has them, and their sum over the
values in bfloat16. Scores in bfloat16 would be faster still, but of large ones the rounding would show.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from bvllm.model.fast_layers import (
    ACTIVATIONS,
    FAMILIES,
    Activation,
    Affine,
    LayerWeights,
    PackedLinear,
    can_pack,
    is_covered,
    read_layers,
)
from bvllm.model.vision_tower import FINAL, Layer, Triple, frame_size, patch_count, tower_of

TOKENS_PER_STEP = 1100  # so many go through a layer together; the states of more would leave the cache
MOST_FRAMES_PER_STEP = 16
SCORES_AT_A_TIME = 350_000  # float32: so many stay in the cache between the steps
FRAMES_PER_GPU_STEP = 32  # as many as are chosen for a question at most, with the usual settings
GREY = 128  # taken off every byte: bfloat16 holds the small whole numbers that are left exactly
# Below this width bfloat16 saves little, and its noise moves the choice of frames.
LEAST_WIDTH_FOR_BFLOAT16 = 256
# Where the fast form runs, and in which types.
TYPES = {
    "cpu": (torch.float32, torch.bfloat16),
    "cuda": (torch.float32, torch.bfloat16, torch.float16),
}


def fast_tower(
    tower: PreTrainedModel, mean: Triple, std: Triple, *, dtype: torch.dtype | None = None
) -> "FastTower | None":
    """The fast form of a tower, or None where its family or its device is not covered.

    Args:
        tower: a vision tower; its weights are copied, so later changes of it do not show.
        mean, std: of RGB in [0, 1], as its pixels are normalised.
        dtype: of weights and activations; None takes the tower's own on a GPU; on a CPU bfloat16 where the
            CPU has it and the tower is wide, else float32. Never float16 on a CPU, which has no fast form
            of it.

    Raises:
        ValueError: another dtype.
    """
    types = TYPES.get(tower.device.type)
    if types is None or not is_covered(tower.config):
        return None
    dtype = dtype or _usual_type(tower)
    if dtype not in types:
        known = " or ".join(str(one).removeprefix("torch.") for one in types)
        raise ValueError(f"dtype must be {known} on {tower.device.type}, got {dtype}: it is fast with these")
    return FastTower(tower, mean, std, dtype)


class FastTower:
    """What `vision_tower.frame_features` and `patch_features` give, straight from bytes; see `fast_tower`.

    Always `step` frames are encoded together, the last ones filled up, so that the feature of a frame never
    depends on its company. Frames may lie anywhere; what comes back lies where the tower does.
    """

    def __init__(self, tower: PreTrainedModel, mean: Triple, std: Triple, dtype: torch.dtype) -> None:
        config, family, record = tower.config, FAMILIES[type(tower.config)], tower_of(tower.config)
        self.dtype, self.device, self.compiled = dtype, tower.device, False
        self._prefix, patches = record.prefix(config), patch_count(config)
        self._normalises = record.normalises_patches
        on_cpu = self.device.type == "cpu"
        self.step = _frames_per_step(self._prefix + patches) if on_cpu else FRAMES_PER_GPU_STEP
        self._size = frame_size(config)
        conv = tower.get_submodule(family.patches)
        self._patch = tuple(conv.kernel_size)
        with torch.no_grad():
            self._first = _packed(_on_bytes(conv, std), self.step * patches, dtype)
            constant = tower.embeddings(_grey_frame(self._size, mean, std).to(conv.weight))
        # What does not depend on the pixels: [CLS], registers, positions, biases.
        self._constant = constant.to(dtype).repeat(self.step, 1, 1)
        rows, activation = self.step * (self._prefix + patches), ACTIVATIONS[config.hidden_act][0]
        self._layers = [
            _Layer(weights, config.num_attention_heads, activation, config.layer_norm_eps, rows, dtype)
            for weights in read_layers(tower)
        ]
        self._before = None if family.first is None else _Norm.of(tower.get_submodule(family.first), dtype)
        self._after = _Norm.of(tower.get_submodule(family.last), dtype)
        # SigLIP's, in the tower's own dtype.
        self._head: nn.Module | None = None if record.classes else tower.head
        self._first_pass: Callable[[Tensor], Tensor] = self._frames

    @property
    def feature_dtype(self) -> torch.dtype:
        """A type that holds every number of a frame's feature exactly."""
        return self.dtype if self._head is None else torch.float32

    def frame_features(self, frames: Tensor) -> Tensor:
        """(t, 3, H, W) uint8 -> (t, C) float32: what stands for each frame."""
        return self._by_steps(frames, self._first_pass)

    def compile(self, backend: str = "inductor") -> None:
        """Compile the first pass with `torch.compile`, and run it once: tens of seconds, once a process.

        Features then differ in their last bits from those of the tower that is not compiled.
        """
        self._first_pass = torch.compile(self._frames, fullgraph=True, dynamic=False, backend=backend)
        self.compiled = True
        self.frame_features(torch.zeros(1, 3, *self._size, dtype=torch.uint8))

    def patch_features(self, frames: Tensor, layer: Layer) -> Tensor:
        """(t, 3, H, W) uint8 -> (t, N, C) float32: the patches as they leave `layer`; later ones do not run.

        `layer` counts as in `hidden_states` of transformers: 0 is what enters the first layer, -1 what leaves
        the last one, and "final" is that behind the tower's last LayerNorm, where the patches have one.
        """
        depth = range(len(self._layers) + 1)[-1 if isinstance(layer, str) else layer]
        normed = layer == FINAL and self._normalises

        def patches(chunk: Tensor) -> Tensor:
            states = self._run(chunk, depth)
            return (self._after(states) if normed else states)[:, self._prefix :]

        return self._by_steps(frames, patches)

    def _by_steps(self, frames: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
        if frames.dtype != torch.uint8 or frames.shape[1:] != (3, *self._size) or not len(frames):
            raise ValueError(
                f"frames must be one or more of uint8 (3, {self._size[0]}, {self._size[1]}), "
                f"got {frames.dtype} of shape {tuple(frames.shape)}: resize them, and do not normalise"
            )
        found = []
        with torch.inference_mode():
            for chunk in torch.split(frames, self.step):
                missing = self.step - len(chunk)
                full = torch.cat([chunk, chunk[-1:].expand(missing, -1, -1, -1)]) if missing else chunk
                found.append(work(upload(full, self.device))[: len(chunk)].float())
        return torch.cat(found)

    def _frames(self, frames: Tensor) -> Tensor:
        if self._head is not None:
            states = self._after(self._run(frames, len(self._layers)))
            pooled: Tensor = self._head(states.to(self._head.get_parameter("probe").dtype))
            return pooled
        states = self._run(frames, len(self._layers) - 1)
        return self._after(self._layers[-1](states, first_only=True)[:, 0])

    def _run(self, frames: Tensor, depth: int) -> Tensor:
        x = self._embed(frames)
        for layer in self._layers[:depth]:
            x = layer(x)
        return x

    def _embed(self, frames: Tensor) -> Tensor:
        """(step, 3, H, W) uint8 -> (step, tokens, C), what enters the first layer."""
        (rows, columns), (high, wide) = self._patch, self._size
        down, across = high // rows, wide // columns
        whole = frames[..., : down * rows, : across * columns]  # what is left over is no patch
        grid = whole.reshape(len(frames), 3, down, rows, across, columns)
        cells = grid.permute(0, 2, 4, 1, 3, 5).reshape(len(frames), -1, 3 * rows * columns)
        x = self._constant.clone()
        x[:, self._prefix :] += self._first(cells.to(self.dtype).sub_(GREY))
        return x if self._before is None else self._before(x)


class _Layer:
    """One layer of the tower."""

    def __init__(
        self,
        weights: LayerWeights,
        heads: int,
        activation: Activation,
        epsilon: float,
        rows: int,
        dtype: torch.dtype,
    ) -> None:
        self._heads, self._activation = heads, activation
        self._norm1, self._norm2 = (_Norm(x, epsilon, dtype) for x in (weights.norm1, weights.norm2))
        products = (weights.qkv, weights.out, weights.fc1, weights.fc2)
        self._qkv, self._out, self._fc1, self._fc2 = (_packed(x, rows, dtype) for x in products)

    def __call__(self, x: Tensor, *, first_only: bool = False) -> Tensor:
        """(t, tokens, C) -> the same, or (t, 1, C): all attend, but only the first token is returned."""
        t, tokens, width = x.shape
        qkv = self._qkv(self._norm1(x)).view(t, tokens, 3, self._heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind()
        if first_only:
            x, seen = x[:, :1].contiguous(), _seen_by_first(q, k, v)
        else:
            seen = attention(q, k, v)
        x = self._out.add_to(x, seen.reshape(t, -1, width))
        return self._fc2.add_to(x, self._fc1(self._norm2(x), self._activation))


class _Norm:
    """LayerNorm over the channels."""

    def __init__(self, weights: Affine, epsilon: float, dtype: torch.dtype) -> None:
        self._weight, self._epsilon = weights.weight.to(dtype), epsilon
        self._bias = None if weights.bias is None else weights.bias.to(dtype)

    @classmethod
    def of(cls, norm: nn.LayerNorm, dtype: torch.dtype) -> "_Norm":
        return cls(Affine.of(norm), norm.eps, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self._weight.shape, self._weight, self._bias, self._epsilon)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (t, heads, tokens, d) each, without a graph -> (t, tokens, heads, d).

    torch's fused kernel, or, where that is slow, the same `in_steps`.

    Example:
        >>> x = torch.eye(2).view(1, 1, 2, 2)
        >>> attention(x, 1000 * x, x)[0, :, 0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if v.dtype == torch.bfloat16 and v.device.type == "cpu" and not has_amx():
        return in_steps(q, k, v)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def in_steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As `attention`; some heads at a time, so that their scores stay in the cache."""
    t, heads, tokens, width = q.shape
    count = t * heads
    exact_q, exact_k = (torch.empty(q.shape).copy_(x).view(count, tokens, width) for x in (q, k))
    exact_q.mul_(width**-0.5)
    values = v.contiguous().view(count, tokens, width)
    step = max(1, min(count, SCORES_AT_A_TIME // tokens**2))
    scores, weights = torch.empty(step, tokens, tokens), values.new_empty(step, tokens, tokens)
    found = torch.empty_like(values)
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        size = part.stop - start
        torch.bmm(exact_q[part], exact_k[part].mT, out=scores[:size])
        torch.softmax(scores[:size], dim=-1, out=scores[:size])
        torch.bmm(weights[:size].copy_(scores[:size]), values[part], out=found[part])
    return found.view(t, heads, tokens, width).transpose(1, 2)


def upload(frames: Tensor, device: torch.device) -> Tensor:
    """Frames on a device; to a GPU through page-locked memory, so that the copy does not block the caller.

    Example:
        >>> upload(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.device("cpu")).device.type
        'cpu'
    """
    if device.type == "cuda" and frames.device.type == "cpu":
        frames = frames.pin_memory()
    return frames.to(device, non_blocking=True)


@cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); others would only emulate it."""
    try:  # torch knows what a CPU has for half precision, and keeps the questions private
        return bool(torch.cpu._is_avx512_bf16_supported()) or has_amx()
    except AttributeError:  # another torch
        return False


@cache
def has_amx() -> bool:
    """Whether it does so in tiles, for which torch's fused attention in bfloat16 is made."""
    try:
        return bool(torch.cpu._is_amx_tile_supported())
    except AttributeError:  # another torch
        return False


def _seen_by_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of the first token, (t, heads, tokens, d) each -> (t, heads, d), as plain sums.

    For a single query the fused kernel's last bits depend on which thread runs it.
    """
    looks = (q[:, :, :1].float() * k).sum(dim=-1) / math.sqrt(q.shape[-1])
    return (looks.softmax(dim=-1)[..., None] * v).sum(dim=-2).to(q.dtype)


def _frames_per_step(tokens: int) -> int:
    """The largest power of two up to 16 whose tokens fit a step: it divides the chunks that come in."""
    step = MOST_FRAMES_PER_STEP
    while step > 1 and step * tokens > TOKENS_PER_STEP:
        step //= 2
    return step


def _usual_type(tower: PreTrainedModel) -> torch.dtype:
    if tower.device.type != "cpu":
        return tower.dtype
    wide = tower.config.hidden_size >= LEAST_WIDTH_FOR_BFLOAT16
    return torch.bfloat16 if wide and has_bfloat16() else torch.float32


def _packed(weights: Affine, rows: int, dtype: torch.dtype) -> PackedLinear:
    bias = None if weights.bias is None else weights.bias.to(dtype)
    packed = weights.weight.device.type == "cpu" and can_pack(dtype)
    return PackedLinear(weights.weight.to(dtype), bias, rows, packed=packed)


def _on_bytes(conv: nn.Conv2d, std: Triple) -> Affine:
    """The patches' convolution as one product, on bytes less GREY instead of normalised pixels."""
    per_byte = 1 / (255 * torch.tensor(std, device=conv.weight.device))
    return Affine((conv.weight.detach().float() * per_byte[:, None, None]).flatten(1), None)


def _grey_frame(size: tuple[int, int], mean: Triple, std: Triple) -> Tensor:
    """(1, 3, H, W): a frame whose every byte is GREY, normalised."""
    value = (GREY / 255 - torch.tensor(mean)) / torch.tensor(std)
    return value.view(1, 3, 1, 1).expand(1, 3, *size)
