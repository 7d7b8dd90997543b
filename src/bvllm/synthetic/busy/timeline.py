"""Put busy scenes one after another, and ask about them: space, time, and both."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bvllm.synthetic.busy.compose import LONGEST, compose, random_kind, random_label
from bvllm.synthetic.busy.draw import draw_scene_over
from bvllm.synthetic.busy.further import EVERY_TASK
from bvllm.synthetic.busy.tasks import Asker, Plan, Shown
from bvllm.synthetic.busy.things import Scene
from bvllm.synthetic.draft import Question
from bvllm.synthetic.needles import Event

LABELLED = 0.4  # share of the scenes between the asked ones that have a sign
ASK_TRIES = 6
PICTURE_TRIES = 200
# (kind, the label of its first sign or None, labels that no sign of it may carry) -> a scene.
SceneSource = Callable[[str, str | None, frozenset[str]], Scene]


@dataclass(frozen=True)
class BusyTimeline:
    """The plan of one busy video: scenes without a gap, the last cut where the video ends.

    Attributes:
        seconds: length of the video.
        shown: scenes and when each begins, in order.
        questions: what is asked.
    """

    seconds: float
    shown: tuple[Shown, ...]
    questions: tuple[Question, ...]

    def at(self, time: float) -> Shown:
        """What is shown at a time."""
        return self.shown[self.number_at(time)]

    def number_at(self, time: float) -> int:
        """The place of what is shown at a time."""
        starts = [shown.start for shown in self.shown]
        return max(0, int(np.searchsorted(starts, time + 1e-6, side="right")) - 1)

    def draw(self, picture: Image.Image, time: float) -> Image.Image:
        """The picture of the haystack with the scene of a moment."""
        shown = self.at(time)
        return draw_scene_over(picture, shown.scene, time - shown.start)

    @property
    def events(self) -> tuple[Event, ...]:
        """The scenes as the plain world's rows name their needles: by what their signs say."""
        return tuple(
            Event(Named(shown.scene.anchor or "scene"), shown.start, shown.end - shown.start)  # type: ignore[arg-type]  # a name is all that rows read
            for shown in self.shown
        )


@dataclass(frozen=True)
class Named:
    """What a row says of an asked scene."""

    name: str


def fresh_scenes(rng: np.random.Generator) -> SceneSource:
    """Scenes that are composed when they are wanted."""

    def scene(kind: str, label: str | None, without: frozenset[str]) -> Scene:
        others = [other for other in (random_label(rng, without) for _ in range(3)) if other is not None]
        return compose(rng, kind, label, others)

    return scene


def plan_busy(
    rng: np.random.Generator, seconds: float, tasks: list[str], source: SceneSource, *, questions: int = 4
) -> BusyTimeline:
    """Plan a busy video that answers up to `questions` of the tasks, in the order given.

    Args:
        rng: decides everything but the scenes.
        seconds: length of the video.
        tasks: names from `EVERY_TASK`, the most wanted first.
        source: where scenes come from.
        questions: the most to ask.
    """
    plan = Plan(rng, int(seconds), source)
    askers: list[Asker] = []
    for task in tasks:
        for _ in range(ASK_TRIES):
            if len(askers) == questions:
                break
            asker = EVERY_TASK[task](plan)
            if asker is not None:
                askers.append(asker)
                break
    if len(askers) < min(questions, 1):
        raise ValueError(
            f"seconds must leave room for a scene that is asked about, got {seconds:g}: make a longer video"
        )
    shown = _arranged(plan, int(seconds))
    return BusyTimeline(seconds, shown, tuple(ask(shown) for ask in askers))


def plan_picture(
    rng: np.random.Generator, task: str, source: SceneSource, *, pictures: int = 1
) -> BusyTimeline:
    """Plan pictures: scenes at their start, each with a sign of its own, and one question about one of them.

    Args:
        rng: decides everything but the scenes.
        task: a name from `EVERY_TASK`, of a question that one scene answers at its start.
        source: where scenes come from.
        pictures: how many; each takes a second of the plan, in random order.

    Raises:
        ValueError: no scene answers such a question, or there are not as many signs.
    """
    for _ in range(PICTURE_TRIES):
        plan = Plan(rng, pictures * LONGEST, source)
        asker = EVERY_TASK[task](plan)
        if asker is None or [len(group) for group in plan.groups] != [1]:
            continue
        for _ in range((pictures - 1) * ASK_TRIES):
            if len(plan.groups) == pictures:
                break
            other = plan.scene(random_kind(rng))
            plan.keep(*([] if other is None else [[other]]))
        if len(plan.groups) == pictures:
            scenes = [scene for [scene] in plan.groups]
            order = rng.permutation(pictures).tolist() if pictures > 1 else [0]
            shown = tuple(Shown(scenes[k], float(t), t + 1.0) for t, k in enumerate(order))
            return BusyTimeline(float(pictures), shown, (asker(shown),))
    raise ValueError(f"task must be one that a picture answers, got {task!r}: ask it of a video")


def _arranged(plan: Plan, seconds: int) -> tuple[Shown, ...]:
    """The wanted groups of scenes in random order, others between, before and behind them."""
    rng, groups = plan.rng, list(plan.groups)
    spare = seconds - sum(scene.seconds for group in groups for scene in group)
    fillers: list[Scene] = []
    while spare > 0:
        label = random_label(rng, plan.reserved) if rng.random() < LABELLED else None
        scene = plan.source(random_kind(rng), label, frozenset(plan.reserved))
        fillers.append(scene)
        spare -= scene.seconds
    rng.shuffle(groups)
    cuts = np.sort(rng.integers(0, len(fillers) + 1, len(groups)))
    order: list[tuple[Scene, bool]] = []
    used = 0
    for group, cut in zip(groups, cuts.tolist()):
        order += [(scene, False) for scene in fillers[used:cut]] + [(scene, True) for scene in group]
        used = cut
    order += [(scene, False) for scene in fillers[used:]]
    shown, start = [], 0
    over = max(0, sum(scene.seconds for scene, _ in order) - seconds)
    for scene, asked in order:
        length = scene.seconds
        if over and not asked:  # what does not fit is taken from the scenes that nobody asks about
            cut = min(over, length)
            length, over = length - cut, over - cut
        if length:
            shown.append(Shown(scene, float(start), float(start + length)))
            start += length
    return tuple(shown)
