"""What a name in the settings stands for: a file of rows, tar shards, or a stream."""

import glob
import os
from collections.abc import Sequence
from typing import Literal

from bvllm.app.training.settings import DataSettings, Settings, StageSettings
from bvllm.data.hub import PREFIX, HubName, open_hub
from bvllm.data.mixture import Mixture, Part, Rows
from bvllm.data.readers import RowFile
from bvllm.data.shards import TarRows
from bvllm.data.stream_order import StreamOrder
from bvllm.data.streams import RowSource, TarSource

StageData = Literal["pretrain", "finetune"]
SHARDS = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def order_of(settings: Settings, stage: StageData) -> Mixture | StreamOrder:
    """The rows of a stage in the order of the run.

    Args:
        settings: whole, and checked.
        stage: whose.

    Errors:
        ValueError where a file holds no rows; OSError where a stream cannot be opened.
    """
    data = settings.data
    names, weights, own = of_stage(settings, stage)
    if not is_stream(names[0]):
        return Mixture(parts(names, weights, data.root), settings.run.seed)
    rows = (own.max_steps or 0) * own.batch  # a stream must come with max_steps
    return StreamOrder(open_stream(names[0]), names[0], rows, window=data.window, seed=settings.run.seed)


def of_stage(
    settings: Settings, stage: StageData
) -> tuple[tuple[str, ...], tuple[float, ...], StageSettings]:
    """Names, their weights, and the stage's own settings."""
    data: DataSettings = settings.data
    if stage == "pretrain":
        return data.pretrain, data.pretrain_weights, settings.alignment
    return data.finetune, data.finetune_weights, settings.instruction


def parts(names: Sequence[str], weights: Sequence[float], root: str | None) -> list[Part]:
    """Each name with its share of an epoch: its rows times its weight.

    Errors:
        ValueError where one holds no rows.
    """
    opened = [_open_rows(name, root) for name in names]
    shares = [None] * len(names) if not weights else [len(rows) * w for rows, w in zip(opened, weights)]
    return [Part(name, rows, share) for name, rows, share in zip(names, opened, shares)]


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

    Errors:
        ValueError for a name that is none; ImportError or OSError where the Hub cannot be read.
    """
    return open_hub(HubName.parse(name)) if name.startswith(PREFIX) else TarSource(files_of(name))


def _open_rows(name: str, root: str | None) -> Rows:
    return TarRows(files_of(name)) if name.endswith(SHARDS) else RowFile(name, root)
