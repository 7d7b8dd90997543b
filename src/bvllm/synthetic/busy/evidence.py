"""Say what an answer about busy scenes rests on, as its reply says first: when, and where in the frame.

"00:04 top left, top middle = blue cross": the scene is found by its time, the named thing by its part of the
frame, and each step is one look. Of things that move the place is said in numbers from 10 to 59, from left to
right and from top to bottom, since a part of the frame is wider than their way.
"""

from collections.abc import Iterable, Sequence

from bvllm.common.text import format_clock
from bvllm.synthetic.busy.things import Scene, Thing, cell_of

LOWEST, HIGHEST = 10, 59  # of a place told in numbers; signs carry the same


def where(thing: Thing) -> str:
    """The part of the frame that a thing is in at its scene's start."""
    return cell_of(thing.x, thing.y)


def of_scene(task: str, about: Sequence[Thing]) -> str:
    """What a spatial answer rests on within its scene."""
    if task == "counting":
        return ", ".join(f"{thing.name} {where(thing)}" for thing in sorted(about, key=lambda t: (t.x, t.y)))
    if task == "region":
        return ""  # the question says where
    known_first = about if task == "relation" else about[::-1]
    return ", ".join(where(thing) for thing in known_first)


def at(start: float, said: str) -> str:
    """The same, with the scene's time in front."""
    return f"{format_clock(int(start))} {said}".strip()


def of_motion(scene: Scene, thing: Thing, start: float, end: float) -> str:
    """Where a thing is at both ends of its scene."""
    last = max(0, int(end - start) - 1)
    ends = ((start, scene.place(thing, 0.0)), (start + last, scene.place(thing, last)))
    return ", ".join(at(time, f"{in_numbers(x)} {in_numbers(y)}") for time, (x, y) in ends)


def in_numbers(share: float) -> int:
    """A place along a side of the frame as a number.

    Example:
        >>> in_numbers(0.0), in_numbers(0.5), in_numbers(1.0)
        (10, 34, 59)
    """
    return LOWEST + round((HIGHEST - LOWEST) * min(1.0, max(0.0, share)))


def of_times(starts: Iterable[float]) -> str:
    """When scenes begin."""
    return ", ".join(format_clock(int(start)) for start in starts)
