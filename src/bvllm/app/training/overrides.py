"""`alignment.lr=1e-4` and the like: dotted names to typed settings."""

import difflib
import types
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
TRUE, FALSE, NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null", "")


def override(settings: T, words: Iterable[str]) -> T:
    """The same settings with some values changed.

    Args:
        settings: a frozen dataclass; fields may be dataclasses in turn.
        words: `name=value` with dotted names. Several values are separated by commas, `none` is no value.

    Errors:
        ValueError for a word without "=", an unknown name, or a value of another type.

    Example:
        >>> from bvllm.app.training.settings import DataSettings
        >>> override(DataSettings(), ["pretrain=a.json,b.jsonl", "fps=2"]).pretrain
        ('a.json', 'b.jsonl')
    """
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise ValueError(
                f"a setting must be written name=value, got {word!r}: for example alignment.lr=1e-4"
            )
        known = list(names(settings))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
            raise ValueError(f"a setting must be one that exists, got {name!r}: {hint}")
        settings = _set(settings, name.split("."), value, name)
    return settings


def names(settings: object, before: str = "") -> Iterator[str]:
    """Dotted names of all values."""
    for name in [f.name for f in fields(settings)]:  # type: ignore[arg-type]
        value = getattr(settings, name)
        if is_dataclass(value):
            yield from names(value, f"{before}{name}.")
        else:
            yield before + name


def flat(settings: object) -> dict[str, object]:
    """All values by their dotted names; tuples as lists, as JSON has them.

    Example:
        >>> from bvllm.app.training.settings import Rates
        >>> flat(Rates(clock=0.1))["clock"]
        0.1
    """
    found: dict[str, object] = {}
    for name in names(settings):
        value: Any = settings
        for step in name.split("."):
            value = getattr(value, step)
        found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _set(settings: Any, path: list[str], value: str, name: str) -> Any:
    step, *rest = path
    if rest:
        changed = _set(getattr(settings, step), rest, value, name)
    else:
        changed = _read(value, get_type_hints(type(settings))[step], name)
    return replace(settings, **{step: changed})


def _read(text: str, kind: Any, name: str) -> Any:
    """The value that a word means, by the type of its field."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if text.lower() in NONE:
            return None
        return _read(text, next(k for k in inside if k is not type(None)), name)
    if origin is tuple:
        return tuple(_read(part, inside[0], name) for part in text.split(",") if part)
    if origin is Literal:
        if text not in inside:
            near = difflib.get_close_matches(text, inside, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "use one of these"
            raise ValueError(f"{name} must be one of {', '.join(inside)}, got {text!r}: {hint}")
        return text
    if kind is bool:
        if text.lower() not in TRUE + FALSE:
            raise ValueError(f"{name} must be true or false, got {text!r}: write one of them")
        return text.lower() in TRUE
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be of type {kind.__name__}, got {text!r}: change its value") from None
