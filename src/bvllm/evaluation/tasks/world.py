"""Read the questions of the synthetic world, which `bvllm world make` writes."""

from pathlib import Path

from bvllm.data.chat import LETTERS, Row, read_rows
from bvllm.evaluation.tasks.base import Item, Task, video_inside

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.bz2", ".jsonl.xz")


def read_world(data: Path, media: Path | None) -> list[Item]:
    """Every row of a JSONL file, or of all files of a folder.

    Args:
        data: the file or the folder; rows name their videos from the file's folder.
        media: another folder that they are named from.

    Raises:
        ValueError: there is no JSONL file, a line is no row, a video lies elsewhere, or there are rows of
            several splits.
        FileNotFoundError: a video is missing.
    """
    inside = (
        sorted(file for ending in ENDINGS for file in data.glob(f"*{ending}")) if data.is_dir() else [data]
    )
    files = [file for file in inside if file.is_file()]
    if not files:
        raise ValueError(
            f"data must be a JSONL file or a folder that holds one, got {data}: run `bvllm world make` first"
        )
    rows = [(file.parent, row) for file in files for row in read_rows(file)]
    if not rows:
        raise ValueError(
            f"data must hold at least one question, got none in {data}: run `bvllm world make` again"
        )
    splits = sorted({row.split for _, row in rows})
    if len(splits) > 1:
        raise ValueError(
            f"data must be of one split, got {', '.join(splits)} in {data}: name the JSONL file of one"
        )
    return [
        Item(
            id=row.id,
            video=video_inside(media or folder, row.video, row.id),
            seconds=row.seconds,
            question=row.question,
            options=tuple(row.options),
            answer=LETTERS.index(row.answer),
            task=row.task,
            needles=tuple((needle.start, needle.end) for needle in row.needles),
            split=row.split,
            subtitles=_subtitles(row, media or folder),
            part=row.part,
        )
        for folder, row in rows
    ]


def _subtitles(row: Row, root: Path) -> Path | None:
    return None if row.subtitles is None else video_inside(root, row.subtitles, row.id, "subtitles")


WORLD = Task(
    "world", "ours", "SPLIT.jsonl and videos/ or pictures/, as `bvllm world make` writes them", read_world
)
