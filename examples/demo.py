"""A tour: make a ten-minute video, ask it three questions, show what the answers rest on.

Everything goes through the command line, as a user would type it; each command is shown before it runs.
"""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from bvllm.data.chat import Row, read_rows

FOLDER = Path("demo")
SPLIT = "test"  # combinations that the embedded model never saw in training
SECONDS = 600
SEED = 7
# One question each: a word to read, a picture to name, a moment to find.
TASKS = ("retrieval_edit", "retrieval_insert1", "when")


def main() -> None:
    place = ["--out", FOLDER, "--split", SPLIT, "--count", 1, "--seconds", SECONDS, "--seed", SEED]
    bvllm("world", "make", *place, "--tasks", ",".join(TASKS))
    shutil.copy(
        FOLDER / read_rows(FOLDER / f"{SPLIT}.jsonl")[0].video, FOLDER / "video.mp4"
    )  # a name to type
    rows = read_rows(FOLDER / f"{SPLIT}.jsonl")[: len(TASKS)]
    pages = [ask(row, FOLDER / f"evidence-{number}.html") for number, row in enumerate(rows, start=1)]
    say("\nwhat the answers rest on, to be opened in a browser:", *(f"  {page}" for page in pages))


def ask(row: Row, evidence: Path) -> Path:
    """Ask one question; say below the answer what was put into the video, and when."""
    options = [word for option in row.options for word in ("--option", option)]
    bvllm("ask", FOLDER / row.video, row.question, *options, "--evidence", evidence)
    shown = ", ".join(f"{x.name} from {x.start:.0f} to {x.end:.0f} s" for x in row.needles)
    say(f"(true: {row.open_answer} ({row.answer}); shown: {shown or 'nothing of the kind'})")
    return evidence


def bvllm(*words: object) -> None:
    """Run one command as typed in a shell; end the tour where it fails."""
    line = [str(word) for word in words]
    say(f"\n$ bvllm {shlex.join(line)}")
    # The command that was installed beside this Python, whether or not its folder is on the PATH.
    command = shutil.which("bvllm", path=Path(sys.executable).parent)
    if command is None:
        sys.exit("bvllm must be installed beside this Python: run `make install`")
    done = subprocess.run([command, *line], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
