"""Record rows that must not be trained on: each is named, counted, and left out or fatal."""

import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

FaultKind = Literal[
    "json",  # no JSON, or not UTF-8
    "schema",  # a field is missing or of the wrong type
    "roles",  # who speaks is unknown or out of order
    "no_answer",  # nothing to learn
    "placeholder",  # a placeholder without a file, or a file without a placeholder
    "outside_root",  # the file lies outside the media folder
    "missing",  # no such file
    "media",  # the file cannot be read
    "truncated",  # the file ends early
    "too_long",  # does not fit the longest sequence
]
OnError = Literal["skip", "raise"]
SHOWN = 20  # faults that a summary spells out


@dataclass(frozen=True)
class Fault:
    """Why one row is left out.

    Attributes:
        where: file and line, and which row.
        kind: one of `FaultKind`.
        reason: one line for the author of the file.
    """

    where: str
    kind: FaultKind
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.reason}"


class InvalidRow(Exception):
    """A row that cannot be learned from; `fault` says where and why."""

    def __init__(self, where: str, kind: FaultKind, reason: str) -> None:
        self.fault = Fault(where, kind, reason)
        super().__init__(str(self.fault))

    def __reduce__(self) -> tuple[type["InvalidRow"], tuple[str, FaultKind, str]]:
        return type(self), (self.fault.where, self.fault.kind, self.fault.reason)


class InvalidRowLog:
    """Counts invalid rows, each once, however often it comes up.

    Args:
        on_error: "skip" notes an invalid row and goes on; "raise" stops at the first.
        path: a JSONL file that faults are appended to. Workers and ranks have memories of their own: with
            them only a file knows all faults. None keeps them in memory.

    Example:
        >>> log = InvalidRowLog()
        >>> log.add(InvalidRow("a.json:3 (row 2)", "no_answer", "the last turn must be an answer"))
        >>> print(log.summary(rows=10))
        1 of 10 rows left out: 1 no_answer
        a.json:3 (row 2): no_answer: the last turn must be an answer
    """

    def __init__(self, on_error: OnError = "skip", path: Path | None = None) -> None:
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be 'skip' or 'raise', got {on_error!r}: choose one of them")
        self.on_error, self.path = on_error, path
        self._seen: dict[str, Fault] = {}

    def add(self, error: InvalidRow) -> None:
        """Note an invalid row, or raise it where `on_error` says so."""
        fault = error.fault
        if self.path is not None and fault.where not in self._seen:
            line = json.dumps(asdict(fault), ensure_ascii=False) + "\n"
            with (
                suppress(OSError),
                open(self.path, "ab", buffering=0) as file,
            ):  # a full disk stops no training
                file.write(line.encode("utf-8", "backslashreplace"))  # one write: lines do not mix
        self._seen.setdefault(fault.where, fault)
        if self.on_error == "raise":
            raise error

    def faults(self) -> list[Fault]:
        """Every invalid row so far, once, in the order they came up; of all processes if there is a file."""
        if self.path is None or not os.path.exists(self.path):
            return list(self._seen.values())
        found = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            with suppress(ValueError, TypeError):  # half a line, from when the disk was full
                found.append(Fault(**json.loads(line)))
        known = set(found)
        found += [fault for fault in self._seen.values() if fault not in known]
        return list({fault.where: fault for fault in reversed(found)}.values())[::-1]

    def summary(self, rows: int | None = None) -> str:
        """How many rows were left out, of which kinds, and the first of them by name.

        Args:
            rows: how many rows there were, if known.
        """
        faults = self.faults()
        total = f"{len(faults)} of {rows} rows" if rows is not None else f"{len(faults)} rows"
        if not faults:
            return f"{total} left out"
        kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(f.kind for f in faults).most_common())
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        return "\n".join([f"{total} left out: {kinds}", *map(str, faults[:SHOWN]), *more])


# The names until 0.1, for one release.
BadRow, FaultLog = InvalidRow, InvalidRowLog
