"""Set how large a miniature is: what is trained, for how long, and on what it is examined."""

from dataclasses import asdict, dataclass

from bvllm.nano.tuning import TuningStage

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
    "selection", ("frame_selector",), 200, FOREVER, 2e-3, batch=24, seconds=(8, 3600), answers=False
)
INSTRUCTION = TuningStage(
    "instruction",
    ("frame_selector", "token_sampler", "multi_modal_projector", "clock", "language_model"),
    150,
    FOREVER,
    5e-4,
    batch=24,
    seconds=(8, 600),
)


@dataclass(frozen=True)
class Scale:
    """One size of the miniature.

    Attributes:
        scenes, exam_scenes: scenes drawn to train and to examine on; 30 frames each.
        alignment_steps, alignment_frames: steps of token sampler and projector, and frames in each.
        selection: the selector alone.
        instruction: all but the tower, on the answer.
        reader_steps: steps in which a learned frame feature is trained with its selector, on short videos.
        questions: of each duration.
        language_steps: the warm-up of the language model where none is given; what nano's 26 minutes were
        on two cores. By steps alone, so that a run that was stopped goes on to the same figures.
        world_seed: decides what is drawn and what is asked.
    """

    scenes: int = 800
    exam_scenes: int = 300
    alignment_steps: int = 300
    alignment_frames: int = 128
    selection: TuningStage = SELECTION
    instruction: TuningStage = INSTRUCTION
    reader_steps: int = 150
    questions: int = 240
    language_steps: int = 2400
    world_seed: int = 11

    def to_json(self) -> dict[str, object]:
        """Every number, for the record and for the names of what is kept."""
        return asdict(self)


MINIATURE = Scale()
