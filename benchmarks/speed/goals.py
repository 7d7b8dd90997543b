"""List every goal and the function that measures it."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.speed import engine, kernels, tower
from benchmarks.speed.compare import Race
from benchmarks.speed.decoding import decoding
from benchmarks.speed.engine import Footage
from benchmarks.speed.follow_up import follow_up
from benchmarks.speed.footage import draw_clip, loop_clip
from benchmarks.speed.model import RANDOM
from benchmarks.speed.result import Figure
from bvllm.common.threads import one_kernel_thread

SIZES = {"360p": (640, 360), "720p": (1280, 720)}
DRAWN_SECONDS = 60
DECODE_SECONDS = 240  # enough for a median, and short enough to repeat
# Frames, tokens, channels: of SigLIP so400m at 384 pixels, and of a language model of 7B. What is smaller is
# served from what earlier work left in the heap, so that its time would depend on what ran before.
MERGED = ((32, 729, 1152), (128, 196, 3584))


@dataclass(frozen=True)
class BenchmarkPlan:
    """What a run measures, and on what.

    Attributes:
        folder: for the videos that are made; what is there is used again.
        clips: videos to loop to length, beside the drawn one.
        drawn: whether there is a drawn one.
        model: "random", or a model that `load_model` knows.
        minutes, hour: seconds of the two lengths; a quick run shortens both.
        rounds: how often what is short is repeated.
        goals: which; None is all.

    Raises:
        ValueError: a goal is unknown, there is nothing to measure on, or the hour is the shorter one.
    """

    folder: Path
    clips: tuple[Path, ...] = ()
    model: str = RANDOM
    minutes: float = 600
    hour: float = 3600
    rounds: int = 3
    goals: frozenset[str] | None = None
    drawn: bool = True

    def __post_init__(self) -> None:
        if not (self.drawn or self.clips):
            raise ValueError("bench must be given footage, got no clip and --no-drawn: name a --clip")
        if self.hour <= self.minutes:
            raise ValueError(
                f"--hour must be longer than --minutes, got {self.hour / 60:g} and {self.minutes / 60:g}: "
                "raise it"
            )
        known = sorted({goal for one in BENCHMARKS for goal in one.goals}, key=lambda goal: int(goal[1:]))
        for goal in sorted((self.goals or frozenset()) - set(known)):
            raise ValueError(f"goal must be one of {', '.join(known)}, got {goal!r}: name one of these")


@dataclass(frozen=True)
class Benchmark:
    """One measurement: the goals it serves, and the function that does it."""

    goals: tuple[str, ...]
    what: str
    measure: Callable[[BenchmarkPlan], list[Figure]]


def run(plan: BenchmarkPlan, tell: Callable[[str], None] = lambda line: None) -> Iterator[Figure]:
    """Measure what the plan asks for, one benchmark after another."""
    for benchmark in BENCHMARKS:
        if plan.goals is None or plan.goals & set(benchmark.goals):
            tell(f"{' '.join(benchmark.goals)}: {benchmark.what}")
            yield from benchmark.measure(plan)


def footage(plan: BenchmarkPlan) -> list[Footage]:
    """Ten minutes and an hour of drawn footage, and of each clip; made where they are not there yet."""
    drawn = [drawn_clip(plan, "360p", SIZES["360p"])] if plan.drawn else []
    return [_lengths(plan, clip) for clip in (*drawn, *plan.clips)]


def drawn_clip(plan: BenchmarkPlan, name: str, size: tuple[int, int]) -> Path:
    """A minute of drawn footage, made where it is not there yet."""
    return _made(plan, f"drawn-{name}.mp4", lambda out: draw_clip(out, DRAWN_SECONDS, size))


def _lengths(plan: BenchmarkPlan, clip: Path) -> Footage:
    return Footage(clip.stem, _looped(plan, clip, plan.minutes), _looped(plan, clip, plan.hour))


def _looped(plan: BenchmarkPlan, clip: Path, seconds: float) -> Path:
    status = clip.stat()
    said = f"{clip.resolve()} {status.st_size} {status.st_mtime_ns}"
    which = hashlib.sha256(os.fsencode(said)).hexdigest()[:8]  # another clip may have the same name
    return _made(plan, f"{clip.stem}-{which}-{seconds:g}s.mp4", lambda out: loop_clip(clip, out, seconds))


def _made(plan: BenchmarkPlan, name: str, make: Callable[[Path], Path]) -> Path:
    """A file of the plan's folder; what a run that was stopped left half-made does not pass for it."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    target = plan.folder / name
    if not target.exists():
        make(plan.folder / f"part-{name}").replace(target)
    return target


