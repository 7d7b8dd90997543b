"""`bvllm train nano`: train the embedded model on both worlds; alignment comes before tuning.

    draw        frames of the world, once
    tower       vision-text contrastive warm-up (the role that CLIP plays)
    language    the LLM reads videos given as captions (the role that a pre-trained LLM plays)
    matching    token sampler and projector: visual tokens become what the LLM reads, thing by thing
                (alignment, the plain world's alone, regresses captions in its place)
    selection   the frame selector alone, on cached [CLS] features of videos up to an hour
    instruction everything but the tower and the selector

Each stage leaves a folder, and a checkpoint in it while it runs; `resume` goes on after the last stage
that is complete, and in the middle of the next one. A folder is complete when its `done` file is there,
which is written last. What a run was started with, and the time that it has spent, stand in `run.json`.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Model

from bvllm.common.trust import loading_weights
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.clock import ClockEmbedding
from bvllm.model.presets import NANO_MEAN, NANO_STD, nano_text, nano_vision
from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.alignment import align
from bvllm.nano.build import build_model, build_processor
from bvllm.nano.busy_pool import BusyPool, draw_busy_pool
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.knowledge import knowledge_of
from bvllm.nano.language import CLOCK, WHERE, Where, warm_up_language
from bvllm.nano.loop import Control
from bvllm.nano.matching import match_tokens
from bvllm.nano.progress import RunRecord, is_done, mark_done
from bvllm.nano.start import language_of, tower_of
from bvllm.nano.tuning import INSTRUCTION, SELECTION, TuningStage, tune
from bvllm.nano.warmup import warm_up_tower
from bvllm.synthetic.tokenizer import build_tokenizer

BUSY_POOL_MINUTES = 3.5  # of 6000 busy scenes, measured
POOL_MINUTES = 9.0  # drawing and encoding the whole recipe's pool on two cores, measured


@dataclass(frozen=True)
class Recipe:
    """A nano's recipe; the numbers here are of the plain world alone, `BOTH_WORLDS` is what is shipped.

    Minutes are the most that a stage takes; a fast machine runs out of steps first.

    Attributes:
        scenes: scenes of the plain world in the pool; each gives 30 frames.
        busy_scenes: scenes of the busy world; each gives a frame for each of its 3 to 8 seconds. 0 trains on
            the plain world alone.
        alignment_steps: of the alignment that regresses captions (`nano.alignment`), which makes all tokens
            of a frame alike; 0 where tokens are paired with things, or `ALIGNMENT` is among the stages.
        matching_minutes: of the pairing of tokens and things (`nano.matching`); 0 leaves it out.
        start: a nano whose tower and language model are gone on from; "" starts from nothing.
        seed: decides everything but what a clock decides: a stage that runs out of time ends at another step
            on another machine.
        workers: processes that draw the pool.
    """

    scenes: int = 2000
    busy_scenes: int = 0
    tower_epochs: float = 8
    tower_batch: int = 192
    tower_minutes: float = 22
    language_steps: int = 5000
    language_batch: int = 72
    language_minutes: float = 26
    alignment_steps: int = 2500
    alignment_minutes: float = 5
    matching_minutes: float = 0
    start: str = ""
    stages: tuple[TuningStage, ...] = (SELECTION, INSTRUCTION)
    seed: int = 1
    workers: int = 2

    @property
    def minutes(self) -> float:
        """The most that the whole takes: the pool on two cores, and every stage."""
        pool = POOL_MINUTES * self.scenes / Recipe.scenes + BUSY_POOL_MINUTES * self.busy_scenes / 6000
        return pool + self.tower_minutes + self.language_minutes + self.heads_minutes

    @property
    def heads_minutes(self) -> float:
        """The most that everything behind the language model's warm-up takes."""
        return self.alignment_minutes + self.matching_minutes + self.tuning_minutes

    @property
    def tuning_minutes(self) -> float:
        """The most that the stages of tuning take together."""
        return sum(stage.minutes for stage in self.stages)

    def resized(self, scenes: int, busy_scenes: int) -> "Recipe":
        """The same recipe with another pool."""
        return replace(self, scenes=scenes, busy_scenes=busy_scenes)

    def within(self, minutes: float) -> "Recipe":
        """The same recipe, pool and stages cut in proportion so that the whole takes `minutes`.

        Raises:
            ValueError: there is no time at all.
        """
        if not minutes > 0:
            raise ValueError(f"minutes must be above 0, got {minutes:g}: leave it out for the whole recipe")
        share = minutes / self.minutes
        return replace(
            self,
            scenes=max(20, int(self.scenes * min(1.0, share))),
            busy_scenes=self.busy_scenes and max(20, int(self.busy_scenes * min(1.0, share))),
            alignment_minutes=self.alignment_minutes * share,
            matching_minutes=self.matching_minutes * share,
            tower_minutes=self.tower_minutes * share,
            language_minutes=self.language_minutes * share,
            stages=tuple(replace(stage, minutes=stage.minutes * share) for stage in self.stages),
        )


