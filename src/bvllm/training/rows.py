"""Open what a stage learns from: the files, shards or streams that the settings name."""

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from bvllm.data.budget import RandomBudget, RandomFrameTokens
from bvllm.data.collate import Collator
from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRowLog
from bvllm.data.hub import PREFIX, HubName, open_hub
from bvllm.data.mixture import Mixture, Rows, RowSet
from bvllm.data.readers import RowFile
from bvllm.data.shards import TarRows
from bvllm.data.streams import RowSource, StreamOrder, TarSource
from bvllm.data.training_set import TrainingSet
from bvllm.model import BVLLMProcessor
from bvllm.model.dynamic import DynamicVLMProcessor
from bvllm.stages.frame_grids import Grid
from bvllm.training.dynamic_settings import DynamicSettings, EverySettings
from bvllm.training.settings import AnySettings, StageData, StageSettings

Collate = Callable[[Sequence[Any]], dict[str, Tensor]]
FAULTS = "faults.jsonl"
PAPER_PATCHES = 576  # of Dynamic-VLM's tower, for which `random_tokens` is given
SHARDS = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Positions(Protocol):
    """Rows by their place in a run: `len` is one epoch, places go on beyond it.

    The same place must give the same row, whatever was read before: then nothing of the order has to be kept
    for a run that goes on, and the rows of a step are the same for any number of processes.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Any: ...


@dataclass(frozen=True)
class Corpus:
    """All that a stage reads.

    Attributes:
        train: rows to learn from.
        collate: rows to the model's inputs with `labels`; a function of the rows alone.
        evaluate: rows that are not learned from; None switches evaluation off.
        order: what the order of the rows follows from; a run goes on with no other.
        report: says which rows were left out so far.
    """

    train: Positions
    collate: Collate
    evaluate: Positions | None = None
    order: dict[str, object] = field(default_factory=dict)
    report: Callable[[], str] | None = None


def open_corpus(settings: EverySettings, stage: StageData, processor: BVLLMProcessor, folder: Path) -> Corpus:
    """The rows of a stage.

    Args:
        settings: whole.
        stage: whose.
        processor: the model's.
        folder: of the stage; invalid rows are listed in it.

    Raises:
        ValueError: a file holds no rows
        OSError: a stream cannot be opened.
    """
    data = settings.data
    encoder = Encoder(processor, max_tokens=data.max_tokens, max_frames=data.max_frames, learn=data.learn)
    faults = InvalidRowLog(data.on_error, folder / FAULTS)
    order, budget = order_of(settings, stage), _draw(settings, processor)
    per_step = None if budget is None else of_stage(settings, stage)[2].batch
    train = TrainingSet(order, encoder, faults, budget=budget, rows_per_step=per_step)
    evaluate = None
    if data.evaluate:
        seen = Mixture(parts(data.evaluate, (), data.root), shuffle=False)
        evaluate = TrainingSet(seen, encoder, faults)
    return Corpus(train, Collator(processor), evaluate, order.state_dict(), faults.summary)


def random_budget(settings: AnySettings) -> RandomBudget | None:
    """What draws the budget of each step; None where all steps have the model's own."""
    fewest = settings.data.random_budget
    if fewest is None:
        return None
    return RandomBudget(fewest, settings.model.budget_tokens, settings.run.seed)


def random_frame_tokens(settings: DynamicSettings, native: Grid) -> RandomFrameTokens | None:
    """What draws the tokens of a frame for each step; None where each has its share of the budget.

    The fewest are scaled from the paper's tower to this one: 16 of 576 patches are 2 of 64.
    """
    fewest = settings.data.random_tokens
    if fewest is None:
        return None
    scaled = max(1, min(round(fewest * native.cells / PAPER_PATCHES), native.cells))
    return RandomFrameTokens(scaled, native, settings.run.seed, by_side=settings.data.by_side)


def order_of(settings: EverySettings, stage: StageData) -> Mixture | StreamOrder:
    """The rows of a stage in the order of the run.

    Args:
        settings: whole, and checked.
        stage: whose.

    Raises:
        ValueError: a file holds no rows
        OSError: a stream cannot be opened.
    """
    data = settings.data
    names, weights, own = of_stage(settings, stage)
    if not is_stream(names[0]):
        return Mixture(parts(names, weights, data.root), settings.run.seed)
    rows = (own.max_steps or 0) * own.batch  # a stream must come with max_steps
    return StreamOrder(open_stream(names[0]), names[0], rows, window=data.window, seed=settings.run.seed)


def of_stage(
    settings: EverySettings, stage: StageData
) -> tuple[tuple[str, ...], tuple[float, ...], StageSettings]:
    """Names, their weights, and the stage's own settings."""
    own = next(one.own for one in settings.stages if one.rows == stage)
    data = settings.data
    if stage == "finetune":
        return data.finetune, data.finetune_weights, own
    if isinstance(settings, DynamicSettings) and stage in ("images", "videos"):
        pictures = stage == "images"
        names = settings.data.image if pictures else settings.data.video
        return names, settings.data.image_weights if pictures else settings.data.video_weights, own
    return data.pretrain, data.pretrain_weights, own


def parts(names: Sequence[str], weights: Sequence[float], root: str | None) -> list[RowSet]:
    """Each name with its share of an epoch: its rows times its weight.

    Raises:
        ValueError: one holds no rows.
    """
    opened = [_open_rows(name, root) for name in names]
    shares = [None] * len(names) if not weights else [len(rows) * w for rows, w in zip(opened, weights)]
    return [RowSet(name, rows, share) for name, rows, share in zip(names, opened, shares)]


def is_stream(name: str) -> bool:
    """Whether rows can only be read from front to back: on the Hub, and in compressed shards.

    Example:
        >>> is_stream("hf://owner/name:train"), is_stream("0.tar.gz"), is_stream("0.tar")
        (True, True, False)
    """
    return name.startswith(PREFIX) or name.endswith(COMPRESSED)


def files_of(name: str) -> list[str]:
    """The files that a name on the disk stands for, in order; shards may be named with * and ?."""
    if os.path.isfile(name):
        return [name]
    if not name.endswith((SHARDS, *COMPRESSED)):
        return []
    return sorted(file for file in glob.glob(name) if os.path.isfile(file))


def open_stream(name: str) -> RowSource:
    """What a stream's name stands for.

    Raises:
        ValueError: the name is none.
        ImportError: the Hub needs a package that is not installed.
        OSError: the Hub cannot be read.
    """
    return open_hub(HubName.parse(name)) if name.startswith(PREFIX) else TarSource(files_of(name))


def _draw(settings: EverySettings, processor: BVLLMProcessor) -> RandomBudget | RandomFrameTokens | None:
    if not isinstance(settings, DynamicSettings):
        return random_budget(settings)
    assert isinstance(processor, DynamicVLMProcessor)  # the settings' own
    return random_frame_tokens(settings, Grid(*processor.native_grid))


def _open_rows(name: str, root: str | None) -> Rows:
    return TarRows(files_of(name)) if name.endswith(SHARDS) else RowFile(name, root)
