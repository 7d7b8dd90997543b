"""Extend transformers' Trainer with checkpoints that are complete or absent, without pickle."""

import copy
import os
import signal
from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from accelerate import DistributedType, FullyShardedDataParallelPlugin
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import EvalLoopOutput

from bvllm.data.training_set import OrderSampler
from bvllm.training.checkpoints import (
    PREFIX,
    atomic_folder,
    check_complete,
    checkpoints,
    is_complete,
    remove,
    step_of,
)
from bvllm.training.evaluation import full_rows, mean_loss
from bvllm.training.rows import Corpus
from bvllm.training.settings import StageSettings
from bvllm.training.snapshot import (
    OPTIMIZER,
    RNG,
    WEIGHTS,
    Named,
    Snapshot,
    gather_optimizer_state,
    gather_rng_state,
    gather_weights,
    get_rng_state,
    load_optimizer_state,
    load_weights,
    read_numbers,
    set_rng_state,
)
from bvllm.training.trainable import groups

STATE = "trainer_state.json"  # transformers looks for it by this name


@dataclass(frozen=True)
class CheckpointPolicy:
    """What a checkpoint holds, and how many stay.

    Attributes:
        names: weights beside those that learn: what no released checkpoint has.
        count: checkpoints that stay.
        warn: called with one line where a checkpoint cannot be written.
    """

    names: frozenset[str]
    count: int
    warn: Callable[[str], None]


class StageTrainer(Trainer):
    """One stage.

    Args:
        model: prepared for the stage.
        arguments: transformers' own.
        stage: rates of the parts.
        corpus: rows; their order is a function of the seed alone.
        policy: of checkpoints.
        callbacks: beside transformers' own.
    """

    is_fsdp_enabled: bool
    optimizer: Any  # None until `create_optimizer`

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        stage: StageSettings,
        corpus: Corpus,
        policy: CheckpointPolicy,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.stage, self.policy = stage, policy
        own = dict(model.named_parameters())
        learned = {name for name, weight in own.items() if weight.requires_grad}
        self.kept = policy.names & own.keys() | learned  # an adapter renames what it stands beside
        self.rng_state_before_step: Named | None = None
        super().__init__(
            model,
            arguments,
            data_collator=corpus.collate,
            train_dataset=corpus.train,
            eval_dataset=corpus.evaluate,
            callbacks=[_RngStateBeforeStep(self), *callbacks],
        )

    def create_accelerator_and_postprocess(self) -> None:
        """As upstream; accelerate alone would not shard on CPUs, and say nothing."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            state = self.accelerator.state
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with a group for each part."""
        if self.optimizer is None:
            model = self.model if model is None else model
            kind, told = self.get_optimizer_cls_and_kwargs(self.args, model)
            decayed = set(self.get_decay_parameter_names(model))
            self.optimizer = kind(groups(model, self.stage, decayed), **told)
        return self.optimizer

    def _get_dataloader(self, *args: object, **kwargs: object) -> DataLoader:
        """As upstream; but a request to stop, which often goes to all processes of a run, is ours to hear."""
        loader = super()._get_dataloader(*args, **kwargs)
        loader.worker_init_fn = _IgnoreSignals(loader.worker_init_fn)
        return loader

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int]:
        return OrderSampler(self.args.max_steps * self.stage.batch)  # accelerate shares them out

    def _get_eval_sampler(self, eval_dataset: Sized) -> Sampler[int]:
        return OrderSampler(full_rows(len(eval_dataset), self.args))

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The loss alone, per token; upstream's mean of batches' means depends on how rows are batched."""
        rows = len(cast(Sized, dataloader.dataset))
        with self.compute_loss_context_manager():
            loss = mean_loss(self.model, map(self._prepare_inputs, dataloader), rows, self.args)
        return EvalLoopOutput(None, None, {f"{metric_key_prefix}_loss": loss}, rows)

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """As upstream, but all or nothing; a disk that is full costs a warning, not the run."""
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"{PREFIX}{step}"
        # The first process alone waited for the one that writes, so it alone can tell.
        if agreed(step == 0 or (folder.is_dir() and is_complete(folder)), self.args.device):
            return
        snapshot = self._snapshot()
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(folder.with_name(f"{PREFIX}{self.state.best_global_step}"))
        if not self.args.should_save:
            return
        try:
            with atomic_folder(folder) as inside:
                snapshot.write(inside)
                self.state.save_to_json(os.fspath(inside / STATE))
        except (OSError, SafetensorError) as error:
            self.policy.warn(
                f"the checkpoint of step {step} could not be written, training goes on without it: {error}"
            )
            return
        for older in checkpoints(folder.parent)[: -self.policy.count]:
            if step_of(older) != self.state.best_global_step:
                remove(older)

    def _snapshot(self) -> Snapshot:
        """Every process must take it; the RNG state as it was before a step that will not be finished."""
        own = self.rng_state_before_step or get_rng_state()
        return Snapshot(
            gather_weights(self.model, self.kept),
            gather_optimizer_state(self.model, self.optimizer),
            gather_rng_state(own, self.args.device),
            [group["lr"] for group in self.optimizer.param_groups],
            copy.deepcopy(self.lr_scheduler.state_dict()),
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_weights(self.model if model is None else model, Path(resume_from_checkpoint) / WEIGHTS)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        load_optimizer_state(self.model, self.optimizer, Path(checkpoint) / OPTIMIZER)
        rates, scheduler = read_numbers(Path(checkpoint))
        self.lr_scheduler.load_state_dict(scheduler)
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None and not set_rng_state(Path(checkpoint) / RNG, self.args.process_index):
            self.policy.warn("the run had fewer processes: noise of the new ones starts afresh")

    def _load_best_model(self) -> None:
        self.accelerator.wait_for_everyone()  # one process writes, all read
        best = Path(str(self.state.best_model_checkpoint))
        check_complete(best)
        load_weights(self.model, best / WEIGHTS)


class _IgnoreSignals:
    """Start a data worker that ignores Ctrl-C and the first SIGTERM, so that the run is saved first."""

    def __init__(self, begin: Callable[[int], None] | None) -> None:
        self.begin = begin

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        if self.begin is not None:
            self.begin(worker)


def agreed(here: bool, device: torch.device) -> bool:
    """What the first process says, on all of them; every one must ask."""
    if not (dist.is_available() and dist.is_initialized()):
        return here
    said = torch.tensor(int(here), device=device)
    dist.broadcast(said, src=0)
    return bool(said)


class _RngStateBeforeStep(TrainerCallback):
    """Keeps the RNG state from before a step, for a checkpoint taken in the middle of one."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.trainer.rng_state_before_step = get_rng_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.trainer.rng_state_before_step = None
