"""Say how much frames bear on a question, by a frozen model of images and text: CLIP or SigLIP."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipConfig,
    SiglipModel,
)
from transformers.image_processing_utils import ImageProcessingMixin
from transformers.image_utils import (
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from bvllm.common.trust import loading, loading_weights
from bvllm.model.folder import ModelError

# Families of the towers, with how their pixels are normalised where the folder does not say.
FAMILIES: dict[type[PreTrainedConfig], tuple[type[PreTrainedModel], tuple[float, ...], tuple[float, ...]]] = {
    CLIPConfig: (CLIPModel, tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD)),
    SiglipConfig: (SiglipModel, tuple(IMAGENET_STANDARD_MEAN), tuple(IMAGENET_STANDARD_STD)),
}


class Scorer(Protocol):
    """What says how much frames bear on a question.

    Attributes:
        name: what it was asked for by.
        width: C of its features.
    """

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...

    def known(self, text: str) -> list[str]:
        """What of a text means something to it, in order."""
        ...

    def frame_features(self, frames: Tensor) -> Tensor:
        """(t, 3, H, W) uint8 -> (t, C) float32 of unit length, on the CPU."""
        ...

    def question_features(self, text: str) -> Tensor:
        """(C,) float32 of unit length, in the space of the frames'."""
        ...

    def relevance(self, features: Tensor, text: str) -> Tensor:
        """(T,) how much frames bear on a question, in 0..1."""
        ...

    def digest(self) -> str:
        """The same only where the same frames give the same features."""
        ...


@dataclass(frozen=True)
class ImageTextScorer:
    """Features of frames and of questions in one space; how alike they are is a frame's relevance.

    Attributes:
        model: frozen.
        tokenizer: of its text side.
        mean, std: of RGB in [0, 1].
        name: what it was asked for by.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str

    @property
    def side(self) -> int:
        """Of the square that the tower sees."""
        return int(self.model.config.vision_config.image_size)

    @property
    def width(self) -> int:
        """C of its features."""
        return int(self.model.config.projection_dim)

    def known(self, text: str) -> list[str]:
        """The pieces of a text: words are cut, so all of it means something."""
        return list(self.tokenizer.tokenize(text))

    @torch.inference_mode()
    def frame_features(self, frames: Tensor) -> Tensor:
        """(t, 3, H, W) uint8 -> (t, C) float32 of unit length, on the CPU."""
        small = functional.interpolate(frames, (self.side, self.side), mode="bicubic", antialias=True)
        mean, std = (torch.tensor(x)[:, None, None] for x in (self.mean, self.std))
        pixels = ((small.float() / 255 - mean) / std).to(self.model.device, self.model.dtype)
        found = self.model.get_image_features(pixel_values=pixels).pooler_output
        return functional.normalize(found.float(), dim=-1).cpu()

    @torch.inference_mode()
    def question_features(self, text: str) -> Tensor:
        """(C,) float32 of unit length; words beyond the tower's positions are cut from the front."""
        most = int(self.model.config.text_config.max_position_embeddings)
        fixed = isinstance(self.model.config, SiglipConfig)  # it was trained on texts padded to its length
        self.tokenizer.truncation_side = "left"
        ids = self.tokenizer(
            text,
            truncation=True,
            max_length=most,
            padding="max_length" if fixed else False,
            return_tensors="pt",
        ).to(self.model.device)
        given = {
            name: ids[name]
            for name in ("input_ids", "attention_mask")
            if name in ids and not (fixed and name == "attention_mask")
        }
        found = self.model.get_text_features(**given).pooler_output
        return functional.normalize(found.float(), dim=-1)[0].cpu()

    def relevance(self, features: Tensor, text: str) -> Tensor:
        """(T,) how much frames bear on a question: cosines, moved to 0..1."""
        cosine = features.float() @ self.question_features(text)
        return (cosine + 1) / 2

    def digest(self) -> str:
        """SHA-256, as hex, of the weights of its vision side and of how pixels are normalised."""
        digest = hashlib.sha256(repr((self.mean, self.std, self.side)).encode())
        for name, value in sorted(self.model.state_dict().items()):
            if not name.startswith("text_model"):
                digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
                digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def load_scorer(name: str, device: torch.device) -> ImageTextScorer:
    """Load a scorer from a folder or a hub id.

    Raises:
        ModelError: it is of no family that can score, or cannot be read.
    """
    try:
        config = AutoConfig.from_pretrained(name, **loading())
    except (OSError, ValueError) as error:
        raise ModelError(f"scorer {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    if type(config) not in FAMILIES:
        known = ", ".join(str(kind.model_type) for kind in FAMILIES)
        raise ModelError(
            f"scorer {name!r} must be a model of images and text ({known}), got model_type "
            f"{config.model_type!r}: name another, for example openai/clip-vit-base-patch32"
        )
    kind, mean, std = FAMILIES[type(config)]
    try:
        model = kind.from_pretrained(name, config=config, dtype=torch.float32, **loading_weights())
        tokenizer = AutoTokenizer.from_pretrained(name, **loading())
    except (OSError, ValueError) as error:
        raise ModelError(f"scorer {name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    try:
        told, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        told = {}
    mean, std = tuple(told.get("image_mean", mean)), tuple(told.get("image_std", std))
    return ImageTextScorer(model.to(device).eval(), tokenizer, mean, std, name)
