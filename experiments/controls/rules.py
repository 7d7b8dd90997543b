"""Try rules of thumb on the busy world's questions: what can be guessed without a model.

A rule gives every option a feature; how often an option with that feature is right is counted on one half of
the questions, and the option of the highest count is chosen on the other half, and the other way round. So a
rule finds "the longest" as well as "never the longest". A feature that never came counts like a guess.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.things import LABELS, Thing, cell_of
from bvllm.synthetic.busy.timeline import BusyTimeline, fresh_scenes, plan_busy
from bvllm.synthetic.draft import Question
from bvllm.synthetic.vocabulary import COLOURS, SHAPES
from experiments.controls.frames import key_frames, scenes_of
from experiments.controls.promises import Control
from experiments.controls.result import Result

SECONDS = (8.0, 200.0)  # of the videos that are asked about, log-uniform
PRIOR = 4.0  # guesses that are counted with every feature
MANY = 3  # things that are told apart by number
NAMES = {*COLOURS, *SHAPES, *LABELS}


@dataclass(frozen=True)
class Glimpse:
    """A question, and what a rule may look at.

    Attributes:
        question: with options.
        timeline: of its video.
        frame: second of one frame: the first or the last of a scene that is asked about, or is an option.
    """

    question: Question
    timeline: BusyTimeline
    frame: int

    def bag(self) -> list[Thing]:
        """All things of the scenes that are asked about, and of those whose signs are options."""
        return [
            t for k in scenes_of(self.question, self.timeline) for t in self.timeline.shown[k].scene.things
        ]

    def seen(self) -> list[Thing]:
        """The things of the one frame."""
        shown = self.timeline.at(self.frame)
        return list(shown.scene.seen(self.frame - shown.start))


def ask(
    each: int, seed: int, tasks: Sequence[str] = tuple(BUSY_TASKS), seconds: tuple[float, float] = SECONDS
) -> dict[str, list[Glimpse]]:
    """`each` questions of every task about busy videos, as `bvllm world make` plans them."""
    rng = np.random.default_rng((seed, 61))
    low, high = np.log(seconds)
    found: dict[str, list[Glimpse]] = {task: [] for task in tasks}
    while missing := [task for task in tasks if len(found[task]) < each]:
        length = float(round(np.exp(rng.uniform(low, high))))
        order = [str(task) for task in rng.permutation(missing)]
        try:
            timeline = plan_busy(rng, length, order, fresh_scenes(rng))
        except ValueError:  # a short video, and long scenes
            continue
        for question in timeline.questions:
            frame = int(rng.choice(key_frames(question, timeline)))
            if len(found[question.task]) < each:
                found[question.task].append(Glimpse(question, timeline, frame))
    return found


Feature = Callable[[Glimpse, int], Hashable]


@dataclass(frozen=True)
class Rule:
    """A feature of an option, and the control that could learn it."""

    name: str
    control: Control
    feature: Feature


def _place(glimpse: Glimpse, option: int) -> Hashable:
    return option


def _words(glimpse: Glimpse, option: int) -> Hashable:
    return glimpse.question.options[option]


def _length(glimpse: Glimpse, option: int) -> Hashable:
    lengths = [len(text) for text in glimpse.question.options]
    return sum(n < lengths[option] for n in lengths), sum(n == lengths[option] for n in lengths)


def _mentioned(glimpse: Glimpse, option: int) -> Hashable:
    """Words of the option that are in the stem, over those of the other options."""
    stem = set(glimpse.question.stem.rstrip("?").replace(",", "").split())
    counts = [len(stem & set(text.split())) for text in glimpse.question.options]
    return counts[option], max(counts)


def _rank(glimpse: Glimpse, option: int) -> Hashable:
    """Its place among the options in their order, where all are numbers or times."""
    numbers = [text.replace(":", "") for text in glimpse.question.options]
    if not all(text.isdigit() for text in numbers):
        return None
    return sorted(map(int, numbers)).index(int(numbers[option]))


def _worded(glimpse: Glimpse, option: int) -> Hashable:
    """The wording of the question without its names, with the option's rank, or the option itself."""
    stem = " ".join(w for w in glimpse.question.stem.rstrip("?").replace(",", "").split() if w not in NAMES)
    rank = _rank(glimpse, option)
    return stem, glimpse.question.options[option] if rank is None else rank


def _kin(glimpse: Glimpse, option: int) -> Hashable:
    """How many options share its first word (a colour), its last (a shape), and its kind (word or number)."""
    texts = glimpse.question.options
    words, digit = [text.split() for text in texts], texts[option].isdigit()
    first = sum(w[0] == words[option][0] for w in words)
    last = sum(w[-1] == words[option][-1] for w in words)
    return first, last, sum(text.isdigit() == digit for text in texts)


def _means(option: str, thing: Thing) -> bool:
    return option in (thing.name, thing.label)


def _count(things: Sequence[Thing], option: str) -> int:
    return min(MANY, sum(_means(option, thing) for thing in things))


