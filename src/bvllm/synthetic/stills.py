"""Write pictures of busy scenes, and beside them one JSONL row per question.

`pictures.py` has nothing to do with it: it draws what the plain world inserts into videos.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bvllm.data.chat import Row
from bvllm.synthetic.busy.spatial import SPATIAL
from bvllm.synthetic.busy.timeline import fresh_scenes, plan_picture
from bvllm.synthetic.make import SPLIT_SEED, check_size, check_split, haystack_of, make_row, write_rows
from bvllm.synthetic.tasks import check_tasks
from bvllm.synthetic.vocabulary import Split

PICTURE_TASKS = (*SPATIAL, "description")  # what one look answers


def make_pictures(
    out: Path,
    *,
    split: Split,
    count: int,
    seed: int,
    tasks: list[str] | None = None,
    haystack: Path | None = None,
    size: tuple[int, int] = (320, 240),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` pictures of busy scenes, each with a question that it answers.

    The same arguments give the same pictures and rows.

    Args:
        out: folder; receives `SPLIT.jsonl` and `pictures/`.
        split: train, val or test: of busy scenes they differ in their seeds alone.
        count: how many pictures.
        seed: decides everything.
        tasks: names from `PICTURE_TASKS`, in turn; None is all but the further ones (`busy.further`).
        haystack: folder of real clips to take backgrounds from, or None for drawn ones.
        size: (width, height), both even.
        progress: called with (pictures done, count).

    Returns:
        The JSONL file, written last.

    Raises:
        ValueError: an argument is out of range.
    """
    check_split(split)
    check_size(size)
    for name, value, least in (("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}: use a larger number")
    wanted = list(SPATIAL) if tasks is None else tasks
    check_tasks(wanted, PICTURE_TASKS)
    haystack_of(haystack, seed, size)  # fail here, before anything is replaced
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    for left in (out / "pictures").glob(f"busy_{split}_{seed}_*.part"):  # by a run that was killed
        left.unlink(missing_ok=True)
    target = out / f"{split}.jsonl"
    target.unlink(missing_ok=True)  # names of pictures come again
    rows: list[Row] = []
    for number in range(count):
        rng = np.random.default_rng((seed, SPLIT_SEED[split], number))
        timeline = plan_picture(rng, wanted[number % len(wanted)], fresh_scenes(rng))
        hay_seed = int(rng.integers(2**31))
        behind = haystack_of(haystack, hay_seed, size)
        name = f"busy_{split}_{seed}_{number:05d}"
        path = out / "pictures" / f"{name}.png"
        scratch = path.with_suffix(f".{os.getpid()}.part")
        timeline.draw(behind.frame(0.0), 0.0).save(scratch, format="png")
        os.replace(scratch, path)
        row = make_row(name, f"pictures/{path.name}", split, timeline, timeline.questions[0], kind="image")
        rows.append(row)
        if progress is not None:
            progress(number + 1, count)
    return write_rows(target, rows)
