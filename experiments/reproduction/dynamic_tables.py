"""Define Dynamic-VLM's tables in miniature: what is trained, rows, and what is hoped of them."""

from typing import Literal, NamedTuple

By = Literal["worlds", "lengths", "pictures"]


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
