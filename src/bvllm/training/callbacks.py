"""Callbacks of a run: record losses, show progress, stop early, take signals."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bvllm.common.stopping import StopRequest
from bvllm.training.checkpoints import write_whole_file

LOSSES = "losses.jsonl"
Log = Callable[[str], None]


class SharedStopRequest(StopRequest):
    """A request to stop that all processes of a run agree on."""

    def agreed(self, device: torch.device) -> bool:
        """True on every process once it is true on one; all must ask."""
        if not (dist.is_available() and dist.is_initialized()):
            return self.signal is not None
        heard = torch.tensor(self.signal or 0, device=device)
        dist.all_reduce(heard, op=dist.ReduceOp.MAX)
        self.signal = int(heard) or None
        return self.signal is not None


class Stopping(TrainerCallback):
    """Ends the loop, with a checkpoint, when it was asked for: after a batch, not only after a step."""

    def __init__(self, request: SharedStopRequest) -> None:
        self.request = request

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self.request.agreed(args.device):
            control.should_training_stop = control.should_save = True

    on_step_end = on_substep_end


class EarlyStopping(TrainerCallback):
    """Ends the stage after so many evaluations without a better loss; read from the state, so it survives."""

    def __init__(self, evaluations: int) -> None:
        self.evaluations = evaluations

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if out_of_patience(state, self.evaluations):
            control.should_training_stop = control.should_save = True


def out_of_patience(state: TrainerState, evaluations: int) -> bool:
    """Whether the best of all losses is that many evaluations old."""
    losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= evaluations


@dataclass
class LossLogger(TrainerCallback):
    """Write every step's loss to a file, and a line of progress now and then.

    Attributes:
        file: one JSON object a line; a step stands there once, however often the run was killed.
        log: receives the lines of progress; None keeps quiet.
        name: of the stage.
        print_every: steps between two lines.
    """

    file: Path
    log: Log | None
    name: str
    print_every: int

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.started, self.first = time.monotonic(), state.global_step
        state.save_steps = args.save_steps  # a checkpoint brings those that the run was started with
        if state.is_world_process_zero:
            kept = [entry for entry in read_losses(self.file) if int(str(entry["step"])) <= state.global_step]
            write_whole_file(self.file, "".join(json.dumps(entry) + "\n" for entry in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        said = logs or {}
        for what in ("loss", "grad_norm"):  # before the step is saved
            if not math.isfinite(said.get(what, 0.0)):
                raise FloatingPointError(
                    f"the {what} of {self.name} became {said[what]} at step {state.global_step}: start "
                    f"another run with a lower {self.name}.lr, or a longer {self.name}.warmup"
                )
        if not state.is_world_process_zero or not {"loss", "eval_loss"} & said.keys():
            return
        kept = {k: said[k] for k in ("loss", "eval_loss", "grad_norm", "learning_rate") if k in said}
        try:
            with open(self.file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": state.global_step, **kept}) + "\n")
        except OSError:
            pass  # a full disk must not stop the run; the checkpoints say so
        if self.log is not None and self._is_time(state, said):
            self.log(self._line(state, said))

    def _is_time(self, state: TrainerState, said: dict[str, float]) -> bool:
        at_ends = state.global_step in (self.first + 1, state.max_steps)
        return "eval_loss" in said or at_ends or state.global_step % self.print_every == 0

    def _line(self, state: TrainerState, said: dict[str, float]) -> str:
        done = f"{self.name} {state.global_step}/{state.max_steps}"
        if "eval_loss" in said:
            return f"{done}  evaluation loss {said['eval_loss']:.4f}"
        pace = (time.monotonic() - self.started) / max(1, state.global_step - self.first)
        left = pace * (state.max_steps - state.global_step)
        return (
            f"{done}  loss {said['loss']:.4f}  lr {said['learning_rate']:.2e}  {pace:.2f} s/step  "
            f"{clock(left)} left"
        )


def read_losses(file: Path) -> list[dict[str, object]]:
    """The losses of a run, step by step; a last line that a kill cut off is left out."""
    if not file.is_file():
        return []
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def clock(seconds: float) -> str:
    """A duration for people.

    Example:
        >>> clock(42), clock(3700)
        ('0:00:42', '1:01:40')
    """
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
