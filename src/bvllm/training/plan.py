"""Count what a run would do and need; nothing is tried."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import torch

from bvllm.data.dialogue import Dialogue
from bvllm.data.faults import InvalidRow
from bvllm.data.mixture import Mixture
from bvllm.data.streams import StreamOrder
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.vision_tower import patch_count
from bvllm.stages.frame_grids import Grid
from bvllm.training.build import TrainedModel
from bvllm.training.checks import check_settings, rows_per_process
from bvllm.training.dynamic_build import dynamic_outline
from bvllm.training.dynamic_settings import DynamicSettings, EverySettings, StagedSettings
from bvllm.training.outline import outline
from bvllm.training.rows import order_of, random_frame_tokens
from bvllm.training.settings import StageSettings
from bvllm.training.stage import Stage
from bvllm.training.trainable import part_of, prepare, rate_of

LOOKED_AT = 200  # rows whose text is measured
LOOKED_AT_IN_STREAM = 20  # their media come along, perhaps over a network
TOKENS_PER_TIME = 5  # "120s: " and the separator, in a large vocabulary; an estimate
LETTERS_PER_TOKEN = 4  # of English in a large vocabulary; a guess that needs no tokenizer
MOMENTS_AND_GRADIENT = 3 * 4  # bytes of AdamW's two moments and the gradient, float32
STATES_PER_LAYER = 1  # with activation checkpointing: what enters a layer
STATES_INSIDE = (
    34  # values a token and width that a layer keeps for its backward pass (arXiv 2205.05198, Sec. 4)
)
LOGIT_BYTES = 2 + 4 + 4  # logits, their float32 copy and its gradient


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        name: of the stage.
        trained: weights that learn, by part.
        frozen: weights that do not.
        rows: of one epoch; None for a stream, whose length is unknown.
        steps, batch, accumulation: optimizer steps, rows of one, and batches of one process that make it up.
        tokens_per_row: placeholders at their most, and text, on average.
        weights, optimizer, activations: bytes of one process.
        rates: highest learning rate of each part that learns.
    """

    name: str
    trained: tuple[tuple[str, int], ...]
    frozen: int
    rows: int | None
    steps: int
    batch: int
    accumulation: int
    tokens_per_row: float
    weights: int
    optimizer: int
    activations: int
    rates: tuple[tuple[str, float], ...] = ()

    @property
    def learning(self) -> int:
        """Weights that learn."""
        return sum(count for _, count in self.trained)

    @property
    def tokens(self) -> int:
        """Tokens that the language model reads in the whole stage."""
        return round(self.steps * self.batch * self.tokens_per_row)

    @property
    def bytes(self) -> int:
        """Memory of one process, in all."""
        return self.weights + self.optimizer + self.activations


@dataclass(frozen=True)
class TrainingPlan:
    """A whole run.

    Attributes:
        stages: in their order.
        processes: that share the work.
        per_minute: bytes of patch features that a minute of video adds, while its frames are chosen from;
            None where none are chosen.
        reading: how a row is read, in words; of a Dynamic-VLM.
    """

    stages: tuple[StagePlan, ...]
    processes: int
    per_minute: int | None
    reading: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people."""
        return [
            *(line for stage in self.stages for line in _lines(stage, self.processes)),
            *self.reading,
            *(
                ()
                if self.per_minute is None
                else (f"a minute of video in a batch adds {_size(self.per_minute)} of patch features",)
            ),
            "tokens and activations are estimates; weights, gradients and optimizer are counted",
        ]


def plan(settings: StagedSettings, processes: int = 1) -> TrainingPlan:
    """Count what a run would do.

    Args:
        settings: a recipe with its overrides.
        processes: that would share the work.

    Raises:
        ValueError: settings that cannot be meant
        OSError: a part's configuration or a stream cannot be read.
    """
    check_settings(settings)
    data, found = settings.data, []
    for name, data_of, own in settings.stages:
        rows = order_of(settings, data_of)
        model: TrainedModel = (
            dynamic_outline(settings) if isinstance(settings, DynamicSettings) else outline(settings)
        )
        with torch.device("meta"):
            prepare(model, own, seed=0)
        found.append(_stage(Stage(name, settings, own, Path(name)), own, model, rows, processes))
    if isinstance(settings, DynamicSettings):
        assert isinstance(model, DynamicVLMForConditionalGeneration)  # its outline
        return TrainingPlan(tuple(found), processes, None, _reading(settings, model.config.native_grid))
    frame = patch_count(model.config.vision_config) * model.config.vision_config.hidden_size
    per_minute = round(60 * data.fps * frame * _bytes_of_frozen(settings))
    return TrainingPlan(tuple(found), processes, per_minute)


def _stage(
    stage: Stage,
    own: StageSettings,
    model: TrainedModel,
    rows: Mixture | StreamOrder,
    processes: int,
) -> StagePlan:
    learning: Counter[str] = Counter()
    frozen = 0
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            learning[str(part_of(name))] += weight.numel()
        else:
            frozen += weight.numel()
    weights, optimizer = _standing(stage.settings, sum(learning.values()), frozen, processes)
    tokens, longest = _tokens(model, rows)
    return StagePlan(
        stage.name,
        tuple(learning.items()),
        frozen,
        None if isinstance(rows, StreamOrder) else len(rows),
        stage.steps(rows),
        own.batch,
        rows_per_process(stage.name, own, stage.settings.run, processes),
        tokens,
        weights,
        optimizer,
        _activations(stage.settings, model, longest) + _tower_activations(stage.settings, own, model),
        tuple((part, rate_of(own, part)) for part in learning),
    )


def _reading(settings: DynamicSettings, native: Grid) -> tuple[str, ...]:
    """What a row of a Dynamic-VLM may cost, and how a step's tokens are drawn."""
    model, data = settings.model, settings.data
    most = model.max_frames if data.max_frames is None else min(data.max_frames, model.max_frames)
    context = "any length" if data.max_tokens is None else f"at most {data.max_tokens} tokens"
    draw = random_frame_tokens(settings, native)
    told = "each frame has its share of these"
    if draw is not None:
        how = "by side" if draw.by_side else "evenly"
        told = (
            f"a frame's drawn in each step, {how}, from {draw.fewest} to {native.cells} or its share of these"
        )
    return (
        f"a row: {context}, of them {model.budget_tokens} visual; {told}",
        f"a video: at most {most} frames" + (f" at {data.fps:g} a second" if data.fps else ""),
    )


