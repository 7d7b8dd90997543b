"""Settings that cannot be meant, found before anything is loaded."""

import math
import os

from bvllm.app.training.settings import DataSettings, ModelSettings, RunSettings, Settings, StageSettings


def check_settings(settings: Settings) -> None:
    """Refuse what cannot work.

    Errors:
        ValueError naming the first setting that is wrong.
    """
    _check_data(settings.data)
    _check_model(settings.model)
    for name, stage in (("alignment", settings.alignment), ("instruction", settings.instruction)):
        _check_stage(name, stage, settings)
    _check_run(settings.run)


def rows_per_process(name: str, stage: StageSettings, run: RunSettings, processes: int) -> int:
    """Accumulation: how many times each process takes `run.per_device` rows for one optimizer step.

    Errors:
        ValueError where the batch cannot be split so.

    Example:
        >>> from bvllm.app.training.recipes import RECIPES
        >>> paper = RECIPES["paper_7b"]()
        >>> rows_per_process("alignment", paper.alignment, paper.run, processes=8)
        8
    """
    at_once = run.per_device * processes
    if stage.batch % at_once:
        raise ValueError(
            f"{name}.batch must be a multiple of run.per_device x processes = {at_once}, got {stage.batch}: "
            "change run.per_device"
        )
    return stage.batch // at_once


def _check_data(data: DataSettings) -> None:
    for name in ("pretrain", "finetune", "evaluate"):
        files = getattr(data, name)
        if not files and name != "evaluate":
            raise ValueError(f"data.{name} must name a file of rows, got none: add data.{name}=PATH")
        for file in files:
            if not os.path.isfile(file):
                raise ValueError(f"data.{name} must name files that exist, got {file!r}: check the path")
    for name in ("pretrain", "finetune"):
        weights, files = getattr(data, f"{name}_weights"), getattr(data, name)
        if weights and (len(weights) != len(files) or not all(w > 0 and math.isfinite(w) for w in weights)):
            raise ValueError(
                f"data.{name}_weights must be {len(files)} numbers above 0, got {list(weights)}: "
                "one for each file"
            )
    if not (data.fps > 0 and math.isfinite(data.fps)):
        raise ValueError(f"data.fps must be above 0, got {data.fps:g}: the paper samples 1")
    for name, value in (("max_frames", data.max_frames), ("max_tokens", data.max_tokens)):
        if value is not None and value < 1:
            raise ValueError(f"data.{name} must be at least 1, got {value}: use none for any number")
    if data.workers < 0:
        raise ValueError(f"data.workers must be 0 or more, got {data.workers}: 0 reads without processes")


def _check_model(model: ModelSettings) -> None:
    given = [part is not None for part in (model.vision, model.language_model, model.qformer)]
    if any(given) and not all(given):
        raise ValueError(
            "model.vision, model.language_model and model.qformer must be given together, "
            f"got {model.vision}, {model.language_model} and {model.qformer}: name all three or none"
        )


def _check_stage(name: str, stage: StageSettings, settings: Settings) -> None:
    if not stage.trains:
        raise ValueError(f"{name}.trains must name a part, got none: for example projector")
    if not (stage.lr > 0 and math.isfinite(stage.lr)):
        raise ValueError(f"{name}.lr must be above 0, got {stage.lr:g}: the paper uses 1e-3 and 1e-4")
    for key, value in (("batch", stage.batch), ("max_steps", stage.max_steps), ("patience", stage.patience)):
        if value is not None and value < 1:
            raise ValueError(f"{name}.{key} must be at least 1, got {value}: raise it")
    if not stage.epochs > 0:
        raise ValueError(f"{name}.epochs must be above 0, got {stage.epochs:g}: use 1 for every row once")
    if not 0 <= stage.warmup < 1:
        raise ValueError(
            f"{name}.warmup must lie in [0, 1), got {stage.warmup:g}: it is a share of the steps"
        )
    if stage.lora_rank < 0 or (stage.lora_rank and stage.lora_alpha < 1):
        raise ValueError(
            f"{name}.lora_rank must be 0 or more with lora_alpha above 0, got {stage.lora_rank} "
            f"and {stage.lora_alpha}: the paper uses 128 and 256"
        )
    if name == "alignment" and stage.lora_rank:
        raise ValueError(
            f"alignment.lora_rank must be 0, got {stage.lora_rank}: adapters are for the last stage"
        )
    if stage.patience is not None:
        run = settings.run
        if not settings.data.evaluate:
            raise ValueError(
                f"{name}.patience must come with data.evaluate, got {stage.patience}: name rows for it"
            )
        if run.save_every % run.evaluate_every:
            raise ValueError(
                f"run.save_every must be a multiple of run.evaluate_every where there is patience, got "
                f"{run.save_every} and {run.evaluate_every}: the best step must have been saved"
            )


def _check_run(run: RunSettings) -> None:
    for name in ("per_device", "save_every", "evaluate_every", "print_every"):
        if getattr(run, name) < 1:
            raise ValueError(f"run.{name} must be at least 1, got {getattr(run, name)}: raise it")
    if run.keep < 2:
        raise ValueError(f"run.keep must be at least 2, got {run.keep}: the last may turn out damaged")
