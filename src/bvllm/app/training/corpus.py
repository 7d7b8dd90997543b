"""What a stage learns from, as the trainer sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

Collate = Callable[[Sequence[Any]], dict[str, Tensor]]


class Positions(Protocol):
    """Rows by their place in a run: `len` is one epoch, places go on beyond it.

    The same place must give the same row, whatever was read before: then nothing of the order has to be kept
    for a run that goes on, and the rows of a step are the same for any number of processes.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Any: ...


@dataclass(frozen=True)
class Corpus:
    """All that a stage reads.

    Attributes:
        train: rows to learn from.
        collate: rows to the model's inputs with `labels`; a function of the rows alone.
        evaluate: rows that are not learned from; None switches evaluation off.
        order: what the order of the rows follows from; a run goes on with no other.
        report: says which rows were left out so far.
    """

    train: Positions
    collate: Collate
    evaluate: Positions | None = None
    order: dict[str, object] = field(default_factory=dict)
    report: Callable[[], str] | None = None
