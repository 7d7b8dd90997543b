"""Write the world to disk: H.264 videos and, beside them, one JSONL row per question."""

import os
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np

from bvllm.common.processes import processes
from bvllm.data.chat import LETTERS, Message, Part, Row, ShownNeedle, join_options
from bvllm.synthetic.busy.further import EVERY_TASK
from bvllm.synthetic.busy.tasks import BUSY_TASKS
from bvllm.synthetic.busy.timeline import BusyTimeline, fresh_scenes, plan_busy
from bvllm.synthetic.draft import Question
from bvllm.synthetic.footage import FootageHaystack
from bvllm.synthetic.haystack import DrawnHaystack, Haystack
from bvllm.synthetic.tasks import TASKS, check_tasks
from bvllm.synthetic.timeline import SHORTEST, Timeline, plan_video
from bvllm.synthetic.vocabulary import SPLITS, Split
from bvllm.video.frames import REPEATABLE

Detail = Literal["plain", "busy"]
AnyTimeline = Timeline | BusyTimeline
TASKS_OF: dict[Detail, Collection[str]] = {"plain": TASKS, "busy": EVERY_TASK}
ASKED: dict[Detail, Collection[str]] = {"plain": TASKS, "busy": BUSY_TASKS}  # where none is named
FRAME_RATE = 10
CRF = 23  # x264's default quality
LONGEST = 36_000  # seconds: ten hours
SMALLEST = 64  # pixels: captions of smaller videos cannot be read
SPLIT_SEED = {"train": 1, "val": 2, "test": 3}


@dataclass(frozen=True)
class VideoJob:
    """Everything that one worker needs to write one video."""

    number: int
    folder: Path
    split: Split
    seconds: tuple[float, float]
    seed: int
    tasks: tuple[str, ...]
    questions: int
    haystack: Path | None
    size: tuple[int, int]
    detail: Detail = "plain"


def make_world(
    out: Path,
    *,
    split: Split,
    count: int,
    seconds: tuple[float, float],
    seed: int,
    tasks: list[str] | None = None,
    haystack: Path | None = None,
    size: tuple[int, int] = (320, 240),
    questions: int = 4,
    detail: Detail = "plain",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write `count` videos and their questions.

    The same arguments give the same videos and rows, whatever the number of workers. Tasks are rotated from
    video to video, so that each is asked about equally often.

    Args:
        out: folder; receives `SPLIT.jsonl` and `videos/`.
        split: train, val or test; no two splits share a needle combination.
        count: how many videos.
        seconds: shortest and longest video; lengths between are log-uniform.
        seed: decides everything.
        tasks: names from `TASKS`, or from `EVERY_TASK` of busy scenes; None is all but the further ones
            (`busy.further`), which no embedded model was trained on.
        haystack: folder of real clips, or None for drawn footage.
        size: (width, height), both even.
        questions: the most questions about one video.
        detail: "plain" shows one needle at a time among bare footage, "busy" scenes of 4 to 16 things in
            every frame (see `bvllm.synthetic.busy`); its splits differ in their seeds alone.
        workers: processes that draw and encode; one draws in this process.
        progress: called with (videos done, count).

    Returns:
        The JSONL file, written last, so that it never speaks of a video that is not there.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(split, count, seconds, size, tasks, questions, workers, detail)
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}: use another one")
    if haystack is not None:
        FootageHaystack(haystack, seed, size)  # fail here, once, rather than in every worker
    (out / "videos").mkdir(parents=True, exist_ok=True)
    for left in (out / "videos").glob(f"*{split}_{seed}_*.part"):  # by a run that was killed
        left.unlink(missing_ok=True)
    wanted = tuple(tasks or ASKED[detail])
    jobs = [
        VideoJob(
            k, out, split, seconds, seed, _rotated(wanted, k * questions), questions, haystack, size, detail
        )
        for k in range(count)
    ]
    # Names of videos come again: questions about those that stood here before must not outlive them.
    (out / f"{split}.jsonl").unlink(missing_ok=True)
    rows: list[Row] = []
    with closing(_in_order(jobs, min(workers, count))) as videos:  # who stops half-way waits for no other job
        for done, made in enumerate(videos, start=1):
            rows += made
            if progress is not None:
                progress(done, count)
    return write_rows(out / f"{split}.jsonl", rows)


def _rotated(tasks: tuple[str, ...], places: int) -> tuple[str, ...]:
    first = places % len(tasks)
    return tasks[first:] + tasks[:first]


def _in_order(jobs: list[VideoJob], workers: int) -> Generator[list[Row], None, None]:
    """The rows of each video, in the order of the jobs; one worker needs no process of its own."""
    if workers == 1:
        yield from map(_make_video, jobs)
        return
    with processes(workers) as executor:
        yield from executor.map(_make_video, jobs)


def write_rows(target: Path, rows: list[Row]) -> Path:
    """Write one row a line; the file appears under its name only when it is whole."""
    scratch = target.with_name(target.name + ".part")
    lines = [row.model_dump_json(exclude_none=True) + "\n" for row in rows]
    scratch.write_text("".join(lines), encoding="utf-8")
    os.replace(scratch, target)
    return target


