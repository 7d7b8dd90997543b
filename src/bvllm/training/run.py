"""`bvllm train paper_7b`, `dynamic_7b`: every stage in turn, then one model in `save_pretrained` layout."""

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bvllm.model import BVLLMProcessor
from bvllm.training.build import Built, build
from bvllm.training.callbacks import Log, SharedStopRequest
from bvllm.training.checkpoints import atomic_folder, is_complete, write_whole_file
from bvllm.training.checks import check_settings
from bvllm.training.dynamic_build import build_dynamic
from bvllm.training.dynamic_settings import DynamicSettings, EverySettings, StagedSettings
from bvllm.training.rows import Corpus, open_corpus
from bvllm.training.settings import StageData, default_of, flat
from bvllm.training.snapshot import WEIGHTS, load_weights
from bvllm.training.stage import Stage, run_stage
from bvllm.training.trainable import merge_adapters, prepare

MODEL, SETTINGS = "model", "settings.json"
# Settings that may differ when a run goes on: they change how it is carried out, not what is learned.
FREE = (
    "run.per_device run.checkpointing run.shard run.save_every run.keep run.print_every run.report_to "
    "run.cpu data.workers data.root"
).split()
OpenCorpus = Callable[[Any, StageData, BVLLMProcessor, Path], Corpus]


def train(
    settings: StagedSettings,
    out: Path,
    *,
    resume: bool = False,
    log: Log = print,
    stop: SharedStopRequest | None = None,
    open_rows: OpenCorpus = open_corpus,
) -> Path:
    """All stages, or what is left of them.

    Args:
        settings: a recipe with its overrides.
        out: folder for stages and model.
        resume: go on with what is in `out`; else it must hold no run.
        log: receives a line now and then.
        stop: asked from elsewhere to end early; None listens to Ctrl-C and SIGTERM.
        open_rows: opens the rows of a stage, by the settings, `StageOf.rows`, the processor and the folder.

    Returns:
        The folder of the finished model, for `--model`.

    Raises:
        ValueError: settings that cannot be meant, or that differ from those of the run in `out`. Interrupted
            where the run was asked to stop
        OSError: a file cannot be read or written.
    """
    check_settings(settings)
    claim(out, settings, resume)
    model = out / MODEL
    if is_complete(model):
        log(f"nothing left to do in {out}")
        return model
    stages = _stages(settings, out)
    asked = stop or SharedStopRequest()
    with asked.listening():
        for number, (stage, rows) in enumerate(zip(stages, [of.rows for of in settings.stages])):
            if not stage.is_done:
                built = _before(settings, stages[:number])
                corpus = open_rows(settings, rows, built.processor, stage.folder)
                run_stage(stage, built.model, built.fresh, corpus, asked, log)
                if corpus.report is not None:
                    log(f"{stage.name}: {corpus.report()}")
                del built, corpus
                gc.collect()
    if is_main():
        _finish(settings, stages, model)
    return model


def _stages(settings: StagedSettings, out: Path) -> list[Stage]:
    return [Stage(of.name, settings, of.own, out / of.name) for of in settings.stages]


def _before(settings: StagedSettings, done: list[Stage]) -> Built:
    """The model as the stages before left it."""
    built = build_dynamic(settings) if isinstance(settings, DynamicSettings) else build(settings)
    for stage in done:
        load_weights(built.model, stage.result / WEIGHTS)
    return built


def _finish(settings: StagedSettings, stages: list[Stage], folder: Path) -> None:
    """One model with its processor, adapters merged."""
    built = _before(settings, stages[:-1])
    prepare(built.model, stages[-1].own, seed=0)
    load_weights(built.model, stages[-1].result / WEIGHTS)
    merge_adapters(built.model)
    dtype = torch.bfloat16 if settings.run.precision == "bf16" else torch.float32
    with atomic_folder(folder) as inside:
        built.model.to(dtype).save_pretrained(inside)
        built.processor.save_pretrained(inside)


def claim(out: Path, settings: EverySettings, resume: bool) -> None:
    """Make sure that `out` is this run's."""
    file, values = out / SETTINGS, flat(settings)
    if file.is_file():
        if not resume and is_main():
            raise ValueError(
                f"--out must hold no run, got {os.fspath(out)!r}: add --resume to go on, or name another"
            )
        # A setting that was unknown when the run was started was what it is now where nobody sets it.
        before = {name: default_of(settings, name) for name in values} | _settings_of(file)
        changed = [name for name in values if name not in FREE and before.get(name) != values[name]]
        if changed:
            name = changed[0]
            raise ValueError(
                f"{name} must be what the run in {os.fspath(out)!r} was started with, {before.get(name)!r}, "
                f"got {values[name]!r}: leave it as it was, or start another run"
            )
    elif is_main():
        out.mkdir(parents=True, exist_ok=True)
        write_whole_file(file, json.dumps(values, indent=1))


def _settings_of(file: Path) -> dict[str, object]:
    """The settings that a run was started with.

    Raises:
        ValueError: the file is damaged; names it.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        reason = type(found).__name__
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise ValueError(
        f"{os.fspath(file)!r} must hold the settings of the run as a JSON object, got {reason}: "
        "bring it back, or start another run"
    )


def is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
