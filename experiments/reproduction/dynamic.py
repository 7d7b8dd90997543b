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
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

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
    SHORTER,
    WarmParts,
    encode_pool,
    exam_bank,
    finish_stage,
    read_stage,
    read_warm_parts,
    train_warm_parts,
)
from bvllm.nano.dynamic.tuning import DynamicStage, tune_dynamic
from bvllm.nano.feature_cache import FeatureCache
from bvllm.nano.loop import Control
from bvllm.nano.progress import RunRecord
from bvllm.nano.train import draw_pools, is_done
from bvllm.synthetic.tokenizer import build_tokenizer
from bvllm.training.checkpoints import write_whole_file
from experiments.reproduction.markdown import table_line
from experiments.reproduction.scale import FOREVER
from experiments.reproduction.statistics import AGREEMENT, Estimate, estimate_if_any, percent, points

WORLDS = ("plain", "busy")
By = Literal["worlds", "lengths", "pictures"]
FOLDER = "dynamic"
LENGTHS = (16, 32, 64)  # seconds: longest clips of the columns of a table by length
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
    projector_steps: int = 5000
    shared_steps: int = 1800
    steps: int = 300
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


class DynamicVariant(NamedTuple):
    """What is trained.

    Attributes:
        name: of its files.
        compressor: a name in `COMPRESSORS`.
        by_side, fixed: see `DynamicStage`.
        timestamps, clock: what tells the time.
        pictures: share of the clips that are several pictures in place of a video.
    """

    name: str
    compressor: str = "pool"
    by_side: bool = True
    fixed: int | None = None
    timestamps: bool = True
    clock: bool = True
    pictures: float = 0.0


class DynamicRow(NamedTuple):
    """One line of a table.

    Attributes:
        label: as the table shows it.
        variant: what is trained.
        tokens: of a clip; None where `each` counts.
        each: tokens of a frame, so that a clip of T frames has T times as many, at most the scale's `most`.
        most_frames: of a clip.
        paper: the paper's own figure, or "".
    """

    label: str
    variant: DynamicVariant
    tokens: int | None = None
    each: int | None = None
    most_frames: int | None = None
    paper: str = ""


class DynamicTable(NamedTuple):
    """A table.

    Attributes:
        title, note: as the page shows them.
        rows: its lines.
        claims: which pairs (better, worse, by number) the paper or a hope puts in order.
        by: what columns are. Claims are held against the last one ("worlds"), or against each: lengths of
            clips, or worlds and sets of pictures, which are asked about beside the videos.
    """

    title: str
    note: str
    rows: tuple[DynamicRow, ...]
    claims: tuple[tuple[str, int, int], ...]
    by: By = "worlds"


ELASTIC = DynamicVariant("elastic")
MERGED, PRUNED = DynamicVariant("merge", "merge"), DynamicVariant("prune", "prune")
QUERIES = DynamicVariant("queries", "queries")
SPECIALISTS = {each: DynamicVariant(f"fixed{each}", fixed=each) for each in (1, 9, 64)}
BY_COUNT = DynamicVariant("by-count", by_side=False)
SETS = DynamicVariant("sets", pictures=0.3)
FIXED = DynamicVariant("fixed8", fixed=8)
NO_STAMPS = DynamicVariant("no-stamps", timestamps=False)
NO_TIME = DynamicVariant("no-time", timestamps=False, clock=False)
BUDGET = 512

