"""Proves that this working tree gives bit for bit the outputs of another commit, on this machine.

    python benchmarks/equal_outputs.py --base COMMIT [--quick] [--json]

The other commit is checked out into a temporary folder. `equal_dump.py` of this tree then runs once on each
tree's `src`, in a process of its own, and leaves tensors and texts, which are compared name by name. Prints
one line per group; the exit status is 1 if anything differs that EXCEPTIONS does not list.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 8  # differing names that a group prints

# Names that may differ (as `fnmatch` reads them, * stands for anything), and why.
EXCEPTIONS: dict[str, str] = {
    # Names of settings, not outputs: slots that were switches hold a method's name since.
    r"variants/.*config\.(merge_frames|merge_tokens|adaptive_tokens|tokens_policy)": "slots hold methods",
    r"command line/.*(settings\.(asked|used)\.methods.*|frames\.\d+\.tokens)": "new keys of the JSON",
}


@dataclass(frozen=True)
class Dump:
    """What one tree gave; the first part of a name, up to "/", is its group.

    Attributes:
        tensors, texts: by name.
        skipped: groups that this tree cannot run, and why.
    """

    tensors: dict[str, Tensor]
    texts: dict[str, str]
    skipped: dict[str, str]


@dataclass
class Group:
    """What was found in one group.

    Attributes:
        tensors, texts: how many were compared.
        differing: name of each that differs, and how.
        excepted: the same of those that EXCEPTIONS lists.
        largest: absolute difference of any two numbers.
        skipped: why nothing was compared; empty where something was.
    """

    name: str
    tensors: int = 0
    texts: int = 0
    differing: dict[str, str] = field(default_factory=dict)
    excepted: dict[str, str] = field(default_factory=dict)
    largest: float = 0.0
    skipped: str = ""

    def line(self) -> str:
        """The group in words."""
        if self.skipped:
            return f"{self.name:18} skipped: {self.skipped}"
        found = f"{len(self.differing)} differ"
        if self.excepted:
            found += f", {len(self.excepted)} more as EXCEPTIONS says"
        if self.differing or self.excepted:
            found += f" (max abs difference {self.largest:.3g})"
        return f"{self.name:18} {self.tensors:5} tensors {self.texts:4} texts: {found}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare this working tree's outputs with a commit's.")
    parser.add_argument("--base", required=True, help="the commit to compare with")
    parser.add_argument("--quick", action="store_true", help="a small part only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, worktree(args.base, Path(folder) / "base") as base:
        before = dump(base, Path(folder) / "before", quick=args.quick)
        after = dump(ROOT, Path(folder) / "after", quick=args.quick)
    groups = compare(before, after)
    if args.json:
        print(json.dumps({"base": args.base, "groups": [asdict(group) for group in groups]}))
    else:
        for group in groups:
            print(group.line())
            for name, how in list(group.differing.items())[:SHOWN]:
                print(f"    {name}: {how}")
    return int(any(group.differing for group in groups))


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of a commit, for as long as the block lasts."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--detach", "--quiet", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def dump(tree: Path, folder: Path, *, quick: bool) -> Dump:
    """Run `equal_dump.py` of this tree on the package of a tree, and read what it left."""
    folder.mkdir()
    here = {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.equal_dump", str(folder), *(["--quick"] if quick else [])]
    subprocess.run(command, cwd=ROOT, env=os.environ | here, check=True, stdout=sys.stderr)
    left = json.loads((folder / "texts.json").read_text())
    return Dump(load_file(folder / "tensors.safetensors"), left["texts"], left["skipped"])


def compare(before: Dump, after: Dump) -> list[Group]:
    """Both dumps, name by name; a name that only one of them has differs."""
    skipped = before.skipped | after.skipped
    groups = {name: Group(name, skipped=why) for name, why in skipped.items()}
    for name in {**before.tensors, **after.tensors, **before.texts, **after.texts}:
        key = name.split("/")[0]
        group = groups.setdefault(key, Group(key))
        if group.skipped:
            continue
        if name in before.texts or name in after.texts:
            group.texts += 1
            how, size = _texts_differ(before.texts.get(name), after.texts.get(name)), 0.0
        else:
            group.tensors += 1
            how, size = _tensors_differ(before.tensors.get(name), after.tensors.get(name))
        if how:
            allowed = any(fnmatchcase(name, pattern) for pattern in EXCEPTIONS)
            (group.excepted if allowed else group.differing)[name] = how
            group.largest = max(group.largest, size)
    return list(groups.values())


def _texts_differ(before: str | None, after: str | None) -> str:
    return "" if before == after else f"{before!r} became {after!r}"


def _tensors_differ(before: Tensor | None, after: Tensor | None) -> tuple[str, float]:
    """How two tensors differ ("" for not at all), and by how much at most."""
    if before is None or after is None:
        return ("only in the base" if after is None else "only in this tree"), 0.0
    kinds = [(tuple(x.shape), str(x.dtype)) for x in (before, after)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]} became {kinds[1]}", 0.0
    # By their bytes: NaN equals NaN, and 0.0 is not -0.0.
    if torch.equal(_bytes(before), _bytes(after)):
        return "", 0.0
    size = float((before.double() - after.double()).abs().nan_to_num(torch.inf).max())
    return f"max abs difference {size:.3g}", size


def _bytes(x: Tensor) -> Tensor:
    return x.contiguous().flatten().view(torch.uint8)


if __name__ == "__main__":
    sys.exit(main())
