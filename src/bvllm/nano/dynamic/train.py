"""`bvllm train dynamic_nano`: train the embedded Dynamic-VLM.

    (no stage)        tower, language model and clock are those of the embedded nano, or of a run (`warm`)
    projector         cells of frames become what the LLM already reads
    short, long       places, projector, clock and LLM answer questions and look things up, another grid in
                      every step, the tower's own in many

Each stage leaves a folder and, while it runs, a checkpoint in it; `resume` goes on from there. The token
counts are drawn in every step, so one model serves any budget.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from bvllm.common.trust import loading_weights
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.model.presets import NANO_MEAN, NANO_STD, nano_vision
from bvllm.nano.busy_pool import BusyPool, draw_busy_pool
from bvllm.nano.dynamic.align import align_cells
from bvllm.nano.dynamic.build import build_dynamic, dynamic_processor
from bvllm.nano.dynamic.exam import exam_clips
from bvllm.nano.dynamic.tuning import DynamicStage, Exam, tune_dynamic
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.knowledge import knowledge_of
from bvllm.nano.loop import FLOOR, Control
from bvllm.nano.progress import RunRecord, is_done, mark_done
from bvllm.nano.start import bring_warm, check_warm, warm_parts
from bvllm.nano.train import BOTH_WORLDS, Recipe, draw_pools
from bvllm.synthetic.tokenizer import build_tokenizer

LEARNS = ("places", "compressor", "multi_modal_projector", "clock", "language_model")
EXAM_SEED, EXAM_TOKENS = 8_000_009, 2048

SHORT = DynamicStage(
    "short",
    LEARNS,
    steps=8000,
    minutes=16,
    lr=6e-4,
    floor=0.7,
    room=5000,
    seconds=(8, 20),
    most=1024,
    busy=0.75,
    native=0.5,
    drilled=0.7,
    uneven=0.6,
)
LONG = replace(
    SHORT,
    name="long",
    minutes=28,
    lr=4.5e-4,
    floor=FLOOR,
    room=6000,
    seconds=(8, 64),
    most=2048,
    busy=0.6,
    native=0.35,
    plain_most=2048,
)


@dataclass(frozen=True)
class DynamicRecipe:
    """Dynamic-nano's recipe. Minutes are the most that a stage takes.

    Attributes:
        nano: how the pools are drawn, and the seed.
        projector_steps, projector_minutes: of the alignment of cells.
        stages: of tuning.
        compressor: a name in `COMPRESSORS`.
        exam_scenes, exam_clips: of each world, drawn for the log alone and never trained on; 0 asks nothing.
    """

    nano: Recipe = BOTH_WORLDS
    projector_steps: int = 2400
    projector_minutes: float = 2.0
    stages: tuple[DynamicStage, ...] = (SHORT, LONG)
    compressor: str = "pool"
    exam_scenes: int = 50
    exam_clips: int = 50


def train_dynamic_nano(
    out: Path,
    *,
    warm: Path | None = None,
    resume: bool = False,
    recipe: DynamicRecipe | None = None,
    control: Control | None = None,
) -> Path:
    """Train the embedded Dynamic-VLM.

    Args:
        out: folder for the stages; the finished model is in `out/model`.
        warm: a run of nano whose stages "tower" and "language" are taken; None goes on from the *nano* in
            this package.
        resume: go on with the run in `out`; a finished one stays as it is.
        recipe: another recipe than the shipped model's.
        control: who is told, and who may stop the run.

    Returns:
        The folder of the finished model, for `--model`.

    Raises:
        ValueError: `out` holds a run and `resume` is False, it was started with another recipe, or `warm`
            holds no finished stages.
        Interrupted: the control's `stop` was asked; `resume` goes on.
    """
    recipe, control = recipe or DynamicRecipe(), control or Control()
    if warm is not None:
        check_warm(warm)
    record = RunRecord.claim(out, recipe, None, resume=resume)
    if is_done(out / "model"):
        control.log(f"nothing left to do in {out}: the run is finished")
        return out / "model"
    with control.stop.listening(), record.clocked(control):
        if warm is not None:
            bring_warm(warm, out)
        return _train(out, recipe, control)


def _train(out: Path, recipe: DynamicRecipe, control: Control) -> Path:
    tokenizer = build_tokenizer()
    pool, busy = draw_pools(recipe.nano, control)
    parts = warm_parts(tokenizer, out)
    seed = recipe.nano.seed
    model = build_dynamic(
        tokenizer, parts.tower, parts.language_model, parts.clock, seed=seed, compressor=recipe.compressor
    )
    control.log("encoding the pool")
    bank = encode_pool(model, pool, busy, control)
    exam = _exam(model, recipe, control)
    folder = out / "projector"
    if not is_done(folder):
        align_cells(
            model,
            tokenizer,
            bank,
            parts.where,
            steps=recipe.projector_steps,
            minutes=recipe.projector_minutes,
            seed=seed,
            control=control.within(folder),
        )
        finish_stage(folder, model)
    for number, stage in enumerate(recipe.stages):
        before, folder = folder, out / stage.name
        if not is_done(folder):
            model = read_stage(before)
            tune_dynamic(
                model,
                tokenizer,
                bank,
                stage,
                seed=seed * 100 + number,
                exam=exam,
                control=control.within(folder),
            )
            finish_stage(folder, model)
    _save(read_stage(folder), tokenizer, out / "model")
    parts.words.save(out / "model")
    shows = torch.tensor(
        [needle is not None for needle in pool.needles] + [True] * (len(bank.frames) - len(pool))
    )
    knowledge_of(bank.frames, shows, busy=busy is not None).save(out / "model")
    mark_done(out / "model")
    return out / "model"


def encode_pool(
    model: DynamicVLMForConditionalGeneration, pool: FrameDataset, busy: BusyPool | None, control: Control
) -> FeatureCache:
    """The patches of every frame, in bfloat16."""
    return FeatureCache.encode(
        pool, model.model, mean=NANO_MEAN, std=NANO_STD, busy=busy, tell=control.progress
    )


def _exam(model: DynamicVLMForConditionalGeneration, recipe: DynamicRecipe, control: Control) -> Exam | None:
    """Clips of scenes of the validation split, for the log."""
    if not recipe.exam_scenes:
        return None
    bank = exam_bank(model, recipe.exam_scenes, EXAM_SEED, recipe.nano.workers, control)
    worlds = {
        name: exam_clips(bank, (8, 64), recipe.exam_clips, EXAM_SEED, busy=name == "busy")
        for name in ("plain", "busy")
    }
    return Exam(bank, worlds, EXAM_TOKENS)


def exam_bank(
    model: DynamicVLMForConditionalGeneration, scenes: int, seed: int, workers: int, control: Control
) -> FeatureCache:
    """Frames that no training saw: needles of the validation split, busy scenes of another seed."""
    side = nano_vision().image_size
    pool = draw_pool(scenes, split="val", seed=seed, image_size=side, workers=workers, tell=control.progress)
    busy = draw_busy_pool(2 * scenes, seed=seed, image_size=side, workers=workers, tell=control.progress)
    return encode_pool(model, pool, busy, control)


def finish_stage(folder: Path, model: DynamicVLMForConditionalGeneration) -> None:
    """Leave a stage's model, and its mark last."""
    model.save_pretrained(folder)
    mark_done(folder)


def read_stage(folder: Path) -> DynamicVLMForConditionalGeneration:
    """What a stage left."""
    return DynamicVLMForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, **loading_weights()
    )


def _save(
    model: DynamicVLMForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Model and processor in `save_pretrained` layout; weights in bfloat16, half the size."""
    model.to(torch.bfloat16).save_pretrained(folder)
    dynamic_processor(tokenizer, model).save_pretrained(folder)
