"""Run one stage from its first step, or the last one on disk, to its result."""

import json
import os
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from bvllm.common.stopping import Interrupted
from bvllm.data.faults import InvalidRow
from bvllm.training.callbacks import (
    LOSSES,
    EarlyStopping,
    Log,
    LossLogger,
    SharedStopRequest,
    Stopping,
    out_of_patience,
)
from bvllm.training.checkpoints import (
    PREFIX,
    atomic_folder,
    check_complete,
    clean,
    is_complete,
    newest,
    step_of,
    write_whole_file,
)
from bvllm.training.checks import rows_per_process
from bvllm.training.dynamic_settings import EverySettings
from bvllm.training.rows import Corpus
from bvllm.training.settings import RunSettings, StageSettings
from bvllm.training.snapshot import WEIGHTS, gather_weights
from bvllm.training.trainable import prepare
from bvllm.training.trainer import STATE, CheckpointPolicy, StageTrainer

DIED = "DataLoader worker (pid"  # as torch says it
HANGING_UP = 1.0  # seconds, far more than pass between the end of a process and word of it
RESULT, ORDER = "result", "order.json"
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class Stage:
    """A stage of a run, and where it is kept.

    Attributes:
        name: of the stage.
        settings: of the whole run.
        own: of this stage.
        folder: for checkpoints, the record of losses and the result.
    """

    name: str
    settings: EverySettings
    own: StageSettings
    folder: Path

    @property
    def result(self) -> Path:
        """Folder with the weights that the stage ended with; where it is whole, the stage is done."""
        return self.folder / RESULT

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return is_complete(self.result)

    def steps(self, rows: Sized) -> int:
        """Optimizer steps of the whole stage."""
        return self.own.max_steps or max(1, round(len(rows) * self.own.epochs / self.own.batch))


def run_stage(
    stage: Stage,
    model: PreTrainedModel,
    fresh: frozenset[str],
    corpus: Corpus,
    stop: SharedStopRequest,
    log: Log,
) -> None:
    """Train a stage to its end and leave its result.

    Args:
        stage: what to do; goes on from its newest whole checkpoint, if there is one.
        model: as the stage before left it; changed in place.
        fresh: names of its weights that came from no checkpoint, so that every checkpoint holds them.
        corpus: rows of this stage.
        stop: asks for an early end.
        log: receives lines of progress.

    Raises:
        Interrupted: `stop` was asked.
        OSError: the end could not be written, or a process that reads rows died.
    """
    prepare(model, stage.own, seed=stage.settings.run.seed + 1)
    stage.folder.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(stage, model, fresh, corpus, stop, log)
    if trainer.is_world_process_zero():
        clean(stage.folder)
        _check_order(stage, corpus)
    trainer.accelerator.wait_for_everyone()
    start = newest(stage.folder, log)
    if start is not None and _has_ended(start, trainer.args.max_steps, stage.own.patience):
        trainer._load_from_checkpoint(os.fspath(_final(start, stage.own.patience)))
    else:
        with _readers_watched():
            trainer.train(resume_from_checkpoint=None if start is None else os.fspath(start))
        if stop.signal is not None:
            raise _interrupted(stage, trainer, stop.signal)
    weights = gather_weights(trainer.model, trainer.kept)
    if trainer.is_world_process_zero():
        with atomic_folder(stage.result) as inside:
            save_file(weights, inside / WEIGHTS)
    trainer.accelerator.wait_for_everyone()


@contextmanager
def _readers_watched() -> Iterator[None]:
    """A bad row, and what goes wrong in a process of the data loader, in a line.

    torch hands on what a reader raised with its whole traceback for a message, and tells that a reader died
    by its message only.
    """
    try:
        try:
            yield
        except (ConnectionError, EOFError):
            time.sleep(HANGING_UP)  # torch raises here if it was a reader that hung up, since it died
            raise
    except InvalidRow as error:
        raise ValueError(str(error)) from error
    except (RuntimeError, ValueError, OSError) as error:
        text = str(error).strip()
        if text.startswith("Caught ") and "Original Traceback" in text:
            said = text.splitlines()[-1].partition(": ")[2]
            if text.startswith("Caught InvalidRow "):
                raise ValueError(said) from error
            if isinstance(error, ValueError | OSError):
                raise type(error)(said) from error
        if DIED not in text:
            raise
        raise ChildProcessError(
            f"a process that reads rows died ({text}): go on with --resume, and with fewer data.workers if "
            "memory was short"
        ) from error


