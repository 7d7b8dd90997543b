"""`bvllm train llava_nano`: train a small LLaVA-OneVision on both worlds, for comparing methods on.

    draw, tower, language   from nano's, with the minutes of `FROM_NOTHING` (`nano.train`)
    words                   the tower's text side, which tells what frames of both worlds hold
    align                   its projector, on patches whose things the world knows
    projector               its projector, through the LLM, by the answers
    whole                   projector and LLM

Stages leave folders, checkpoints and `run.json` as nano's do, and `resume` goes on with them. A run may start
from the stages of a nano run (`warm`), which it copies.
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import LlavaOnevisionForConditionalGeneration

from bvllm.model.presets import NANO_MEAN, NANO_STD
from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.build import build_model
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.language import Where
from bvllm.nano.llava.align import align_projector
from bvllm.nano.llava.build import build_llava, llava_tokenizer, save_llava
from bvllm.nano.llava.tuning import PROJECTOR, WHOLE, LlavaStage, tune_llava
from bvllm.nano.llava.words import warm_up_words
from bvllm.nano.loop import Control
from bvllm.nano.progress import RunRecord
from bvllm.nano.train import (
    FROM_NOTHING,
    Recipe,
    draw_pools,
    is_done,
    language_stage,
    mark_done,
    tower_stage,
)
from bvllm.synthetic.tokenizer import build_tokenizer

WEIGHTS = "weights.safetensors"
SHARED = ("tower", "language")  # folders that a nano run has, too
SOME = 256  # frames by which the projector's size is set


@dataclass(frozen=True)
class LlavaRecipe:
    """Llava-nano's recipe.

    Attributes:
        shared: of the pool, tower and language stages.
        words_minutes, align_minutes: the most that these stages take.
    """

    shared: Recipe = field(
        default_factory=lambda: replace(FROM_NOTHING, start="nano", stages=(), matching_minutes=0)
    )
    words_minutes: float = 2.0
    align_minutes: float = 1.5
    stages: tuple[LlavaStage, ...] = (PROJECTOR, WHOLE)
    seed: int = 1


def train_llava_nano(
    out: Path,
    *,
    warm: Path | None = None,
    resume: bool = False,
    recipe: LlavaRecipe | None = None,
    control: Control | None = None,
) -> Path:
    """Train llava-nano.

    Args:
        out: folder for the stages; the finished model is in `out/model`.
        warm: a run of nano on both worlds whose tower and language model are taken.
        resume: go on with the run in `out`; a finished one stays as it is.

    Returns:
        The folder of the finished model, for `--model`.

    Raises:
        ValueError: `out` holds a run and `resume` is False, or one with another recipe; `warm` has no such
            stages.
        Interrupted: the control's `stop` was asked; `resume` goes on.
    """
    recipe, control = recipe or LlavaRecipe(), control or Control()
    if warm is not None:
        _check_warm(warm)
    record = RunRecord.claim(out, recipe, None, resume=resume)
    if is_done(out / "model"):
        control.log(f"nothing left to do in {out}: the run is finished")
        return out / "model"
    with control.stop.listening(), record.clocked(control):
        for name in SHARED if warm is not None else ():
            if not is_done(out / name):
                shutil.copytree(Path(str(warm)) / name, out / name, dirs_exist_ok=True)
        return _train(out, recipe, control)


def _check_warm(warm: Path) -> None:
    missing = [name for name in SHARED if not is_done(warm / name)]
    if missing:
        raise ValueError(
            f"--warm must be a run of nano with a finished {' and '.join(missing)}, got {str(warm)!r}: leave "
            "it out to train all"
        )


def _train(out: Path, recipe: LlavaRecipe, control: Control) -> Path:
    """Every stage that is not done yet."""
    model, bank, where = _warmed(out, recipe, control)
    words = _words(out / "words", bank, recipe, control)
    tokenizer = llava_tokenizer()
    if not is_done(out / "align"):
        own = control.within(out / "align")
        align_projector(
            model, tokenizer, bank, where, seed=recipe.seed, minutes=recipe.align_minutes, control=own
        )
        _keep(out / "align", model)
    model.load_state_dict(load_file(out / "align" / WEIGHTS), strict=False)
    for number, stage in enumerate(recipe.stages):
        folder = out / stage.name
        if not is_done(folder):
            seed = recipe.seed * 100 + number
            tune_llava(model, tokenizer, bank, stage, seed=seed, control=control.within(folder))
            _keep(folder, model)
        model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    save_llava(model, tokenizer, out / "model")
    words.save(out / "model")
    mark_done(out / "model")
    return out / "model"


def _warmed(
    out: Path, recipe: LlavaRecipe, control: Control
) -> tuple[LlavaOnevisionForConditionalGeneration, FeatureCache, Where]:
    """The model before its own stages, and the pool as its tower sees it."""
    shared, plain = recipe.shared, build_tokenizer()
    pool, busy = draw_pools(shared, control)
    tower, _ = tower_stage(out / "tower", pool, busy, shared, shared.tower_minutes, control)
    language_model, clock, where = language_stage(out / "language", plain, shared, True, control, busy)
    nano = build_model(plain, tower, language_model, clock, seed=recipe.seed)
    control.log("encoding the pool")
    bank = FeatureCache.encode(
        pool, nano.model, mean=NANO_MEAN, std=NANO_STD, busy=busy, tell=control.progress
    )
    some = bank.patches[-SOME:]
    model = build_llava(llava_tokenizer(), tower, language_model, some, seed=recipe.seed)
    return model, bank, where


def _words(folder: Path, bank: FeatureCache, recipe: LlavaRecipe, control: Control) -> TextEncoder:
    if not is_done(folder):
        own = control.within(folder)
        words = warm_up_words(bank, seed=recipe.seed, minutes=recipe.words_minutes, control=own)
        folder.mkdir(parents=True, exist_ok=True)
        words.save(folder)
        mark_done(folder)
    return TextEncoder.load(folder)


def _keep(folder: Path, model: LlavaOnevisionForConditionalGeneration) -> None:
    """Leave what learned in a stage, and its mark last."""
    state = {
        name: value.contiguous()
        for name, value in model.state_dict().items()
        if "vision_tower" not in name and name != "lm_head.weight"
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS)
    mark_done(folder)
