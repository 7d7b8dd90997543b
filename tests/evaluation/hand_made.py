"""A Dynamic-VLM made by hand: it sees colours, prunes dark patches, and reads its tokens without learning."""

import torch
from torch import Tensor, nn

from bvllm.inference.dynamic import LoadedDynamic
from bvllm.model.dynamic import DynamicVLMConfig
from bvllm.stages.compressors import PruneCompressor
from tests.model import tiny

COLOURS = ("red", "green", "blue")
SIDE = 4  # pixels of a frame each way, in 2 x 2 patches
VISION = tiny.vision_config(image_size=SIDE, patch_size=2, hidden_size=3, num_attention_heads=1)


def scene(colours: str, places: str) -> Tensor:
    """(T, 3, 4, 4) frames, dark but for one patch each: its colour by first letter, its place 0..3."""
    frames = torch.zeros(len(colours), 3, SIDE, SIDE, dtype=torch.uint8)
    for frame, letter, place in zip(frames, colours, map(int, places), strict=True):
        row, column = 2 * (place // 2), 2 * (place % 2)
        frame["rgb".index(letter), row : row + 2, column : column + 2] = 255
    return frames


class HandModel(nn.Module):
    """What `LoadedDynamic` asks of a model: brightness scores patches, the projector changes nothing."""

    def __init__(self, compressor: str) -> None:
        super().__init__()
        self.config = DynamicVLMConfig(
            vision_config=VISION, text_config=tiny.text_config(), compressor=compressor, budget_tokens=64
        )
        self.compressor = PruneCompressor(3).eval()
        self.compressor.scorer = nn.Linear(3, 1)
        nn.init.ones_(self.compressor.scorer.weight)

    def compress(self, patches, grids, scored=None):
        return self.compressor(patches, grids, self.config.native_grid, scored)

    def project(self, features, seconds=None):
        return features


class HandMade(LoadedDynamic):
    """Answers "colour at N s" and "frames that are COLOUR" from the tokens it is given, by rule."""

    def __init__(self, compressor: str = "prune") -> None:
        super().__init__(HandModel(compressor), None, "hand-made")

    device = torch.device("cpu")
    frame_size = (SIDE, SIDE)
    patch_step = 1

    def frame_features(self, frames):
        return self.patch_features(frames).mean(dim=1)

    def feature_dtype(self, channels):
        return torch.float32

    def patch_features(self, frames):
        pooled = nn.functional.avg_pool2d(frames.float() / 255, 2)
        return pooled.flatten(2).transpose(1, 2)

    def generate(self, asked, visual, max_new_tokens, prompt=None, hear=None):
        return ""

    def option_scores(self, asked, visual, said, prompt=None):
        seen, seconds = visual.pooler_output[0], visual.tokens[0].seconds
        words = asked.question.stem.split()
        if words[0] == "colour":
            here = seen[seconds == float(words[2])].sum(dim=0)
            return [10 * float(here[COLOURS.index(option)]) for option in asked.question.options]
        count = int((seen[:, COLOURS.index(words[-1])] > 0.5).sum())
        return [10.0 * (option == str(count)) for option in asked.question.options]
