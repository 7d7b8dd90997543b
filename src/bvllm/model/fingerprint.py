"""Fingerprint a vision tower: what its features depend on, so that an index knows whose they are."""

import hashlib
import json

import torch
from torch import Tensor, nn

from bvllm.model.configuration_bvllm import BVLLMConfig
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.fast_tower import FastTower
from bvllm.model.modeling_bvllm import BVLLMForConditionalGeneration
from bvllm.model.video_processing_bvllm import BVLLMVideoProcessor
from bvllm.model.vision_tower import config_of

# Goes up when the same tower gives other numbers: another attention, another type that features are kept in.
RECIPE = 2
# What a configuration says beside the architecture: where it came from, and how it is loaded.
NOT_ARCHITECTURE = {"transformers_version", "architectures", "dtype", "id2label", "label2id"}


def tower_fingerprint(
    model: BVLLMForConditionalGeneration | DynamicVLMForConditionalGeneration,
    normal: BVLLMVideoProcessor,
    fast: FastTower | None,
) -> str:
    """SHA-256, as hex, of the tower's configuration and weights, its normalisation, and how it is run.

    The type of the numbers and the form of the tower (stock or fast, on a CPU or not) are part of it: they
    move the last bits of a feature, and with them, once in a while, the choice of a frame. Reads all weights
    once, at gigabytes a second: ask for it once per model.
    """
    config, tower = model.config, model.vision_tower
    feature = config.frame_feature if isinstance(config, BVLLMConfig) else "cls"
    said: list[object] = [RECIPE, _architecture(config_of(tower).to_dict()), feature]
    said += [normal.image_mean, normal.image_std, model.device.type, str(model.dtype)]
    said += [None if fast is None else str(fast.dtype)]
    said += ["compiled"] * (fast is not None and fast.compiled)
    digest = hashlib.sha256()
    _add_weights(digest, tower)
    if isinstance(model, BVLLMForConditionalGeneration) and feature != "cls":
        said += [config.vision_feature_layer]
        if model.frame_reader is not None:
            _add_weights(digest, model.frame_reader)
    digest.update(json.dumps(said, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def weights_digest(module: nn.Module) -> str:
    """SHA-256, as hex, of a module's weights by name, type and shape; reads all of them once.

    Example:
        >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> weights_digest(one) == weights_digest(other), len(weights_digest(one))
        (False, 64)
    """
    digest = hashlib.sha256()
    _add_weights(digest, module)
    return digest.hexdigest()


def _architecture(config: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in config.items() if k not in NOT_ARCHITECTURE and not k.startswith("_")}


def _add_weights(digest: "hashlib._Hash", module: nn.Module) -> None:
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(_bytes_of(value))


def _bytes_of(value: Tensor) -> memoryview:
    if not value.numel():
        return memoryview(b"")
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
