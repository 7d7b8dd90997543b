"""Measure whether a tower's patches keep their places: a linear probe reads row and column off each patch.

    python -m experiments.place_probe [MODEL] [--scenes 400] [--seed 78]

The probe is fitted by least squares on three quarters of the frames of busy scenes that no training uses, and
asked about the rest. An error as large as the spread of rows (or columns) is knowing nothing. Where the model
adds places (`place_channels`), patches are probed as its sampler reads them, too.
"""

import argparse

import torch
from torch import Tensor

from bvllm.inference.loading import load_model
from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.model.vision_tower import patch_columns
from bvllm.nano.busy_pool import draw_busy_pool
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import draw_pool


def probe(patches: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """The standard deviation of the probe's errors, and of the places: (2,) each, row and column, in patches.

    Args:
        patches: (F, N, C).
        columns: patches in a row of the grid.

    Example:
        >>> grid = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).expand(8, 4, 2)
        >>> errors, _ = probe(grid, columns=2)
        >>> bool((errors < 1e-5).all())
        True
    """
    number = torch.arange(patches.shape[1])
    places = torch.stack([number // columns, number % columns], dim=-1).float().expand(len(patches), -1, -1)
    seen = torch.cat([patches.float(), torch.ones(*patches.shape[:2], 1)], dim=-1)
    fitted = 3 * len(patches) // 4
    weights = torch.linalg.lstsq(seen[:fitted].flatten(0, 1), places[:fitted].flatten(0, 1)).solution
    errors = (seen[fitted:] @ weights - places[fitted:]).flatten(0, 1)
    return errors.square().mean(dim=0).sqrt(), places[0].std(dim=0, correction=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--seed", type=int, default=78)
    options = parser.parse_args()
    if options.scenes < 4:
        parser.error(f"--scenes must be at least 4, got {options.scenes}")
    model = load_model(options.model).model.float().eval()
    side, columns = model.config.vision_config.image_size, patch_columns(model.config.vision_config)
    none = draw_pool(1, split="test", seed=options.seed, image_size=side, workers=1)
    busy = draw_busy_pool(options.scenes, seed=options.seed, image_size=side)
    bank = FeatureCache.encode(none, model.model, mean=NANO_MEAN, std=NANO_STD, busy=busy)
    with torch.inference_mode():
        read = {"as the tower gives them": bank.patches.float()}
        if model.model.places is not None:
            read["with places"] = model.model.tell_places(bank.patches.float())
        for name, patches in read.items():
            (row, column), (rows, columns_spread) = probe(patches, columns)
            print(
                f"{len(patches)} frames {name}: row missed by {row:.2f} of {rows:.2f}, "
                f"column by {column:.2f} of {columns_spread:.2f} patches"
            )


if __name__ == "__main__":
    main()
