"""Write docs/reproduction.md from the recorded tables: `python -m experiments.reproduction.page`."""

from collections.abc import Iterable
from pathlib import Path

from experiments.reproduction.findings import FIGURE_4, FINDINGS
from experiments.reproduction.report import TableRecord, as_markdown
from experiments.reproduction.tables import TABLES

HEAD = """# The paper's tables, in miniature

The paper's B-VLLM is EVA-CLIP and a Qwen2 (Sec. 7.4) of 7.6 billion parameters (Table 8), trained on real
data sets (Table 5) with 16 GPUs (Sec. 7.1). None of that is at hand here, so this page asks a smaller
question: **does each module do what the paper says it does, in a world where everything can be trained in
minutes?** An order of rows that comes out the same is evidence; the heights are not comparable with the
paper's. `make reproduce` makes every figure again:

```bash
make reproduce TABLE=table3             # Markdown, JSON and, with bvllm[plot], pictures, into miniature/
make reproduce TABLE=all SEEDS=3        # a run that was stopped goes on; shared variants train once
python -m experiments.reproduction --help
```

From nothing, Table 3 took 54 minutes on two cores with three seeds, and 72 with the five that are recorded,
other work beside it. 26 of them went into the language model, which `--warm` takes from a folder of
`bvllm train nano`. The other tables were made in another folder, from another language model of the same
recipe, so a system that stands in several of them differs a little in Table 3.

All figures on this page were measured while budget merging joined tokens across the whole clip. It joins
them within each frame now, as Sec. 3.4 has it, so rows in which the budget binds will move when the tables
are made again, on the busy world (docs/world.md).

## How it is done

- **World**: `bvllm world`'s needles in drawn haystacks, its fourteen tasks. Training and exam share no needle
  combination. Lengths: *short* 8 to 60 s, *medium* 1 to 10 minutes, *long* 10 minutes to an hour, one frame a
  second; *image* is a single frame. "video" is the mean of the three.
- **Start**: nano's vision tower, frozen, as after its contrastive warm-up, and a language model that has read
  videos told in words only (the language stage of `bvllm train nano`): no variant had it tuned to itself.
- **Recipe**, the same for all, in steps so that it repeats itself: {alignment} steps of alignment,
  {selection} of the selector on videos up to an hour, {instruction} of instruction tuning (all but the tower)
  on videos up to ten minutes. Stages in which variants do not differ are trained once for each seed.
- **Base**: L* 16, R 8, theta 64 on frames of 64 patches; nano's own 512 tokens would hold everything, and
  nothing would have to be balanced.
- **Exam**: {questions} questions of each duration, the same for all variants and seeds; the likeliest
  option counts (mean log-probability of its words). That leaves no room for the evidence that replies were
  taught to put in front of counts and of "yes": counting comes out near guessing in every row, and existence
  as "no" nearly always, whatever a model knows. Intervals are 95 %, by a bootstrap over seeds and questions;
  with one seed they know nothing of another training.
- **Not as in the paper**: the selector is also taught which frames show what is asked, since the world knows
  it (Sec. 7.1 has the answer's loss alone); alignment and selection are stages of their own, without the
  language model (the first stage of Sec. 7.1 trains frame selection and projector together, through it);
  language model and tower are tiny; the world is drawn.
- **The paper's figures** are quoted by table, in the order of the columns that a note names. An empty cell:
  the paper's table has no such row, or shows it as a curve (Figures 3 and 5), whose points our copy of the
  text does not have. Tables 5 and 6 (data), 9 (others' models) and 10 (speed) are not reproduced; 2 (images)
  and 8 (parameters) have not been.
"""


def reproduction_page(records: Iterable[Path]) -> str:
    """The page from recorded tables, in the order of the paper."""
    found = {record.name: record for record in map(TableRecord.read, records)}
    tables = [found[name] for name in TABLES if name in found]
    scale = tables[0].scale
    head = HEAD.format(
        alignment=scale["alignment_steps"],
        selection=_steps(scale["selection"]),
        instruction=_steps(scale["instruction"]),
        questions=scale["questions"],
    )
    parts = [head.rstrip()]
    for record in tables:
        parts.append(as_markdown(record))
        if record.name in FINDINGS:
            parts.append(f"**What we make of it.** {FINDINGS[record.name]}")
        if record.name == "figure3":
            parts.append(FIGURE_4.strip())
    return "\n\n".join(parts) + "\n"


def _steps(stage: object) -> object:
    return stage["steps"] if isinstance(stage, dict) else None


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    recorded = sorted((root / "benchmarks" / "results" / "reproduction").glob("*.json"))
    (root / "docs" / "reproduction.md").write_text(reproduction_page(recorded), encoding="utf-8")
