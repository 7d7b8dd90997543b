"""Share among commands: errors with an exit status, a progress bar, silent libraries, Ctrl-C, file limits.

Nothing heavy is imported before it is used.
"""

import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from bvllm.common.files import reason_of
from bvllm.common.text import printable

try:
    import resource
except ImportError:  # pragma: no cover - not a POSIX system
    resource = None  # type: ignore[assignment]

Report = Callable[[str, int, int | None], None]
MANY = 65536
SOON_SECONDS = 0.05


class WrongUse(typer.TyperException):
    """The command was used wrongly: exit status 2."""

    exit_code = 2


class Unanswerable(typer.TyperException):
    """The command was right, but its input cannot be answered: exit status 1."""

    exit_code = 1


class Stopped(typer.TyperException):
    """A signal ended the command where it can be taken up again: exit status 128 and the signal's number."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def example(line: str) -> str:
    """The last line of a command's help."""
    return f"Example: {line}"


def check_fps(fps: float) -> None:
    """Refuse a rate at which no frame is sampled; call it inside `wrong_use`."""
    if not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"--fps must be above 0, got {fps:g}: 1 samples one frame a second")


def check_part(start: float, end: float | None) -> None:
    """Refuse a part of a video that has no length; call it inside `wrong_use`."""
    if not (0 <= start < math.inf and (end is None or start < end < math.inf)):
        raise ValueError(f"--end must be after --start, got {start:g} to {end}: give seconds of the video")


@contextmanager
def unwritten(file: Path) -> Iterator[None]:
    """Turn an OSError in this block into one line that names the file."""
    try:
        yield
    except OSError as error:
        why = reason_of(error)
        raise Unanswerable(
            f"{str(file)!r} must be written, got: {why}: free some space, or choose another place"
        ) from error


def show(text: object, *, to_stderr: bool = False) -> None:
    """Print what may hold words of others (rows, file names, a model's answer) without control characters.

    The one way in which the commands print.
    """
    print(printable(str(text)), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def note(what: object) -> None:
    """Print one line on stderr about something that does not stop the command."""
    show("note: " + " ".join(str(what).split()), to_stderr=True)


_isolates = False


def isolate_commands() -> None:
    """Let the commands of this process decode in processes of their own: it belongs to the command line."""
    global _isolates
    _isolates = True


def isolate_decoding() -> None:
    """Start the decoding process; call it when torch may be imported, and before it runs a kernel."""
    if _isolates:
        from bvllm.video.isolation import start_decoding_process

        start_decoding_process()


class Termination:
    """Turn SIGTERM into an interrupt, so that a progress bar gives the cursor back and files are closed.

    A second SIGTERM ends the process at once. Only the main thread can listen; elsewhere nothing changes.
    """

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def listening(self) -> Iterator["Termination"]:
        """SIGTERM raises KeyboardInterrupt in this block."""

        def stop(number: int, frame: object) -> None:
            self.received = True
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            raise KeyboardInterrupt

        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def wrong_use() -> Iterator[None]:
    """A ValueError raised in here is the user's: to be put around checks, never around the work itself."""
    try:
        yield
    except ValueError as error:
        raise WrongUse(str(error)) from error


@contextmanager
def progress_bar(*, remaining: bool = False) -> Iterator[Report | None]:
    """A function to call with (step, done, of how many or None); None where stderr is no terminal.

    Args:
        remaining: show the time that is left beside the time that is gone.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # Steps may be names of files: brackets in them mean nothing.
    text = TextColumn("{task.description}", markup=False)
    columns = [text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    if remaining:
        columns += [TextColumn("left"), TimeRemainingColumn()]
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def report(step: str, done: int, total: int | None) -> None:
            step = printable(step)
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total, completed=done)
            bars.update(tasks[step], completed=done, total=total)

        yield report


def silence_libraries() -> None:
    """Silence what libraries print, and let their idle threads sleep; call it before they are imported.

    Threads of a kernel that wait by spinning fight a busy neighbour for the core. Only a command decides that
    for its process, a library never does.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch.profiler tells of every start
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # and of memory that was there before it
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore")
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # tells of every retry
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    disable_progress_bar()
    set_verbosity_error()


def deliver_lost_interrupts() -> None:
    """Let an interrupt that was raised where nothing can be raised come again a moment later.

    Compiled libraries call us back (FFmpeg for bytes, the collector for what is thrown away); an exception
    that begins there ends there, with a stack trace. A hook that the program has set stays.
    """
    if sys.unraisablehook is sys.__unraisablehook__ and hasattr(signal, "pthread_kill"):
        sys.unraisablehook = _again


def _again(lost: "sys.UnraisableHookArgs") -> None:
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    main = threading.main_thread().ident
    later = threading.Timer(SOON_SECONDS, signal.pthread_kill, (main, signal.SIGINT))
    later.daemon = True
    later.start()


def allow_many_files() -> None:
    """As many as the system lets this process have, up to 65 536: a search keeps one open for each video."""
    if sys.platform == "win32" or resource is None:  # pragma: no cover
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # where it cannot be raised, the search says so when it runs out
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
