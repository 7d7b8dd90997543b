"""Hold what a benchmark measured, and under which conditions."""

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bvllm.common.threads import usable_cores
from bvllm.model.fast_tower import has_amx, has_bfloat16

MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")
PACKAGES = ("bvllm", "torch", "transformers", "av", "torchcodec")


@dataclass(frozen=True)
class Figure:
    """One measured number beside its goal.

    Attributes:
        goal: which promise it belongs to, as "G1".
        what: what is compared, in words.
        value: what was measured.
        target: what it should be; None where there is no goal.
        unit: "x" for a ratio to the peer, else a unit.
        at_least: whether more is better.
        details: the times or sizes behind it, in the units their names end in.
    """

    goal: str
    what: str
    value: float
    target: float | None
    unit: str = "x"
    at_least: bool = True
    details: dict[str, float | str | bool] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class Conditions:
    """Where and when a run was made, and with what."""

    processor: str
    cores: int
    memory_gb: float
    bfloat16: str
    malloc: str
    load: float
    versions: dict[str, str]
    python: str
    commit: str
    when: str
    command: str

    @classmethod
    def now(cls, command: str) -> "Conditions":
        """This machine, as it is now."""
        return cls(
            processor=_processor(),
            cores=usable_cores(),
            memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            bfloat16=_bfloat16(),
            malloc=", ".join(f"{k}={os.environ[k]}" for k in MALLOC if k in os.environ) or "default",
            load=round(os.getloadavg()[0], 2),
            versions=dict(_versions()),
            python=platform.python_version(),
            commit=_commit(),
            when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            command=command,
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # a peer that is not installed
            yield name, version(name)


def _bfloat16() -> str:
    if has_amx():
        return "AMX"
    return "AVX-512" if has_bfloat16() else "none"


def _commit() -> str:
    """The commit of the checkout that is measured; "unknown" for an installed package."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
