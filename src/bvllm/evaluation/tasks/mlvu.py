"""Read MLVU's multiple-choice questions (arXiv 2406.04264): seven tasks on videos of minutes to hours."""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bvllm.data.form_faults import form_faults
from bvllm.evaluation.tasks.base import Item, Task, video_inside

OPEN_TASKS = ("sub_scene", "summary")  # replies in free words, which the authors let a language model judge


class MlvuRow(BaseModel):
    """One question, as the released JSON files hold it."""

    video: str
    duration: float
    question: str
    candidates: list[str]
    answer: str
    question_type: str


def read_mlvu(data: Path, media: Path | None) -> list[Item]:
    """Every multiple-choice question of the released development set.

    Layout: `json/1_plotQA.json` ... `json/7_*.json`, each a list, and `video/<number>_<task>/<file>`. The two
    open tasks are left out. An answer is the text of an option; two released questions are said to offer
    no right one; such a question counts as wrong. The mean over tasks (M-Avg) is the table's rows averaged.

    Not checked: the released files were not at hand; the layout is that of a review of them.

    Raises:
        ValueError: there are no such files, one is not as described, or a video lies elsewhere.
        FileNotFoundError: a video is missing.
    """
    files = sorted((data / "json").glob("*.json"))
    if not files:
        raise ValueError(
            f"data must be MLVU's folder with {MLVU.layout}, got {data}: name the folder above json/"
        )
    items = [item for file in files for item in _items(file, media or data / "video")]
    if not items:
        raise ValueError(f"data must hold a multiple-choice question, got none in {data}: add more of json/")
    return items


def _items(file: Path, root: Path) -> Iterator[Item]:
    try:
        rows = [MlvuRow.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        reason = form_faults(error) if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise ValueError(
            f"{file} must be a list of MLVU's questions, got {reason}: download it again"
        ) from error
    for number, row in enumerate(rows):
        if row.question_type in OPEN_TASKS:
            continue
        name = f"{file.stem}/{number}"
        right = [place for place, option in enumerate(row.candidates) if option == row.answer]
        yield Item(
            id=name,
            video=video_inside(root, f"{file.stem}/{row.video}", name),
            seconds=row.duration,
            question=row.question,
            options=tuple(row.candidates),
            answer=right[0] if right else None,
            task=row.question_type,
        )


MLVU = Task(
    "mlvu",
    "https://arxiv.org/abs/2406.04264",
    "json/<number>_<task>.json and video/<number>_<task>/",
    read_mlvu,
)
