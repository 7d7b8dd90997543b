"""How often one operation walks from file to file of the package: a number for how scattered the code is.

    python benchmarks/walks.py [--operation NAME ...] [--edges] [--files] [--json]

The counting rule. A *hop* is a function of the package that ran because code in another of its files called
it: the pair of the calling file and the called function, counted once, however often it was called. Between
the two there may be frames that are not the package's (torch, typer, a dataclass's own `__init__`). All
threads that the operation starts are watched. Not counted: the code of a module as it is imported (every
operation runs once before it is measured), comprehensions, generator expressions and lambdas, and the first
function of a new thread, which nobody in the package called.

    files  files in which a function ran
    hops   distinct hops: the "file changes"
    rooms  those whose two files are in different rooms, the first folder (or module) below `bvllm`

At b635aa4 a review counted, by a rule of its own that is not known, "file changes / room changes": ask with
an index miss 284 / 69 (over 99 files), on a hit 214 / 62, without index 211 / 68, one training row to its
loss 241 / 72, search 95 / 28. Of some forty rules this one comes nearest, within 5 %: 291 / 69 (over 90
files), 222 / 61, 207 / 65, 235 / 74, 99 / 29. It hardly depends on the video (20 seconds instead of 12: three
hops more at most). Changes of file as they happen, one after the other, are about eight times as many and
grow with every frame.

All operations go through the command line, a training row from its settings to the first loss.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType

Run = Callable[[], object]
QUESTION, QUERY, SECONDS = "what colour is the star?", "a star", 12
SETTLED = 3.0  # seconds; the index does not remember a file that has only just been written
ONE_STEP = (
    "alignment.max_steps=1 alignment.batch=1 instruction.max_steps=1 instruction.batch=1 run.per_device=1 "
    "data.workers=0"
).split()


@dataclass(frozen=True)
class Hop:
    """Code in the file `caller` called `function` of another file, `callee`; files as below the package."""

    caller: str
    callee: str
    function: str

    @property
    def changes_room(self) -> bool:
        """Whether the two files are in different rooms."""
        return room(self.caller) != room(self.callee)


@dataclass
class Walk:
    """What was seen of one operation: its files, and how often each hop was made."""

    files: set[str] = field(default_factory=set)
    hops: Counter[Hop] = field(default_factory=Counter)

    def row(self) -> tuple[int, int, int]:
        """Files, hops, and hops that change the room.

        Example:
            >>> Walk({"cli/ask.py", "types.py"}, Counter({Hop("cli/ask.py", "types.py", "f"): 3})).row()
            (2, 1, 1)
        """
        return len(self.files), len(self.hops), sum(hop.changes_room for hop in self.hops)

    def edges(self) -> list[tuple[str, str, list[str], int]]:
        """(caller, callee, functions called, calls) for each pair of files; most functions first."""
        pairs = {(hop.caller, hop.callee) for hop in self.hops}
        edges = []
        for caller, callee in pairs:
            inside = [hop for hop in self.hops if (hop.caller, hop.callee) == (caller, callee)]
            names = sorted(hop.function for hop in inside)
            edges.append((caller, callee, names, sum(self.hops[hop] for hop in inside)))
        return sorted(edges, key=lambda edge: (-len(edge[2]), -edge[3], edge[:2]))


class Watch:
    """Writes down a walk through the files below a folder, while it is on.

    Args:
        root: the folder of the package.
    """

    def __init__(self, root: Path) -> None:
        self.walk, self._start, self._on = Walk(), f"{root}{os.sep}", False

    def during(self, run: Run) -> Walk:
        """The walk of a call."""
        gc.collect()
        gc.disable()  # a generator that is thrown away runs once more, in whoever's time the collector comes
        self._on = True
        threading.setprofile(self._event)
        sys.setprofile(self._event)
        try:
            run()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            gc.enable()
            self.stop()
        return self.walk

    def stop(self) -> None:
        """Write no more down, though the call goes on."""
        self._on = False

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not self._on:
            return
        callee = self._file(frame.f_code)
        if callee is None or frame.f_code.co_name.startswith("<"):
            return
        self.walk.files.add(callee)
        caller = self._caller(frame.f_back)
        if caller is not None and caller != callee:
            self.walk.hops[Hop(caller, callee, frame.f_code.co_qualname)] += 1

    def _caller(self, frame: FrameType | None) -> str | None:
        """The file of the nearest frame that is the package's."""
        while frame is not None:
            file = self._file(frame.f_code)
            if file is not None:
                return file
            frame = frame.f_back
        return None

    def _file(self, code: CodeType) -> str | None:
        name = code.co_filename
        return name[len(self._start) :] if name.startswith(self._start) else None


def room(file: str) -> str:
    """First folder below the package, or the module.

    Example:
        >>> room("index/disk.py"), room("types.py")
        ('index', 'types.py')
    """
    return file.split("/")[0]


class _LossKnown(BaseException):
    """Ends a training whose first loss is known; nothing on the way catches it."""


