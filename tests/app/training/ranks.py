"""One process of several, as `python -m torch.distributed.run` starts it."""

import sys
from pathlib import Path

import torch

from bvllm.app.training.overrides import override
from bvllm.app.training.recipes import RECIPES
from bvllm.app.training.run import train
from tests.app.training.rows import open_drawn


def main(out: str, *words: str) -> None:
    torch.set_num_threads(1)
    settings = override(RECIPES["tiny"](), words)
    train(settings, Path(out), resume=True, log=lambda line: None, open_rows=open_drawn)


if __name__ == "__main__":
    main(*sys.argv[1:])
