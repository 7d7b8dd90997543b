"""Vary L* and R at inference on one trained model: what a frame more is worth, and what a token more.

    python -m experiments.nano_balance [MODEL] [--questions 300] [--length "64 s"] [--out balance.json]
    python -m experiments.nano_balance --read balance.json --picture balance.png

As the paper's Figures 3a and 5 do on one trained model (Secs. 5.3 and 8.2): some of the trained queries are
kept, evenly chosen. Where L* R is the same, a clip costs at most the same number of tokens, and a frame more
is paid for with tokens of every frame: the balance that the paper's title names. All are asked the same
questions, of the busy world.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from bvllm.evaluation.evaluate import Share
from bvllm.inference.loading import load_model
from experiments.nano_exam import LENGTHS, clips, draw_bank, mark, share
from experiments.reproduction.at_inference import fewer

FRAMES, TOKENS = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8)
THETAS = (8, 16, 32)  # limits within which frames and tokens are traded
COLOURS = ("#e0a458", "#8fb8d6", "#2f6f9f", "#12344d")  # from few to many
Measured = Mapping[tuple[int, int], tuple[Share, float]]  # by (L*, R): right answers, and tokens a clip


def measure(
    model_name: str, questions: int, seed: int, length: str
) -> dict[tuple[int, int], tuple[Share, float]]:
    """Ask the same questions at every L* and R."""
    loaded = load_model(model_name)
    model, tokenizer = loaded.model.float().eval(), loaded.processor.tokenizer
    bank = draw_bank(model, seed)
    found: dict[tuple[int, int], tuple[Share, float]] = {}
    for frames in FRAMES:
        for tokens in (t for t in TOKENS if t <= model.config.tokens_per_frame):
            asked = list(islice(clips(bank, "busy", length, frames, seed), questions))
            marks = mark(fewer(model, frames, tokens), tokenizer, bank, asked)
            spent = sum(m.tokens for m in marks) / len(marks)
            found[frames, tokens] = Share.of([m.right for m in marks]), spent
            print(f"L* {frames}, R {tokens}: {share(marks)}, {spent:.1f} tokens", flush=True)
    return found


def draw(found: Measured, file: Path) -> None:
    """Left, what L* is worth at every R; right, what each split of one limit is worth.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'bvllm[plot]'") from error
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    free, traded = figure.subplots(1, 2, sharey=True)
    lines = {f"R = {r}": [(k, r) for k, other in found if other == r] for r in sorted({r for _, r in found})}
    for colour, (label, points) in zip(COLOURS, lines.items(), strict=False):
        _line(free, found, points, label, colour)
    for colour, theta in zip(COLOURS[1:], THETAS, strict=True):
        points = [(k, r) for k, r in found if k * r == theta]
        _line(traded, found, points, f"L* R = {theta}", colour)
    free.set(xlabel="frames chosen, L*", ylabel="right answers, %", title="a frame more, a token more")
    traded.set(xlabel="frames chosen, L*", title="the same tokens, split otherwise")
    free.set_ylim(15, None)  # room for what the lines are called
    figure.savefig(file, dpi=140)


def _line(axes, found: Measured, points: list[tuple[int, int]], label: str, colour: str) -> None:  # type: ignore[no-untyped-def]  # matplotlib's
    points = sorted(points)
    shares = [found[point][0] for point in points]
    columns = [k for k, _ in points]
    axes.plot(columns, [100 * s.mean for s in shares], "o-", color=colour, label=label)
    axes.fill_between(
        columns,
        [100 * s.low for s in shares],
        [100 * s.high for s in shares],
        color=colour,
        alpha=0.1,
        linewidth=0,
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(FRAMES, [str(k) for k in FRAMES])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="lower right", ncols=2)


def to_json(found: Measured) -> str:
    """A row for each L* and R."""
    rows = [
        {"frames": k, "tokens": r, "spent": spent, **asdict(right)}
        for (k, r), (right, spent) in found.items()
    ]
    return json.dumps(rows, indent=1) + "\n"


def read(text: str) -> Measured:
    """What `to_json` wrote."""
    found: dict[tuple[int, int], tuple[Share, float]] = {}
    for row in json.loads(text):
        place, spent = (row.pop("frames"), row.pop("tokens")), row.pop("spent")
        found[place] = Share(**row), spent
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--length", choices=LENGTHS, default="64 s")
    parser.add_argument("--read", type=Path, help="figures measured before, to draw them")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.read:
        found = read(options.read.read_text(encoding="utf-8"))
    else:
        found = measure(options.model, options.questions, options.seed, options.length)
    if options.out:
        options.out.write_text(to_json(found), encoding="utf-8")
    if options.picture:
        draw(found, options.picture)


if __name__ == "__main__":
    main()
