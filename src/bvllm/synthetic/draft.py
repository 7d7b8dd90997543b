"""Draft a video: the needles it will show, what has been promised about them, and what is asked.

A task works in two steps. First it *drafts*: it puts the needles that it needs on the plan and claims their
kind, so that no other question makes its own ambiguous. When all needles have their place in time, it
*asks*: only then are order and times known.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bvllm.synthetic.busy.things import Thing
from bvllm.synthetic.needles import Event, Needle
from bvllm.synthetic.sampling import pick, random_caption, random_picture, random_sticker
from bvllm.synthetic.vocabulary import SHAPES, Split

OPTIONS = 4  # answers to choose from
ABSENT_TRIES = 20


@dataclass(frozen=True)
class Question:
    """One question about a video.

    Attributes:
        task: name from `TASKS`.
        stem: the question without options.
        options: possible answers; the right one is `options[right]`.
        evidence: what the answer rests on, written before it (times, counts); may be empty.
        needles: numbers of the asked events on the timeline; empty where nothing is there to be found.
        about: of a busy scene, the things that the question is about.
    """

    task: str
    stem: str
    options: tuple[str, ...]
    right: int
    evidence: str
    needles: tuple[int, ...]
    about: tuple[Thing, ...] = ()

    @property
    def answer(self) -> str:
        """The open answer, with its evidence."""
        return f"{self.evidence} = {self.options[self.right]}" if self.evidence else self.options[self.right]


Asker = Callable[[list[Event]], Question]


@dataclass
class Draft:
    """Needles on the plan, how long each is shown, and which kinds are spoken for.

    Attributes:
        rng: decides everything.
        split: whose combinations may be used.
        room: how many more needles the video can take.
        longest: the most seconds for which a needle may be shown.
        needles, seconds: the plan so far, one entry per needle.
        claimed: shapes, "word", "item" and "landmark" that a question has to itself.
    """

    rng: np.random.Generator
    split: Split
    room: int
    longest: int
    needles: list[Needle] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)

    def add(self, needle: Needle, *, longest: int = 1) -> int:
        """Put a needle on the plan for 1..longest seconds; returns its number."""
        self.needles.append(needle)
        self.seconds.append(int(self.rng.integers(1, min(longest, self.longest) + 1)))
        self.room -= 1
        return len(self.needles) - 1

    def claim(self, kind: str) -> bool:
        """Take a kind for one question alone; False where another has it already."""
        if kind in self.claimed:
            return False
        self.claimed.add(kind)
        return True

    def claim_shape(self) -> str | None:
        """A shape that no other question uses, or None if there is none left."""
        free = [s for s in SHAPES if s not in self.claimed]
        if not free:
            return None
        shape = pick(self.rng, free)
        self.claimed.add(shape)
        return shape

    def is_new(self, needle: Needle) -> bool:
        """True if no planned needle has this name and no question relies on its absence."""
        return needle.name not in {n.name for n in self.needles} and _absent(needle) not in self.claimed

    def unclaimed_needle(self) -> Needle | None:
        """A needle whose kind no question has claimed, or None where all are spoken for."""
        free = [s for s in SHAPES if s not in self.claimed]
        makers: list[Callable[[], Needle]] = []
        if free:
            makers.append(lambda: random_sticker(self.rng, self.split, shape=pick(self.rng, free)))
        if "word" not in self.claimed:
            makers.append(lambda: random_caption(self.rng, self.split))
        if "item" not in self.claimed:
            makers.append(lambda: random_picture(self.rng, self.split))
        if "landmark" not in self.claimed:
            makers.append(lambda: random_picture(self.rng, self.split, landmark=True))
        return makers[int(self.rng.integers(len(makers)))]() if makers else None

    def absent_needle(self) -> Needle | None:
        """A needle that is not on the plan so far, and no filler will be; None where none was found."""
        for _ in range(ABSENT_TRIES):
            kind = self.rng.random()
            if kind < 0.5:
                needle: Needle = random_sticker(self.rng, self.split)
            elif kind < 0.75:
                needle = random_caption(self.rng, self.split)
            else:
                needle = random_picture(self.rng, self.split, landmark=bool(self.rng.random() < 0.4))
            if self.is_new(needle):
                self.claimed.add(_absent(needle))
                return needle
        return None


def _absent(needle: Needle) -> str:
    return f"absent {needle.name}"


def shuffle_options(
    rng: np.random.Generator, right: str, wrong: list[str], count: int = OPTIONS
) -> tuple[tuple[str, ...], int]:
    """The right option and `count - 1` of the wrong ones in random order, and where the right one stands."""
    others = [str(w) for w in rng.permutation([w for w in dict.fromkeys(wrong) if w != right])[: count - 1]]
    options = [str(o) for o in rng.permutation([right, *others])]
    return tuple(options), options.index(right)
