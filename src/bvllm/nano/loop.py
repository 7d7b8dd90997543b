"""Run the steps of one of nano's stages: learning rate, time limit, checkpoint, progress, an early stop.

The loops of the `training` room are Trainer's and need its extras. Nano's stages end by the clock, draw their
batches without end, and must run where nothing but the core is installed.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bvllm.common.files import replace_file
from bvllm.common.stopping import Interrupted, StopRequest

FLOOR = 0.03  # of the highest learning rate, at the end
LOG_SECONDS = 15.0
SAVE_SECONDS = 60.0
CHECKPOINT = "checkpoint.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
Tell = Callable[[str, int, int | None], None]


class Paced:
    """Tell when some seconds have passed since the last time, or since the beginning."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it is time again; starts to count anew if so."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


@dataclass(frozen=True)
class Control:
    """Who is told about a run, who may stop it, and where it leaves what it needs to go on.

    Attributes:
        log: receives a line now and then.
        tell: called with (what, done, of how many or None), for a progress bar.
        stop: asks for an early end.
        folder: for a stage's checkpoint; None keeps none.
    """

    log: Callable[[str], None] = print
    tell: Tell | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    folder: Path | None = None
    _paced: Paced = field(default_factory=lambda: Paced(LOG_SECONDS))

    def within(self, folder: Path) -> "Control":
        """The control of one stage, whose checkpoint lies in a folder of its own."""
        return replace(self, folder=folder)

    def check(self, where: str) -> None:
        """Raise `Interrupted` if an early end was asked for."""
        if self.stop.signal is not None:
            raise Interrupted(f"stopped in {where}: go on with --resume", self.stop.signal)

    def progress(self, what: str, done: int, total: int | None) -> None:
        """Tell of progress in work that has no lines of its own, and hear whether to stop."""
        if self.tell is not None:
            self.tell(what, done, total)
        elif self._paced.due():
            self.log(f"{what} {done}/{total}")
        self.check(what)


class StageLoop:
    """The steps of a stage: iterate for the share of it that is over, and call `descend` in each step.

    Args:
        name: for the log, the bar and the checkpoint.
        parameters: what learns.
        steps, minutes: the most of each; the learning rate follows whichever runs out first.
        lr: the highest rate: reached after `warmup` steps, then along a cosine down to `floor` of it.
        decay: weight decay of AdamW.
        seed: of the stage.

    Raises:
        Interrupted: while iterating, where the control's `stop` was asked; the checkpoint is on the disk.
        ValueError: the checkpoint in the folder is of another stage or model.

    Example:
        >>> weight = nn.Parameter(torch.ones(1))
        >>> loop = StageLoop("toy", [weight], steps=3, minutes=1, lr=0.1, warmup=1, decay=0.0, seed=0)
        >>> for share in loop:
        ...     weight.square().sum().backward()
        ...     loop.descend()
        >>> loop.step, bool(weight < 1)
        (3, True)
    """

    def __init__(
        self,
        name: str,
        parameters: list[nn.Parameter],
        *,
        steps: int,
        minutes: float,
        lr: float,
        warmup: int,
        decay: float,
        seed: int,
        floor: float = FLOOR,
        control: Control | None = None,
    ) -> None:
        self.name, self.parameters, self.steps, self.lr, self.warmup = name, parameters, steps, lr, warmup
        self.floor, self.minutes, self.control = floor, minutes, control or Control(log=lambda line: None)
        self.optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, betas=(0.9, 0.98))
        folder = self.control.folder
        self._file = None if folder is None else folder / CHECKPOINT
        self.step, self._spent = 0, 0.0
        if self._file is not None and self._file.is_file():
            self._restore(self._file)
        # A stage that goes on draws other examples than those that it has seen.
        self.seed = seed if not self.step else seed + 7919 * self.step
        torch.manual_seed(self.seed)
        self._recent: dict[str, list[float]] = {}

    def __iter__(self) -> Iterator[float]:
        started, before, lasted = time.monotonic(), self._spent, 0.0
        logging, saving = Paced(LOG_SECONDS), Paced(SAVE_SECONDS)
        while self.step < self.steps:
            now = time.monotonic()
            self._spent = before + now - started
            share = max(self.step / self.steps, self._spent / 60 / self.minutes)
            # The next step takes about as long as the one before: the limit is the most, not about the most.
            if share >= 1 or (lasted and self._spent + lasted > 60 * self.minutes):
                break
            if saving.due() or self.control.stop.signal is not None:
                self._save()
                self.control.check(f"{self.name}, after step {self.step}")
            self._follow(share)
            self.optimizer.zero_grad()
            yield share
            self.step += 1
            lasted = time.monotonic() - now
            if self.control.tell is not None:
                self.control.tell(self.name, int(1000 * share), 1000)
            if logging.due():
                self._log(share)
        self._log(1.0)

    def descend(self) -> None:
        """One step along the gradients, which are clipped to a norm of 1."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def record(self, **figures: float) -> None:
        """What a step gave, for the log; a mean is printed."""
        for name, value in figures.items():
            self._recent.setdefault(name, []).append(value)

    def _follow(self, share: float) -> None:
        rate = self.lr * min(1.0, (self.step + 1) / self.warmup)
        rate *= self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _log(self, share: float) -> None:
        known = {name: [v for v in values if not math.isnan(v)] for name, values in self._recent.items()}
        figures = " ".join(f"{name} {np.mean(values):.3f}" for name, values in known.items() if values)
        left = self._spent / share - self._spent if share else math.inf
        self.control.log(
            f"{self.name} step {self.step}/{self.steps} {figures} {self._spent:.0f} s, {left:.0f} s left"
        )
        self._recent.clear()

    def _save(self) -> None:
        if self._file is None:
            return
        tensors: dict[str, Tensor] = {}
        for number, parameter in enumerate(self.parameters):
            tensors[f"{number}"] = parameter.detach().contiguous()
            for moment in MOMENTS:
                if parameter in self.optimizer.state:
                    tensors[f"{number}.{moment}"] = self.optimizer.state[parameter][moment]
        said = json.dumps({"stage": self.name, "step": self.step, "seconds": self._spent})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, save(tensors, {"progress": said}))

    def _restore(self, file: Path) -> None:
        try:
            with safe_open(file, "pt") as stored:
                said = json.loads(stored.metadata()["progress"])
                if said["stage"] != self.name:
                    raise KeyError(said["stage"])
                for number, parameter in enumerate(self.parameters):
                    with torch.no_grad():
                        parameter.copy_(stored.get_tensor(f"{number}"))
                    if f"{number}.{MOMENTS[0]}" in stored.keys():  # noqa: SIM118 - no mapping
                        moments = {name: stored.get_tensor(f"{number}.{name}") for name in MOMENTS}
                        self.optimizer.state[parameter] = {
                            "step": torch.tensor(float(said["step"])),
                            **moments,
                        }
                self.step, self._spent = int(said["step"]), float(said["seconds"])
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{file} must hold a checkpoint of stage {self.name}, got another file: remove it"
            ) from error
        self.control.log(f"{self.name}: going on after step {self.step}")