def _standing(settings: EverySettings, learning: int, frozen: int, processes: int) -> tuple[int, int]:
    """Bytes of weights, and of gradients and moments, in one process."""
    low, run = _bytes_of_frozen(settings), settings.run
    if run.shard == "none" or processes == 1:
        return 4 * learning + low * frozen, MOMENTS_AND_GRADIENT * learning
    kept = (4 * learning + low * frozen) // processes
    gathered = low * (learning + frozen) if run.shard == "zero2" else 0
    return kept + gathered, MOMENTS_AND_GRADIENT * learning // processes


def _bytes_of_frozen(settings: EverySettings) -> int:
    return 2 if settings.run.precision == "bf16" else 4


def _activations(settings: EverySettings, model: TrainedModel, tokens: int) -> int:
    """Of the decoder and its logits; the rest is small beside them."""
    text, low = model.config.text_config, _bytes_of_frozen(settings)
    states = tokens * text.hidden_size * low
    layers = text.num_hidden_layers
    kept = STATES_PER_LAYER * layers + STATES_INSIDE if settings.run.checkpointing else STATES_INSIDE * layers
    return settings.run.per_device * (kept * states + tokens * text.vocab_size * LOGIT_BYTES)


def _tower_activations(settings: EverySettings, own: StageSettings, model: TrainedModel) -> int:
    """Of a tower that learns, for a video of the most frames."""
    if "vision_tower" not in own.trains or not isinstance(model, DynamicVLMForConditionalGeneration):
        return 0
    tower, run = model.config.vision_config, settings.run
    states = model.config.max_frames * patch_count(tower) * tower.hidden_size * _bytes_of_frozen(settings)
    layers = tower.num_hidden_layers
    kept = STATES_PER_LAYER * layers + STATES_INSIDE if run.checkpointing else STATES_INSIDE * layers
    return int(run.per_device * kept * states)


def _tokens(model: TrainedModel, rows: Mixture | StreamOrder) -> tuple[float, int]:
    """Tokens of a row, on average and at most, from some rows of the first epoch."""
    looked_at = LOOKED_AT_IN_STREAM if isinstance(rows, StreamOrder) else LOOKED_AT
    first = range(min(len(rows), looked_at))
    found = (row for position in first for row in islice(rows.candidates(position), 1))
    counts = [_tokens_of(row, model) for row in found if not isinstance(row, InvalidRow)]
    if not counts:
        raise ValueError(f"rows must be good ones, got {len(first)} bad ones at the start: mend the files")
    return sum(counts) / len(counts), max(counts)


def _tokens_of(row: Dialogue, model: TrainedModel) -> int:
    if isinstance(model, DynamicVLMForConditionalGeneration):
        config = model.config
        most = sum(1 if m.kind == "image" else config.max_frames for m in row.media)
        timed = TOKENS_PER_TIME * sum(config.max_frames for m in row.media if m.kind != "image")
        visual = min(most * config.native_grid.cells, config.budget_tokens) + (
            timed if config.timestamps else 0
        )
    else:
        slots = model.config.placeholders
        visual = sum(slots.count(1) if m.kind == "image" else slots.budget_tokens for m in row.media)
    return visual + sum(len(turn.text) for turn in row.turns) // LETTERS_PER_TOKEN


def _lines(stage: StagePlan, processes: int) -> list[str]:
    each = ", ".join(f"{part} {_count(n)}" for part, n in stage.trained)
    return [
        f"{stage.name}: {_count(stage.learning)} weights learn of {_count(stage.learning + stage.frozen)}",
        f"  {each}",
        f"  learning rate {', '.join(f'{part} {rate:g}' for part, rate in stage.rates)}",
        f"  {stage.steps} steps of {stage.batch} rows = {processes} processes x "
        f"{stage.batch // processes // stage.accumulation} rows x {stage.accumulation}; "
        + ("a stream" if stage.rows is None else f"{stage.rows} rows an epoch"),
        f"  {_count(stage.tokens)} tokens, {stage.tokens_per_row:.0f} a row",
        f"  {_size(stage.bytes)} a process: weights {_size(stage.weights)}, gradients and optimizer "
        f"{_size(stage.optimizer)}, activations about {_size(stage.activations)}",
    ]


def _count(number: float) -> str:
    return _scaled(number, ("", " thousand", " million", " billion"), 1000)


def _size(number: float) -> str:
    return _scaled(number, (" B", " KiB", " MiB", " GiB"), 1024)


def _scaled(number: float, units: Sequence[str], step: int) -> str:
    """Three digits that count, and a unit.

    Example:
        >>> _count(12), _count(323_000_000), _size(3 * 2**30)
        ('12', '323 million', '3.00 GiB')
    """
    limits = [step**k for k in range(len(units) + 1)]
    for unit, (low, high) in zip(units, pairwise(limits)):
        if number < high or unit == units[-1]:
            value = number / low
            digits = 0 if value >= 100 or low == 1 else 1 if value >= 10 else 2
            return f"{value:.{digits}f}{unit}"
    return str(number)
