"""Write docs/reproduction.md from the recorded tables: `python -m experiments.reproduction.page`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from experiments.reproduction.findings import FIGURE_4, FINDINGS
from experiments.reproduction.markdown import as_markdown
from experiments.reproduction.records import TableRecord
from experiments.reproduction.scale import MINIATURE, Scale
from experiments.reproduction.tables import TABLES

HEAD = """# The paper's tables, in miniature

The paper's B-VLLM is EVA-CLIP and a Qwen2 (Sec. 7.4) of 7.6 billion parameters (Table 8), trained on real
data sets (Table 5) with 16 GPUs (Sec. 7.1). None of that is at hand here, so this page asks a smaller
question: **does each module do what the paper says it does, in a world where everything can be trained in
minutes?** An order of rows that comes out the same is evidence; the heights are not comparable with the
paper's. `make reproduce` makes every table again (Figure 4 has a command of its own, which stands there):

```bash
make reproduce TABLE=table3             # Markdown, JSON and, with bvllm[plot], pictures, into miniature/
make reproduce TABLE=all SEEDS=3        # a run that was stopped goes on; shared variants train once
make reproduce TABLE=figure3 ARGS=--no-extras   # settings of one trained model, no trainings of their own
python -m experiments.reproduction --help
```

`--warm` takes tower and language model from a folder of `bvllm train nano` on both worlds; without it nano's
own are gone on from. How long each table takes is reckoned by
`python -m experiments.reproduction.reckoning FOLDER`, from steps that are timed in a folder that is there.
A run that is killed, in whatever stage, goes on to the figures of one that was left alone (`make evidence`
kills a small one three times; Table 3 at full size was killed twice).

## How it is done

- **Worlds** (docs/world.md), each by itself. *Busy*, the headline: scenes of 4 to 16 things, whose questions
  are about *space* (what is where in a scene, how many, what a sign says) or about *time* (what moves,
  comes, when, in which order, how often). *Plain*: needles in drawn haystacks, fourteen tasks; training and
  exam share no needle combination. Busy scenes of the exam are drawn from another seed. Lengths: *short* 8
  to 60 s, *medium* 1 to 10 minutes, *long* 10 minutes to an hour, one frame a second; *image* is a single
  frame, in the busy world with a question about space that this frame answers. "video" is the mean of the
  three.
- **Start**: nano's vision tower, frozen, and a language model that has read videos of both worlds told in
  words only. It goes on from nano's language model, which was tuned to B-VLLM's tokens: if that favours any
  row, it is the full one.
- **Recipe**, the same for all, in steps so that it repeats itself: {pairing} steps in which each token of a
  frame is paired with a thing that the frame holds and learns to be it, {selection} of the selector on
  videos up to an hour, {instruction} of instruction tuning (all but the tower) on videos up to ten minutes.
  Where there is no token sampler, patches or a connector's tokens are paired with the same things, by as
  many tokens as there are, so that rows differ by how they are built and not by what they were taught.
  Stages in which variants do not differ are trained once for each seed.
- **Base**: L* 16, R 8, theta 64 on frames of 64 patches; nano's own 512 tokens would hold everything, and
  nothing would have to be balanced.
- **Exam**: {questions} questions of each duration and world, the same for all variants and seeds. A model
  first says what its answer rests on, as replies were taught to ("00:11, 01:06 = 2"), and then the likeliest
  option counts (mean log-probability of its words). Intervals are 95 %, by a bootstrap over seeds and
  questions; with one seed they know nothing of another training. A cell with a dash: nothing was asked.
- **Commits**: each table names its own. For Table 3 all was trained anew since each row of S is merged to
  the budget by itself, as Sec. 3.4 has it; before, rows on one frame were merged as one, and so the models of
  the other tables were trained (soft rows may share a frame; at inference, with T.M., no two rows do). The
  full model has 42.4 and 68.6 % on videos now (busy, plain; five seeds), and had 45.2 and 66.9.
- **At inference** (Figures 3 and 5): one trained model with a part of its queries, or another theta. Rows
  "trained so" are trainings of their own.
- **Not as in the paper**: the selector is also taught which frames show what is asked, and tokens what
  frames hold, since the world knows it (Sec. 7.1 has the answer's loss alone); pairing and selection are
  stages of their own, without the language model (the first stage of Sec. 7.1 trains frame selection and
  projector together, through it); language model and tower are tiny; the worlds are drawn. In every row the
  selector knows when a frame is, patches where they lie, and tokens when they are shown; the paper has none
  of the three.
- **The paper's figures** are quoted by table, in the order of the columns that a note names. An empty cell:
  the paper's table has no such row, or shows it as a curve (Figures 3 and 5), whose points our copy of the
  text does not have. Tables 5 and 6 (data), 9 (others' models) and 10 (speed) are not reproduced; 2 (images)
  stands in Table 1's column of images. 8 is counted, not trained: `bvllm models paper_7b --prompt 128` has
  9.0 billion parameters, 7.6 of them the language model's, where the table has 7.6 + 1.2, and 1.81 TFLOPs,
  as there, if the head is counted at every token; that its prompt has 128 tokens is our guess, it names none.
"""


def reproduction_page(records: Iterable[Path]) -> str:
    """The page from recorded tables, in the order of the paper, with the notes that `TABLES` has today."""
    found = {record.name: record for record in map(TableRecord.read, records)}
    tables = [found[name] for name in TABLES if name in found]
    scale = Scale.of_json(tables[0].scale) if tables else MINIATURE
    parts = [
        HEAD.format(
            pairing=scale.matching_steps,
            selection=scale.selection.steps,
            instruction=scale.instruction.steps,
            questions=scale.questions,
        ).rstrip()
    ]
    for record in tables:
        parts.append(as_markdown(replace(record, note=TABLES[record.name].note)))
        if record.name in FINDINGS:
            parts.append(f"**What we make of it.** {FINDINGS[record.name]}")
        if record.name == "figure3":
            parts.append(FIGURE_4.strip())
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    recorded = sorted((root / "benchmarks" / "results" / "reproduction").glob("*.json"))
    (root / "docs" / "reproduction.md").write_text(reproduction_page(recorded), encoding="utf-8")
