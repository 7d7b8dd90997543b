"""Reproduce Dynamic-VLM's tables in miniature: compressors, tokens per frame against frames, against the
length of the video, one model for any budget.

Every variant of pooling, merging and pruning goes on from one model that was aligned and tuned at the tower's
own grid, where these three keep every patch, so that none is favoured; queries go on from a start of their
own, by the same steps. All are then tuned on clips of both worlds for as many steps, and answer the same
questions about scenes that none saw, by the likeliest option.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.speed.result import Conditions
from bvllm.model.dynamic import DynamicVLMForConditionalGeneration
from bvllm.nano.dynamic.align import align_cells
from bvllm.nano.dynamic.build import build_dynamic
from bvllm.nano.dynamic.exam import exam_clips, option_likelihoods, with_options
from bvllm.nano.dynamic.steps import DynamicClip, picture_sets
from bvllm.nano.dynamic.train import (
    LEARNS,
    encode_pool,
    exam_bank,
    finish_stage,
    read_stage,
)
from bvllm.nano.dynamic.tuning import DynamicStage, tune_dynamic
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control
from bvllm.nano.progress import RunRecord, is_done
from bvllm.nano.start import WARM, WarmParts, check_warm, warm_parts
from bvllm.nano.train import BOTH_WORLDS, draw_pools
from bvllm.synthetic.tokenizer import build_tokenizer
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.dynamic_page import WORLDS, columns_of, page_of
from experiments.reproduction.dynamic_tables import TABLES, DynamicRow, DynamicVariant
from experiments.reproduction.scale import FOREVER

FOLDER = "dynamic"
NATIVE = 64  # tokens of a frame at the tower's own grid
ASKED = 1.4  # clips drawn for every question, since some have no options


@dataclass(frozen=True)
class DynamicScale:
    """How large: pools, steps of the shared tuning and of each variant's, share of busy videos, questions.

    `most` is of a clip, in training and in the exam: 64 tokens for each of 32 frames, the longest clip that a
    specialist trains on.
    """

    scenes: int = 400
    busy_scenes: int = 2000
    projector_steps: int = 2000
    shared_steps: int = 1000
    steps: int = 200
    room: int = 4000
    shared_seconds: tuple[float, float] = (8, 16)
    seconds: tuple[float, float] = (8, 32)
    most: int = 2048
    busy: float = 0.7
    drilled: float = 0.7
    exam_scenes: int = 80
    exam_seconds: tuple[float, float] = (8, 64)
    questions: int = 150
    seed: int = 7

    def stage(
        self,
        name: str,
        steps: int,
        seconds: tuple[float, float],
        *,
        by_side: bool = True,
        fixed: int | None = None,
        pictures: float = 0.0,
    ) -> DynamicStage:
        """A stage of tuning at this scale."""
        return DynamicStage(
            name, LEARNS, steps, minutes=FOREVER, lr=6e-4, room=self.room, seconds=seconds, most=self.most,
            by_side=by_side, fixed=fixed, busy=self.busy, drilled=self.drilled, pictures=pictures,
        )  # fmt: skip


def make_dynamic(
    name: str,
    out: Path,
    *,
    seeds: int = 3,
    warm: Path | None = None,
    command: str = "python -m experiments.reproduction",
    scale: DynamicScale | None = None,
    log: Callable[[str], None] = print,
) -> str:
    """Train and examine what a table still lacks, then write `<table>.md` and `.json`.

    Args:
        name: a key of `TABLES`.
        out: for the page; all else is kept in its folder "dynamic", so that a run that was stopped goes on. A
            training that was stopped begins anew, so that its figures are those of one that was left alone.
        seeds: trainings of each variant.
        warm: folder of a `bvllm train nano` or `dynamic_nano` with the stages "tower" and "language", of both
            worlds.
        scale: how large.

    Returns:
        The page.

    Raises:
        ValueError: `warm` holds no finished stages, or `out` a run of another scale or another `warm`.
    """
    table, own = TABLES[name], scale or DynamicScale()
    home = out / FOLDER  # B-VLLM's tables have models, results and a tower of their own in `out`
    claim = Claim(own, None if warm is None else _digest(warm))
    RunRecord.claim(home, claim, None, resume=True)  # what another scale or start left is not mixed with this
    work = Workshop.open(home, warm, own, Control(log))
    chosen = range(1, seeds + 1)
    asked = (*work.asked, *work.pictures) if table.by == "pictures" else work.asked
    right = [np.stack([work.answers(row, seed, asked) for seed in chosen]) for row in table.rows]
    columns = columns_of([0 if clip.pictures else len(clip.rows) for clip in asked], table.by)
    page = page_of(table, right, columns, work.chance, list(chosen), Conditions.now(command))
    write_whole_file(out / f"{name}.md", page + "\n")
    answers = {row.label: found.tolist() for row, found in zip(table.rows, right, strict=True)}
    said = {"scale": asdict(own), "seeds": list(chosen), "chance": work.chance, "right": answers}
    write_whole_file(out / f"{name}.json", json.dumps(said) + "\n")
    return page


@dataclass(frozen=True)
class Claim:
    """What decides the figures of a folder: the scale, and SHA-256 of the weights that all begin with."""

    scale: DynamicScale
    warm: str | None


def _digest(warm: Path) -> str:
    """SHA-256, as hex, of the tower and language model in a run of nano.

    Raises:
        ValueError: they are not finished.
    """
    found = hashlib.sha256()
    check_warm(warm)
    for name in WARM:
        for file in sorted((warm / name).glob("*.safetensors")):
            found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True)
class Workshop:
    """What all variants share.

    Attributes:
        parts: tower and language model.
        bank, exam: frames to learn from, and unseen ones.
        asked: questions of each world, in a row.
        pictures: questions about sets of pictures.
        chance: what guessing gives.
    """

    out: Path
    scale: DynamicScale
    parts: WarmParts
    bank: FeatureCache
    exam: FeatureCache
    asked: tuple[DynamicClip, ...]
    pictures: tuple[DynamicClip, ...]
    chance: float
    control: Control

    @classmethod
    def open(cls, out: Path, warm: Path | None, scale: DynamicScale, control: Control) -> "Workshop":
        tokenizer = build_tokenizer()
        recipe = BOTH_WORLDS.resized(scale.scenes, scale.busy_scenes)
        pool, busy = draw_pools(recipe, control)
        parts = warm_parts(tokenizer, out if warm is None else warm)
        model = build_dynamic(tokenizer, parts.tower, parts.language_model, parts.clock, seed=scale.seed)
        bank = encode_pool(model, pool, busy, control)
        exam = exam_bank(model, scale.exam_scenes, scale.seed + 1, recipe.workers, control)
        drawn = int(ASKED * scale.questions)
        asked: list[DynamicClip] = []
        for world in WORLDS:
            clips = exam_clips(exam, scale.exam_seconds, drawn, scale.seed + 2, busy=world == "busy")
            found = list(islice(with_options(clips), scale.questions))
            if len(found) < scale.questions:
                raise ValueError(
                    f"the exam must have {scale.questions} questions of the {world} world, got {len(found)}: "
                    "draw more scenes or ask less"
                )
            asked += found
        chance = float(np.mean([1 / len(clip.example.question.options) for clip in asked]))
        sets = tuple(islice(with_options(picture_sets(exam, scale.seed + 3)), scale.questions))
        return cls(out, scale, parts, bank, exam, tuple(asked), sets, chance, control)

    def start(self, compressor: str) -> Path:
        """The folder of the model that every variant with a compressor goes on from.

        Aligned and tuned at the tower's own grid, where pooling, merging and pruning keep every patch;
        queries mix them, and have a start of their own by the same steps. No stage leaves a checkpoint: from
        one it would go on with other draws, and end in other figures.
        """
        kind = compressor if compressor == "queries" else "pool"
        folder, tokenizer, scale = self.out / f"native-{kind}", build_tokenizer(), self.scale
        if is_done(folder):
            return folder
        if not is_done(aligned := self.out / f"projector-{kind}"):
            model = build_dynamic(
                tokenizer, self.parts.tower, self.parts.language_model, self.parts.clock,
                seed=scale.seed, compressor=kind,
            )  # fmt: skip
            align_cells(
                model, tokenizer, self.bank, self.parts.where, steps=scale.projector_steps, minutes=FOREVER,
                native_share=1.0, seed=scale.seed, control=self.control,
            )  # fmt: skip
            finish_stage(aligned, model)
        model = read_stage(aligned)
        stage = scale.stage("native", scale.shared_steps, scale.shared_seconds, fixed=NATIVE)
        tune_dynamic(model, tokenizer, self.bank, stage, seed=scale.seed, control=self.control)
        finish_stage(folder, model)
        return folder

    def answers(self, row: DynamicRow, seed: int, asked: Sequence[DynamicClip]) -> NDArray[np.float64]:
        """(questions,) 1 where right; from the disk where they are there."""
        videos = [clip for clip in asked if not clip.pictures]
        sets = [clip for clip in asked if clip.pictures]
        kind = f"{row.tokens or row.each}{'each' if row.each else ''}-{row.most_frames or 'all'}"
        found = [self._answered(row, seed, videos, kind)]
        return np.concatenate([*found, *([self._answered(row, seed, sets, f"{kind}-sets")] if sets else [])])

    def _answered(
        self, row: DynamicRow, seed: int, asked: Sequence[DynamicClip], kind: str
    ) -> NDArray[np.float64]:
        file = self.out / "results" / f"{row.variant.name}-{seed}-{kind}.json"
        if not file.is_file():
            model = self.trained(row.variant, seed)
            budgets = [row.tokens or min(self.scale.most, (row.each or 1) * len(clip.rows)) for clip in asked]
            likely = option_likelihoods(
                model, build_tokenizer(), self.exam, list(asked), budgets, most_frames=row.most_frames
            )
            found = [
                float(one.argmax() == c.example.question.right) for one, c in zip(likely, asked, strict=True)
            ]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole_file(file, json.dumps(found))
            self.control.log(f"{row.label}, seed {seed}: {np.mean(found):.3f} right")
        return np.array(json.loads(file.read_text()))

    def trained(self, variant: DynamicVariant, seed: int) -> DynamicVLMForConditionalGeneration:
        """A variant, trained where the folder has none."""
        folder = self.out / "models" / f"{variant.name}-{seed}"
        if not is_done(folder):
            torch.manual_seed(seed)
            model = read_stage(self.start(variant.compressor))
            config = model.config
            if variant.compressor != config.compressor or (variant.timestamps, variant.clock) != (True, True):
                model = changed(model, variant)
            stage = self.scale.stage(
                variant.name,
                self.scale.steps,
                self.scale.seconds,
                by_side=variant.by_side,
                fixed=variant.fixed,
                pictures=variant.pictures,
            )
            tune_dynamic(model, build_tokenizer(), self.bank, stage, seed=seed * 100, control=self.control)
            finish_stage(folder, model)
        return read_stage(folder)


def changed(
    model: DynamicVLMForConditionalGeneration, variant: DynamicVariant
) -> DynamicVLMForConditionalGeneration:
    """The same weights with another compressor, or without what tells the time."""
    config = type(model.config)(
        **model.config.to_dict()
        | {"compressor": variant.compressor, "timestamps": variant.timestamps, "clock": variant.clock}
    )
    other = DynamicVLMForConditionalGeneration(config)
    other.load_state_dict(model.state_dict(), strict=False)
    other.tie_weights()
    return other
