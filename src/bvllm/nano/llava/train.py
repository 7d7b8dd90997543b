"""`bvllm train llava_nano`: train a small LLaVA-OneVision on both worlds, for comparing methods on.

    (no stage)   tower and language model are those of the embedded nano, or of a run of nano (`warm`)
    words        the tower's text side, which tells what frames of both worlds hold
    align        its projector, on patches whose things the world knows
    projector    its projector, through the LLM, by the answers
    whole        projector and LLM

Stages leave folders, checkpoints and `run.json` as nano's do, and `resume` goes on with them.
"""

from dataclasses import dataclass
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
from bvllm.nano.progress import RunRecord, is_done, mark_done
from bvllm.nano.start import bring_warm, check_warm, warm_parts
from bvllm.nano.train import BOTH_WORLDS, Recipe, draw_pools
from bvllm.synthetic.tokenizer import build_tokenizer

WEIGHTS = "weights.safetensors"
SOME = 256  # frames by which the projector's size is set


@dataclass(frozen=True)
class LlavaRecipe:
    """Llava-nano's recipe.

    Attributes:
        nano: how the pools are drawn.
        words_minutes, align_minutes: the most that these stages take.
    """

    nano: Recipe = BOTH_WORLDS
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
        check_warm(warm)
    record = RunRecord.claim(out, recipe, None, resume=resume)
    if is_done(out / "model"):
        control.log(f"nothing left to do in {out}: the run is finished")
        return out / "model"
    with control.stop.listening(), record.clocked(control):
        if warm is not None:
            bring_warm(warm, out)
        return _train(out, recipe, control)


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
    plain = build_tokenizer()
    pool, busy = draw_pools(recipe.nano, control)
    parts = warm_parts(plain, out)
    nano = build_model(plain, parts.tower, parts.language_model, parts.clock, seed=recipe.seed)
    control.log("encoding the pool")
    bank = FeatureCache.encode(
        pool, nano.model, mean=NANO_MEAN, std=NANO_STD, busy=busy, tell=control.progress
    )
    some = bank.patches[-SOME:]
    model = build_llava(llava_tokenizer(), parts.tower, parts.language_model, some, seed=recipe.seed)
    return model, bank, parts.where


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