# Both worlds, with tokens that are paired with things. The embedded model was made by these stages, in pieces
# and with other minutes, which its card tells. The selector is frozen while the rest learns to answer: frames
# are then chosen as at inference, two or three a clip in place of ten, and a step is as cheap. Tower and
# language model go on from the embedded ones, so most of the time is for what starts anew.
BOTH_WORLDS = Recipe(
    scenes=1000,
    busy_scenes=6000,
    tower_epochs=200,
    tower_batch=64,
    tower_minutes=5,
    language_steps=20_000,
    language_batch=48,
    language_minutes=10,
    alignment_steps=0,
    alignment_minutes=0,
    matching_minutes=18,
    start="nano",
    stages=(
        replace(SELECTION, minutes=13, steps=4000),
        replace(
            INSTRUCTION,
            minutes=36,
            trained=("places", "token_sampler", "multi_modal_projector", "clock", "language_model"),
            selection_weight=0.0,
            oracle=(0.5, 0.1),
            batch=40,
            looking_weight=0.1,
            busy=0.65,
        ),
    ),
)
# The same time, of which most goes to a tower and a language model that know nothing yet.
FROM_NOTHING = replace(
    BOTH_WORLDS,
    start="",
    tower_minutes=14,
    language_minutes=26,
    matching_minutes=14,
    stages=tuple(
        replace(stage, minutes=minutes) for stage, minutes in zip(BOTH_WORLDS.stages, (8, 20), strict=True)
    ),
)


def train_nano(
    out: Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    recipe: Recipe | None = None,
    control: Control | None = None,
) -> Path:
    """Train the embedded model.

    Args:
        out: folder for the stages; the finished model is in `out/model`.
        minutes: the most time for everything, pool included; None takes the recipe's own. A run that goes on
            has what it had left.
        resume: go on with the run in `out`; a finished one stays as it is.
        recipe: another recipe than `BOTH_WORLDS`.
        control: who is told, and who may stop the run.

    Returns:
        The folder of the finished model, for `--model`.

    Raises:
        ValueError: there is no time at all, `out` holds a run and `resume` is False, or the run in `out` was
            started with other settings.
        Interrupted: the control's `stop` was asked; `resume` goes on.
    """
    recipe, control = recipe or BOTH_WORLDS, control or Control()
    if minutes is not None:
        recipe.within(minutes)  # refuses what is no time at all, before anything is written
    record = RunRecord.claim(out, recipe, minutes, resume=resume)
    if is_done(out / "model"):
        control.log(f"nothing left to do in {out}: the run is finished")
        return out / "model"
    if record.minutes is not None:
        recipe = recipe.within(record.minutes)
    with control.stop.listening(), record.clocked(control):
        return _train(out, recipe, record, control)


def _train(out: Path, recipe: Recipe, record: RunRecord, control: Control) -> Path:
    """Every stage that is not done yet; where a limit was set, each gets its share of what is left of it."""
    tokenizer = build_tokenizer()
    pool, busy = draw_pools(recipe, control)
    heads = recipe.heads_minutes
    frames = len(pool) + (0 if busy is None else len(busy))
    reserved = 0.0 if record.minutes is None else _encoding_minutes(pool, frames)
    limit = record.share(
        recipe.tower_minutes, recipe.tower_minutes + recipe.language_minutes + heads, reserved
    )
    tower, words = tower_stage(out / "tower", pool, busy, recipe, limit, control)
    limit = record.share(recipe.language_minutes, recipe.language_minutes + heads, reserved)
    language_model, clock, where = language_stage(
        out / "language", tokenizer, replace(recipe, language_minutes=limit), True, control, busy
    )
    model = build_model(tokenizer, tower, language_model, clock, seed=recipe.seed)
    control.log("encoding the pool")
    bank = FeatureCache.encode(
        pool, model.model, mean=NANO_MEAN, std=NANO_STD, busy=busy, tell=control.progress
    )
    minutes = record.share(recipe.alignment_minutes + recipe.matching_minutes, heads)
    folder = _first_tokens(model, tokenizer, bank, where, out, recipe, minutes, control)
    following = recipe.tuning_minutes
    for number, stage in enumerate(recipe.stages):
        before, folder = folder, out / stage.name
        if not is_done(folder):
            model = model if before is None else stage_model(before)
            limited = replace(stage, minutes=record.share(stage.minutes, following))
            seed = recipe.seed * 100 + number
            tune(model, tokenizer, bank, limited, seed=seed, where=where, control=control.within(folder))
            _finish(folder, model)
        following -= stage.minutes
    assert folder is not None  # a recipe has a stage
    save_nano(stage_model(folder), tokenizer, out / "model")
    words.save(out / "model")
    save_file(where.state_dict(), out / "model" / WHERE)
    shows = torch.tensor([needle is not None for needle in pool.needles] + [True] * (frames - len(pool)))
    knowledge_of(bank.frames, shows, busy=busy is not None).save(out / "model")
    mark_done(out / "model")
    return out / "model"


