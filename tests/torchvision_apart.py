"""Let this process find torchvision and its like, which stand apart from what is installed.

The processors of transformers' video models ask for torchvision, which bvllm never does. Its wheel is built
for CUDA and declares two operators that a CPU build of torch lacks, so it is installed into a folder of its
own (see the Makefile). It is found by a finder, not by `sys.path`, which worker processes inherit: they, and
commands that tests start, go on without it, as users' do.
"""

import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / "torchvision"
PACKAGES = ("torchvision", "timm", "num2words")


class Apart(MetaPathFinder):
    """Find the packages in the folder, and what is said of their versions."""

    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, [str(FOLDER)], target) if name in PACKAGES else None

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> Iterable[Distribution]:
        asked = None if context is None else context.name
        return MetadataPathFinder.find_distributions(
            DistributionFinder.Context(name=asked, path=[str(FOLDER)])
        )


if FOLDER.is_dir():
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.meta_path.append(Apart())
