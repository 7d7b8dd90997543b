"""`bvllm doctor`: report what is odd or broken in a video, and what an answer about it would rest on."""

import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from bvllm.cli.console import Unanswerable, check_fps, isolate_decoding, note, progress_bar, show, wrong_use
from bvllm.cli.json_output import JsonOption, deliver, replaces_text

if TYPE_CHECKING:
    from bvllm.video.inspection.doctor import Diagnosis


def doctor(
    video: Annotated[
        str,
        typer.Argument(metavar="VIDEO|FOLDER", help="A video, or a folder of them.", show_default=False),
    ],
    fps: Annotated[float, typer.Option(help="Frames per second that a question would sample.")] = 1.0,
    json_target: JsonOption = None,
) -> None:
    """Say what is odd or broken in a video, and what an answer about it would rest on."""
    from bvllm.video.videos_in import videos_of

    with wrong_use():
        check_fps(fps)
        videos = videos_of([video], note)
    from bvllm.video import LOCAL_LIMITS
    from bvllm.video.inspection.doctor import as_json as as_object
    from bvllm.video.inspection.doctor import examine

    isolate_decoding()
    single = not os.path.isdir(video)
    seen = []
    for path in videos:
        with progress_bar() as bar:
            seen.append(examine(path, fps=fps, limits=LOCAL_LIMITS, progress=bar))
        if not single and not replaces_text(json_target):
            show(_line(seen[-1]))
    broken = sum(not one.answerable for one in seen)
    counts = {"answerable": len(seen) - broken, "not_answerable": broken}
    deliver(
        json_target,
        lambda: _page(seen[0]) if single else _summary(seen),
        lambda: {"files": [as_object(one) for one in seen], **counts},
    )
    if broken:
        raise Unanswerable(
            seen[0].findings[0].text if single else f"{broken} of {len(seen)} files cannot be answered"
        )


def _page(seen: "Diagnosis") -> str:
    """Everything about one file: what it is, a line for each finding, what an answer rests on."""
    from bvllm.common.text import shown

    lines = [f"{shown(seen.path)}: {seen.headline}"]
    lines += [f"{finding.weight:<7} {finding.name}: {finding.text}" for finding in seen.findings]
    return "\n".join([*lines, f"answer  {seen.rests_on}"])


def _line(seen: "Diagnosis") -> str:
    """One line of the list: the file and its heaviest finding."""
    from bvllm.common.text import shown

    if not seen.findings:
        return f"fine    {shown(seen.path)}: {seen.headline}"
    worst, *others = seen.findings
    more = f" (and {len(others)} more)" if others else ""
    return f"{worst.weight:<7} {shown(seen.path)}: {worst.name}: {worst.text}{more}"


def _summary(seen: "list[Diagnosis]") -> str:
    from bvllm.video.inspection.findings import WEIGHTS

    counts = Counter(one.findings[0].weight if one.findings else "fine" for one in seen)
    parts = [f"{counts[weight]} {weight}" for weight in (*WEIGHTS, "fine") if counts[weight]]
    files = "1 file" if len(seen) == 1 else f"{len(seen)} files"
    return f"{files}: {', '.join(parts)}; {sum(one.answerable for one in seen)} can be answered"
