"""Power cuts without a plug: record what is done to a disk, then make every state that a cut may leave.

The rules are POSIX's: bytes are sure once their file was synced, names once their folder was; before that any
of them may be there or not, in any mixture, and a write may be there in part.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bvllm.index import disk

Operation = tuple[str, tuple]
RECORDED = ("create", "write", "cut", "sync", "rename", "remove", "sync_folder")


@dataclass
class Recorder:
    """Passes everything on to the disk and writes down what changed."""

    log: list[Operation] = field(default_factory=list)
    files: dict[int, int] = field(default_factory=dict)  # descriptor -> number of the file
    names: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def attach(self, monkeypatch) -> None:
        for name in RECORDED:
            monkeypatch.setattr(disk, name, self._wrap(name, getattr(disk, name)))

    def acknowledge(self, promise: object) -> None:
        """From here on, this much must be there."""
        self.log.append(("promise", (promise,)))

    def _wrap(self, name: str, do: Callable) -> Callable:
        def recorded(*args):
            result = do(*args)
            getattr(self, "_" + name)(result, *args)
            return result

        return recorded

    def _create(self, descriptor: int, path: Path) -> None:
        if path.name not in self.names:
            self.count += 1
            self.names[path.name] = self.count
            self.log.append(("link", (path.name, self.count)))
        self.files[descriptor] = self.names[path.name]

    def _write(self, _, descriptor: int, data, offset: int) -> None:
        self.log.append(("write", (self.files[descriptor], bytes(data), offset)))

    def _cut(self, _, descriptor: int, size: int) -> None:
        self.log.append(("cut", (self.files[descriptor], size)))

    def _sync(self, _, descriptor: int) -> None:
        self.log.append(("sync", (self.files[descriptor],)))

    def _rename(self, _, source: Path, target: Path) -> None:
        self.names[target.name] = self.names.pop(source.name)
        self.log.append(("rename", (source.name, target.name)))

    def _remove(self, _, path: Path) -> None:
        if self.names.pop(path.name, None) is not None:
            self.log.append(("unlink", (path.name,)))

    def _sync_folder(self, _, path: Path) -> None:
        self.log.append(("sync_folder", ()))


def after_a_cut(log: list[Operation], rng: random.Random, forget: Iterable[str] = ()) -> dict[str, bytes]:
    """The files that may be found when the power came back; `forget` leaves out a kind of operation."""
    bytes_of: dict[int, list[Operation]] = {}
    sure_bytes: dict[int, bytearray] = {}
    names: list[Operation] = []
    sure_names: dict[str, int] = {}
    for name, args in (operation for operation in log if operation[0] not in forget):
        if name in ("write", "cut"):
            bytes_of.setdefault(args[0], []).append((name, args))
        elif name == "sync":
            for operation in bytes_of.pop(args[0], []):
                apply(sure_bytes.setdefault(args[0], bytearray()), operation)
        elif name in ("link", "rename", "unlink"):
            names.append((name, args))
        elif name == "sync_folder":
            for operation in names:
                rename(sure_names, operation)
            names = []
    keep = rng.choice((0.0, 0.5, 0.9, 1.0))
    for operation in names:
        if rng.random() < keep:
            rename(sure_names, operation)
    for number, operations in bytes_of.items():
        for operation in operations:
            if rng.random() < keep:
                apply(sure_bytes.setdefault(number, bytearray()), operation, torn=rng.random())
    return {name: bytes(sure_bytes.get(number, b"")) for name, number in sure_names.items()}


def apply(data: bytearray, operation: Operation, torn: float = 1.0) -> None:
    """Change a file as an operation did; of a torn write only a beginning arrived."""
    name, (_, *args) = operation
    if name == "cut":
        size = args[0]
        data[:] = data[:size] + bytes(max(0, size - len(data)))
        return
    piece, offset = args
    if torn > 0.5:  # as often whole as torn
        torn = 1.0
    piece = piece[: int(len(piece) * torn)]
    data.extend(bytes(max(0, offset + len(piece) - len(data))))
    data[offset : offset + len(piece)] = piece


def rename(names: dict[str, int], operation: Operation) -> None:
    """Change the names of a folder as an operation did, if it still can."""
    kind, args = operation
    if kind == "link":
        names[args[0]] = args[1]
    elif args[0] in names:
        number = names.pop(args[0])
        if kind == "rename":
            names[args[1]] = number
