"""Train and examine what a table still lacks: one variant on each core, shared stages first."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from bvllm.common.processes import processes
from bvllm.model import BVLLMForConditionalGeneration
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.train import save_nano, stage_model
from bvllm.synthetic.tokenizer import build_tokenizer
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.questions import Exam, questions
from experiments.reproduction.scale import Scale
from experiments.reproduction.score import ScoredAnswer, score
from experiments.reproduction.train import TrainingContext, banks_of, checkpoint_path, feature_bank
from experiments.reproduction.variants import Variant

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

    @property
    def trained(self) -> "Job":
        """The job that trains its model: another one where numbers differ at inference alone."""
        return Job(self.variant.trained, self.seed)

    def result(self, home: Path) -> Path:
        """Where its marks stand once it is done."""
        return home / "results" / f"{self.name}.json"

    def model(self, home: Path) -> Path:
        """Folder of its trained model, whole once `trained` has its result."""
        return home / "models" / self.trained.name


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


def run(home: Path, scale: Scale, jobs: list[Job], *, workers: int, log: Log) -> None:
    """Bring every job to its result; what is there already is not done again.

    Shared stages come first, each once; then the variants; then trained models with other numbers at
    inference. A job that fails stops the run, and the next one goes on after the last that is done.
    """
    todo = [job for job in jobs if not job.result(home).exists()]
    if not todo:
        return
    to_train = dict.fromkeys(job.trained for job in todo)
    training = [job for job in to_train if not job.result(home).exists()]
    selecting = [job for job in training if job.variant.learns_selection]
    varied = [job for job in todo if job.trained != job]
    log(f"{len(training)} variants to train and {len(varied)} to vary on {workers} cores")
    steps: tuple[tuple[Callable[[Path, Scale, Job], str], list[Job]], ...] = (
        (_pair, list(_once(home, scale, training, pairing=True))),
        (_select, list(_once(home, scale, selecting, pairing=False))),
        (_instruct, training),
        (_vary, varied),
    )
    with processes(workers) as pool:
        for step, waiting in steps:
            started = time.monotonic()
            futures = {pool.submit(step, home, scale, job): job for job in waiting}
            for done, future in enumerate(as_completed(futures), 1):
                line = future.result()
                spent = time.monotonic() - started
                left = spent / done * (len(futures) - done)
                log(f"{step.__name__[1:]} {done}/{len(futures)} {line}, {left / 60:.0f} min to go")


def _once(home: Path, scale: Scale, jobs: list[Job], *, pairing: bool) -> Iterator[Job]:
    """The jobs whose shared stage differs from those before, and is not kept yet."""
    seen: set[Path] = set()
    tokenizer = build_tokenizer()
    for job in jobs:
        checkpoint = checkpoint_path(home, scale, tokenizer, job.variant, job.seed, pairing=pairing)
        if checkpoint not in seen and not checkpoint.exists():
            seen.add(checkpoint)
            yield job


@cache
def _workshop(home: Path, scale: Scale) -> TrainingContext:
    """Read once in each worker."""
    return TrainingContext.open(home, scale)


@cache
def _exam_bank(home: Path, scale: Scale) -> FeatureCache:
    return banks_of(scale)[1].read(home)


@cache
def exam_of(home: Path, scale: Scale, queries: int) -> tuple[FeatureCache, Exam]:
    """The frames and the questions of a folder; see `questions`."""
    bank = _exam_bank(home, scale)
    return bank, questions(bank, queries, scale.questions, scale.world_seed * 100)


def _pair(home: Path, scale: Scale, job: Job) -> str:
    _workshop(home, scale).pair(job.variant, job.seed, _silent)
    return job.name


def _select(home: Path, scale: Scale, job: Job) -> str:
    _workshop(home, scale).select(job.variant, job.seed, _silent)
    return job.name


def _instruct(home: Path, scale: Scale, job: Job) -> str:
    started = time.monotonic()
    shop = _workshop(home, scale)
    model = shop.instruct(job.variant, job.seed, _silent)
    save_nano(model, shop.tokenizer, job.model(home))
    return _examine(home, scale, job, model, started)


def _vary(home: Path, scale: Scale, job: Job) -> str:
    """Examine what `_instruct` left, with other numbers."""
    started, changed = time.monotonic(), job.variant.inference
    assert changed is not None  # else it would be a training
    return _examine(home, scale, job, changed.applied(stage_model(job.model(home))), started)


def _examine(home: Path, scale: Scale, job: Job, model: BVLLMForConditionalGeneration, started: float) -> str:
    shop, changed = _workshop(home, scale), job.variant.inference
    bank, asked = exam_of(home, scale, model.config.num_selected_frames)
    seen = feature_bank(bank, model)
    marks = score(model, shop.tokenizer, seen, asked, softly=changed is not None and changed.soft)
    Result(tuple(marks), time.monotonic() - started).save(job.result(home))
    right = sum(m.right for m in marks) / len(marks)
    return f"{job.name}: {right:.3f} right"


def _silent(line: str) -> None:
    """Of many trainings side by side nobody reads the losses."""
