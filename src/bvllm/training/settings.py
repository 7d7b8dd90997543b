"""Define the typed settings of a training run: recipes, and `name=value` overrides.

`override` reads `alignment.lr=1e-4` and the like: dotted names to typed settings.
"""

import difflib
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
TRUE, FALSE, NONE = ("true", "yes", "on"), ("false", "no", "off"), ("none", "null", "")
Part = Literal[
    "frame_selector",
    "token_sampler",
    "compressor",
    "multi_modal_projector",
    "clock",
    "language_model",
    "vision_tower",
]
PARTS: tuple[Part, ...] = get_args(Part)
# A stage's rows: B-VLLM's two by the names of their data, Dynamic-VLM's by their own.
StageData = Literal["pretrain", "finetune", "projector", "captions", "images", "videos"]


@dataclass(frozen=True)
class ModelSettings:
    """Which parts the model is made of, and the paper's numbers.

    Attributes:
        vision, language_model: folder or hub id of released weights; None makes the tiny preset from random
            numbers.
        qformer: of an InstructBLIP, for both Q-Formers.
        qformer_tokenizer: the Q-Formers'; None takes the one inside `qformer`.
        num_selected_frames, tokens_per_frame, budget_tokens: L*, R and theta.
        tau, gamma, frame_feature, certainty, least_strength, second_choices, choice, select_frames,
            merge_frames, sample_tokens, merge_tokens, tokens_policy, time_channels, place_channels, clock,
            vision_feature_layer: see `BVLLMConfig`.
        connector: a baseline's bridge with its usual settings, "llama_vid" or "videollama2": with B-VLLM
            whole as it is, on the frames that B-VLLM chooses where `sample_tokens` is "none".
        adaptive_tokens: the older name of `tokens_policy="even"`.
    """

    vision: str | None = None
    language_model: str | None = None
    qformer: str | None = None
    qformer_tokenizer: str | None = None
    num_selected_frames: int = 32
    tokens_per_frame: int = 32
    budget_tokens: int = 512
    tau: float = 0.1
    gamma: float = 0.75
    frame_feature: Literal["cls", "mean", "max", "qformer", "cls_mean"] = "cls"
    certainty: float = 0.0
    least_strength: float = 0.0
    second_choices: float = 0.0
    choice: Literal["gumbel", "softmax"] = "gumbel"
    select_frames: str = "qformer"
    merge_frames: str = "similar"
    sample_tokens: str = "qformer"
    merge_tokens: str = "bipartite"
    tokens_policy: Literal["none", "even", "balanced", "quota", "content"] = "none"
    adaptive_tokens: bool = False
    time_channels: int = 0
    place_channels: int = 0
    clock: bool = True
    connector: Literal["none", "llama_vid", "videollama2"] = "none"
    vision_feature_layer: int | str = -2


@dataclass(frozen=True)
class DataSettings:
    """What is learned from.

    Attributes:
        pretrain, finetune: rows for alignment and for instruction tuning: files of rows, tar shards
            ("shards-*.tar"), or one stream ("hf://owner/name:split", "shards-*.tar.gz"); see docs/data.md.
        evaluate: files or shards of rows that are never trained on; none switches evaluation off.
        root: folder that media are named from; each file's own where None.
        pretrain_weights, finetune_weights: how often each file is drawn from, relative to its rows; 1 each
            where empty.
        fps: frames per second to sample.
        max_frames: of one video; a longer one is thinned evenly. None for any number.
        max_tokens: of one sequence, placeholders included; None for any number.
        learn: "all" answers of a row; the "last", whose question chose the frames; or "one" of them, drawn
            anew at each visit, with the frames of its own question.
        on_error: "skip" leaves invalid rows out and counts them; "raise" stops at the first.
        random_budget: fewest visual tokens per clip of a step, which draws its own budget between this and
            `model.budget_tokens`; None keeps the full budget. Evaluation always has the full one.
        window: rows of a stream that are shuffled together and held in memory.
        workers: processes that read ahead.
    """

    pretrain: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    root: str | None = None
    pretrain_weights: tuple[float, ...] = ()
    finetune_weights: tuple[float, ...] = ()
    fps: float = 1.0
    max_frames: int | None = None
    max_tokens: int | None = 2048
    learn: Literal["all", "last", "one"] = "all"
    on_error: Literal["skip", "raise"] = "skip"
    random_budget: int | None = None
    window: int = 256
    workers: int = 0


