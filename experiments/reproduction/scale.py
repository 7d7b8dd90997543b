"""Set how large a miniature is: what is trained, for how long, and on what it is examined.

Each table is to take two hours of two cores at most. By `reckoning.py`, from the CPU time of three steps of
each stage in banks of 60 scenes, on one core of an AMD EPYC beside other work (2026-11-30, a load of 5 on two
cores, so rather too much than too little): pairing 0.17 to 0.49 s a step, selection 0.3 s, instruction 1.3
to 1.4 s (2.6 s for LLaMA-VID's 64 frames), a question of the exam 0.05 to 0.06 s. That makes, in minutes of
two cores, shared stages among them: Table 1 117, Table 3 (five seeds) 103, Tables 4 and 7 49 and 50, Figure 3
109, Figure 5 55, "beyond" 55, three seeds each; less where another table of the folder has trained a variant.
Before the first table come the banks, about 6 minutes of two cores by the times in `bvllm.nano.train`, and
told videos, 0.35 s a step of one core (docs/architecture.md): 14 minutes, or 4 where nano knows both worlds.
Table 3 took 150 minutes beside other work (Intel Xeon, 2026-11-30): 9 the banks, 15 told videos, the rest 30
trainings, 6 minutes of a core each, and their exams.
Alone on two cores of another Xeon (2026-12-01): 6 the banks, 13 told videos, 10 pairing, 4 selection, 102 the
trainings and their exams.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bvllm.nano.tuning import TuningStage

World = Literal["busy", "plain"]
WORLDS: tuple[World, ...] = ("busy", "plain")  # the headline first

# Seconds of the shortest and longest video of each column. An image is a clip of one frame.
DURATIONS = {
    "image": (8.0, 64.0),
    "short": (8.0, 60.0),
    "medium": (60.0, 600.0),
    "long": (600.0, 3600.0),
}
VIDEO_COLUMNS = ("short", "medium", "long")

FOREVER = 1e6  # minutes: steps alone end a stage, so that a run repeats itself
SELECTION = TuningStage(
    "selection", ("frame_selector",), 300, FOREVER, 2e-3, batch=24, seconds=(8, 3600), answers=False
)
INSTRUCTION = TuningStage(
    "instruction",
    ("frame_selector", "places", "token_sampler", "multi_modal_projector", "clock", "language_model"),
    200,
    FOREVER,
    5e-4,
    batch=24,
    seconds=(8, 600),
)


@dataclass(frozen=True)
class Scale:
    """One size of the miniature.

    Attributes:
        scenes, exam_scenes: scenes of the plain world drawn to train and to examine on; 30 frames each.
        busy_scenes, busy_exam_scenes: of the busy world; a frame for each of their 3 to 8 seconds.
        matching_steps, matching_clips: steps in which a frame's tokens are paired with its things, and clips
            in each, of which two frames are read.
        selection: the selector alone.
        instruction: all but the tower, on the answer.
        reader_steps: steps in which a learned frame feature is trained with its selector, on short videos.
        questions: of each duration, in each world.
        language_steps: videos told in words before anything is seen, gone on from nano's language model where
            none is given. By steps alone, so that a run that was stopped goes on to the same figures.
        known_language_steps: the same where nano knows both worlds already: only what places are told by,
            which is no part of a model, has to be learned.
        language_batch: told videos of a step.
        world_seed: decides what is drawn and what is asked.
    """

    scenes: int = 600
    busy_scenes: int = 3000
    exam_scenes: int = 300
    busy_exam_scenes: int = 800
    matching_steps: int = 900
    matching_clips: int = 64
    selection: TuningStage = SELECTION
    instruction: TuningStage = INSTRUCTION
    reader_steps: int = 150
    questions: int = 120
    language_steps: int = 2400
    known_language_steps: int = 600
    language_batch: int = 48
    world_seed: int = 11

    def to_json(self) -> dict[str, object]:
        """Every number, for the record and for the names of what is kept."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))  # tuples become lists, as on the disk
        return plain

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Scale":
        """From what `to_json` gave."""
        stages = {name: _stage(told[name]) for name in ("selection", "instruction")}
        return cls(**told | stages)


def _stage(told: Mapping[str, Any]) -> TuningStage:
    return TuningStage(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    )


MINIATURE = Scale()