def _check(
    split: str,
    count: int,
    seconds: tuple[float, float],
    size: tuple[int, int],
    tasks: list[str] | None,
    questions: int,
    workers: int,
    detail: Detail,
) -> None:
    if detail not in TASKS_OF:
        raise ValueError(f"detail must be one of {', '.join(TASKS_OF)}, got {detail!r}: use one of these")
    check_split(split)
    check_size(size)
    for name, value in (("count", count), ("questions", questions), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: use a larger number")
    if not SHORTEST <= seconds[0] <= seconds[1] <= LONGEST:
        raise ValueError(
            f"seconds must be an ascending range within {SHORTEST}..{LONGEST}, "
            f"got {seconds[0]:g}..{seconds[1]:g}: write LOW..HIGH"
        )
    if tasks is not None:
        check_tasks(tasks, TASKS_OF[detail])


def check_split(split: str) -> None:
    """Refuse what is no split of the world, with a ValueError."""
    if split not in SPLITS:
        raise ValueError(
            f"split must be a split of the world, got {split!r}: choose from {', '.join(SPLITS)}"
        )


def check_size(size: tuple[int, int]) -> None:
    """Refuse sizes that cannot be encoded, or on which words cannot be read, with a ValueError."""
    if min(size) < SMALLEST or any(side % 2 for side in size):
        raise ValueError(
            f"size must be even and at least {SMALLEST} each way, got {size[0]}x{size[1]}: "
            "use the next larger even numbers"
        )


def _make_video(job: VideoJob) -> list[Row]:
    rng = np.random.default_rng((job.seed, SPLIT_SEED[job.split], job.number))
    low, high = np.log(job.seconds[0]), np.log(job.seconds[1])
    seconds = float(max(SHORTEST, round(float(np.exp(rng.uniform(low, high))))))
    timeline: AnyTimeline
    if job.detail == "busy":
        timeline = plan_busy(rng, seconds, list(job.tasks), fresh_scenes(rng), questions=job.questions)
    else:
        timeline = plan_video(rng, job.split, seconds, list(job.tasks), questions=job.questions)
    hay_seed = int(rng.integers(2**31))
    haystack = haystack_of(job.haystack, hay_seed, job.size)
    kind = "" if job.detail == "plain" else f"{job.detail}_"
    name = f"{kind}{job.split}_{job.seed}_{job.number:05d}"
    write_video(job.folder / "videos" / f"{name}.mp4", timeline, haystack, job.size)
    return [
        make_row(f"{name}_{k}", f"videos/{name}.mp4", job.split, timeline, q)
        for k, q in enumerate(timeline.questions)
    ]


def haystack_of(folder: Path | None, seed: int, size: tuple[int, int]) -> Haystack:
    """What needles and scenes are hidden in: real clips of a folder, or drawn footage."""
    return FootageHaystack(folder, seed, size) if folder else DrawnHaystack(seed, size)


def write_video(
    path: Path, timeline: AnyTimeline, haystack: Haystack, size: tuple[int, int], rate: int = FRAME_RATE
) -> None:
    """Draw and encode a video; the file appears under its name only when it is whole."""
    scratch = path.with_suffix(f".{os.getpid()}.part")  # no other run's, which may have been killed just now
    with av.open(str(scratch), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree gives other bytes for the same frames, once in some dozens of small videos.
        stream.options = {"preset": "veryfast", "crf": str(CRF), "threads": "1", "x264-params": "mbtree=0"}
        stream.codec_context.gop_size = rate * 10
        for k in range(int(timeline.seconds * rate)):
            time = k / rate
            picture = timeline.draw(haystack.frame(time), time)
            # The encoder would convert with as many threads as there are cores, and its bytes would not be
            # the same on every machine.
            frame = av.VideoFrame.from_image(picture).reformat(  # type: ignore[no-untyped-call]
                format="yuv420p", interpolation=REPEATABLE, threads=1
            )
            frame.pts, frame.time_base = k, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    os.replace(scratch, path)


def make_row(
    name: str,
    file: str,
    split: Split,
    timeline: AnyTimeline,
    question: Question,
    *,
    kind: Literal["video", "image"] = "video",
) -> Row:
    """One question about a file as a row of the chat schema, put with its options."""
    letter = LETTERS[question.right]
    asked = [
        Part(type=kind, path=file),
        Part(type="text", text=join_options(question.stem, question.options)),
    ]
    reply = [Part(type="text", text=f"{question.answer} ({letter})")]
    shown = [timeline.events[k] for k in question.needles]
    return Row(
        id=name,
        video=file,
        seconds=timeline.seconds,
        split=split,
        task=question.task,
        question=question.stem,
        options=list(question.options),
        answer=letter,
        open_answer=question.answer,
        needles=[ShownNeedle(name=e.needle.name, start=e.start, end=e.end) for e in shown],
        messages=[Message(role="user", content=asked), Message(role="assistant", content=reply)],
    )