@dataclass(frozen=True)
class Rates:
    """Learning rates of single parts; where None, the stage's own."""

    frame_selector: float | None = None
    token_sampler: float | None = None
    compressor: float | None = None
    multi_modal_projector: float | None = None
    clock: float | None = None
    language_model: float | None = None
    vision_tower: float | None = None


@dataclass(frozen=True)
class StageSettings:
    """One stage of training.

    Attributes:
        trains: parts that learn; all else is frozen, a B-VLLM's vision tower always.
        lr: highest learning rate.
        schedule: how it falls after the warm-up.
        batch: rows of one optimizer step, over all processes and accumulation.
        epochs: how often the rows are seen, where `max_steps` is None.
        max_steps: optimizer steps.
        warmup: share of the steps over which the rate rises.
        weight_decay, clip: of AdamW, and the largest norm of a gradient.
        lora_rank, lora_alpha: adapters on the language model; with rank 0 its weights learn themselves.
        lora_dropout: of the adapters' input.
        rates: learning rates of single parts.
        patience: stop after so many evaluations without a better loss, and keep the best; None never stops.
    """

    trains: tuple[Part, ...]
    lr: float
    schedule: Literal["linear", "cosine", "constant"]
    batch: int
    epochs: float = 1.0
    max_steps: int | None = None
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    lora_rank: int = 0
    lora_alpha: int = 256
    lora_dropout: float = 0.0
    rates: Rates = field(default_factory=Rates)
    patience: int | None = None


@dataclass(frozen=True)
class RunSettings:
    """How a run is carried out; apart from `seed` and `precision`, none of it changes what is learned.

    Attributes:
        seed: decides the order of rows, fresh weights and all noise.
        precision: of the arithmetic; weights that learn are float32 in any case.
        per_device: rows that one process takes at a time.
        checkpointing: recompute activations in the backward pass.
        shard: "zero2" shards gradients and optimizer over the processes, "zero3" the weights, too; both are
            FSDP2. "none" keeps a full copy in each.
        save_every, evaluate_every: optimizer steps; evaluation falls on saved steps where `patience` is set.
        keep: checkpoints that stay, at least 2.
        print_every: steps between two lines of progress.
        report_to: trackers that transformers knows ("tensorboard", "wandb", ...).
        cpu: stay off an accelerator.
    """

    seed: int = 1
    precision: Literal["bf16", "fp32"] = "bf16"
    per_device: int = 4
    checkpointing: bool = True
    shard: Literal["none", "zero2", "zero3"] = "zero2"
    save_every: int = 200
    evaluate_every: int = 200
    keep: int = 2
    print_every: int = 10
    report_to: tuple[str, ...] = ()
    cpu: bool = False


class StageOf(NamedTuple):
    """A stage of a recipe.

    Attributes:
        name: of its settings and its folder.
        rows: what it learns from.
        own: its settings.
    """

    name: str
    rows: StageData
    own: StageSettings


@dataclass(frozen=True)
class Settings:
    """A whole run: a recipe with whatever was changed."""

    model: ModelSettings
    alignment: StageSettings
    instruction: StageSettings
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def stages(self) -> tuple[StageOf, ...]:
        """Stages in their order, with the rows that each learns from."""
        return (
            StageOf("alignment", "pretrain", self.alignment),
            StageOf("instruction", "finetune", self.instruction),
        )


@dataclass(frozen=True)
class WrappedSettings:
    """Which transformers video model learns (docs/hugging-face.md), and how its tokens are spent meanwhile.

    Attributes:
        name: folder or hub id.
        scorer, pipeline: what chooses frames, see `bvllm.balance`.
        budget_tokens, num_selected_frames: the most visual tokens and frames of a video.
    """

    name: str | None = None
    scorer: str | None = None
    pipeline: str | None = None
    budget_tokens: int = 1024
    num_selected_frames: int = 32


