"""Validate settings before any weights are loaded."""

import math
from importlib.util import find_spec

from bvllm.data.hub import PREFIX, HubName
from bvllm.training.dynamic_settings import (
    DynamicDataSettings,
    DynamicModelSettings,
    DynamicSettings,
    EverySettings,
    StagedSettings,
)
from bvllm.training.rows import files_of, is_stream, of_stage
from bvllm.training.settings import (
    AnySettings,
    DataSettings,
    LoraSettings,
    ModelSettings,
    RunSettings,
    StageData,
    StageSettings,
)


def check_settings(settings: StagedSettings) -> None:
    """Refuse what cannot work.

    Raises:
        ValueError: a setting is wrong; it names the first one.
    """
    dynamic = isinstance(settings, DynamicSettings)
    _check_data(settings.data, ("pretrain", "image", "video") if dynamic else ("pretrain", "finetune"))
    for name, rows, _ in settings.stages:
        _check_stream(name, rows, settings)
    if isinstance(settings, DynamicSettings):
        _check_dynamic(settings.model, settings.data)
    else:
        _check_model(settings.model)
        _check_budget(settings)
    for name, _, stage in settings.stages:
        _check_stage(name, stage, settings)
    _check_run(settings.run)


def check_lora(settings: LoraSettings) -> None:
    """Refuse what cannot work for adapters on a wrapped model.

    Raises:
        ValueError: a setting is wrong; it names the first one.
    """
    if not settings.model.name:
        raise ValueError("model.name must be a folder or hub id, got none: add --model PATH|HUB_ID")
    _check_data(settings.data, ("finetune",))
    _check_stream("instruction", "finetune", settings)
    _check_budget(settings)
    own, data = settings.instruction, settings.data
    _check_stage("instruction", own, settings)
    if own.trains != ("language_model",) or not own.lora_rank:
        raise ValueError(
            f"instruction must train adapters on language_model, got trains={','.join(own.trains)} and "
            f"lora_rank={own.lora_rank}: leave trains out, and give a rank of 1 or more"
        )
    for name in ("budget_tokens", "num_selected_frames"):
        most = getattr(settings.model, name)
        if most < 1:
            raise ValueError(f"model.{name} must be at least 1, got {most}: raise it")
    if data.workers or data.learn != "one" or data.max_tokens is not None:
        raise ValueError(
            "data.workers must be 0, data.learn one and data.max_tokens none for a wrapped model, got "
            f"{data.workers}, {data.learn} and {data.max_tokens}: the model itself encodes frames for one "
            "question at a time"
        )
    _check_run(settings.run)


def rows_per_process(name: str, stage: StageSettings, run: RunSettings, processes: int) -> int:
    """Accumulation: how many times each process takes `run.per_device` rows for one optimizer step.

    Raises:
        ValueError: the batch cannot be split so.

    Example:
        >>> from bvllm.training.settings import RECIPES
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


def _check_data(data: DataSettings, needed: tuple[str, ...]) -> None:
    for name in (*needed, "evaluate"):
        files = getattr(data, name)
        if not files and name != "evaluate":
            raise ValueError(f"data.{name} must name a file of rows, got none: add data.{name}=PATH")
        for file in files:
            _check_name(f"data.{name}", file)
    streams = [file for file in data.evaluate if is_stream(file)]
    if streams:
        raise ValueError(
            f"data.evaluate must name files or .tar shards, got the stream {streams[0]!r}: an evaluation "
            "needs rows that end"
        )
    for name in needed:
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
    if data.window < 1:
        raise ValueError(f"data.window must be at least 1, got {data.window}: 1 keeps a stream's order")
    if data.workers < 0:
        raise ValueError(f"data.workers must be 0 or more, got {data.workers}: 0 reads without processes")


def _check_name(setting: str, name: str) -> None:
    """Whether there is what one name stands for; the Hub is not asked."""
    if not name.startswith(PREFIX):
        if not files_of(name):
            raise ValueError(f"{setting} must name files that exist, got {name!r}: check the path")
        return
    HubName.parse(name)
    if find_spec("datasets") is None:
        raise ValueError(
            f"{setting} must be readable, got {name!r} without the package datasets: pip install 'bvllm[hub]'"
        )


def _check_stream(name: str, rows: StageData, settings: EverySettings) -> None:
    """A stream stands alone, and has no end that steps could be counted from."""
    files, _, own = of_stage(settings, rows)
    streams = [file for file in files if is_stream(file)]
    if not streams:
        return
    if len(files) > 1:
        raise ValueError(
            f"data.{rows} must name one stream or else files and .tar shards, got {', '.join(files)}: a "
            "stream cannot be mixed, since its length is unknown"
        )
    if own.max_steps is None:
        raise ValueError(
            f"{name}.max_steps must be given for a stream, got none for {streams[0]!r}: its "
            f"length; add for example {name}.max_steps=1000"
        )


def _check_budget(settings: AnySettings) -> None:
    fewest, most = settings.data.random_budget, settings.model.budget_tokens
    if fewest is not None and not 1 <= fewest <= most:
        raise ValueError(
            f"data.random_budget must be in 1..model.budget_tokens = {most}, got {fewest}: it is the fewest "
            "visual tokens of a step, none for always the most"
        )


def _check_model(model: ModelSettings) -> None:
    given = [part is not None for part in (model.vision, model.language_model, model.qformer)]
    if any(given) and not all(given):
        raise ValueError(
            "model.vision, model.language_model and model.qformer must be given together, "
            f"got {model.vision}, {model.language_model} and {model.qformer}: name all three or none"
        )


def _check_dynamic(model: DynamicModelSettings, data: DynamicDataSettings) -> None:
    if (model.vision is None) != (model.language_model is None):
        raise ValueError(
            "model.vision and model.language_model must be given together, "
            f"got {model.vision} and {model.language_model}: name both or none"
        )
    for name, value in (
        ("model.budget_tokens", model.budget_tokens),
        ("model.max_frames", model.max_frames),
        ("data.random_tokens", data.random_tokens),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: raise it")
    for name, other in (("finetune", data.finetune), ("random_budget", data.random_budget)):
        if other:
            raise ValueError(f"data.{name} must be left out, got {other}: it is of B-VLLM's recipes")


def _check_stage(name: str, stage: StageSettings, settings: EverySettings) -> None:
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
    if name != settings.stages[-1].name and stage.lora_rank:
        raise ValueError(
            f"{name}.lora_rank must be 0, got {stage.lora_rank}: adapters are for the last stage"
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
