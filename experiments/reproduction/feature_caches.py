"""Keep the features of all drawn frames on disk, so that every worker reads the same ones."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bvllm.model import BVLLMModel
from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.loop import Control
from bvllm.synthetic.needles import Caption, Needle, Picture, Sticker
from bvllm.synthetic.vocabulary import Split

KINDS: dict[str, type[Needle]] = {kind.__name__: kind for kind in (Sticker, Caption, Picture)}


def draw_bank(
    path: Path, model: BVLLMModel, *, split: Split, scenes: int, seed: int, workers: int, control: Control
) -> None:
    """Draw a pool, encode it and write it; under a temporary name first."""
    side = model.config.vision_config.image_size
    pool = draw_pool(scenes, split=split, seed=seed, image_size=side, workers=workers, tell=control.progress)
    bank = FeatureCache.encode(pool, model, mean=NANO_MEAN, std=NANO_STD, tell=control.progress)
    needles = [None if n is None else [type(n).__name__, asdict(n)] for n in pool.needles]
    tensors = {"frames": bank.frames, "patches": bank.patches, "progress": pool.progress, "scene": pool.scene}
    scratch = path.with_suffix(".part")
    save_file(tensors, scratch, metadata={"needles": json.dumps(needles)})
    scratch.replace(path)


def read_bank(path: Path) -> FeatureCache:
    """A bank as `draw_bank` wrote it, but for the pixels, which nobody needs any more."""
    with safe_open(path, framework="pt") as file:
        needles = json.loads(file.metadata()["needles"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    shown = tuple(None if n is None else _needle(*n) for n in needles)
    pool = FrameDataset(torch.empty(0), shown, tensors["progress"], tensors["scene"])
    return FeatureCache.index(pool, tensors["frames"], tensors["patches"])


def _needle(kind: str, fields: dict[str, object]) -> Needle:
    return KINDS[kind](**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
