"""Let this process find torchvision, which stands apart from what is installed; imported for that alone."""

import sys
from pathlib import Path

import torch

# The processors of transformers' video models ask for torchvision, which bvllm never does. Its wheel is built
# for CUDA and declares two operators that a CPU build of torch lacks, so it stands apart (see the Makefile)
# and is found in this process alone: commands that tests start go on without it, as users' do.
FOLDER = Path(sys.prefix) / "torchvision"
if FOLDER.is_dir():
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.path.append(str(FOLDER))
