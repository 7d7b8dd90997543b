"""Find the video that an example works on: the one that is named, or one that is drawn."""

import sys
from pathlib import Path

from bvllm.data.chat import read_rows
from bvllm.synthetic.make import make_world

FOLDER = Path("demo/examples")


def video_and_question(seconds: float = 60) -> tuple[Path, str]:
    """The video and the question of the command line (`example.py VIDEO "question"`).

    Without them: a video of the synthetic world, drawn once, and a question about it; that world is all that
    the embedded model knows.
    """
    if len(sys.argv) == 3:
        return Path(sys.argv[1]), sys.argv[2]
    folder = FOLDER / f"{seconds:g}"
    rows = folder / "test.jsonl"
    if not rows.exists():
        make_world(folder, split="test", count=1, seconds=(seconds, seconds), seed=7, workers=1)
    row = read_rows(rows)[0]
    return folder / row.video, row.question