def _check_order(stage: Stage, corpus: Corpus) -> None:
    """A stage goes on in the order of rows that it began with."""
    file, now = stage.folder / ORDER, json.dumps(corpus.order)
    before = file.read_text(encoding="utf-8") if file.is_file() else now
    if before != now:
        raise ValueError(
            f"the rows of {stage.name} must be those it began with, {before}, got {now}: restore the "
            "files, or start another run"
        )
    write_whole_file(file, now)


def _interrupted(stage: Stage, trainer: StageTrainer, signal: int) -> Interrupted:
    saved = newest(stage.folder, lambda _: None)
    place = "before its first step" if saved is None else f"saved at step {step_of(saved)}"
    return Interrupted(f"stopped in {stage.name}, {place}: go on with --resume", signal)


def _has_ended(checkpoint: Path, steps: int, patience: int | None) -> bool:
    """Whether a checkpoint is the stage's last: another step would be one too many."""
    state = TrainerState.load_from_json(os.fspath(checkpoint / STATE))
    return state.global_step >= steps or (patience is not None and out_of_patience(state, patience))


def _final(last: Path, patience: int | None) -> Path:
    """The checkpoint that a stage ends with: its best, where it has patience.

    Raises:
        OSError: that one is damaged or gone.
    """
    best = TrainerState.load_from_json(os.fspath(last / STATE)).best_global_step
    folder = last if patience is None or not best else last.with_name(f"{PREFIX}{best}")
    check_complete(folder)
    return folder


def _trainer(
    stage: Stage,
    model: PreTrainedModel,
    fresh: frozenset[str],
    corpus: Corpus,
    stop: SharedStopRequest,
    log: Log,
) -> StageTrainer:
    own, run = stage.own, stage.settings.run
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    main = int(os.environ.get("RANK", "0")) == 0
    callbacks: list[TrainerCallback] = [
        LossLogger(stage.folder / LOSSES, log if main else None, stage.name, run.print_every),
        Stopping(stop),
    ]
    if own.patience is not None:
        callbacks.append(EarlyStopping(own.patience))
    arguments = _arguments(stage, model, processes, corpus)
    trainer = StageTrainer(model, arguments, own, corpus, CheckpointPolicy(fresh, run.keep, log), callbacks)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(stage: Stage, model: PreTrainedModel, processes: int, corpus: Corpus) -> TrainingArguments:
    own, run = stage.own, stage.settings.run
    cpu = run.cpu or not torch.cuda.is_available()
    evaluates = corpus.evaluate is not None
    sharded = run.shard != "none" and processes > 1
    arguments = TrainingArguments(
        output_dir=os.fspath(stage.folder),
        run_name=stage.name,
        per_device_train_batch_size=run.per_device,
        per_device_eval_batch_size=run.per_device,
        gradient_accumulation_steps=rows_per_process(stage.name, own, run, processes),
        max_steps=stage.steps(corpus.train),
        learning_rate=own.lr,
        lr_scheduler_type=SCHEDULES[own.schedule],
        warmup_steps=own.warmup if own.warmup else 0,
        weight_decay=own.weight_decay,
        max_grad_norm=own.clip,
        optim="adamw_torch",
        bf16=run.precision == "bf16",
        use_cpu=cpu,
        seed=run.seed,
        # The model's own, sharded or not: FSDP's would rename the layers, and drop out other places again.
        activation_checkpointing=run.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=run.save_every,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=run.evaluate_every,
        prediction_loss_only=True,
        label_names=["labels"],
        load_best_model_at_end=own.patience is not None,
        metric_for_best_model="eval_loss" if own.patience is not None else None,
        greater_is_better=False,
        remove_unused_columns=False,
        dataloader_num_workers=stage.settings.data.workers,
        dataloader_pin_memory=not cpu,
        accelerator_config={"dispatch_batches": False},
        ddp_backend="gloo" if cpu and processes > 1 else None,
        ddp_find_unused_parameters=True,
        average_tokens_across_devices=True,
        report_to=list(run.report_to) or "none",
        disable_tqdm=True,
        **_sharding(model, run) if sharded else {},
    )
    # One process, one GPU: transformers would take all that are in sight, and cut rows where it must not.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _sharding(model: PreTrainedModel, run: RunSettings) -> dict[str, object]:
    """FSDP2 over the layers of decoder and Q-Formers.

    The tower is not cut up: it is called once for every chunk of frames, and processes with more frames would
    wait for the others for ever.
    """
    layers = {type(m).__name__ for m in model.get_decoder().modules() if _is_layer(m, model)}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "reshard_after_forward": run.shard == "zero3",
            "transformer_layer_cls_to_wrap": sorted(layers),
            "state_dict_type": "FULL_STATE_DICT",
        },
    }


def _is_layer(module: torch.nn.Module, model: PreTrainedModel) -> bool:
    return type(module).__name__ in (model.get_decoder()._no_split_modules or ())
