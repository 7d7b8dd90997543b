"""Measure how evenly the chosen frames lie, for questions about everything and about one thing.

    python -m experiments.evenness OUT.jsonl [--model nano] [--videos 40] [--seconds 60..240] [--bare 1]

B-VLLM (arXiv 2412.09919), Sec. 5.4 on Fig. 4: "for long videos with overarching questions, the frames
selected are evenly distributed", where a specific question takes its frames from where its answer is. Videos
of the plain world are drawn at a frame a second, without a codec; each is asked for everything, in all three
wordings that nano was taught, and its own questions. With `--bare 1` as much footage without a needle
follows each video: what is spread over time then stays spread, and what follows the needles does not. A
video that stands in the file already is not asked again.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bvllm.common.text import Question
from bvllm.inference.encode import encode_video
from bvllm.inference.loading import load_model
from bvllm.inference.model import VideoModel
from bvllm.nano.examples import LIST_STEMS, frames_of
from bvllm.synthetic.haystack import DrawnHaystack
from bvllm.synthetic.tasks import TASKS
from bvllm.synthetic.timeline import Timeline, plan_video
from bvllm.video import FrameList

SIZE = (320, 240)
DRAWS = 2000  # of the bootstrap over videos, and of frames chosen at random
OVERARCHING, SPECIFIC = "overarching", "specific"


@dataclass(frozen=True)
class Chosen:
    """The frames of one question.

    Attributes:
        video: its number.
        kind: OVERARCHING or SPECIFIC.
        stem: the question.
        seconds: of the video, which has as many frames.
        frames: distinct chosen ones, ascending.
        needles: frames that show any needle of the video.
        asked: frames that show what is asked.
    """

    video: int
    kind: str
    stem: str
    seconds: int
    frames: tuple[int, ...]
    needles: tuple[int, ...]
    asked: tuple[int, ...]


def longest_gap(frames: Sequence[int], seconds: int) -> float:
    """The longest stretch without a chosen frame, ends included, over the mean one: 1 is even.

    Example:
        >>> longest_gap([4, 9, 14], 19), longest_gap([0, 1, 2], 19)
        (1.0, 3.4)
    """
    cuts = np.array([-1, *frames, seconds])
    return round(float(np.diff(cuts).max() / np.diff(cuts).mean()), 9)


def distance_from_even(frames: Sequence[int], seconds: int) -> float:
    """Kolmogorov and Smirnov's distance between the chosen frames' times and an even spread of them.

    Example:
        >>> distance_from_even([0, 1, 2], 100) > 0.9, distance_from_even([24, 74], 100) < 0.3
        (True, True)
    """
    places = (np.array(frames) + 0.5) / seconds
    steps = np.arange(len(frames) + 1) / len(frames)
    return float(np.maximum(steps[1:] - places, places - steps[:-1]).max())


def ask_video(
    number: int, timeline: Timeline, loaded: VideoModel, seed: int, bare: float
) -> Iterator[Chosen]:
    """Choose frames for everything and for each of a video's own questions."""
    haystack, length = DrawnHaystack(seed, SIZE), int(timeline.seconds * (1 + bare))
    drawn = [timeline.draw(haystack.frame(float(t)), float(t)) for t in range(length)]
    encoded = encode_video(FrameList(drawn, range(length)), loaded, threads=1)
    shown = [frames_of(event) for event in timeline.events]
    everything = tuple(sorted(t for frames in shown for t in frames))
    asked = [(OVERARCHING, stem, everything) for stem in LIST_STEMS]
    for question in timeline.questions:
        wanted = sorted(t for k in question.needles for t in shown[k])
        asked.append((SPECIFIC, question.stem, tuple(wanted)))
    for kind, stem, wanted in asked:
        found = loaded.select(
            encoded.frame_features, encoded.seconds, loaded.read(Question(stem)), loaded.budget
        )
        frames = tuple(sorted(set(found.frames.tolist())))
        yield Chosen(number, kind, stem, length, frames, everything, wanted)


