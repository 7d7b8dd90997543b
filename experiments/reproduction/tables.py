"""Define the tables: their rows, what the paper says of them, and what must hold to agree.

The paper's figures are those that we could read; where a cell of the paper is not here, no number is made up.
"""

from dataclasses import dataclass

from experiments.reproduction.scale import VIDEO_COLUMNS
from experiments.reproduction.variants import (
    ADAPTIVE,
    CERTAIN,
    CLS_MEAN,
    FULL,
    LEARNED,
    LLAMA_VID,
    LLAMA_VID_B,
    MAX,
    NO_MERGING,
    NO_MODULE,
    NO_SELECTION,
    QFORMER_MEAN,
    RESAMPLER_CLS,
    RESAMPLER_MEAN,
    SELECTION_MERGING,
    SELECTION_ONLY,
    VIDEOLLAMA2,
    VIDEOLLAMA2_B,
    Variant,
    frames_and_tokens,
    sharpness,
    token_budget,
)

FRAMES, TOKENS = (8, 16, 32), (4, 8, 16)
TAUS, GAMMAS = (0.1, 0.5), (0.5, 0.75, 1.0)
BUDGETS = (16, 32, 64, 128)


@dataclass(frozen=True)
class Row:
    """One system of a table.

    Attributes:
        label: as the table shows it.
        variant: what is trained.
        paper: the paper's own figures, or "" where we have none.
    """

    label: str
    variant: Variant
    paper: str = ""


@dataclass(frozen=True)
class Claim:
    """That one system is better than another.

    Attributes:
        text: what the paper says.
        better, worse: variants.
        columns: durations over which the mean is taken.
    """

    text: str
    better: Variant
    worse: Variant
    columns: tuple[str, ...] = VIDEO_COLUMNS


@dataclass(frozen=True)
class Table:
    """One table or figure of the paper.

    Attributes:
        name: for the command line.
        title, note: for the page.
        rows: systems.
        claims: orders of rows that the paper reports, or that were hoped for.
        expected: whose they are, for the page.
    """

    name: str
    title: str
    note: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    expected: str = "the paper's order"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """Each once."""
        return tuple(dict.fromkeys(row.variant for row in self.rows))


TABLE_1 = Table(
    "table1",
    "Table 1: five systems, each at the number of visual tokens that it needs",
    "LLaMA-VID alone reads 64 evenly spaced frames (the paper's reads every frame), VideoLLaMA2 eight.",
    (
        Row("LLaMA-VID", LLAMA_VID, "MVBench 39.0"),
        Row(
            "LLaMA-VID + B-VLLM",
            LLAMA_VID_B,
            "MVBench 43.5 (+4.5); Video-MME short / medium / long +10.5 / +4.1 / +8.1",
        ),
        Row("VideoLLaMA2", VIDEOLLAMA2),
        Row(
            "VideoLLaMA2 + B-VLLM",
            VIDEOLLAMA2_B,
            "MVBench +1.0; Video-MME short / medium / long -1.7 / +1.7 / +3.8",
        ),
        Row("B-VLLM", FULL, "MVBench 50.8; Video-MME short / medium / long 60.8 / 51.8 / 47.9"),
    ),
    (
        Claim("B-VLLM helps LLaMA-VID on short videos", LLAMA_VID_B, LLAMA_VID, ("short",)),
        Claim("B-VLLM helps LLaMA-VID on medium videos", LLAMA_VID_B, LLAMA_VID, ("medium",)),
        Claim("B-VLLM helps LLaMA-VID on long videos", LLAMA_VID_B, LLAMA_VID, ("long",)),
        Claim("B-VLLM costs VideoLLaMA2 a little on short videos", VIDEOLLAMA2, VIDEOLLAMA2_B, ("short",)),
        Claim("B-VLLM helps VideoLLaMA2 on medium videos", VIDEOLLAMA2_B, VIDEOLLAMA2, ("medium",)),
        Claim("B-VLLM helps VideoLLaMA2 on long videos", VIDEOLLAMA2_B, VIDEOLLAMA2, ("long",)),
        Claim("B-VLLM is above LLaMA-VID + B-VLLM", FULL, LLAMA_VID_B),
    ),
)

TABLE_3 = Table(
    "table3",
    "Table 3: frame selection (F.S.), temporal merging (T.M.), spatial sampling (S.S.)",
    "Without F.S. frames are evenly spaced; without S.S. all patches stay and are merged to the budget. The "
    "last two rows, each module taken out by itself, are ours.",
    (
        Row("none", NO_MODULE),
        Row("F.S.", SELECTION_ONLY),
        Row("F.S. + T.M.", SELECTION_MERGING, "POPE (images) 81.1 -> 67.3 with T.M. before S.S. is added"),
        Row("F.S. + T.M. + S.S. (full)", FULL),
        Row("full without F.S.", NO_SELECTION),
        Row("full without T.M.", NO_MERGING),
    ),
    (
        Claim("F.S. helps on videos", SELECTION_ONLY, NO_MODULE),
        Claim("T.M. helps on videos", SELECTION_MERGING, SELECTION_ONLY),
        Claim("S.S. helps on videos", FULL, SELECTION_MERGING),
        Claim("full is above none on videos", FULL, NO_MODULE),
        Claim("full is above F.S. alone on videos", FULL, SELECTION_ONLY),
        Claim("full is above full without F.S.", FULL, NO_SELECTION),
        Claim("full is above full without T.M.", FULL, NO_MERGING),
        Claim("T.M. hurts images until S.S. is added", SELECTION_ONLY, SELECTION_MERGING, ("image",)),
        Claim("S.S. brings images back", FULL, SELECTION_MERGING, ("image",)),
    ),
)