def _copies(glimpse: Glimpse, option: int) -> Hashable:
    """How many things of the bag the option names."""
    return _count(glimpse.bag(), glimpse.question.options[option])


def _size(glimpse: Glimpse, option: int) -> Hashable:
    """Sizes of the things that the option names."""
    named = [t for t in glimpse.bag() if _means(glimpse.question.options[option], t)]
    return tuple(sorted({thing.size_word for thing in named}))


def _kin_in_bag(glimpse: Glimpse, option: int) -> Hashable:
    """How many things of the bag share the option's colour, and its shape."""
    words = glimpse.question.options[option].split()
    bag = glimpse.bag()
    return tuple(min(MANY, sum(word in (t.colour, t.shape) for t in bag)) for word in words)


def _in_frame(glimpse: Glimpse, option: int) -> Hashable:
    """Whether the one frame shows what the option names, and how many options it shows."""
    counts = [_count(glimpse.seen(), text) > 0 for text in glimpse.question.options]
    return counts[option], sum(counts)


def _moment(glimpse: Glimpse, option: int) -> Hashable:
    """The time of the one frame, and whether it shows what the option names; by the wording."""
    end = "last" if "last" in glimpse.question.stem else "first"
    return int(np.log2(1 + glimpse.frame)), end, _in_frame(glimpse, option)


def _centre(glimpse: Glimpse) -> tuple[float, float] | None:
    """Where the one frame shows the thing that is asked about."""
    shown, about = glimpse.timeline.at(glimpse.frame), glimpse.question.about
    return shown.scene.place(about[0], glimpse.frame - shown.start) if len(about) == 1 else None


def _whereabouts(glimpse: Glimpse, option: int) -> Hashable:
    """The part of the frame in which the asked thing is, as twenty-fifths, with the option."""
    centre = _centre(glimpse)
    if centre is None:
        return None
    return *(min(4, max(0, int(v * 5))) for v in centre), glimpse.question.options[option]


def _off_lattice(glimpse: Glimpse, option: int) -> Hashable:
    """Whether the asked thing lies off the lattice of still things, across or down, and its ninth."""
    centre = _centre(glimpse)
    if centre is None:
        return None
    off = tuple(abs(16 * v - round(16 * v)) > 0.25 for v in centre)
    return off, cell_of(*(min(0.99, max(0.0, v)) for v in centre)), glimpse.question.options[option]


RULES = (
    Rule("place", "blind", _place),
    Rule("words", "blind", _words),
    Rule("length", "blind", _length),
    Rule("mentioned", "blind", _mentioned),
    Rule("rank", "blind", _rank),
    Rule("worded", "blind", _worded),
    Rule("kin", "blind", _kin),
    Rule("copies", "bag-of-things", _copies),
    Rule("size", "bag-of-things", _size),
    Rule("kin in the bag", "bag-of-things", _kin_in_bag),
    Rule("in the frame", "single-frame", _in_frame),
    Rule("moment", "single-frame", _moment),
    Rule("whereabouts", "single-frame", _whereabouts),
    Rule("off the lattice", "single-frame", _off_lattice),
)


def best_rules(asked: Sequence[Glimpse]) -> list[Result]:
    """For each control the rule that wins most; all questions are of one task."""
    [task] = {glimpse.question.task for glimpse in asked}
    options = [len(glimpse.question.options) for glimpse in asked]
    best: dict[Control, Result] = {}
    for rule in RULES:
        result = Result.of(rule.control, task, rule.name, options, wins(rule, asked))
        if rule.control not in best or result.right.mean > best[rule.control].right.mean:
            best[rule.control] = result
    return list(best.values())


def wins(rule: Rule, asked: Sequence[Glimpse]) -> list[float]:
    """What a rule that is learned on one half wins on the other; ties share what they would win."""
    features = [[rule.feature(g, k) for k in range(len(g.question.options))] for g in asked]
    won: list[float] = []
    for half in (0, 1):
        rates = _rates(features[1 - half :: 2], asked[1 - half :: 2])
        for values, glimpse in zip(features[half::2], asked[half::2], strict=True):
            guess = 1 / len(values)
            scores = np.array([rates.get(value, guess) for value in values])
            best = np.flatnonzero(scores >= scores.max() - 1e-9)
            won.append(float(glimpse.question.right in best) / len(best))
    return won


def _rates(features: list[list[Hashable]], asked: Sequence[Glimpse]) -> dict[Hashable, float]:
    """How often an option with a feature is right, drawn towards a guess where it is rare."""
    right: dict[Hashable, float] = defaultdict(float)
    offered: dict[Hashable, float] = defaultdict(float)
    for values, glimpse in zip(features, asked, strict=True):
        for option, value in enumerate(values):
            if value not in offered:
                offered[value], right[value] = PRIOR, PRIOR / len(values)
            offered[value] += 1
            right[value] += option == glimpse.question.right
    return {value: right[value] / offered[value] for value in offered}
