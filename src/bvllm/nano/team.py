"""Let forks of this process take the steps of a stage together, each on clips of its own.

What it buys over a second kernel thread: the kernels of a small model are too small to share. On two idle
cores two threads take 0.89 of the time of one for a step of instruction, and 0.70 for one of dynamic-nano
(2026-11-30). Over `torch.distributed`: a fork sees the weights, the cache of features and the tokenizer as
they are, where a process that is started anew needs a copy of gigabytes; nothing goes through sockets but a
few bytes a step; and a run needs no launcher.

Only this process has an optimizer. The weights lie in memory that all share, as do the gradients of the
others, so that a step costs one sum.
"""

import mmap
import os
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn

from bvllm.common.threads import one_kernel_thread

CAN_FORK = sys.platform == "linux"  # elsewhere forks of a process that has run kernels end in strange ways
ALIGNMENT = 64  # bytes
SHARE = struct.Struct("d")
WELL, ILL = b"+", b"-"
MOST_WORDS = 400  # of what went wrong
Step = Callable[[float], None]


class Team:
    """This process and its forks, for the length of a stage.

    Between `begin` and `gather` every process makes gradients of the same weights; `gather` leaves the mean.

    Args:
        parameters: what learns. While the block lasts it lies in shared memory.
        size: processes, this one included.
        steps: called in each fork with its rank, from 1 on, for what it does in a step: given the share of
            the stage that is over, it must leave gradients.

    Raises:
        ChildProcessError: from `gather`, where a fork has failed or died.

    Example:
        >>> weight = nn.Parameter(torch.zeros(1))
        >>> def steps(rank):
        ...     return lambda share: (weight * rank).sum().backward()
        >>> with Team([weight], 3, steps) as team:
        ...     team.begin(0.0)
        ...     steps(0)(0.0)
        ...     team.gather()
        >>> weight.grad.tolist()
        [1.0]
    """

    def __init__(self, parameters: Sequence[nn.Parameter], size: int, steps: Callable[[int], Step]) -> None:
        self._parameters, self._steps = list(parameters), steps
        self._gradients = [_shared(self._parameters) for _ in range(size - 1)]
        self._made = torch.frombuffer(_memory(size * len(self._parameters)), dtype=torch.uint8)
        self._made = self._made[: size * len(self._parameters)].view(size, -1)
        self._lines: list[socket.socket] = []
        self._forks: list[int] = []
        self._quiet = one_kernel_thread()

    def __enter__(self) -> "Team":
        self._quiet.__enter__()  # kernel threads do not survive a fork
        try:
            for parameter, shared in zip(self._parameters, _shared(self._parameters), strict=True):
                parameter.data = shared.copy_(parameter.data)
            for rank in range(1, len(self._gradients) + 1):
                self._fork(rank)
        except BaseException:  # raised again
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines:
            line.close()
        for fork in self._forks:  # they own nothing that could be lost
            os.kill(fork, signal.SIGKILL)
            os.waitpid(fork, 0)
        self._lines, self._forks = [], []
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()
        self._quiet.__exit__(None, None, None)

    def begin(self, share: float) -> None:
        """Let the forks begin a step."""
        for line in self._lines:
            try:
                line.sendall(SHARE.pack(share))
            except OSError:  # it is dead, as `gather` will say
                continue

    def gather(self) -> None:
        """Wait for the forks, and leave the mean of all gradients; one that nobody made stays None."""
        for line in self._lines:
            if (said := _hear(line, 1)) != WELL:
                why = _hear(line, MOST_WORDS).decode(errors="replace") if said == ILL else "out of memory?"
                raise ChildProcessError(f"a process that trained died ({why}): use fewer workers")
        for number, parameter in enumerate(self._parameters):
            made = self._made[1:, number].tolist()
            others = [own[number] for own, there in zip(self._gradients, made, strict=True) if there]
            if others:
                total = torch.stack(others).sum(dim=0)
                total = total if parameter.grad is None else total.add_(parameter.grad)
                parameter.grad = total.div_(len(made) + 1)
            elif parameter.grad is not None:
                parameter.grad.div_(len(made) + 1)

    def _fork(self, rank: int) -> None:
        here, there = socket.socketpair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which a fork here does not use
            fork = os.fork()
        if fork:
            there.close()
            self._lines.append(here)
            self._forks.append(fork)
            return
        try:  # whatever happens: nothing of what this process would have done next may be done twice
            for line in (*self._lines, here):
                line.close()  # else it would not hear that its parent is gone
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # they reach the parent, too
            self._serve(rank, there)
        finally:
            os._exit(0)

    def _serve(self, rank: int, line: socket.socket) -> None:
        try:
            step = self._steps(rank)
            while len(said := _hear(line, SHARE.size)) == SHARE.size:
                for parameter in self._parameters:
                    parameter.grad = None
                step(SHARE.unpack(said)[0])
                for number, parameter in enumerate(self._parameters):
                    self._made[rank, number] = parameter.grad is not None
                    if parameter.grad is not None:
                        self._gradients[rank - 1][number].copy_(parameter.grad)
                line.sendall(WELL)
        except BaseException as error:  # the parent raises
            line.sendall(ILL + f"{type(error).__name__}: {error}".encode()[:MOST_WORDS])


def _hear(line: socket.socket, most: int) -> bytes:
    """What the other side says; nothing where it is gone."""
    try:
        return line.recv(most)
    except OSError:
        return b""


def _shared(like: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the same shapes and types, in one piece of memory that forks share."""
    starts, end = [], 0
    for tensor in like:
        starts.append(end)
        end += -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT
    memory = _memory(end)
    return [
        torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel(), offset=start).view(tensor.shape)
        for tensor, start in zip(like, starts, strict=True)
    ]


def _memory(size: int) -> mmap.mmap:
    return mmap.mmap(-1, max(size, 1))  # of no file: forks share it