TABLES: dict[str, DynamicTable] = {
    "dynamic_compressors": DynamicTable(
        "Compressors at one budget",
        f"{BUDGET} tokens a clip. The paper's figures are Video-MME without subtitles, of a smaller setting.",
        (
            DynamicRow("pooling", ELASTIC, BUDGET, paper="52.0"),
            DynamicRow("merging", MERGED, BUDGET, paper="51.6"),
            DynamicRow("pruning", PRUNED, BUDGET, paper="47.6"),
        ),
        (
            ("pooling is above merging", 0, 1),
            ("pooling is above pruning", 0, 2),
            ("merging is above pruning", 1, 2),
        ),
    ),
    "dynamic_tradeoff": DynamicTable(
        "Tokens per frame against frames at one budget",
        f"One model, {BUDGET} tokens a clip, shared among at most so many frames; a frame has 64 patches, so "
        "4 frames spend half of the budget. The paper's figures are "
        "Video-MME at 12 000 tokens with 36 x 333, 64 x 187, 100 x 120, 144 x 83 and 256 x 46.",
        (
            DynamicRow("8 x 64 frames", ELASTIC, BUDGET, most_frames=64, paper="58.7"),
            DynamicRow("16 x 32 frames", ELASTIC, BUDGET, most_frames=32, paper="59.4"),
            DynamicRow("32 x 16 frames", ELASTIC, BUDGET, most_frames=16, paper="60.9"),
            DynamicRow("64 x 8 frames", ELASTIC, BUDGET, most_frames=8, paper="59.7"),
            DynamicRow("64 x 4 frames", ELASTIC, BUDGET, most_frames=4, paper="59.3"),
        ),
        (("the middle is above most frames", 2, 0), ("the middle is above most tokens a frame", 2, 3)),
    ),
    "dynamic_lengths": DynamicTable(
        "Tokens per frame that follow the length of the video, beside as many for every frame",
        f"Ours. Dynamic: {BUDGET} tokens a clip, however long it is. Fixed: 8 tokens a frame, which are "
        f"{BUDGET} where a clip has 64 frames, the longest, and fewer where it is shorter: a fixed count "
        "must leave room for the longest video.",
        (
            DynamicRow("dynamic", ELASTIC, BUDGET),
            DynamicRow("the same model with 8 a frame", ELASTIC, each=8),
            DynamicRow("went on with 8 a frame alone", FIXED, each=8),
        ),
        (
            ("dynamic is above a fixed count, same model", 0, 1),
            ("dynamic is above a model of that count", 0, 2),
        ),
        by="lengths",
    ),
    "dynamic_pictures": DynamicTable(
        "Several pictures in one prompt, by training on videos alone and on such sets, too",
        f"Ours. {BUDGET} tokens a prompt. A set has 2 to 6 pictures of busy scenes; a question names one by "
        "its sign. The review tells that Dynamic-VLM is 10.7 points above LLaVA-OneVision on MuirBench, with "
        "questions about several pictures, without such sets in training; it has no figure with them.",
        (
            DynamicRow("videos alone", ELASTIC, BUDGET),
            DynamicRow("three clips in ten are sets", SETS, BUDGET),
        ),
        (("sets in training help", 1, 0),),
        by="pictures",
    ),
    "dynamic_elastic": DynamicTable(
        "One model for any budget, beside one trained for each; what tells the time; how counts are drawn",
        "Ours. All go on from the shared start, in which every frame had 64 tokens: a specialist with one "
        "count of tokens a frame alone, the elastic model with any. A clip has 2048 tokens at most, as in "
        "training, so beyond 32 frames 64 a frame are fewer. An elastic query model reads a frame by "
        "the first so many of 64 learned queries, after MQT-LLaVA, and has a start of its own.",
        (
            *(DynamicRow(f"elastic at {e} a frame", ELASTIC, each=e) for e in SPECIALISTS),
            *(DynamicRow(f"went on with {e} a frame alone", v, each=e) for e, v in SPECIALISTS.items()),
            DynamicRow("counts drawn evenly, at 64 a frame", BY_COUNT, each=64),
            DynamicRow("went on without written times, at 9 a frame", NO_STAMPS, each=9),
            DynamicRow("went on without written times and clock, at 9 a frame", NO_TIME, each=9),
            *(DynamicRow(f"elastic queries at {e} a frame", QUERIES, each=e) for e in SPECIALISTS),
        ),
        (
            *(
                (f"elastic is no worse than the specialist of {e}", k, k + 3)
                for k, e in enumerate(SPECIALISTS)
            ),
            ("the draw by side is above the even one at the native grid", 2, 6),
            ("written times help beside the clock", 1, 7),
            ("telling the time helps", 1, 8),
            *((f"pooling is above queries at {e}", k, k + 9) for k, e in enumerate(SPECIALISTS)),
        ),
    ),
}


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
    claim = _Claim(own, None if warm is None else _digest(warm))
    RunRecord.claim(home, claim, None, resume=True)  # what another scale or start left is not mixed with this
    work = _Workshop.open(home, warm, own, Control(log))
    chosen = range(1, seeds + 1)
    asked = (*work.asked, *work.pictures) if table.by == "pictures" else work.asked
    right = [np.stack([work.answers(row, seed, asked) for seed in chosen]) for row in table.rows]
    columns = _columns([0 if clip.pictures else len(clip.rows) for clip in asked], table.by)
    page = _page(table, right, columns, work.chance, list(chosen), Conditions.now(command))
    write_whole_file(out / f"{name}.md", page + "\n")
    answers = {row.label: found.tolist() for row, found in zip(table.rows, right, strict=True)}
    said = {"scale": asdict(own), "seeds": list(chosen), "chance": work.chance, "right": answers}
    write_whole_file(out / f"{name}.json", json.dumps(said) + "\n")
    return page