@dataclass(frozen=True)
class Bench:
    """Operations of the command line on one drawn video.

    Attributes:
        package: bvllm.
        folder: for the video, the indexes and the runs; each measured call takes a fresh name in it.
    """

    package: ModuleType
    folder: Path

    def prepare(self) -> None:
        """Draw the video, put it into an index, and write a row for the training."""
        told = f"--split test --count 1 --seconds {SECONDS}".split()
        command("world", "make", "--out", str(self.folder / "world"), *told)
        time.sleep(SETTLED)
        command("index", str(self.video), "--index", str(self.folder / "index"))
        said = [("human", "<video>\nwhat is seen?"), ("gpt", "a star")]
        turns = [{"from": who, "value": words} for who, words in said]
        self.rows.write_text(json.dumps({"id": "1", "video": str(self.video), "conversations": turns}) + "\n")

    @property
    def video(self) -> Path:
        """The only one."""
        return next((self.folder / "world" / "videos").iterdir())

    @property
    def rows(self) -> Path:
        """One row about the video."""
        return self.folder / "rows.jsonl"

    def walk(self, operation: str) -> Walk:
        """Run an operation twice and watch the second time, when everything is imported."""
        run = getattr(self, OPERATIONS[operation])
        run(Watch(Path("/none")))
        watch = Watch(Path(str(self.package.__file__)).parent)
        return watch.during(lambda: run(watch))

    def ask_hit(self, _: Watch) -> None:
        command("ask", str(self.video), QUESTION, "--index", str(self.folder / "index"))

    def ask_miss(self, _: Watch) -> None:
        command("ask", str(self.video), QUESTION, "--index", self._fresh())

    def ask(self, _: Watch) -> None:
        command("ask", str(self.video), QUESTION, "--no-index")

    def search(self, _: Watch) -> None:
        command("search", str(self.video), QUERY, "--index", str(self.folder / "index"))

    def train_row(self, watch: Watch) -> None:
        """`bvllm train tiny` on one row, from the settings to the first loss."""
        from torch.nn.modules.module import register_module_forward_hook

        def end(_module: object, _inputs: object, output: object) -> None:
            if getattr(output, "loss", None) is not None:
                watch.stop()
                raise _LossKnown

        files = [f"data.pretrain={self.rows}", f"data.finetune={self.rows}"]
        hook = register_module_forward_hook(end)
        try:
            with contextlib.suppress(_LossKnown):
                command("train", "tiny", *files, *ONE_STEP, "--out", self._fresh())
                raise RuntimeError("the training must reach a loss, got its end without one: see its output")
        finally:
            hook.remove()

    def _fresh(self) -> str:
        return tempfile.mkdtemp(dir=self.folder)


OPERATIONS = {name.replace("_", "-"): name for name in "ask_hit ask_miss ask train_row search".split()}


def command(*words: str) -> None:
    """One call of the command line, its output kept.

    Raises:
        RuntimeError: it did not end well.
    """
    from bvllm.cli import main as bvllm

    out, told = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        status = bvllm(words)
        told.flush()
    if status:
        lines = told.buffer.getvalue().decode()
        raise RuntimeError(f"bvllm {words[0]} must end with status 0, got {status}: {lines}")


def lines(operation: str, walk: Walk, *, edges: bool, files: bool) -> Iterator[str]:
    """The row of the table, and below it what was asked for."""
    yield "{:<10} {:>6} {:>6} {:>6}".format(operation, *walk.row())
    if files:
        yield from (f"    {file}" for file in sorted(walk.files))
    if edges:
        yield "    hops  calls"
        for caller, callee, names, calls in walk.edges():
            yield f"    {len(names):>4} {calls:>6}  {caller} -> {callee}: {', '.join(names)}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operation", nargs="+", choices=OPERATIONS, default=list(OPERATIONS))
    parser.add_argument("--edges", action="store_true", help="pairs of files, most functions called first")
    parser.add_argument("--files", action="store_true", help="files in which a function ran")
    parser.add_argument("--json", action="store_true", help="one JSON object, with edges and files")
    told = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import bvllm

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(bvllm, Path(folder))
        bench.prepare()
        walks = {operation: bench.walk(operation) for operation in told.operation}
    if told.json:
        print(json.dumps({operation: as_json(walk) for operation, walk in walks.items()}, indent=1))
        return
    print("{:<10} {:>6} {:>6} {:>6}".format("operation", "files", "hops", "rooms"))
    for operation, walk in walks.items():
        print("\n".join(lines(operation, walk, edges=told.edges, files=told.files)))


def as_json(walk: Walk) -> dict[str, object]:
    """A walk's numbers by name, its files, and its edges as `Walk.edges` gives them."""
    files, hops, rooms = walk.row()
    return {
        "files": files,
        "hops": hops,
        "rooms": rooms,
        "in_files": sorted(walk.files),
        "edges": walk.edges(),
    }


if __name__ == "__main__":
    main()
