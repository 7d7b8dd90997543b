"""Define the settings of Dynamic-VLM's training: three stages, the first in two steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from bvllm.training.settings import (
    AnySettings,
    DataSettings,
    Part,
    Rates,
    RunSettings,
    Settings,
    StageOf,
    StageSettings,
)

VISION = "openai/clip-vit-large-patch14-336"
BRIDGE: tuple[Part, ...] = ("compressor", "multi_modal_projector")
ALL: tuple[Part, ...] = (*BRIDGE, "clock", "language_model", "vision_tower")
TOWER_RATE = 4e-6


@dataclass(frozen=True)
class DynamicModelSettings:
    """Which parts the model is made of, and the paper's numbers; see `DynamicVLMConfig`.

    Attributes:
        vision, language_model: folder or hub id of released weights; None makes a tiny model from random
            numbers.
    """

    vision: str | None = None
    language_model: str | None = None
    compressor: Literal["pool", "merge", "prune", "queries"] = "pool"
    allocation: Literal["mixed", "released"] = "mixed"
    budget_tokens: int = 12_000
    max_frames: int = 256
    vision_feature_layer: int | str = -2
    timestamps: bool = True
    clock: bool = False
    place_channels: int = 0


@dataclass(frozen=True)
class DynamicDataSettings(DataSettings):
    """What is learned from; `finetune` and `random_budget` are B-VLLM's.

    Attributes:
        image, video: rows of the second and third stage; see `DataSettings.pretrain`.
        image_weights, video_weights: how often each file is drawn from.
        max_tokens: the paper's context of the third stage.
        random_tokens: fewest tokens of a frame in a step, of a tower of 576 patches, scaled to the tower's
            own (of 64 patches 16 are 2). Each step draws a count between these and what the frames of a row
            may have, min(N_max / T, patches); None keeps each frame's share of the budget. The paper's is 16.
        by_side: draw the side of a square first, so that the native grid is trained as often as any; False is
            the paper's even draw of a count.
    """

    image: tuple[str, ...] = ()
    video: tuple[str, ...] = ()
    image_weights: tuple[float, ...] = ()
    video_weights: tuple[float, ...] = ()
    max_tokens: int | None = 16_384
    random_tokens: int | None = 16
    by_side: bool = True


@dataclass(frozen=True)
class DynamicSettings:
    """A whole run: a recipe with whatever was changed."""

    model: DynamicModelSettings
    projector: StageSettings
    captions: StageSettings
    images: StageSettings
    videos: StageSettings
    data: DynamicDataSettings = field(default_factory=DynamicDataSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def stages(self) -> tuple[StageOf, ...]:
        """Stages in their order, with the rows that each learns from."""
        return (
            StageOf("projector", "projector", self.projector),
            StageOf("captions", "captions", self.captions),
            StageOf("images", "images", self.images),
            StageOf("videos", "videos", self.videos),
        )


StagedSettings = Settings | DynamicSettings
EverySettings = AnySettings | DynamicSettings


def dynamic_7b() -> DynamicSettings:
    """The paper's run (Dynamic-VLM, arXiv 2412.09530), from the note: N_max 12 000, Qwen2.5-7B-Instruct.

    Batch sizes, schedules and the rate of the first step are not told there: LLaVA's.
    """
    return _paper("Qwen/Qwen2.5-7B-Instruct", 12_000)


def dynamic_14b() -> DynamicSettings:
    """The same with Qwen2.5-14B-Instruct and N_max 10 000."""
    return _paper("Qwen/Qwen2.5-14B-Instruct", 10_000)


def dynamic_tiny() -> DynamicSettings:
    """Every step of the paper's run, on a model made from random numbers: a minute on two CPU cores."""
    first = StageSettings(trains=BRIDGE, lr=1e-3, schedule="cosine", batch=8, max_steps=4)
    then = StageSettings(
        trains=ALL, lr=1e-3, schedule="cosine", batch=8, max_steps=4, rates=Rates(vision_tower=2e-4)
    )
    return DynamicSettings(
        DynamicModelSettings(budget_tokens=64, max_frames=16),
        projector=first,
        captions=then,
        images=then,
        videos=then,
        data=DynamicDataSettings(random_tokens=1),
        run=RunSettings(precision="fp32", per_device=4, checkpointing=False, save_every=2, evaluate_every=2),
    )


DYNAMIC_RECIPES: dict[str, Callable[[], DynamicSettings]] = {
    "dynamic_7b": dynamic_7b,
    "dynamic_14b": dynamic_14b,
    "dynamic_tiny": dynamic_tiny,
}


def _paper(language_model: str, budget_tokens: int) -> DynamicSettings:
    tuned = StageSettings(
        trains=ALL, lr=2e-5, schedule="cosine", batch=128, rates=Rates(vision_tower=TOWER_RATE)
    )
    return DynamicSettings(
        DynamicModelSettings(vision=VISION, language_model=language_model, budget_tokens=budget_tokens),
        projector=StageSettings(trains=BRIDGE, lr=1e-3, schedule="cosine", batch=256),
        captions=tuned,
        images=tuned,
        videos=tuned,
        run=RunSettings(per_device=1),
    )
