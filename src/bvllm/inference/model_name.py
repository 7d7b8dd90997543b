"""Resolve a model's name to a folder or hub id, before anything heavy is imported."""

import difflib
import os
import re
from importlib.resources import files
from pathlib import Path

# Models inside the package, and what they are; the files of each are in assets/NAME.
PACKAGED = {
    "nano": "a B-VLLM",
    "llava-nano": "a small LLaVA-OneVision",
    "dynamic-nano": "a Dynamic-VLM, for any budget",
}
PRESETS = ("paper_7b",)  # configurations without weights, which can be counted
CONFIG = "config.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def resolve_model(name: str) -> str:
    """A folder, or a hub id, for the name of a model.

    Args:
        name: a key of `PACKAGED`, a folder in `save_pretrained` layout, or a hub id (owner/name).

    Raises:
        ValueError: it is none of these.
    """
    if name in PACKAGED:
        folder = _folder(name)
        if not (folder / CONFIG).is_file():
            raise ValueError(
                f"model must be one that is installed, got {name!r} without its files: "
                f"reinstall bvllm, or make it again with `bvllm train {name.replace('-', '_')}`"
            )
        return str(folder)
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, CONFIG)):
            raise ValueError(
                f"model must be a folder with a config.json in it, got {name!r} without one: "
                "name the folder that save_pretrained wrote"
            )
        return name
    if HUB_ID.fullmatch(name) and not os.path.exists(name):
        return name
    near = difflib.get_close_matches(name, PACKAGED, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "check the spelling"
    raise ValueError(
        f"model must be {', '.join(PACKAGED)}, a folder that is there or a hub id, got {name!r}: {hint}"
    )


def check_counted(name: str) -> None:
    """Refuse a name that no configuration can be read by.

    Raises:
        ValueError: it is no preset, and nothing that `resolve_model` knows.
    """
    if name not in PRESETS:
        resolve_model(name)


def packaged() -> list[str]:
    """Names of the models whose files are inside the package, as it is installed.

    Example:
        >>> packaged()[0]
        'nano'
    """
    return [name for name in PACKAGED if (_folder(name) / CONFIG).is_file()]


def _folder(name: str) -> Path:
    return Path(str(files("bvllm"))) / "assets" / name