@dataclass(frozen=True)
class LoraSettings:
    """Adapters on the language model of a transformers video model, tuned on what a budget leaves."""

    model: WrappedSettings
    instruction: StageSettings
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @property
    def stages(self) -> tuple[StageOf, ...]:
        """The one stage."""
        return (StageOf("instruction", "finetune", self.instruction),)


AnySettings = Settings | LoraSettings

# Sec. 7.1: alignment trains the frame selector and the projector, instruction tuning all but the tower.
ALIGNED: tuple[Part, ...] = ("frame_selector", "multi_modal_projector")
TUNED: tuple[Part, ...] = (*ALIGNED, "token_sampler", "clock", "language_model")


def paper_7b() -> Settings:
    """The paper's run (arXiv 2412.09919, Sec. 7.1); what it does not tell: docs/training.md.

    For CLIP instead of EVA ViT-g: model.vision=openai/clip-vit-large-patch14-336
    model.vision_feature_layer=-2, which is the layer that LLaVA reads.
    """
    return Settings(
        model=ModelSettings(
            vision="Salesforce/instructblip-vicuna-7b",
            qformer="Salesforce/instructblip-vicuna-7b",
            language_model="Qwen/Qwen2-7B-Instruct",
            vision_feature_layer="final",
            clock=False,
        ),
        alignment=StageSettings(trains=ALIGNED, lr=1e-3, schedule="linear", batch=256),
        instruction=StageSettings(
            trains=TUNED,
            lr=1e-4,
            schedule="cosine",
            batch=128,
            lora_rank=128,
            lora_alpha=256,
            lora_dropout=0.05,
        ),
    )


def tiny() -> Settings:
    """Every step of the paper's run, on a model made from random numbers: a minute on two CPU cores."""
    return Settings(
        model=ModelSettings(num_selected_frames=8, tokens_per_frame=4, budget_tokens=16, time_channels=8),
        alignment=StageSettings(trains=ALIGNED, lr=1e-3, schedule="linear", batch=8, max_steps=20),
        instruction=StageSettings(
            trains=TUNED, lr=1e-3, schedule="cosine", batch=8, max_steps=20, lora_rank=8, lora_alpha=16
        ),
        run=RunSettings(
            precision="fp32", per_device=4, checkpointing=False, save_every=10, evaluate_every=10
        ),
    )


def lora() -> LoraSettings:
    """Adapters on every linear layer of the language model; rank and rates as PEFT's users choose them."""
    return LoraSettings(
        model=WrappedSettings(),
        instruction=StageSettings(
            trains=("language_model",), lr=1e-4, schedule="cosine", batch=16, lora_rank=16, lora_alpha=32
        ),
        data=DataSettings(learn="one", max_tokens=None),
        run=RunSettings(per_device=1),
    )


RECIPES: dict[str, Callable[[], Settings]] = {"paper_7b": paper_7b, "tiny": tiny}


def override(settings: T, words: Iterable[str]) -> T:
    """The same settings with some values changed.

    Args:
        settings: a frozen dataclass; fields may be dataclasses in turn.
        words: `name=value` with dotted names. Several values are separated by commas, `none` is no value.

    Raises:
        ValueError: a word without "=", an unknown name, or a value of another type.

    Example:
        >>> from bvllm.training.settings import DataSettings
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


def default_of(settings: object, name: str) -> object:
    """What a value is where nobody sets it, by its dotted name; `dataclasses.MISSING` where it must be set.

    Example:
        >>> from bvllm.training.settings import Rates
        >>> default_of(Rates(clock=0.1), "clock") is None
        True
    """
    *path, last = name.split(".")
    owner: Any = settings
    for step in path:
        owner = getattr(owner, step)
    return next(one.default for one in fields(owner) if one.name == last)


def flat(settings: object) -> dict[str, object]:
    """All values by their dotted names; tuples as lists, as JSON has them.

    Example:
        >>> from bvllm.training.settings import Rates
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
        if type(None) in inside and text.lower() in NONE:
            return None
        kinds = [k for k in inside if k is not type(None)]
        for one in kinds[:-1]:
            with suppress(ValueError):
                return _read(text, one, name)
        return _read(text, kinds[-1], name)
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
