"""Train and examine what a table still lacks: one variant on each core, shared stages first."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from bvllm.common.processes import processes
from bvllm.inference.loading import load_model
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control
from bvllm.nano.steps import TrainingClip
from bvllm.nano.train import Recipe, language_stage, save_nano
from bvllm.synthetic.vocabulary import Split
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.feature_caches import draw_bank, read_bank
from experiments.reproduction.scale import FOREVER, Scale
from experiments.reproduction.score import ScoredAnswer, questions, score
from experiments.reproduction.train import EXAM_BANK, LANGUAGE, TRAIN_BANK, TrainingContext, feature_bank
from experiments.reproduction.variants import Variant

SCALE = "scale.json"
Log = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One variant with one seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.variant.name}-{self.seed}"

    def result(self, home: Path) -> Path:
        """Where its marks stand once it is done."""
        return home / "results" / f"{self.name}.json"


@dataclass(frozen=True)
class Result:
    """What a job came to.

    Attributes:
        marks: every question, in the order of the exam.
        seconds: that its instruction and its exam took on one core; shared stages are not in it.
    """

    marks: tuple[ScoredAnswer, ...]
    seconds: float

    @classmethod
    def read(cls, path: Path) -> "Result":
        """From the file that a job left."""
        told = json.loads(path.read_text())
        return cls(tuple(ScoredAnswer(**m) for m in told["marks"]), told["seconds"])

    def save(self, path: Path) -> None:
        """At once, so that a file that is there is whole."""
        path.parent.mkdir(exist_ok=True)
        write_whole_file(path, json.dumps(asdict(self)) + "\n")


def prepare(home: Path, scale: Scale, *, workers: int, warm: Path | None, log: Log) -> None:
    """Draw and encode the banks, and warm the language model up, unless the folder has them.

    Args:
        warm: folder of a `bvllm train nano`, whose language model is taken over: the same recipe.

    Raises:
        ValueError: the folder was made at another scale, or `warm` has no finished language model.
    """
    home.mkdir(parents=True, exist_ok=True)
    told = json.dumps(scale.to_json(), indent=1)
    if not (home / SCALE).exists():
        write_whole_file(home / SCALE, told)
    if (home / SCALE).read_text() != told:
        raise ValueError(f"out must be a folder of this miniature, got {home}: choose a new folder")
    taken = warm is not None and not (home / LANGUAGE / "done").exists()
    if taken and not (warm / LANGUAGE / "done").exists():
        raise ValueError(
            f"warm must be a folder of `bvllm train nano` with a finished language model, got {warm}: "
            "leave it out to train one"
        )
    banks: tuple[tuple[str, Split, int], ...] = (
        (TRAIN_BANK, "train", scale.scenes),
        (EXAM_BANK, "test", scale.exam_scenes),
    )
    for place, (name, split, scenes) in enumerate(banks):
        if not (home / name).exists():
            log(f"drawing {scenes} scenes of the {split} split")
            model, seed = load_model("nano").model.float().model, scale.world_seed + place
            drawn = {"split": split, "scenes": scenes, "seed": seed, "workers": workers}
            draw_bank(home / name, model, **drawn, control=Control(log))
    if taken:
        (home / LANGUAGE).mkdir(exist_ok=True)
        for file in sorted((warm / LANGUAGE).iterdir(), key=lambda file: file.name == "done"):
            shutil.copy(file, home / LANGUAGE)  # the mark comes last: a copy that was cut short is made again
    recipe = Recipe(language_steps=scale.language_steps, language_minutes=FOREVER)
    language_stage(
        home / LANGUAGE, load_model("nano").processor.tokenizer, recipe, resume=True, control=Control(log)
    )


def run(home: Path, scale: Scale, jobs: list[Job], *, workers: int, log: Log) -> None:
    """Bring every job to its result; what is there already is not done again.

    Shared stages come first, each once; then the variants. A job that fails stops the run, and the next one
    goes on after the last that is done.
    """
    todo = [job for job in jobs if not job.result(home).exists()]
    if not todo:
        return
    log(f"{len(todo)} of {len(jobs)} variants to train on {workers} cores")
    with processes(workers) as pool:
        for step in (_align, _select, _instruct):
            started, waiting = time.monotonic(), list(_once(step, home, scale, todo))
            futures = {pool.submit(step, home, scale, job): job for job in waiting}
            for done, future in enumerate(as_completed(futures), 1):
                line = future.result()
                spent = time.monotonic() - started
                left = spent / done * (len(futures) - done)
                log(f"{step.__name__[1:]} {done}/{len(futures)} {line}, {left / 60:.0f} min to go")


def _once(step: Callable[..., str], home: Path, scale: Scale, jobs: list[Job]) -> Iterator[Job]:
    """The jobs whose shared stage differs from those before; all of them where nothing is shared."""
    if step is _instruct:
        yield from jobs
        return
    seen: set[Path] = set()
    tokenizer = load_model("nano").processor.tokenizer
    for job in jobs:
        checkpoint = TrainingContext.checkpoint_path(
            home, scale, tokenizer, job.variant, job.seed, alignment=step is _align
        )
        if checkpoint not in seen and not checkpoint.exists():
            seen.add(checkpoint)
            yield job


@cache
def _workshop(home: Path, scale: Scale) -> TrainingContext:
    """Read once in each worker."""
    return TrainingContext.open(home, scale)


@cache
def _exam(home: Path, scale: Scale, queries: int) -> tuple[FeatureCache, dict[str, list[TrainingClip]]]:
    bank = read_bank(home / EXAM_BANK)
    return bank, questions(bank, queries, scale.questions, scale.world_seed * 100)


def _align(home: Path, scale: Scale, job: Job) -> str:
    _workshop(home, scale).align(job.variant, job.seed, _silent)
    return job.name


def _select(home: Path, scale: Scale, job: Job) -> str:
    _workshop(home, scale).select(job.variant, job.seed, _silent)
    return job.name


def _instruct(home: Path, scale: Scale, job: Job) -> str:
    started = time.monotonic()
    shop = _workshop(home, scale)
    model = shop.instruct(job.variant, job.seed, _silent)
    bank, asked = _exam(home, scale, model.config.num_selected_frames)
    save_nano(model, shop.tokenizer, home / "models" / job.name)
    marks = score(model, shop.tokenizer, feature_bank(bank, model), asked)
    Result(tuple(marks), time.monotonic() - started).save(job.result(home))
    right = sum(m.right for m in marks) / len(marks)
    return f"{job.name}: {right:.3f} right"


def _silent(line: str) -> None:
    """Of many trainings side by side nobody reads the losses."""
