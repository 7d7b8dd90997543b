"""Ask further questions about busy videos: how long a scene lasts, and what stands beside what comes later.

They are asked where they are named alone (`bvllm world make --tasks`): no embedded model was trained on
them, so they show what a model does with a question of a kind that it does not know. Their words are not in
the embedded models' tokenizer.
"""

from collections.abc import Sequence

from bvllm.synthetic.busy import evidence
from bvllm.synthetic.busy.compose import LONGEST, SHORTEST
from bvllm.synthetic.busy.phrases import SAYS
from bvllm.synthetic.busy.spatial import at_rest, beside, named, shuffled
from bvllm.synthetic.busy.tasks import BUSY_TASKS, Asker, BusyTask, Plan, Shown, place_of
from bvllm.synthetic.draft import Question, shuffle_options
from bvllm.synthetic.sampling import pick


def _duration(plan: Plan) -> Asker | None:
    """How many seconds a scene lasts."""
    # Room for the longest, however long it will be: else what is left would tell.
    scene = plan.scene("mixed") if plan.room >= LONGEST else None
    if scene is None:
        return None
    plan.keep([scene])
    others = [str(n) for n in range(SHORTEST, LONGEST + 1) if n != scene.seconds]
    options, right = shuffle_options(plan.rng, str(scene.seconds), shuffled(plan.rng, others))
    stem = f"for how many seconds is the sign {scene.anchor} shown?"

    def ask(shown: Sequence[Shown]) -> Question:
        at = shown[place_of(scene, shown)]
        told = evidence.of_times((at.start, at.end - 1))
        return Question("duration", stem, options, right, told, (place_of(scene, shown),))

    return ask


def _beside_late(plan: Plan) -> Asker | None:
    """What stands on a side of the thing that comes later, which the question does not name."""
    scene = plan.scene("arrival")
    late = [] if scene is None else [t for t in scene.shapes if t.arrives]
    if scene is None or len(late) != 1:
        return None
    found = beside(plan.rng, late[0], [*at_rest(scene), late[0]], "what comes later")
    if found is None:
        return None
    plan.keep([scene])
    stem, answer, wrong, _ = found
    options, right = shuffle_options(plan.rng, answer, wrong)
    stem = pick(plan.rng, SAYS).format(scene.anchor) + stem.format(", ".join(options))
    compared = (late[0], *named(scene, options))

    def ask(shown: Sequence[Shown]) -> Question:
        place = place_of(scene, shown)
        told = evidence.at(
            shown[place].start + late[0].arrives, evidence.of_scene("relation", compared, answer)
        )
        return Question("beside", stem, options, right, told, (place,), about=compared)

    return ask


FURTHER_TASKS: dict[str, BusyTask] = {"duration": _duration, "beside": _beside_late}
EVERY_TASK: dict[str, BusyTask] = {**BUSY_TASKS, **FURTHER_TASKS}