def _each(measure: Callable[[Footage], Iterable[Figure]], plan: BenchmarkPlan) -> list[Figure]:
    return [figure for video in footage(plan) for figure in measure(video)]


def _sizes(plan: BenchmarkPlan) -> list[Path]:
    """Drawn footage of a few minutes at both sizes."""
    made = []
    for name, size in SIZES.items() if plan.drawn else ():
        clip = drawn_clip(plan, name, size)
        made.append(_looped(plan, clip, min(plan.minutes, DECODE_SECONDS)))
    return made


def _decoding(plan: BenchmarkPlan) -> list[Figure]:
    videos = {f"drawn {name}": video for name, video in zip(SIZES, _sizes(plan))}
    for clip in plan.clips:
        videos[clip.stem] = _looped(plan, clip, min(plan.minutes, DECODE_SECONDS))
    return [figure for name, video in videos.items() for figure in decoding(video, name, plan.rounds)]


def _tower(plan: BenchmarkPlan) -> list[Figure]:
    with torch.inference_mode(), one_kernel_thread():
        pixels = tower.pixels(plan.rounds)
        found = {"ViT-B/16 at 224": tower.base(plan.rounds), "ViT-L/14 at 336": tower.large(plan.rounds)}
        found["nano"] = tower.nano(plan.rounds)
    apart = float(pixels["most_grey_levels_apart"])
    figures = [
        _raced("G2", "720p frame to bfloat16 at 336, against transformers", pixels, 4.0),
        Figure("G2", "grey levels apart from Pillow's bicubic", apart, 1.0, unit="", at_least=False),
    ]
    for name, one in found.items():
        ratio, single = float(one["bfloat16_ratio"]), float(one["stock_float32_to_fast_bfloat16"])
        error = float(one["fast_bfloat16_error"]) / float(one["stock_bfloat16_error"])
        goal = {"ViT-B/16 at 224": 1.2, "ViT-L/14 at 336": 1.4}.get(name)
        figures += [
            Figure("G3", f"{name}, bfloat16 against stock bfloat16", ratio, goal, details=one),
            Figure("G3", f"{name}, bfloat16 against stock float32", single, goal and 4.5, details=one),
            Figure("G3", f"{name}, error against stock bfloat16's", error, 1.05, at_least=False, details=one),
        ]
    return figures


def _kernels(plan: BenchmarkPlan) -> list[Figure]:
    with torch.inference_mode(), one_kernel_thread():
        chosen = kernels.frame_selection(plan.rounds)
        return [
            _raced("G8", "chosen frames by index, against every token", chosen, 20.0),
            *(_merging(shape, plan.rounds) for shape in MERGED),
            _raced("G9", "rows by index, against a mask", kernels.row_selection(plan.rounds), 20.0),
            _raced("G9", "diverse rows, against DivPrune as published", kernels.diverse_selection(1), 3.0),
        ]


def _merging(shape: tuple[int, int, int], rounds: int) -> Figure:
    found = kernels.merging(rounds, *shape)
    return _raced("G9", f"merging, against ToMe as published ({' x '.join(map(str, shape))})", found, 1.4)


def _raced(goal: str, what: str, found: Race, target: float) -> Figure:
    return Figure(goal, what, float(found["ratio"]), target, details=found)


BENCHMARKS = (
    Benchmark(("G1",), "decoding in part against decoding all", _decoding),
    Benchmark(("G2", "G3"), "from a frame to its feature", _tower),
    Benchmark(("G8", "G9"), "token kernels", _kernels),
    Benchmark(
        ("G4",),
        "memory of an hour against ten minutes",
        lambda plan: _each(lambda video: engine.flat_memory(video, plan.model), plan),
    ),
    Benchmark(
        ("G5", "G11"),
        "two threads, alone and beside a busy core",
        lambda plan: _each(lambda video: engine.pipeline(video, plan.model, plan.rounds), plan),
    ),
    Benchmark(
        ("G6", "G7"),
        "an hour, and a second question about it, on one thread",
        lambda plan: _each(lambda video: engine.first_and_second(video, plan.model, 1), plan),
    ),
    Benchmark(
        ("G6", "G7"),
        "an hour, and a second question about it, on two threads",
        lambda plan: _each(lambda video: engine.first_and_second(video, plan.model, 2), plan),
    ),
    Benchmark(("G10",), "a follow-up question", lambda plan: follow_up(plan.rounds)),
)
