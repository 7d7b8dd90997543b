"""Questions about long videos, answered on a fixed budget of visual tokens.

    from bvllm import ask, load_model
    model = load_model("nano")
    print(ask("video.mp4", "what colour is the star?", model, merge_tokens="tome").text)

Names load when they are used: importing the package costs nothing, and nothing is registered with
transformers (`import bvllm.hf` does that).
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bvllm.asking.indexed import indexed_video
    from bvllm.evaluation.evaluate import evaluate
    from bvllm.inference.answer import answer
    from bvllm.inference.ask import ask, chat
    from bvllm.inference.balance import balance
    from bvllm.inference.encode import encode_video
    from bvllm.inference.loading import load_model
    from bvllm.inference.session import Session
    from bvllm.inference.several import answer_several
    from bvllm.inference.stream import StreamBuffer
    from bvllm.methods import METHODS
    from bvllm.methods.names import MethodNames
    from bvllm.types import Budget

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Budget",
    "MethodNames",
    "Session",
    "StreamBuffer",
    "answer",
    "answer_several",
    "ask",
    "balance",
    "chat",
    "encode_video",
    "evaluate",
    "indexed_video",
    "load_model",
]

# Where each public name stands.
_HOMES = {
    "METHODS": "bvllm.methods",
    "Budget": "bvllm.types",
    "MethodNames": "bvllm.methods.names",
    "Session": "bvllm.inference.session",
    "StreamBuffer": "bvllm.inference.stream",
    "answer": "bvllm.inference.answer",
    "answer_several": "bvllm.inference.several",
    "ask": "bvllm.inference.ask",
    "balance": "bvllm.inference.balance",
    "chat": "bvllm.inference.ask",
    "encode_video": "bvllm.inference.encode",
    "evaluate": "bvllm.evaluation.evaluate",
    "indexed_video": "bvllm.asking.indexed",
    "load_model": "bvllm.inference.loading",
}


# Older public names, for one release.
_OLDER = {"VideoMemory": "StreamBuffer"}


def __getattr__(name: str) -> Any:
    if name in _OLDER:
        warnings.warn(f"bvllm.{name} is bvllm.{_OLDER[name]} now", DeprecationWarning, stacklevel=2)
        return __getattr__(_OLDER[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'bvllm' has no attribute {name!r}")
    from bvllm.common.torchvision_operators import declare_missing_operators

    declare_missing_operators()  # before transformers is imported
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