def measure(
    out: Path, model: str, videos: int, seconds: tuple[float, float], seed: int, bare: float
) -> list[Chosen]:
    """Ask the videos that the file lacks, one after another."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = [Chosen(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows]
    done, loaded = {row.video for row in known}, load_model(model)
    for number in set(range(videos)) - done:
        rng = np.random.default_rng((seed, number))
        length = float(round(np.exp(rng.uniform(*np.log(seconds)))))
        tasks = [str(task) for task in rng.permutation(list(TASKS))]
        timeline = plan_video(rng, "test", length, tasks)
        made = list(ask_video(number, timeline, loaded, int(rng.integers(2**31)), bare))
        with out.open("a") as file:
            file.write("".join(json.dumps(asdict(row)) + "\n" for row in made))
        known += made
        print(f"{number}: {[len(row.frames) for row in made]} frames", flush=True)
    return known


def report(rows: list[Chosen]) -> str:
    """Means over videos with 95 % intervals, and what frames at random would give, as many of them."""
    rng, lines = np.random.default_rng(0), []
    values: dict[tuple[str, str], list[float]] = {}
    videos = sorted({row.video for row in rows})
    for kind in (OVERARCHING, SPECIFIC):
        for name, of in MEASURES.items():
            each = [
                float(np.mean([of(r, rng) for r in rows if (r.video, r.kind) == (v, kind)])) for v in videos
            ]
            values[kind, name] = each
            lines.append(f"{kind}, {name}: {_interval(each, rng)}")
    for name in ("longest gap", "distance"):
        pair = np.array(values[OVERARCHING, name]) - np.array(values[SPECIFIC, name])
        lines.append(f"overarching less specific, {name}: {_interval(pair.tolist(), rng)}")
    return "\n".join([f"{len(videos)} videos, {len(rows)} questions", *lines])


def _interval(values: list[float], rng: np.random.Generator) -> str:
    means = rng.choice(np.array(values), (DRAWS, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{np.mean(values):.2f} ({low:.2f} to {high:.2f})"


def _count(row: Chosen, rng: np.random.Generator) -> float:
    return len(row.frames)


def _gap(row: Chosen, rng: np.random.Generator) -> float:
    return longest_gap(row.frames, row.seconds)


def _distance(row: Chosen, rng: np.random.Generator) -> float:
    return distance_from_even(row.frames, row.seconds)


def _found(row: Chosen, rng: np.random.Generator) -> float:
    """Share of the asked frames' runs (one for each needle) of which a frame was chosen."""
    runs = np.split(np.array(row.asked), np.flatnonzero(np.diff(row.asked) > 1) + 1)
    return float(np.mean([bool(set(run.tolist()) & set(row.frames)) for run in runs])) if row.asked else 1.0


def _of_needles(row: Chosen, rng: np.random.Generator) -> float:
    """Share of the chosen frames that show any needle."""
    return float(np.mean([frame in row.needles for frame in row.frames]))


def _needles_gap(row: Chosen, rng: np.random.Generator) -> float:
    return longest_gap(_first_frames(row), row.seconds)


def _needles_distance(row: Chosen, rng: np.random.Generator) -> float:
    return distance_from_even(_first_frames(row), row.seconds)


def _first_frames(row: Chosen) -> list[int]:
    """One frame of each needle of the video."""
    return [frame for frame in row.needles if frame - 1 not in row.needles]


def _random_gap(row: Chosen, rng: np.random.Generator) -> float:
    return float(np.mean([longest_gap(f, row.seconds) for f in _at_random(row, rng)]))


def _random_distance(row: Chosen, rng: np.random.Generator) -> float:
    return float(np.mean([distance_from_even(f, row.seconds) for f in _at_random(row, rng)]))


def _at_random(row: Chosen, rng: np.random.Generator) -> list[list[int]]:
    draws = [rng.choice(row.seconds, len(row.frames), replace=False) for _ in range(40)]
    return [sorted(draw.tolist()) for draw in draws]


MEASURES: dict[str, Callable[[Chosen, np.random.Generator], float]] = {
    "frames": _count,
    "longest gap": _gap,
    "distance": _distance,
    "as many frames at random, longest gap": _random_gap,
    "as many frames at random, distance": _random_distance,
    "the video's needles, longest gap": _needles_gap,
    "the video's needles, distance": _needles_distance,
    "chosen frames that show a needle": _of_needles,
    "asked needles found": _found,
}


def main() -> None:
    """Measure, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--seconds", default="60..240")
    parser.add_argument("--seed", type=int, default=91)
    parser.add_argument("--bare", type=float, default=0.0)
    asked = parser.parse_args()
    low, high = (float(part) for part in asked.seconds.split(".."))
    print(report(measure(asked.out, asked.model, asked.videos, (low, high), asked.seed, asked.bare)))


if __name__ == "__main__":
    main()
