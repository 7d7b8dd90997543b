"""Decide whether a model folder may run Python code of its own: never, unless `--trust-remote-code` says so.

transformers asks on the terminal where nobody decided, so every `from_pretrained` of this package passes
`**loading()` or `**loading_weights()`; a test reads the source for it.
"""

from typing import TypedDict

_allowed = False


class Loading(TypedDict):
    """What every `from_pretrained` gets."""

    trust_remote_code: bool


class LoadingWeights(Loading):
    """What every `from_pretrained` of weights gets: safetensors alone, since pickled weights run code."""

    use_safetensors: bool


def allow_remote_code() -> None:
    """Let model folders run their own code in this process, from now on: what `--trust-remote-code` does."""
    global _allowed
    _allowed = True


def loading() -> Loading:
    """Arguments for a configuration, a tokenizer or a processor."""
    return {"trust_remote_code": _allowed}


def loading_weights() -> LoadingWeights:
    """Arguments for weights."""
    return {"trust_remote_code": _allowed, "use_safetensors": True}
