"""Say where a control must be no better than a guess, and why."""

from typing import Literal, get_args

from bvllm.synthetic.busy.tasks import BUSY_TASKS

Control = Literal["all", "blind", "single-frame", "bag-of-things"]
CONTROLS: tuple[Control, ...] = get_args(Control)
MARGIN = 0.05  # above guessing: what a control may gain where nothing is promised to it

# For each control the tasks in which it must guess, with the reason. The others can be answered by it:
# - one frame tells all about a scene, and its time. It tells `arrival`, too: before a thing comes, it is the
#   one option that is not there. And it tells some of `order`: the time of one of four signs says whether it
#   is an early one (41 % where the video's length is known: a scene at the share u of it is the first of four
#   with (1 - u)^3).
# - a bag tells what a thing is, how many there are, and how many scenes show a sign.
PROMISES: dict[Control, dict[str, str]] = {
    "all": {},
    "blind": dict.fromkeys(BUSY_TASKS, "nothing is seen"),
    "single-frame": {
        "motion": "a way is the difference of two moments",
        "next": "one scene is seen",
        "repetition": "one of one to four scenes is seen",
    },
    "bag-of-things": {
        "relation": "all options are there, and no places",
        "region": "all options are there, and no places",
        "motion": "no places",
        "arrival": "all options are there, and no times",
        "order": "all four signs are there, and no times",
        "when": "no times",
        "next": "all options are there, and no times",
    },
}
