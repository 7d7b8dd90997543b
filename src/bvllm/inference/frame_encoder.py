"""Show frames and pictures to a family's own processor and encoder, each alone."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin
from transformers.video_utils import VideoMetadata

from bvllm.model.backbones.families import Family, encode, encode_picture, family_of
from bvllm.model.backbones.several import picture_form

TICKS = 1000  # a second; frames are named to processors by whole ticks, so that the times they write are true


@dataclass(frozen=True)
class FrameEncoder:
    """The encoder of a family, as its own processor feeds it.

    Attributes:
        model, processor: of one family.
    """

    model: PreTrainedModel
    processor: ProcessorMixin

    @property
    def family(self) -> Family:
        return family_of(self.model.config)

    def frame(self, frame: Tensor) -> Tensor:
        """Visual tokens of one frame of a video, (1, 3, height, width) uint8 -> (1, N, D + ...)."""
        return encode(self.model, self.family, self.pixels(frame), 1)

    def picture(self, picture: Tensor) -> Tensor:
        """Visual tokens of one picture, in one view: (1, 3, height, width) uint8 -> (1, N, D + ...)."""
        form = picture_form(self.model.config)
        made = self.processor.image_processor(
            images=[[picture[0]] * form.copies], return_tensors="pt", **dict(form.settings)
        )
        pixels = self._taken(made, "get_image_features", "pixel_values")
        return encode_picture(self.model, self.family, pixels, form.copies, form.tail)

    def pixels(self, frame: Tensor) -> dict[str, Tensor]:
        """One frame as the model's own encoder takes it."""
        twice = frame.repeat(2, 1, 1, 1) if self.family.pairs else frame
        if self.family.pictures:
            made = self.processor.image_processor(images=list(frame), return_tensors="pt")
        else:
            made = self.processed_video(twice, torch.arange(len(twice)))
        pixels = self._taken(made, self.family.method, self.family.pixels)
        shown = pixels[self.family.pixels]
        pixels[self.family.pixels] = shown.flatten(0, 1) if self.family.flat else shown
        return pixels

    def _taken(self, made: Mapping[str, Any], method: str, name: str) -> dict[str, Tensor]:
        """What of a processor's outputs an encoder's method takes; its pixels go by `name`."""
        taken = inspect.signature(getattr(self.model.base_model, method)).parameters
        found = {
            name if key.startswith("pixel_values") else key: value.to(self.model.device)
            for key, value in made.items()
            if isinstance(value, Tensor)
        }
        found = {key: value for key, value in found.items() if key in taken}
        found[name] = found[name].to(self.model.dtype)
        return found

    def processed_video(self, frames: Tensor, ticks: Tensor) -> Mapping[str, Any]:
        """What the family's video processor makes of frames at these ticks."""
        made: Mapping[str, Any] = self.processor.video_processor(
            videos=[frames],
            do_sample_frames=False,
            video_metadata=[metadata(ticks, frames)],
            return_tensors="pt",
            **dict(self.family.settings),
        )
        return made


def metadata(ticks: Tensor, frames: Tensor) -> VideoMetadata:
    """What a processor is told of frames at these ticks."""
    last = int(ticks[-1])
    return VideoMetadata(
        total_num_frames=last + 1,
        fps=float(TICKS),
        width=frames.shape[-1],
        height=frames.shape[-2],
        duration=(last + 1) / TICKS,
        frames_indices=ticks.tolist(),
    )
