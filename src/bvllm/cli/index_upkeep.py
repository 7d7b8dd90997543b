"""Name the index folder on the command line; `bvllm index --list`, `--check` and `--prune`."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bvllm.cli.console import Unanswerable, note, show, wrong_use
from bvllm.cli.json_output import JsonTarget, replaces_text, write

if TYPE_CHECKING:
    from bvllm.index import EntrySummary, FolderFault, IndexFolder

T = TypeVar("T")
GIGABYTE = 1e9


def folder_of(text: str) -> Path:
    """The folder that --index names."""
    if not text.strip():
        raise typer.BadParameter("the index must lie in a folder, got no name: leave it out, or name one")
    if os.path.lexists(text) and not os.path.isdir(text):
        raise typer.BadParameter(f"the index must lie in a folder, got the file {text!r}: name another")
    return Path(text)


IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="Where the index lies.",
        show_default="$BVLLM_INDEX, else your cache folder",
        parser=folder_of,
    ),
]


def index_folder(where: Path | None, max_gigabytes: float | None = None) -> "IndexFolder":
    """The folder that a command works with; what it says of single entries becomes notes on stderr."""
    from bvllm.index import IndexFolder, default_folder

    limit = None if max_gigabytes is None else round(max_gigabytes * GIGABYTE)
    with wrong_use():  # the environment may name no size
        return IndexFolder(where or default_folder(), max_bytes=limit, tell=_note)


def _note(finding: "FolderFault") -> None:
    if finding.kind == "busy":
        note(finding.why)
        return
    what = "was removed" if finding.kind == "over_limit" else "is not used"
    show(f"note: index entry {finding.name[:12]}… {what}: {finding.why}", to_stderr=True)


def print_list(folder: "IndexFolder", target: JsonTarget | None) -> None:
    """What is indexed, the last used first."""
    from bvllm.common.text import format_clock, shown
    from bvllm.video import SamplingPlan

    entries = _without_failing(folder.entries)
    if target is not None:
        write(target, {"index": str(folder.path), "videos": [_listed(entry) for entry in entries]})
    if replaces_text(target):
        return
    for entry in entries:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.meta.made_at))
        numbers = f"{format_clock(entry.meta.duration):>9} {entry.frames:>8} frames {size(entry.bytes):>9}"
        start, end = entry.key.part
        part = SamplingPlan(start=start, end=end)
        only = f" ({part.part})" if part.is_part else ""
        show(f"{made} {numbers}  {shown(entry.meta.name)}{only}")
    total = sum(entry.bytes for entry in entries)
    show(f"{len(entries)} {'video' if len(entries) == 1 else 'videos'}, {size(total)}, in {folder.path}")


def _listed(entry: "EntrySummary") -> dict[str, object]:
    meta = entry.meta
    said: dict[str, object] = {
        "name": meta.name,
        "source": meta.source,
        "seconds": meta.duration,
        "fps": meta.fps,
    }
    said["start"], said["end"] = entry.key.part
    counts = {"frames": entry.frames, "channels": entry.channels, "bytes": entry.bytes}
    return {**said, **counts, "made_at": meta.made_at, "used_at": entry.used_at, "key": entry.key.name}


def print_check(folder: "IndexFolder", target: JsonTarget | None) -> None:
    """Every finding; exit status 1 where an entry cannot be used."""
    findings = _without_failing(folder.check)
    _print_findings(findings, folder, target)
    damaged, closed = (sum(f.kind == kind for f in findings) for kind in ("damaged", "unreadable"))
    advice = ["bvllm index --prune removes what is damaged"] * (damaged > 0)
    advice += ["see to the rights of what cannot be read"] * (closed > 0)
    if advice:
        count = damaged + closed
        raise Unanswerable(f"{count} of the index's entries cannot be used: {'; '.join(advice)}")


def print_prune(folder: "IndexFolder", target: JsonTarget | None) -> None:
    """What was removed."""
    _print_findings(_without_failing(folder.prune), folder, target, word="removed")


def _without_failing(work: Callable[[], T]) -> T:
    from bvllm.index import IndexFailure

    try:
        return work()
    except IndexFailure as failure:
        raise Unanswerable(str(failure)) from failure


def _print_findings(
    findings: list["FolderFault"], folder: "IndexFolder", target: JsonTarget | None, word: str = ""
) -> None:
    bad = {Path(finding.name).stem for finding in findings if finding.kind in ("damaged", "unreadable")}
    kept = sum(entry.key.name not in bad for entry in _without_failing(folder.entries))
    if target is not None:
        found = {"index": str(folder.path), "entries": kept, "findings": [asdict(f) for f in findings]}
        write(target, found)
    if replaces_text(target):
        return
    for finding in findings:
        show(f"{word or finding.kind:<10} {finding.name}: {finding.why}, {size(finding.bytes)}")
    entries = "1 entry" if kept == 1 else f"{kept} entries"
    show(f"{entries}, {len(findings)} {word or 'findings'}, in {folder.path}")


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