@dataclass(frozen=True)
class _Claim:
    """What decides the figures of a folder: the scale, and SHA-256 of the weights that all begin with."""

    scale: DynamicScale
    warm: str | None


def _digest(warm: Path) -> str:
    """SHA-256, as hex, of the tower and language model in a run of nano.

    Raises:
        ValueError: they are not finished.
    """
    found = hashlib.sha256()
    for name in ("tower", "language"):
        if not is_done(warm / name):
            raise ValueError(
                f"warm must hold a finished stage {name!r}, got {str(warm)!r}: name a run of nano"
            )
        for file in sorted((warm / name).glob("*.safetensors")):
            found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


@dataclass(frozen=True)
class _Workshop:
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
    def open(cls, out: Path, warm: Path | None, scale: DynamicScale, control: Control) -> "_Workshop":
        tokenizer = build_tokenizer()
        recipe = SHORTER.resized(scale.scenes, scale.busy_scenes)
        pool, busy = draw_pools(recipe, control)
        if warm is None:
            parts = train_warm_parts(out, tokenizer, pool, busy, recipe, control)
        else:
            parts = read_warm_parts(warm)
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
                model = _changed(model, variant)
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


def _changed(
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


class _Column(NamedTuple):
    """A column of a table: which questions, in blocks that are resampled apart.

    Attributes:
        name: its head.
        blocks: each (questions,) True where a question belongs to it.
    """

    name: str
    blocks: tuple[NDArray[np.bool_], ...]

    def of(self, found: NDArray[np.float64]) -> Estimate | None:
        """The mean of (seeds, questions), with its interval; None where nothing was asked."""
        return estimate_if_any([found[:, block] for block in self.blocks])


def _columns(frames: Sequence[int], by: By) -> list[_Column]:
    """The columns of a table, the last of all videos, or of the sets of pictures.

    Args:
        frames: of each question's video: as many questions of the plain world as of the busy one, in this
            order; then a 0 for each question about a set of pictures.
        by: see `DynamicTable`; in a column of several worlds each is a block.

    Raises:
        ValueError: there is an odd number of questions about videos, or none.
    """
    lengths = np.asarray(frames, dtype=int)
    sets, videos = lengths == 0, int((lengths > 0).sum())
    if videos % 2 or not videos:
        raise ValueError(
            f"frames must be of an even number of videos, got {videos}: draw more clips, so that both worlds "
            "have as many questions"
        )
    number = np.arange(len(lengths))
    worlds = (number < videos // 2, (number >= videos // 2) & ~sets)
    of_world = [_Column(name, (world,)) for name, world in zip(WORLDS, worlds, strict=True)]
    last = _Column("all", worlds)
    if by == "worlds":
        return [*of_world, last]
    if by == "pictures":
        return [*of_world, _Column("sets of pictures", (sets,))]
    within = [((low < lengths) & (lengths <= high), high) for low, high in pairwise((0, *LENGTHS))]
    return [*(_Column(f"up to {high} s", tuple(w & here for w in worlds)) for here, high in within), last]


def _page(
    table: DynamicTable,
    right: list[NDArray[np.float64]],
    columns: list[_Column],
    chance: float,
    seeds: list[int],
    told: Conditions,
) -> str:
    """Markdown: accuracy in every column with intervals, and the claims.

    Args:
        right: of each row (seeds, questions).
        columns: which questions each has.

    Raises:
        ValueError: rows answered different questions.
    """
    asked = {found.shape[1] for found in right}
    if asked != {len(columns[-1].blocks[0])}:
        raise ValueError(
            f"right must hold {len(columns[-1].blocks[0])} questions in all rows, got {sorted(asked)}: make "
            "the table in a folder of its own"
        )
    heads = [column.name for column in columns]
    lines = [
        f"## {table.title}",
        "",
        table.note,
        "",
        table_line(["", *heads, "the paper"]),
        table_line(["---"] * (len(heads) + 2)),
        *(
            table_line([row.label, *(percent(column.of(found)) for column in columns), row.paper])
            for row, found in zip(table.rows, right, strict=True)
        ),
        table_line(["guessing", *[""] * (len(heads) - 1), f"{100 * chance:.1f}", ""]),
        "",
    ]
    compared = columns[-1:] if table.by == "worlds" else columns
    lines += [table_line(["hoped", "of", "difference, points", ""]), table_line(["---"] * 4)]
    for text, better, worse in table.claims:
        for column in compared:
            d = column.of(right[better] - right[worse])
            lines.append(table_line([text, column.name, points(d), AGREEMENT[None if d is None else d.sign]]))
    lines += ["", f"`{told.command}`, commit {told.commit}, {told.when}; seeds {', '.join(map(str, seeds))}."]
    return "\n".join(lines)
