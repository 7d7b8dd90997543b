"""Keep the features of all drawn frames on disk, so that every worker reads the same ones.

A bank is two files, one of each world: the tensors, and beside them what the frames show, as JSON. Pixels are
left out: what follows reads features alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bvllm.model import BVLLMModel
from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.nano.busy_pool import BusyPool, draw_busy_pool
from bvllm.nano.feature_cache import FeatureCache, encode_pixels
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.loop import Control
from bvllm.synthetic.busy.things import Scene, Thing
from bvllm.synthetic.needles import Caption, Needle, Picture, Sticker
from bvllm.synthetic.vocabulary import Split
from experiments.reproduction.scale import World

KINDS: dict[str, type[Needle]] = {kind.__name__: kind for kind in (Sticker, Caption, Picture)}
SHOWN = "shown"  # what the frames show, in the file's metadata
Fields = Mapping[str, object]


@dataclass(frozen=True)
class BankPlan:
    """What is drawn for one bank.

    Attributes:
        name: of its files.
        split: whose needles the plain world may show.
        scenes: of each world.
        seed: decides everything; scenes of the busy world are told apart by it alone.
    """

    name: str
    split: Split
    scenes: Mapping[World, int]
    seed: int

    def path(self, folder: Path, world: World) -> Path:
        """Where the frames of a world stand."""
        return folder / f"{self.name}-{world}.safetensors"

    def draw(self, folder: Path, world: World, model: BVLLMModel, *, workers: int, control: Control) -> None:
        """Draw the frames of a world, encode them and write them; under a temporary name first."""
        side, tell = model.config.vision_config.image_size, control.progress
        drawn = {"seed": self.seed, "image_size": side, "workers": workers, "tell": tell}
        if world == "plain":
            plain = draw_pool(self.scenes[world], split=self.split, **drawn)
            pixels, tensors = plain.pixels, {"progress": plain.progress, "scene": plain.scene}
            shown: list[object] = [
                None if n is None else [type(n).__name__, asdict(n)] for n in plain.needles
            ]
        else:
            busy = draw_busy_pool(self.scenes[world], **drawn)
            pixels, tensors = busy.pixels, {"first": torch.from_numpy(busy.first)}
            shown = [asdict(scene) for scene in busy.scenes]
        frames, patches = encode_pixels([pixels], model, mean=NANO_MEAN, std=NANO_STD, tell=tell)
        path = self.path(folder, world)
        scratch = path.with_suffix(".part")
        told = {SHOWN: json.dumps(shown)}
        save_file({"frames": frames, "patches": patches} | tensors, scratch, metadata=told)
        scratch.replace(path)

    def read(self, folder: Path) -> FeatureCache:
        """Both worlds' frames as `draw` wrote them: the same clips are made of the same rows."""
        shown, plain = _read(self.path(folder, "plain"))
        scenes, crowded = _read(self.path(folder, "busy"))
        needles = tuple(None if n is None else _needle(*n) for n in shown)
        pool = FrameDataset(torch.empty(0), needles, plain["progress"], plain["scene"])
        pixels = torch.empty(len(crowded["frames"]), 0, dtype=torch.uint8)  # none, of so many frames
        busy = BusyPool(pixels, tuple(map(_scene, scenes)), crowded["first"].numpy().astype(np.int64))
        frames = torch.cat([plain["frames"], crowded["frames"]])
        return FeatureCache.index(pool, frames, torch.cat([plain["patches"], crowded["patches"]]), busy)


def _read(path: Path) -> tuple[list, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return json.loads(file.metadata()[SHOWN]), tensors


def _needle(kind: str, fields: Fields) -> Needle:
    return KINDS[kind](**_untold(fields))


def _scene(fields: Mapping[str, list[Fields]]) -> Scene:
    things = tuple(Thing(**_untold(thing)) for thing in fields["things"])
    return Scene(**_untold(fields) | {"things": things})


def _untold(fields: Fields) -> dict[str, object]:
    """JSON knows lists alone."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
