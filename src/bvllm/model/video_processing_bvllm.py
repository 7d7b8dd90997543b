"""Turn a video, a picture or frames into normalised pixels with seconds; no torchvision needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeGuard, Unpack, cast

import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedConfig
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin

from bvllm.model.vision_tower import CLIP_MEAN, CLIP_STD, Triple, frame_size, tower_of
from bvllm.video import FrameList, Limits, SamplingPlan, read_video
from bvllm.video.forms import AnySource, is_picture
from bvllm.video.inspection.frame_times import as_clip
from bvllm.video.part_words import VideoPart


@dataclass(frozen=True)
class PartOfSource:
    """A source of which a part is meant, that is sampled in its own way, or whose frames have times."""

    source: "VideoSource"
    part: VideoPart = VideoPart()  # noqa: RUF009 - frozen
    seconds: list[float] | None = None


VideoSource = AnySource | PartOfSource
NO_FLOAT64 = ("mps",)  # devices
FLOAT_CHUNK = 64  # frames turned to float at a time


class TimedFeature(BatchFeature):
    """A `BatchFeature` whose times no cast rounds: 700 whole seconds have 432 values in bfloat16.

    Example:
        >>> times, pixels = torch.tensor([85.25]), torch.zeros(1)
        >>> inputs = TimedFeature({"video_seconds": times, "pixel_values_videos": pixels})
        >>> cast = inputs.to(torch.bfloat16)
        >>> cast["video_seconds"].tolist(), cast["pixel_values_videos"].dtype
        ([85.25], torch.bfloat16)
    """

    def to(self, *args: Any, **kwargs: Any) -> "TimedFeature":
        """As upstream, but for `video_seconds`: only moved, and float32 where there is no float64."""
        seconds: Tensor | None = self.pop("video_seconds", None)
        super().to(*args, **kwargs)
        if seconds is not None:
            device = next(
                (value.device for value in self.values() if isinstance(value, Tensor)), seconds.device
            )
            self["video_seconds"] = (seconds.float() if device.type in NO_FLOAT64 else seconds).to(device)
        return self


class BVLLMVideosKwargs(VideosKwargs, total=False):  # type: ignore[call-arg]  # a TypedDict
    """What may be overridden when a saved processor is loaded."""

    max_frames: int | None


class Reading(TypedDict, total=False):
    """How sources are read: see `BVLLMVideoProcessor.preprocess`."""

    video_seconds: list[list[float]] | None
    fps: float | None
    max_frames: int | None
    num_frames: int | None
    limits: Limits | None


class BVLLMVideoProcessor(VideoProcessorMixin):
    """Decode, sample, resize to the tower's size, normalise.

    Frames are resized as uint8 with antialiasing while they are decoded, straight to `size`: the whole
    picture stays visible, at the price of its shape, and no crop hides what a question may ask about.

    Args:
        size: {"height": h, "width": w} of what the tower sees.
        image_mean, image_std: of RGB in [0, 1].
        fps: frames per second to sample from files; None keeps every frame. Bare frames are all kept.
        max_frames: at most so many frames of a file, evenly thinned; None for no limit.

    Outputs: `pixel_values_videos` (sum T_i, 3, h, w) float32, `video_num_frames` (B,) and `video_seconds`
    (sum T_i,) float64.

    Example:
        >>> processor = BVLLMVideoProcessor(size={"height": 8, "width": 8})
        >>> out = processor([torch.zeros(3, 3, 4, 4, dtype=torch.uint8)], video_seconds=[[0.0, 0.5, 2.0]])
        >>> tuple(out["pixel_values_videos"].shape), out["video_seconds"].tolist()
        ((3, 3, 8, 8), [0.0, 0.5, 2.0])
    """

    model_input_names = ["pixel_values_videos", "video_num_frames", "video_seconds"]
    valid_kwargs = BVLLMVideosKwargs
    fps: float | None = 1.0

    def __init__(
        self,
        size: dict[str, int] | None = None,
        image_mean: Triple | list[float] = CLIP_MEAN,
        image_std: Triple | list[float] = CLIP_STD,
        fps: float | None = 1.0,
        max_frames: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("video_processor_type", None)  # transformers writes it beside the settings
        super().__init__(**kwargs)
        self.size = {"height": 224, "width": 224} if size is None else dict(size)
        if set(self.size) != {"height", "width"} or min(self.size.values()) < 1:
            raise ValueError(
                f"size must hold a height and a width of at least 1, got {size}: use the tower's image_size"
            )
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.fps, self.max_frames = fps, max_frames

    @classmethod
    def for_tower(cls, config: PreTrainedConfig, *, fps: float | None = 1.0) -> "BVLLMVideoProcessor":
        """The processor that a vision tower was trained with."""
        height, width = frame_size(config)
        tower = tower_of(config)
        return cls({"height": height, "width": width}, tower.mean, tower.std, fps)

    def preprocess(
        self,
        videos: VideoSource | list[VideoSource],
        *,
        return_tensors: str | None = None,
        **reading: Unpack[Reading],
    ) -> BatchFeature:
        """Prepare a batch.

        Args:
            videos: sources: paths, bytes, binary files, `FrameList`s, frames (uint8, or floats in [0, 1]),
                lists of files of one frame each, or pictures. A picture becomes a clip of one frame.
            video_seconds: for sources that are bare frames, the time of each; one a second where None.
            fps, max_frames: instead of the processor's own.
            num_frames: so many frames of each file, spread evenly, whatever the rate.
            limits: what reading a file may cost.
            return_tensors: "pt", the only kind there is.

        Raises:
            ValueError: frames without their times, or an unknown kind of tensor; `bvllm.video.VideoError` for
                what is wrong with a file.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(
                f"return_tensors must be 'pt', got {return_tensors!r}: outputs are torch tensors"
            )
        return self.prepare(list(videos) if is_batch(videos) else [cast(VideoSource, videos)], **reading)

    def prepare(self, sources: Sequence[VideoSource], **reading: Unpack[Reading]) -> BatchFeature:
        """As `preprocess`, of a list of which every entry is one clip: pictures, too."""
        clips = self.read_all(sources, **reading)
        return TimedFeature(
            {
                "pixel_values_videos": self.normalise_clips([pixels for pixels, _ in clips]),
                "video_num_frames": torch.tensor([len(pixels) for pixels, _ in clips]),
                "video_seconds": torch.cat([seconds for _, seconds in clips]),
            }
        )

    def read_all(
        self,
        sources: Sequence[VideoSource],
        *,
        video_seconds: list[list[float]] | None = None,
        fps: float | None = None,
        max_frames: int | None = None,
        num_frames: int | None = None,
        limits: Limits | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """What `prepare` reads, not normalised yet: of each clip (T, 3, h, w) uint8 and (T,) seconds."""
        if video_seconds is not None and len(video_seconds) != len(sources):
            raise ValueError(
                f"video_seconds must be given for {len(sources)} videos, got {len(video_seconds)}: "
                "one row each"
            )
        plan = SamplingPlan(fps or self.fps, max_frames or self.max_frames)
        if num_frames is not None:
            if fps is not None or max_frames is not None:
                raise ValueError(
                    f"num_frames must stand alone, got {num_frames} beside fps or max_frames: leave out one"
                )
            plan = SamplingPlan(None, num_frames)
        rows: Sequence[list[float] | None] = video_seconds or [None] * len(sources)
        return [self.read(source, plan, limits or Limits(), row) for source, row in zip(sources, rows)]

    def read(
        self,
        source: VideoSource,
        plan: SamplingPlan,
        limits: Limits,
        seconds: list[float] | None = None,
        part: VideoPart = VideoPart(),  # noqa: B008 - frozen
    ) -> tuple[Tensor, Tensor]:
        """One clip: (T, 3, h, w) uint8 at the tower's size, and (T,) seconds."""
        if isinstance(source, PartOfSource):
            return self.read(source.source, plan, limits, source.seconds or seconds, source.part)
        step = 1.0 if self.fps is None else 1.0 / self.fps
        found, part = as_clip(source, part, seconds=seconds, step=step, limits=limits)
        if isinstance(found, FrameList):  # what the caller picked is not sampled again
            plan = SamplingPlan(fps=None)
        plan = part.plan(plan)
        with read_video(found, plan, limits, (self.size["height"], self.size["width"])) as stream:
            chunks = list(stream)
        return torch.cat([c.pixels for c in chunks]), torch.cat([c.seconds for c in chunks])

    def normalise(self, pixels: Tensor) -> Tensor:
        """(T, 3, h, w) uint8 -> float32 as the tower expects it."""
        return self.normalise_clips([pixels])

    def normalise_clips(self, clips: Sequence[Tensor]) -> Tensor:
        """(T_i, 3, h, w) uint8 of each clip -> (sum T_i, 3, h, w) float32, written once and never copied."""
        first = clips[0]
        mean = torch.tensor(self.image_mean, device=first.device).view(-1, 1, 1)
        std = torch.tensor(self.image_std, device=first.device).view(-1, 1, 1)
        out = first.new_empty(sum(map(len, clips)), *first.shape[1:], dtype=torch.float32)
        start = 0
        for pixels in clips:
            for chunk in pixels.split(FLOAT_CHUNK):
                torch.div(chunk.float() / 255 - mean, std, out=out[start : start + len(chunk)])
                start += len(chunk)
        return out


def is_batch(videos: object) -> TypeGuard["list[VideoSource]"]:
    """Whether this is a list of sources; a list of pictures is one clip."""
    return isinstance(videos, list | tuple) and not all(is_picture(v) for v in videos)
