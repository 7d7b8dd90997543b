"""Stored outputs of the authors' own modules, where the checkout has them beside it."""

from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parents[4] / "shared" / "golden"


class Golden(NamedTuple):
    weights: dict[str, Tensor]
    data: dict[str, Tensor]


def load(name: str) -> Golden:
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")
    stored = load_file(path)
    weights = {k.removeprefix("weights."): v for k, v in stored.items() if k.startswith("weights.")}
    return Golden(weights, {k: v for k, v in stored.items() if not k.startswith("weights.")})
