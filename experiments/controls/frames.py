"""Choose the frames that a control may look at, so that the choice alone does not give the answer away."""

from bvllm.synthetic.busy.timeline import BusyTimeline
from bvllm.synthetic.draft import Question

OF_SIGNS = ("next", "order")  # tasks whose options are signs of scenes


def scenes_of(question: Question, timeline: BusyTimeline) -> list[int]:
    """The asked scenes, and where an option is a sign of another scene, that scene; ascending.

    With the asked ones alone, which scenes are looked at would tell the answer of `next`.
    """
    labels = set(question.options) if question.task in OF_SIGNS else set()
    named = {k for k, one in enumerate(timeline.shown) if labels & set(one.scene.labels)}
    return sorted(named | set(question.needles))


def key_frames(question: Question, timeline: BusyTimeline) -> list[int]:
    """The first and the last second of those scenes, ascending."""
    shown = [timeline.shown[k] for k in scenes_of(question, timeline)]
    return sorted({t for one in shown for t in (int(one.start), max(int(one.start), int(one.end) - 1))})
