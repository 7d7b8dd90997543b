"""Check a model folder before and after its files are read: it is untrusted input."""

import json
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

SHOWN = 3
# A tokenizer's normaliser may write more than it reads; one that writes this many times as much is an attack.
MOST_GROWTH = 1000.0
MOST_JSON_BYTES = 64 << 20  # of one file: the largest released tokenizers have about 20 MB
READ = ("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json")
TOKENIZERS = ("", "qformer_tokenizer")


class ModelError(Exception):
    """A model that is named rightly but cannot be used; the message is one line."""


def check_folder(where: str) -> None:
    """Parse the small files of a folder, so that what is wrong names its file; a hub id is left to the hub.

    Raises:
        ValueError: a file is not JSON, holds no object, is too large, or a tokenizer would grow its input
            without bound.
    """
    if not os.path.isdir(where):
        return
    for name in (*READ, *(os.path.join(sub, "tokenizer_config.json") for sub in TOKENIZERS)):
        _object(where, name)
    for sub in TOKENIZERS:
        name = os.path.join(sub, "tokenizer.json")
        rules = _object(where, name)
        growth = normaliser_growth((rules or {}).get("normalizer"))
        if growth > MOST_GROWTH:
            raise ValueError(
                f"{name} must have a normalizer that grows a text at most {MOST_GROWTH:g} times, got "
                f"{growth:.3g} times: take the tokenizer from a source that you trust"
            )


def check_processor(said: Mapping[str, Any], wanted: str) -> None:
    """Refuse the processor of another model.

    Args:
        said: what the folder's processor_config.json holds.
        wanted: the name of the class that is loaded.

    Raises:
        ValueError: the file names another class.
    """
    named = said.get("processor_class", wanted)
    if named != wanted:
        raise ValueError(
            f"processor must be a {wanted}, got {named}: name the folder of a B-VLLM, or load that one with "
            "AutoProcessor"
        )


def check_placeholder(processor: int, config: int) -> None:
    """Refuse a processor that writes another placeholder than the model looks for.

    Raises:
        ValueError: the ids of the video token differ.
    """
    if processor != config:
        raise ValueError(
            f"config.json: video_token_id must be the processor's, {processor}, got {config}: bring the "
            "complete folder"
        )


def check_weights(report: Mapping[str, Any]) -> None:
    """Refuse weights that do not fill the model exactly.

    Args:
        report: of `from_pretrained(..., output_loading_info=True)`.

    Raises:
        ValueError: tensors are missing, left over, or of another shape.
    """
    faults = (
        ("missing", "missing_keys"),
        ("not of this model", "unexpected_keys"),
        ("of another shape", "mismatched_keys"),
    )
    for what, key in faults:
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in report.get(key) or ())
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ValueError(
                f"weights must fill the model exactly, got {', '.join(names[:SHOWN])}{more} {what}: "
                "bring the complete folder"
            )


def check_finite(model: nn.Module) -> None:
    """Refuse weights that are no numbers; reads every weight once.

    Raises:
        ValueError: a weight is NaN or infinite; names its tensor.
    """
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not bool(weight.isfinite().all()):
            raise ValueError(
                f"weights must be finite numbers, got NaN or infinity in {name}: the file is damaged, or the "
                "training diverged"
            )


def normaliser_growth(rules: object) -> float:
    """How many times as long a text may get, at most, in a tokenizer's normaliser.

    Example:
        >>> normaliser_growth({"type": "Replace", "pattern": {"String": "ab"}, "content": "aaaa"})
        2.0
    """
    if not isinstance(rules, dict):
        return 1.0
    if rules.get("type") == "Sequence":
        growth = 1.0
        inner = rules.get("normalizers")
        for one in inner if isinstance(inner, list) else ():
            growth *= normaliser_growth(one)
        return growth
    if rules.get("type") == "Replace":
        pattern, content = rules.get("pattern"), rules.get("content")
        found = pattern.get("String") if isinstance(pattern, dict) else None
        # A regular expression may match at every letter, and between two.
        shortest = len(found) if isinstance(found, str) and found else 0.5
        return max(1.0, len(content) / shortest) if isinstance(content, str) else 1.0
    if rules.get("type") == "Prepend":
        return max(1.0, float(len(str(rules.get("prepend", "")))))
    return 1.0


def _object(where: str, name: str) -> dict[str, Any] | None:
    """A JSON object of the folder; None where there is no such file."""
    path = os.path.join(where, name)
    if not os.path.exists(path):
        return None
    if os.path.getsize(path) > MOST_JSON_BYTES:
        raise ValueError(f"{name} must have at most {MOST_JSON_BYTES >> 20} MB, got more: replace it")
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be JSON, got {error}: replace it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} must hold a JSON object, got {type(found).__name__}: replace it")
    return found
