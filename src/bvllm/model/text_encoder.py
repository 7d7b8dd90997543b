"""Embed a text as the sum of the words it knows: the small text side of a contrastive tower."""

import json
import math
import re
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

WORD_TOWER = "word_tower.safetensors"  # beside the weights of a model that has one
_WORD = re.compile(r"[a-z0-9]+")


class TextEncoder(nn.Module):
    """Texts in the space of the frame features, for search over videos that no question was put to yet.

    Order carries nothing here: what the frames of bvllm's own world show are sets of attributes.

    Args:
        vocabulary: the words that mean something; all others are passed over.
        width: C, channels of a frame feature.

    Example:
        >>> tower = TextEncoder(["red", "star"], 4)
        >>> tower.known("A red STAR, at night"), tower(["red star", "star red"]).shape
        (['red', 'star'], torch.Size([2, 4]))
    """

    def __init__(self, vocabulary: list[str], width: int) -> None:
        super().__init__()
        self.number = {word: k for k, word in enumerate(vocabulary)}
        self.table = nn.EmbeddingBag(len(vocabulary), width, mode="sum")
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def known(self, text: str) -> list[str]:
        """The words of a text that mean something here, in order."""
        return [word for word in _WORD.findall(text.lower()) if word in self.number]

    def forward(self, texts: list[str]) -> Tensor:
        """Texts -> (n, C) unit vectors; zeros for a text without a known word."""
        words = [[self.number[w] for w in self.known(text)] for text in texts]
        offsets = torch.tensor([0] + [len(w) for w in words[:-1]]).cumsum(0)
        return F.normalize(self.table(torch.tensor(sum(words, []), dtype=torch.long), offsets), dim=-1)

    def save(self, folder: Path) -> None:
        """Write `word_tower.safetensors` into a folder; the vocabulary travels in its header."""
        state = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        save_file(state, folder / WORD_TOWER, {"vocabulary": json.dumps(list(self.number))})

    @classmethod
    def load(cls, folder: Path) -> "TextEncoder":
        """Read it back; OSError where there is none."""
        with safe_open(folder / WORD_TOWER, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            tower = cls(json.loads(file.metadata()["vocabulary"]), state["table.weight"].shape[1])
        tower.load_state_dict(state)
        return tower.eval().requires_grad_(False)