TABLE_4 = Table(
    "table4",
    "Table 4: who selects frames, and what it sees of them",
    "A resampler's queries never see the question.",
    (
        Row("Q-Former, [CLS]", FULL, "the paper's choice"),
        Row("Q-Former, mean of patches", QFORMER_MEAN),
        Row("Resampler, [CLS]", RESAMPLER_CLS),
        Row("Resampler, mean of patches", RESAMPLER_MEAN),
    ),
    (
        Claim("the Q-Former is above the resampler, on [CLS]", FULL, RESAMPLER_CLS),
        Claim("the Q-Former is above the resampler, on means", QFORMER_MEAN, RESAMPLER_MEAN),
        Claim("[CLS] is above the mean, for the Q-Former", FULL, QFORMER_MEAN),
    ),
    expected="that the paper chose the better one",
)

TABLE_7 = Table(
    "table7",
    "Table 7: what a frame is for the selector",
    "In the paper this was tried apart from B-VLLM, on eight frames, where the mean of patches was above "
    "[CLS]. A learned reader gets steps of its own on short videos first, and is frozen then.",
    (
        Row("[CLS]", FULL),
        Row("mean of patches", QFORMER_MEAN, "6.7 points of MVBench above [CLS]"),
        Row("maximum of patches", MAX),
        Row("Q-Former reader", LEARNED),
    ),
    (Claim("the mean is above [CLS]", QFORMER_MEAN, FULL),),
)


FIGURE_3 = Table(
    "figure3",
    "Figure 3: L* and R, tau and gamma, theta",
    "The paper has L* 32, R 32 and theta 512, and says that more than 512 tokens gain little; the miniature "
    "has L* 16, R 8 and theta 64. tau and gamma act in training; at inference the choice is the arg-max.",
    (
        *(
            Row(f"L* {frames}, R {tokens}", frames_and_tokens(frames, tokens))
            for frames in FRAMES
            for tokens in TOKENS
        ),
        *(Row(f"tau {tau:g}, gamma {gamma:g}", sharpness(tau, gamma)) for tau in TAUS for gamma in GAMMAS),
        *(Row(f"theta {tokens}", token_budget(tokens)) for tokens in BUDGETS),
    ),
    (
        Claim(
            "half of L* costs a little (paper: -0.9 MVBench, -1.3 Video-MME medium)",
            FULL,
            frames_and_tokens(8, 8),
        ),
        Claim(
            "half of R costs a little (paper: -0.6 MVBench, -0.4 Video-MME medium)",
            FULL,
            frames_and_tokens(16, 4),
        ),
        Claim("tau 0.1: gamma 0.75 is above gamma 0.5", FULL, sharpness(0.1, 0.5)),
        Claim("gamma 1: tau 0.1 is above tau 0.5", sharpness(0.1, 1.0), sharpness(0.5, 1.0)),
        Claim("a quarter of theta costs", FULL, token_budget(16)),
    ),
)

FIGURE_5 = Table(
    "figure5",
    "Figure 5: L* by duration",
    "R is 8 and theta 64 throughout.",
    tuple(Row(f"L* {frames}", frames_and_tokens(frames, 8)) for frames in (4, *FRAMES)),
    (
        Claim(
            "more queries help on long videos", frames_and_tokens(32, 8), frames_and_tokens(4, 8), ("long",)
        ),
        Claim("and on short ones", frames_and_tokens(32, 8), frames_and_tokens(4, 8), ("short",)),
    ),
    expected="what one would expect",
)

BEYOND = Table(
    "beyond",
    "Beyond the paper: what its authors list as limits, as options",
    "`adaptive_tokens` shares the budget among the frames that are left, up to 32 tokens each; `certainty` "
    "0.2 drops the frames, of at most 32, of which no query is sure; `frame_feature` `cls_mean` adds the "
    "mean of the patches to [CLS], from the same pass of the tower.",
    (
        Row("as in the paper", FULL),
        Row("adaptive tokens per frame", ADAPTIVE),
        Row("L*-free", CERTAIN),
        Row("[CLS] and mean", CLS_MEAN),
    ),
    (
        Claim("adaptive tokens are better than a fixed R", ADAPTIVE, FULL),
        Claim("L*-free selection is better than a fixed L*", CERTAIN, FULL),
        Claim("[CLS] and mean are better than [CLS]", CLS_MEAN, FULL),
    ),
    expected="what was hoped",
)

ALL_TABLES = (TABLE_1, TABLE_3, TABLE_4, TABLE_7, FIGURE_3, FIGURE_5, BEYOND)
TABLES = {table.name: table for table in ALL_TABLES}
