"""Read what the vision tower of a transformers video model attends to, for each visual token it makes.

A token is made of one patch or of several; its attention and its key are the means of theirs, by the same
pooling that made it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from bvllm.model.backbones.families import Family, encode, patches_across
from bvllm.model.tower_attention import WITH_CLS, TowerReader, lookers_of
from bvllm.stages.patch_signals import PatchSignals
from bvllm.stages.reading import Looker, Reading

# What is known of patches, in the tower's order (t, P, d), for tokens (t, N, d). Beside it: rows and columns
# of the tokens, and the model's configuration.
ToTokens = Callable[[Tensor, tuple[int, int], PreTrainedConfig], Tensor]


@dataclass(frozen=True)
class FamilyTower:
    """Where a family keeps its vision tower, and how it makes tokens of patches.

    Attributes:
        to_tokens: the family's pooling, for what is known of patches.
        name: of the tower in the base model.
        keeps_prefix: whether [CLS] is a token, too.
        layered: whether `vision_feature_layer` says which hidden state the patches are; else the last.
    """

    to_tokens: ToTokens
    name: str = "vision_tower"
    keeps_prefix: bool = False
    layered: bool = False


def by_grid(known: Tensor, grid: tuple[int, int], config: PreTrainedConfig) -> Tensor:
    """Patches that lie row by row, averaged over the cells of a smaller square grid."""
    tokens = grid[0] * grid[1]
    if known.shape[1] == tokens:
        return known
    return functional.adaptive_avg_pool2d(_as_picture(known, config), round(tokens**0.5)).flatten(2).mT


def bilinear(known: Tensor, grid: tuple[int, int], config: PreTrainedConfig) -> Tensor:
    """As LLaVA-OneVision pools its tokens, of which a square frame has a square."""
    side = round((grid[0] * grid[1]) ** 0.5)
    picture = functional.interpolate(_as_picture(known, config), size=(side, side), mode="bilinear")
    return picture.flatten(2).mT


def by_blocks(known: Tensor, grid: tuple[int, int], config: PreTrainedConfig) -> Tensor:
    """Patches that lie token by token."""
    return known.unflatten(1, (grid[0] * grid[1], -1)).mean(dim=2)


def by_windows(known: Tensor, grid: tuple[int, int], config: PreTrainedConfig) -> Tensor:
    """Patches that lie token by token, and tokens that lie window by window, as in Qwen2.5-VL."""
    vision = config.vision_config
    side = int(vision.window_size) // int(vision.spatial_merge_size) // int(vision.patch_size)
    return by_blocks(known, grid, config)[:, window_order(*grid, side).argsort().to(known.device)]


def window_order(rows: int, columns: int, side: int) -> Tensor:
    """(rows x columns) cells of a grid in the order of its windows, each read row by row.

    Example:
        >>> window_order(2, 3, side=2).tolist()
        [0, 1, 3, 4, 2, 5]
    """
    cells = torch.arange(rows * columns).view(rows, columns)
    windows = [part.flatten() for band in cells.split(side) for part in band.split(side, dim=1)]
    return torch.cat(windows)


def _as_picture(known: Tensor, config: PreTrainedConfig) -> Tensor:
    return known.mT.unflatten(2, (-1, patches_across(config)))


# By `model_type` of config.json; a family that is not here gives no attention.
TOWERS: dict[str, FamilyTower] = {
    "llava_onevision": FamilyTower(bilinear, layered=True),
    "llava_next_video": FamilyTower(by_grid, layered=True),
    "video_llava": FamilyTower(by_grid, "video_tower", keeps_prefix=True, layered=True),
    "internvl": FamilyTower(by_grid, layered=True),
    "smolvlm": FamilyTower(by_grid, "vision_model"),
    "gemma3": FamilyTower(by_grid),
    "video_llama_3": FamilyTower(by_blocks, "vision_model"),
    "qwen2_vl": FamilyTower(by_blocks, "visual"),
    "qwen2_5_vl": FamilyTower(by_windows, "visual"),
    "qwen3_vl": FamilyTower(by_blocks, "visual"),
}


def lookers_in(model: PreTrainedModel) -> frozenset[Looker]:
    """Whose attention can be read in a model's vision tower; nothing where it gives none."""
    tower = TOWERS.get(str(model.config.model_type))
    return frozenset() if tower is None else lookers_of(model.base_model.get_submodule(tower.name))


def encode_and_read(
    model: PreTrainedModel,
    family: Family,
    pixels: dict[str, Tensor],
    reading: Reading,
    grid_of: Callable[[int], tuple[int, int]],
) -> tuple[Tensor, PatchSignals]:
    """Visual tokens of one frame, (1, N, D + ...), and what its patches were attended to.

    Args:
        pixels: as `encode` takes them.
        grid_of: rows and columns of so many tokens of a frame.

    Raises:
        ValueError: the tower gives no such attention.
    """
    kind = str(model.config.model_type)
    if kind not in TOWERS:
        raise ValueError(f"model must give attention, got a {kind} that gives none: choose another method")
    record = TOWERS[kind]
    tower = model.base_model.get_submodule(record.name)
    assert isinstance(tower, PreTrainedModel)
    reader = TowerReader(tower, reading, _layer(model.config) if record.layered else -1)
    with reader.watching():
        tokens = encode(model, family, pixels, 1)
    prefix = 0 if record.keeps_prefix else int(tower.config.model_type in WITH_CLS)
    attention, keys = reader.read(prefix)
    grid = grid_of(tokens.shape[1])
    if attention is not None:
        attention = record.to_tokens(attention[..., None], grid, model.config)[..., 0]
    if keys is not None:
        keys = record.to_tokens(keys, grid, model.config)
    return tokens, PatchSignals(attention, keys)


def _layer(config: PreTrainedConfig) -> int:
    """The hidden state that the patches are; the last of several."""
    layer = config.vision_feature_layer
    return int(layer if isinstance(layer, int) else layer[-1])
