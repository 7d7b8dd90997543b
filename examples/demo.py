"""The tour: make a ten-minute video that nobody has seen, ask it three questions, show what the answers rest on.

Everything goes through the command line, as a user would type it; each command is shown before it runs.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from bvllm.data.chat import Row, join_options, read_rows

FOLDER = Path("demo")
SECONDS = 600
QUESTIONS = 3
SEED = 7


def main() -> None:
    bvllm(
        "world",
        "make",
        "--out",
        FOLDER,
        "--split",
        "test",
        "--count",
        QUESTIONS,
        "--seconds",
        SECONDS,
        "--seed",
        SEED,
    )
    evidence = [ask(row, FOLDER / f"evidence-{n}.html") for n, row in enumerate(rows_of_the_world(), 1)]
    say("\nWhat the answers rest on (open in a browser):", *(f"  {path}" for path in evidence))


def rows_of_the_world() -> list[Row]:
    """The questions that came with the video, no more than three."""
    [file] = FOLDER.glob("*.jsonl")
    return read_rows(file)[:QUESTIONS]


def ask(row: Row, evidence: Path) -> Path:
    """Ask one question and say beside the answer what was put into the video, and when."""
    bvllm("ask", FOLDER / row.video, join_options(row.question, row.options), "--evidence", evidence)
    shown = ", ".join(f"{needle.name} at {needle.start:.0f}-{needle.end:.0f} s" for needle in row.needles)
    say(f"true answer: {row.open_answer} ({row.answer}); in the video: {shown}")
    return evidence


def bvllm(*words: object) -> None:
    """Run one command of the package, as typed in a shell; stop the tour where it fails."""
    line = [str(word) for word in words]
    say(f"\n$ bvllm {shlex.join(line)}")
    done = subprocess.run([sys.executable, "-m", "bvllm.cli", *line], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