def _first_tokens(
    model: BVLLMForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    bank: FeatureCache,
    where: Where,
    out: Path,
    recipe: Recipe,
    minutes: float,
    control: Control,
) -> Path | None:
    """The folder in which the sampler first learned tokens without the LLM; None where it does not.

    On both worlds by pairing tokens with things, on the plain one by regressing captions.
    """
    seed, folder = recipe.seed, out / ("matching" if recipe.matching_minutes else "alignment")
    if not (recipe.matching_minutes or recipe.alignment_steps):
        return None
    if is_done(folder):
        return folder
    own = control.within(folder)
    if recipe.matching_minutes:
        match_tokens(model, tokenizer, bank, where, minutes=minutes, seed=seed, control=own)
    else:
        steps = recipe.alignment_steps
        align(model, tokenizer, bank, steps=steps, minutes=minutes, seed=seed, control=own)
    _finish(folder, model)
    return folder


def _encoding_minutes(pool: FrameDataset, frames: int) -> float:
    """How long encoding so many frames will take, by its first frames through an untrained tower."""
    tower, some = CLIPVisionModel(nano_vision()).eval(), pool.pixels[:64].float() / 255
    with torch.inference_mode():
        tower(pixel_values=some)  # the first run of a kernel is slow
        started = time.monotonic()
        tower(pixel_values=some)
    passes = 2
    return passes * (time.monotonic() - started) / 60 * frames / len(some)


def language_stage(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    resume: bool,
    control: Control | None = None,
    busy: BusyPool | None = None,
) -> tuple[Qwen2Model, ClockEmbedding, Where]:
    """The LLM, its clock and what places are told by, warmed up on captioned videos, or read."""
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    clock, where = ClockEmbedding(config.hidden_size), Where(config.hidden_size)
    if not (resume and is_done(folder)):
        language_model, clock, where = warm_up_language(
            tokenizer,
            config,
            steps=recipe.language_steps,
            batch=recipe.language_batch,
            minutes=recipe.language_minutes,
            seed=recipe.seed,
            pool=busy,
            start=language_of(recipe.start, tokenizer, config) if recipe.start else None,
            control=(control or Control()).within(folder),
        )
        language_model.save_pretrained(folder)
        save_file(clock.state_dict(), folder / CLOCK)
        save_file(where.state_dict(), folder / WHERE)
        mark_done(folder)
    clock.load_state_dict(load_file(folder / CLOCK))
    if (folder / WHERE).is_file():  # folders of before 2026-11-29 tell of no places
        where.load_state_dict(load_file(folder / WHERE))
    return Qwen2Model.from_pretrained(folder, **loading_weights()), clock, where


def save_nano(model: BVLLMForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model, processor and tokenizer in `save_pretrained` layout; weights in bfloat16, half the size."""
    model.to(torch.bfloat16).save_pretrained(folder)
    build_processor(tokenizer, model).save_pretrained(folder)
    model.float()


def draw_pools(recipe: Recipe, control: Control) -> tuple[FrameDataset, BusyPool | None]:
    """Drawn again each time: it takes a few minutes here, and would take gigabytes on a disk."""
    busy = f" and {recipe.busy_scenes} busy ones" if recipe.busy_scenes else ""
    control.log(f"drawing {recipe.scenes} scenes{busy}")
    side, workers, tell = nano_vision().image_size, recipe.workers, control.progress
    plain = draw_pool(
        recipe.scenes, split="train", seed=recipe.seed, image_size=side, workers=workers, tell=tell
    )
    if not recipe.busy_scenes:
        return plain, None
    return plain, draw_busy_pool(
        recipe.busy_scenes, seed=recipe.seed, image_size=side, workers=workers, tell=tell
    )


def tower_stage(
    folder: Path, pool: FrameDataset, busy: BusyPool | None, recipe: Recipe, minutes: float, control: Control
) -> tuple[CLIPVisionModel, TextEncoder]:
    if not is_done(folder):
        tower, words = warm_up_tower(
            pool,
            nano_vision(),
            mean=NANO_MEAN,
            std=NANO_STD,
            epochs=recipe.tower_epochs,
            batch=recipe.tower_batch,
            minutes=minutes,
            seed=recipe.seed,
            busy=busy,
            start=tower_of(recipe.start) if recipe.start else None,
            control=control.within(folder),
        )
        tower.save_pretrained(folder)
        words.save(folder)
        mark_done(folder)
    return CLIPVisionModel.from_pretrained(folder, **loading_weights()), TextEncoder.load(folder)


def _finish(folder: Path, model: BVLLMForConditionalGeneration) -> None:
    """Leave a stage's model, and its mark last."""
    model.save_pretrained(folder)
    mark_done(folder)


def stage_model(folder: Path) -> BVLLMForConditionalGeneration:
    """What a stage left."""
    return BVLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **loading_weights())
