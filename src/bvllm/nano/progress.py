"""Keep a record of a run of nano's training: what it was started with, and the time that it has spent."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bvllm.common.files import replace_file
from bvllm.common.stopping import Interrupted
from bvllm.nano.loop import CHECKPOINT, Control

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RUN = "run.json"


class RunRecord:
    """The record of a run, in its folder.

    Attributes:
        minutes: the limit that the run was started with; None for the recipe's own times.
        spent: minutes that it has taken so far, over all its starts.
    """

    def __init__(self, file: Path, recipe: Any, minutes: float | None, spent: float) -> None:
        self.file, self.recipe, self.minutes, self.spent = file, recipe, minutes, spent
        self._before, self._started = spent, time.monotonic()

    @classmethod
    def claim(
        cls, out: Path, recipe: "DataclassInstance", minutes: float | None, *, resume: bool
    ) -> "RunRecord":
        """Begin a record in a folder, or go on with the one that is there.

        Args:
            recipe: a dataclass that decides what the run makes.

        Raises:
            ValueError: the folder holds a run and `resume` is False, or a run with another recipe or limit.
        """
        file, plain = out / RUN, json.loads(json.dumps(asdict(recipe)))  # tuples become lists, as on the disk
        before = _read(file)
        if not resume and (before is not None or any(out.glob("*/done"))):
            raise ValueError(
                f"--out must hold no run, got {str(out)!r}: add --resume to go on, or name another"
            )
        if before is None:
            before = {"recipe": plain, "minutes": minutes, "spent": 0.0}
        if minutes is not None and minutes != before["minutes"]:
            raise ValueError(
                f"--minutes must be what the run in {str(out)!r} was started with, {before['minutes']}, "
                f"got {minutes:g}: leave it out to go on"
            )
        if before["recipe"] != plain:
            raise ValueError(f"--out must hold a run of this recipe, got {str(out)!r}: name another folder")
        record = cls(file, plain, before["minutes"], float(before["spent"]))
        out.mkdir(parents=True, exist_ok=True)
        record.save()
        return record

    def save(self) -> None:
        """Write the record, at once or not at all."""
        said = {"recipe": self.recipe, "minutes": self.minutes, "spent": self.spent}
        replace_file(self.file, (json.dumps(said, indent=1) + "\n").encode())

    @contextmanager
    def clocked(self, control: Control) -> Iterator[None]:
        """Count the time in this block, whatever ends it; an interrupt says how to go on.

        Raises:
            Interrupted: Ctrl-C or SIGTERM ended the block.
        """
        self._before, self._started = self.spent, time.monotonic()
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted("stopped: go on with --resume", control.stop.signal or 2) from None
        finally:
            self._tick()

    def share(self, minutes: float, following: float, reserved: float = 0.0) -> float:
        """Minutes for a stage that takes `minutes` of the `following` minutes of its recipe.

        Where a limit was set, what is left of it, less what is reserved, is shared out in proportion, so that
        the whole keeps to it.
        """
        if self.minutes is None:
            return minutes
        self._tick()
        return max(0.0, self.minutes - self.spent - reserved) * minutes / following

    def _tick(self) -> None:
        self.spent = self._before + (time.monotonic() - self._started) / 60
        self.save()


def _read(file: Path) -> dict[str, Any] | None:
    """What a run left about itself; None where there is no run."""
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"recipe": found["recipe"], "minutes": found["minutes"], "spent": float(found["spent"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} must describe a run of nano, got another file: name another --out"
        ) from error


def is_done(folder: Path) -> bool:
    """Whether a stage in a folder is finished."""
    return (folder / "done").is_file()


def mark_done(folder: Path) -> None:
    """Say that a stage is finished; it needs its checkpoint no more."""
    (folder / "done").touch()
    (folder / CHECKPOINT).unlink(missing_ok=True)
