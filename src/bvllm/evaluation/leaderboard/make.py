"""Make a leaderboard from start to end: data, answers, cells, table and plot in one folder."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bvllm import __version__
from bvllm.common.files import replace_file
from bvllm.evaluation.evaluate import no_nan
from bvllm.evaluation.leaderboard.entries import (
    Entry,
    all_entries,
    entries_named,
    own_entries,
    with_baselines,
)
from bvllm.evaluation.leaderboard.plot import needs_matplotlib, plot
from bvllm.evaluation.leaderboard.rows import CELLS, RowFile, RunSettings
from bvllm.evaluation.leaderboard.run import Comparable, Progress, ask_all, chosen_items, digest_of
from bvllm.evaluation.leaderboard.table import Standing, remarks, standings, table
from bvllm.evaluation.tasks import task_of
from bvllm.inference.dynamic import LoadedDynamic
from bvllm.inference.loading import LoadedModel, load_model
from bvllm.model.fingerprint import weights_digest

TABLE, PLOT = "leaderboard.md", "leaderboard.png"


@dataclass(frozen=True)
class Asked:
    """What a leaderboard is made of.

    Attributes:
        model, scorer: by name.
        data: folder of the world's questions.
        budgets: tokens.
        questions: how many of them; None for all.
        seed: which of them.
        fps: frames a second.
        tasks: whose questions are asked; none named takes all.
    """

    model: str
    scorer: str | None
    data: Path
    budgets: tuple[int, ...]
    questions: int | None = None
    seed: int = 0
    fps: float = 1.0
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaderboard:
    """What was found.

    Attributes:
        reference: the entry that the others are compared with.
        found: standings, the best first.
        settings: of the run.
    """

    reference: str
    found: tuple[Standing, ...]
    settings: RunSettings

    def text(self) -> str:
        """The table, and below it what it was made from."""
        said = self.settings
        scorer = f", scorer {said.scorer}" if said.scorer else ""
        frames = f"{said.fps:g} frame{'' if said.fps == 1 else 's'} a second"
        below = "".join(f"{remark}\n\n" for remark in remarks(self.found))
        return (
            f"{table(self.found, self.reference)}\n\n{below}{said.model}{scorer}, {said.questions} questions "
            f"(seed {said.seed}, data {said.data}), {frames}; right answers in per cent; costs are those of "
            "the largest budget."
        )

    def as_json(self) -> object:
        """The same, for programs."""
        return {"settings": asdict(self.settings), "methods": [no_nan(asdict(one)) for one in self.found]}


def model_for_all(name: str, scorer: str | None) -> Comparable:
    """Load a model whose methods can be exchanged, before anything is made that takes time.

    Raises:
        ValueError: the model is none.
        ModelError: it cannot be loaded.
        ImportError: matplotlib is not installed; hours of asking should not end without it.
    """
    needs_matplotlib()
    loaded = load_model(name, scorer=scorer)
    if not isinstance(loaded, Comparable) or isinstance(loaded, LoadedDynamic):
        raise ValueError(
            f"--model must be a B-VLLM or a transformers video model, got {name!r}: the methods of a "
            "Dynamic-VLM cannot be exchanged"
        )
    return loaded


def entries_of(loaded: Comparable, words: str, seed: int) -> tuple[Entry, ...]:
    """The rows that a list of methods asks for on a model, baselines behind them; see `entries_named`."""
    known = own_entries(seed) if isinstance(loaded, LoadedModel) else all_entries(seed)
    return with_baselines(entries_named(words, known), known)


def make_leaderboard(
    out: Path,
    asked: Asked,
    entries: Sequence[Entry],
    loaded: Comparable,
    *,
    progress: Progress | None = None,
) -> Leaderboard:
    """Ask what is missing in a folder, and write `cells.jsonl`, `leaderboard.md` and `leaderboard.png` anew.

    The first two are written after each video, too: what was found is there if the run is stopped.

    Raises:
        ValueError: `out` holds another run, or there are no such questions.
    """
    items = chosen_items(task_of("world").read(asked.data, None), asked.questions, asked.seed, asked.tasks)
    settings = RunSettings(
        model=asked.model,
        scorer=asked.scorer,
        data=digest_of(items),
        budgets=asked.budgets,
        questions=len(items),
        seed=asked.seed,
        fps=asked.fps,
        version=__version__,
        weights=_weights_of(loaded),
    )
    rows = RowFile(out, settings)
    wanted, reference = {entry.name for entry in entries}, entries[0].name

    def written() -> Leaderboard:
        kept = [row for row in rows.rows if row.entry in wanted]
        found = Leaderboard(reference, tuple(standings(kept, reference)), settings)
        cells = [json.dumps(no_nan(asdict(cell))) + "\n" for one in found.found for cell in one.cells]
        replace_file(out / CELLS, "".join(cells).encode())
        replace_file(out / TABLE, (found.text() + "\n").encode())
        return found

    def written_so_far() -> None:
        written()

    ask_all(items, entries, loaded, settings, rows, progress, written_so_far)
    found = written()
    plot(found.found, reference, out / PLOT)
    return found


def _weights_of(loaded: Comparable) -> str:
    """What tells the weights of models apart, and of their scorers, that have one name."""
    said = f"{weights_digest(loaded.model)} {loaded.fingerprint}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]
