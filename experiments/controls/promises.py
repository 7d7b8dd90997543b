"""Say where a control must be no better than a guess, and why."""

from typing import Literal, get_args

from bvllm.synthetic.busy.tasks import BUSY_TASKS

Control = Literal["all", "blind", "single-frame", "bag-of-things"]
CONTROLS: tuple[Control, ...] = get_args(Control)
MARGIN = 0.05  # above guessing: what a control may gain where nothing is promised to it

# For each control the tasks in which it must guess, with the reason. What is missing can be answered by it:
# by one frame, all about a frame, a time, and what comes (before it comes, the one option that is not there
# is right); by a bag, what a thing is, how many there are, and how many scenes show a sign.
PROMISES: dict[Control, dict[str, str]] = {
    "all": {},
    "blind": dict.fromkeys(BUSY_TASKS, "nothing is seen"),
    "single-frame": {
        "motion": "a way is the difference of two moments",
        "order": "one of four signs is seen",
        "next": "one of two scenes is seen",
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
