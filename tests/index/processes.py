"""Processes that are forked, watched and killed."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Child:
    """A forked process, and the lines that it says."""

    pid: int
    said: int

    @classmethod
    def start(cls, work: Callable[[Callable[[str], None]], None]) -> "Child":
        """Run `work` in a process of its own; it is given a function to say a line with."""
        here, there = os.pipe()
        pid = os.fork()
        if pid:
            os.close(there)
            return cls(pid, here)
        try:
            os.close(here)
            work(lambda line: os.write(there, f"{line}\n".encode()))
        except BaseException:
            os.write(there, b"failed\n")
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(0)  # nothing of pytest's may run twice

    def kill(self) -> list[str]:
        """kill -9, then all whole lines that were said; also where it has ended already."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> list[str]:
        """All lines, until the end."""
        data = b""
        while part := os.read(self.said, 1 << 16):
            data += part
        os.close(self.said)
        os.waitpid(self.pid, 0)
        return data.decode().split("\n")[:-1]
