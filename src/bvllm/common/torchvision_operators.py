"""Let a torchvision whose compiled part cannot be loaded be imported all the same.

The processors of transformers' video models use torchvision's transforms, which are plain torch. The wheel of
the usual package index is built for CUDA: beside a CPU build of torch its compiled part does not load.
torchvision means to go on without it (`torchvision.extension`), but its import names two operators of that
part (`torchvision._meta_registrations`) and fails, and with it transformers, which imports whatever
torchvision there is. Here the two are declared, as torchvision declares them, and not defined: whoever calls
one (`torchvision.ops.nms`) hears torchvision's own error. A torchvision that fits is left alone.
"""

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

OPERATORS = ("nms", "qnms")  # which the import of torchvision 0.28 asks for
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
FOR_CUDA = re.compile(r"__version__ = '[^']*\+cu\d+'")
_declared: list[object] = []  # they go when what declared them goes


def declare_missing_operators() -> bool:
    """Declare what a torchvision built for CUDA lacks beside a CPU build of torch, before transformers asks.

    Without such a pair this reads two small files and imports nothing.

    Returns:
        Whether anything was declared.

    Example:
        >>> declare_missing_operators() and declare_missing_operators()  # once is enough
        False
    """
    folder = _folder("torchvision")
    if "torchvision" in sys.modules or folder is None or not _is_built_apart(folder):
        return False
    import torch

    try:
        torch.ops.load_library(str(folder / "_C.so"))  # type: ignore[no-untyped-call]
    except OSError:
        missing = [name for name in OPERATORS if not hasattr(torch.ops.torchvision, name)]
    else:
        return False
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(name + SCHEMA)  # type: ignore[no-untyped-call]
        _declared.append(library)
    return bool(missing)


def _is_built_apart(folder: Path) -> bool:
    """Whether torchvision in `folder` is built for CUDA and the torch that is installed is not."""
    torch_folder, version = _folder("torch"), folder / "version.py"
    if torch_folder is None or not version.is_file() or not FOR_CUDA.search(version.read_text()):
        return False
    return runpy.run_path(str(torch_folder / "version.py"))["cuda"] is None


def _folder(package: str) -> Path | None:
    """Where an installed package lies, without importing it."""
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent
