"""Say how much frames bear on a question, by a model's own tower and the words that it was taught.

`bvllm train llava_nano` leaves a text side beside its model, a sum of word embeddings in the space of the
tower's [CLS] features; it does for that model what a CLIP does for a full-size one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.image_processing_utils import ImageProcessingMixin

from bvllm.common.trust import loading_weights
from bvllm.model.text_encoder import WORD_TOWER, TextEncoder


def has_words(folder: str) -> bool:
    """Whether a model's folder holds a text side of its tower."""
    return (Path(folder) / WORD_TOWER).is_file()


@dataclass(frozen=True)
class WordScorer:
    """Features of frames and of words in one space; how alike they are is a frame's relevance.

    Attributes:
        tower: with [CLS], frozen.
        words: the text side.
        mean, std: of RGB in [0, 1].
        name: what it was asked for by.
    """

    tower: PreTrainedModel
    words: TextEncoder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str

    @classmethod
    def load(cls, folder: str, device: torch.device, tower: PreTrainedModel | None = None) -> "WordScorer":
        """Read it from a model's folder; the tower may be there already."""
        if tower is None:
            model = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=torch.float32, **loading_weights()
            )
            tower = model.model.vision_tower
        told = _pixels_of(folder)
        words = TextEncoder.load(Path(folder)).to(device)
        return cls(tower.to(device).eval(), words, told[0], told[1], folder)

    @property
    def side(self) -> int:
        """Of the square that the tower sees."""
        return int(self.tower.config.image_size)

    @property
    def width(self) -> int:
        """C of its features."""
        return int(self.tower.config.hidden_size)

    def known(self, text: str) -> list[str]:
        """The words of a text that frames were taught by."""
        return self.words.known(text)

    @torch.inference_mode()
    def frame_features(self, frames: Tensor) -> Tensor:
        """(t, 3, H, W) uint8 -> (t, C) float32 of unit length, on the CPU."""
        small = functional.interpolate(frames, (self.side, self.side), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(x)[:, None, None] for x in (self.mean, self.std))
        pixels = ((small.float() / 255 - mean) / std).to(self.tower.device, self.tower.dtype)
        found = self.tower(pixel_values=pixels).pooler_output
        return functional.normalize(found.float(), dim=-1).cpu()

    @torch.inference_mode()
    def question_features(self, text: str) -> Tensor:
        """(C,) float32 of unit length; zeros where no word is known."""
        found: Tensor = self.words([text])[0]
        return found.cpu()

    def relevance(self, features: Tensor, text: str) -> Tensor:
        """(T,) how much frames bear on a question: cosines, moved to 0..1."""
        cosine = features.float() @ self.question_features(text)
        return (cosine + 1) / 2

    def digest(self) -> str:
        """SHA-256, as hex, of the tower's weights and of how pixels are normalised."""
        digest = hashlib.sha256(repr((self.mean, self.std, self.side)).encode())
        for name, value in sorted(self.tower.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _pixels_of(folder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    told, _ = ImageProcessingMixin.get_image_processor_dict(folder)
    return tuple(told["image_mean"]), tuple(told["image_std"])
