"""Cache what one question leaves for the next: patches of chosen frames, and the prompt's first states.

Frames are chosen anew for every question, but questions about one video often meet the same frames. The
numbers do not depend on what is remembered: a frame always goes through the tower on its own, and the prompt
always in two parts.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

MOST_BYTES = 256 << 20


class PatchCache:
    """Patch features of frames seen before, the least recently used of them forgotten.

    Args:
        most_bytes: memory that may be taken; 0 remembers nothing.

    Raises:
        ValueError: most_bytes is negative.

    Example:
        >>> cache, encoded = PatchCache(), []
        >>> def encode(frames):
        ...     encoded.extend(frames)
        ...     return [torch.full((2, 3), float(k)) for k in frames]
        >>> _ = cache.get([4, 7], encode)
        >>> cache.get([7, 4, 9], encode)[:, 0, 0].tolist(), encoded
        ([7.0, 4.0, 9.0], [4, 7, 9])
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        if most_bytes < 0:
            raise ValueError(f"most_bytes must be at least 0, got {most_bytes}: 0 remembers nothing")
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows: OrderedDict[tuple[Hashable, int], tuple[Tensor, ...]] = OrderedDict()
        self._lock = threading.RLock()  # of questions about one video at once, one encodes; the others wait

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rows.clear()
            self._bytes = 0

    def get(self, frames: Sequence[int], encode: Callable[[list[int]], Sequence[Tensor]]) -> Tensor:
        """(F, N, C) patches of frames, in the order asked for; `encode` is called for those not known."""
        [patches] = self.get_with(frames, lambda missing: [(row,) for row in encode(missing)])
        return patches

    def get_with(
        self,
        frames: Sequence[int],
        encode: Callable[[list[int]], Sequence[tuple[Tensor, ...]]],
        kind: Hashable = None,
    ) -> tuple[Tensor, ...]:
        """Several tensors of each frame, such as its patches and what was read of them, each (F, ...).

        Args:
            frames: in the order asked for.
            encode: is called for those not known, and gives as many tensors of each.
            kind: what was read; frames of which something else was read are not known.
        """
        with self._lock:
            known = {k: self._rows[kind, k] for k in frames if (kind, k) in self._rows}
            missing = [k for k in dict.fromkeys(frames) if k not in known]
            if missing:
                known |= dict(zip(missing, encode(missing), strict=True))
            for k in dict.fromkeys(frames):
                self._keep((kind, k), known[k])
        return tuple(torch.stack(part) for part in zip(*(known[k] for k in frames)))

    def _keep(self, key: tuple[Hashable, int], row: tuple[Tensor, ...]) -> None:
        if key not in self._rows:
            # Copies: a row of a batch would keep the whole batch alive.
            self._rows[key] = tuple(part.clone() for part in row)
            self._bytes += _size(row)
        self._rows.move_to_end(key)
        while self._bytes > self._most_bytes:
            self._bytes -= _size(self._rows.popitem(last=False)[1])


@dataclass
class PromptCache:
    """The language model's keys and values of a prompt's beginning, up to its last visual token.

    Attributes:
        ids: (1, P) the beginning it was made from; None as long as there is none.
        visual: (n, D) the visual tokens in it.
        states: keys and values.
        reused: how often they served another question.
    """

    ids: Tensor | None = None
    visual: Tensor | None = None
    states: DynamicCache | None = None
    reused: int = 0

    def find(self, ids: Tensor, visual: Tensor) -> DynamicCache | None:
        """The states, cut back to the beginning; None where it is another one."""
        if self.ids is None or self.visual is None or self.states is None:
            return None
        if not (torch.equal(self.ids, ids) and torch.equal(self.visual, visual)):
            return None
        behind = self.states.get_seq_length() - ids.shape[1]
        if behind:
            self.states.crop(-behind)
        self.reused += 1
        return self.states

    def keep(self, ids: Tensor, visual: Tensor, states: DynamicCache) -> None:
        """Remember a beginning in place of the one before."""
        self.ids, self.visual, self.states = ids, visual, states


@dataclass(frozen=True)
class Session:
    """What is remembered of one video between its questions; hand the same one to every `answer`.

    Example:
        >>> session = Session()
        >>> len(session.patches), session.prompt.reused
        (0, 0)
    """

    patches: PatchCache
    prompt: PromptCache
    _video: "weakref.ref[object] | None" = field(repr=False, compare=False)

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        object.__setattr__(self, "patches", PatchCache(most_bytes))
        object.__setattr__(self, "prompt", PromptCache())
        object.__setattr__(self, "_video", None)

    def beside(self, prompt: PromptCache | None = None) -> "Session":
        """One for a question about the same video at the same time: patches are shared, the prompt is not.

        Args:
            prompt: what an earlier question left behind.
        """
        other = Session()
        object.__setattr__(other, "patches", self.patches)
        object.__setattr__(other, "prompt", prompt or PromptCache())
        object.__setattr__(other, "_video", self._video)
        return other

    def begin(self, video: object) -> None:
        """A question about a video: of another one, or of a stream as it was before, nothing is kept."""
        if self._video is None or self._video() is not video:
            self.patches.clear()
            object.__setattr__(self, "_video", weakref.ref(video))


def _size(row: Sequence[Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in row)
