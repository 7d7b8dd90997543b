"""Close a process that decodes untrusted bytes: memory, files, network, other processes.

Each layer is used where the kernel has it, and `close_process` says which ones hold. Linux only.
"""

import ctypes
import os
import platform
import resource
import struct
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import av
import numpy
import torch

from .memory import bound_memory

MOST_FILES = 256
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
SIGKILL = 9
# linux/landlock.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
NETWORK_RIGHTS = 0b11  # bind and connect by TCP, from version 4 on
# socket, connect, bind, execve, execveat, ptrace, kill, process_vm_writev
FORBIDDEN = {
    "x86_64": (0xC000003E, (41, 42, 49, 59, 322, 101, 62, 311)),
    "aarch64": (0xC00000B7, (198, 203, 200, 221, 281, 117, 129, 271)),
}
EPERM = 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64)]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def die_with_parent() -> None:
    """Let the kernel end this process when the one that started it ends."""
    _libc().prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def close_process() -> tuple[str, ...]:
    """Close this process, for good; call it before the first untrusted byte.

    Returns:
        The layers that hold: "limits", and "landlock" and "seccomp" where the kernel has them.
    """
    held = ["limits"]
    _limit()
    if _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held += ["landlock"] * _landlock(_own_code()) + ["seccomp"] * _seccomp()
    return tuple(held)


def _limit() -> None:
    bound_memory(_data_bytes())
    for kind, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MOST_FILES),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _data_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmData"))
    return int(line.split()[1]) << 10


def _own_code() -> set[str]:
    """Folders that Python and the libraries read their code from: some of it is imported late."""
    packages = {Path(module.__file__ or "").parents[1] for module in (av, numpy, torch)}
    paths = sysconfig.get_paths()
    return {*map(str, packages), paths["stdlib"], paths["platstdlib"], str(Path(__file__).parents[2])}


def _landlock(readable: Iterable[str]) -> bool:
    """Deny all files but some to read, and TCP; what is open already stays open."""
    libc = _libc()
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rules = _Ruleset(FILE_RIGHTS.get(version, FILE_RIGHTS[4]), NETWORK_RIGHTS if version >= 4 else 0)
    size = ctypes.sizeof(rules) if version >= 4 else 8
    ruleset = libc.syscall(CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            with suppress(OSError):
                folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
                try:
                    rule = _Beneath(READ_FILE | READ_DIR, folder)
                    libc.syscall(ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
                finally:
                    os.close(folder)
        return int(libc.syscall(RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _seccomp() -> bool:
    """Answer some system calls with EPERM; a call of another architecture's table ends the process."""
    arch, forbidden = FORBIDDEN.get(platform.machine(), (0, ()))
    if not forbidden:
        return False
    load, jump_equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    allow, refuse, kill = 0x7FFF0000, 0x00050000 | EPERM, 0x80000000
    steps = [(load, 0, 0, 4), (jump_equal, 1, 0, arch), (answer, 0, 0, kill), (load, 0, 0, 0)]
    for place, number in enumerate(forbidden):
        steps.append((jump_equal, len(forbidden) - place, 0, number))
    steps += [(answer, 0, 0, allow), (answer, 0, 0, refuse)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(buffer, ctypes.c_void_p))
    return int(_libc().prctl(PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)) == 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
