"""Answer imports of the older `bvllm.app.ask`, `.evaluate`, `.indexed` and `.stream` for one release."""

import sys
import warnings
from importlib import import_module

__path__: list[str] = []  # makes `import bvllm.app.ask` look below this module
_MOVED = {
    "ask": "bvllm.inference.ask",
    "evaluate": "bvllm.evaluation.evaluate",
    "indexed": "bvllm.asking.indexed",
    "stream": "bvllm.inference.stream",
}

for _name, _home in _MOVED.items():
    sys.modules[f"{__name__}.{_name}"] = globals()[_name] = import_module(_home)
warnings.warn(
    "bvllm.app has moved: " + ", ".join(f"{name} to {home}" for name, home in _MOVED.items()),
    DeprecationWarning,
    stacklevel=2,
)
