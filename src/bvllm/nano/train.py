"""`bvllm train nano`: train the embedded model from nothing, in the paper's order.

    draw        frames of the world, once
    tower       vision-text contrastive warm-up (the role that CLIP plays)
    language    the LLM reads videos given as captions (the role that a pre-trained LLM plays)
    alignment   token sampler and projector: visual tokens become what the LLM reads
    selection   the frame selector alone, on cached [CLS] features of videos up to an hour
    instruction everything but the tower

Each stage leaves a folder; `resume` goes on after the last one that is complete. A folder is complete when
its `done` file is there, which is written last.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Model

from bvllm.common.trust import loading_weights
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.model.modeling_bvllm import ClockEmbedding
from bvllm.model.presets import NANO_MEAN, NANO_STD, nano_text, nano_vision
from bvllm.model.text_encoder import TextEncoder
from bvllm.nano.alignment import align
from bvllm.nano.build import build_model, build_processor
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.frame_dataset import FrameDataset, draw_pool
from bvllm.nano.language import warm_up_language
from bvllm.nano.tuning import INSTRUCTION, SELECTION, TuningStage, tune
from bvllm.nano.warmup import warm_up_tower
from bvllm.synthetic.tokenizer import build_tokenizer

CLOCK = "clock.safetensors"  # beside the language model's own weights


@dataclass(frozen=True)
class Recipe:
    """Nano's recipe. Minutes are the most that a stage takes; a fast machine runs out of steps first.

    Attributes:
        scenes: scenes in the pool; each gives 30 frames.
        seed: decides everything but what a clock decides: a stage that runs out of time ends at another step
            on another machine.
        workers: processes that draw the pool.
    """

    scenes: int = 2000
    tower_epochs: float = 8
    tower_minutes: float = 22
    language_steps: int = 5000
    language_minutes: float = 26
    alignment_steps: int = 2500
    alignment_minutes: float = 5
    stages: tuple[TuningStage, ...] = (SELECTION, INSTRUCTION)
    seed: int = 1
    workers: int = 2

    def within(self, minutes: float) -> "Recipe":
        """The same recipe, every stage shortened in proportion so that the whole takes `minutes`.

        Raises:
            ValueError: there is no time at all.
        """
        if not minutes > 0:
            raise ValueError(f"minutes must be above 0, got {minutes:g}: leave it out for the whole recipe")
        stages = sum(s.minutes for s in self.stages)
        whole = self.tower_minutes + self.language_minutes + self.alignment_minutes + stages
        share = minutes / whole
        return replace(
            self,
            scenes=max(20, int(self.scenes * min(1.0, share))),
            tower_minutes=self.tower_minutes * share,
            language_minutes=self.language_minutes * share,
            alignment_minutes=self.alignment_minutes * share,
            stages=tuple(replace(s, minutes=s.minutes * share) for s in self.stages),
        )


def train_nano(
    out: Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    recipe: Recipe | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Train the embedded model.

    Args:
        out: folder for the stages; the finished model is in `out/model`.
        minutes: the most time for all stages together; None takes the recipe's own.
        resume: skip the stages that are complete in `out`.
        recipe: another recipe than the shipped model's.
        log: receives a line now and then.

    Returns:
        The folder of the finished model, for `--model`.

    Raises:
        ValueError: there is no time at all.
    """
    recipe = recipe or Recipe()
    if minutes is not None:
        recipe = recipe.within(minutes)
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        for mark in out.glob("*/done"):  # of an earlier run: it must not pass for this one's
            mark.unlink()
    tokenizer = build_tokenizer()
    pool = _pool(recipe, log)
    tower, words = _tower(out / "tower", pool, recipe, resume, log)
    language_model, clock = language_stage(out / "language", tokenizer, recipe, resume, log)
    model = build_model(tokenizer, tower, language_model, clock, seed=recipe.seed)
    log("encoding the pool")
    bank = FeatureCache.encode(pool, model.model, mean=NANO_MEAN, std=NANO_STD)
    folder = out / "alignment"
    if resume and _is_done(folder):
        model = BVLLMForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, **loading_weights()
        )
    else:
        align(
            model,
            tokenizer,
            bank,
            steps=recipe.alignment_steps,
            minutes=recipe.alignment_minutes,
            seed=recipe.seed,
            checkpoint=folder,
            log=log,
        )
        _finish(folder)
    for number, stage in enumerate(recipe.stages):
        folder = out / stage.name
        if resume and _is_done(folder):
            model = BVLLMForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, **loading_weights()
            )
            continue
        tune(model, tokenizer, bank, stage, seed=recipe.seed * 100 + number, checkpoint=folder, log=log)
        _finish(folder)
    save_nano(model, tokenizer, out / "model")
    words.save(out / "model")
    return out / "model"


def language_stage(
    folder: Path, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, resume: bool, log: Callable[[str], None]
) -> tuple[Qwen2Model, ClockEmbedding]:
    """The LLM and its clock, warmed up on captioned videos; read where `resume` finds them done."""
    config = nano_text(
        len(tokenizer), pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id
    )
    clock = ClockEmbedding(config.hidden_size)
    if not (resume and _is_done(folder)):
        language_model, clock = warm_up_language(
            tokenizer,
            config,
            steps=recipe.language_steps,
            minutes=recipe.language_minutes,
            seed=recipe.seed,
            log=log,
        )
        language_model.save_pretrained(folder)
        save_file(clock.state_dict(), folder / CLOCK)
        _finish(folder)
    clock.load_state_dict(load_file(folder / CLOCK))
    return Qwen2Model.from_pretrained(folder, **loading_weights()), clock


def save_nano(model: BVLLMForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Model, processor and tokenizer in `save_pretrained` layout; weights in bfloat16, half the size."""
    model.to(torch.bfloat16).save_pretrained(folder)
    build_processor(tokenizer, model).save_pretrained(folder)
    model.float()


def _pool(recipe: Recipe, log: Callable[[str], None]) -> FrameDataset:
    """Drawn again each time: it takes a few minutes here, and would take gigabytes on a disk."""
    log(f"drawing {recipe.scenes} scenes")
    side = nano_vision().image_size
    return draw_pool(recipe.scenes, split="train", seed=recipe.seed, image_size=side, workers=recipe.workers)


def _tower(
    folder: Path, pool: FrameDataset, recipe: Recipe, resume: bool, log: Callable[[str], None]
) -> tuple[CLIPVisionModel, TextEncoder]:
    if not (resume and _is_done(folder)):
        tower, words = warm_up_tower(
            pool,
            nano_vision(),
            mean=NANO_MEAN,
            std=NANO_STD,
            epochs=recipe.tower_epochs,
            minutes=recipe.tower_minutes,
            seed=recipe.seed,
            log=log,
        )
        tower.save_pretrained(folder)
        words.save(folder)
        _finish(folder)
    return CLIPVisionModel.from_pretrained(folder, **loading_weights()), TextEncoder.load(folder)


def _is_done(folder: Path) -> bool:
    return (folder / "done").is_file()


def _finish(folder: Path) -> None:
    (folder / "done").touch()


def _stage_model(folder: Path) -> BVLLMForConditionalGeneration:
    """What an earlier stage left."""
    return BVLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, **loading_weights())
