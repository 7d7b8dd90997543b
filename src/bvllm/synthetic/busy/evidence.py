"""Say what an answer about busy scenes rests on, as its reply says first: when, and where in the frame.

"00:04 large star top left = blue": the scene is found by its time, the named thing by its part of the frame.
What is looked up is written right before what is found, so that each step is one look. Where the answer
follows from comparing, what is compared is said, option by option: places and sides for what stands beside a
thing, times for what is shown first or next, and for what comes later whether it was there before. So the
comparison is one of written words and numbers, which a small language model learns; from what it sees alone
it stayed at guessing.
"""

from collections.abc import Iterable, Sequence

from bvllm.common.text import format_clock
from bvllm.synthetic.busy.things import ASPECT, SIGN, Scene, Thing, cell_of

LOWEST, STEPS = 10, 16  # of a place told in numbers: sixteenths of the frame, on which things lie
SIDE_WORDS = ("left", "right", "above", "below")
NOTHING = "nothing"  # in the place of a place, of what is not there yet


def where(thing: Thing) -> str:
    """The part of the frame that a thing is in at its scene's start."""
    return cell_of(thing.x, thing.y)


def of_scene(task: str, about: Sequence[Thing], answer: str = "") -> str:
    """What a spatial answer rests on within its scene.

    Args:
        task: a key of `tasks.SPATIAL`.
        about: the things that the question is about; of a relation the known one, then the options.
        answer: of a relation the name that is right.
    """
    if task == "counting":
        return ", ".join(f"{thing.name} {where(thing)}" for thing in sorted(about, key=_as_read))
    if task == "region":
        return ""  # the question says where
    if task == "relation":
        known, *compared = about
        sides = {one.name: side_of(one, known) for one in compared}
        # Each name stands behind its side once more, and the asked side at the end: to be looked up there.
        told = ", ".join(f"{placed(one)} {sides[one.name]} {one.name}" for one in compared)
        return f"{placed(known)}: {told}: {sides[answer]}"
    if task == "reading":
        sign, *beside = about
        said = [f"{thing.name} {where(thing)}" for thing in beside]
        return ", ".join([*said, f"{sign.colour} {SIGN} {where(sign)}"])
    [thing] = about
    return f"{thing.size_word} {thing.shape} {where(thing)}" if task == "binding" else where(thing)


def side_of(thing: Thing, known: Thing) -> str:
    """On which side of another thing one is, as pixels are counted: a frame is wider than high.

    Example:
        >>> side_of(Thing("star", "red", 0.75, 0.5, 0.1), Thing("moon", "blue", 0.5, 0.625, 0.1))
        'right'
    """
    across, down = (thing.x - known.x) * ASPECT, thing.y - known.y
    if abs(across) > abs(down):
        return SIDE_WORDS[0] if across < 0 else SIDE_WORDS[1]
    return SIDE_WORDS[2] if down < 0 else SIDE_WORDS[3]


def _as_read(thing: Thing) -> tuple[int, int, float]:
    """Part of the frame by part, as text is read, and from left to right within one."""
    return min(2, int(thing.y * 3)), min(2, int(thing.x * 3)), thing.x


def placed(thing: Thing) -> str:
    """A thing's name and its place in numbers.

    Example:
        >>> placed(Thing("star", "red", 0.25, 0.5, 0.1))
        'red star 14 18'
    """
    return f"{thing.name} {in_numbers(thing.x)} {in_numbers(thing.y)}"


def at(start: float, said: str) -> str:
    """The same, with the scene's time in front."""
    return f"{format_clock(int(start))} {said}".strip()


def of_motion(scene: Scene, thing: Thing, start: float, end: float) -> str:
    """Where a thing is at both ends of its scene."""
    last = max(0, int(end - start) - 1)
    ends = ((start, scene.place(thing, 0.0)), (start + last, scene.place(thing, last)))
    return ", ".join(at(time, f"{thing.name} {in_numbers(x)} {in_numbers(y)}") for time, (x, y) in ends)


def of_arrival(start: float, options: Sequence[Thing]) -> str:
    """Where each of the options is at the scene's start, if anywhere."""
    found = (f"{thing.name} {NOTHING if thing.arrives else where(thing)}" for thing in options)
    return at(start, ", ".join(found))


def in_numbers(share: float) -> int:
    """A place along a side of the frame as a number, in sixteenths from 10 on.

    Example:
        >>> in_numbers(0.0), in_numbers(0.5), in_numbers(1.0)
        (10, 18, 26)
    """
    return LOWEST + round(STEPS * min(1.0, max(0.0, share)))


def of_times(starts: Iterable[float]) -> str:
    """When scenes begin."""
    return ", ".join(format_clock(int(start)) for start in starts)


def of_signs(signs: Iterable[tuple[str, float]]) -> str:
    """When signs appear: "river 00:12, 45 00:30"."""
    return ", ".join(f"{label} {format_clock(int(start))}" for label, start in signs)
