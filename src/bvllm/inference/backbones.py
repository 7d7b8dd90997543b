"""Name the model families that can be asked about videos, and the function that loads each of them.

A family is one class with the methods of `bvllm.inference.model.VideoModel` and one line in this table;
docs/adding-a-model.md shows it step by step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol

import torch

from bvllm.common.text import first_sentence
from bvllm.inference.model import VideoModel
from bvllm.model.backbones.families import FAMILIES
from bvllm.model.folder import ModelError as ModelError

# `model_type` of config.json -> "module:function"; imported when a model of the family is loaded.
BACKBONES: dict[str, str] = {
    "bvllm": "bvllm.inference.loading:load_bvllm",
    "dynamic_vlm": "bvllm.inference.dynamic:load_dynamic",
}


class Loader(Protocol):
    """Load a model of one family."""

    def __call__(
        self, where: str, name: str, *, device: torch.device, fast: bool, compile: bool
    ) -> VideoModel:
        """Load the weights and the processor.

        Args:
            where: the folder, or the hub id.
            name: what the user called it.
            device: where it is to run.
            fast: encode frames with a faster form of the tower, where the family has one.
            compile: compile that form; a family that cannot raises ValueError.

        Raises:
            ModelError: the configuration or the weights cannot be read.
        """
        ...


def loader_of(model_type: object, name: str) -> Loader:
    """The function that loads a family.

    Args:
        model_type: as config.json has it.
        name: of the model, for the message.

    Raises:
        ModelError: no family has this type.
    """
    home = BACKBONES.get(model_type) if isinstance(model_type, str) else None
    if home is None:
        known = ", ".join((*BACKBONES, *FAMILIES))
        raise ModelError(
            f"model {name!r} must be of a family that bvllm can ask ({known}), got model_type "
            f"{model_type!r}: docs/adding-a-model.md says how to add one"
        )
    module, _, function = home.partition(":")
    loader: Loader = getattr(import_module(module), function)
    return loader


@contextmanager
def one_line(name: str, file: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while a model is read into a `ModelError` of one line.

    Args:
        name: what the user called the model.
        file: where the fault lies, for the message.
    """
    try:
        yield
    except (
        Exception
    ) as error:  # transformers, safetensors and the hub raise all kinds for a broken or absent model
        raise ModelError(f"model {name!r} cannot be loaded: {file}{first_sentence(error)}") from error
