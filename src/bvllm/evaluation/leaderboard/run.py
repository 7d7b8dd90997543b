"""Ask every question with every method on every budget; each video is decoded and encoded once."""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import groupby

import numpy as np
import torch

from bvllm.common.reply import ANSWER_TOKENS
from bvllm.common.text import Question
from bvllm.common.threads import one_kernel_thread
from bvllm.evaluation.ablate import no_tokens
from bvllm.evaluation.leaderboard.entries import Entry
from bvllm.evaluation.leaderboard.measure import first_call, peak_memory
from bvllm.evaluation.leaderboard.rows import AnswerRow, RowFile, RunSettings
from bvllm.evaluation.tasks import Item
from bvllm.inference.answer import encoded_patches
from bvllm.inference.balanced import BalancedModel
from bvllm.inference.encode import EncodedVideo, encode_video
from bvllm.inference.loading import LoadedModel
from bvllm.inference.session import Session
from bvllm.methods.names import reading_of
from bvllm.stages.pipeline import frames_needed
from bvllm.types import MethodRefused

PROFILED = 1  # questions whose memory is counted, of each cell: it is slow
Comparable = LoadedModel | BalancedModel  # models whose slots can be filled otherwise
Progress = Callable[[int, int], None]


def chosen_items(
    items: Sequence[Item], questions: int | None, seed: int, tasks: Sequence[str] = ()
) -> list[Item]:
    """So many of a benchmark's questions, drawn by the seed, in the benchmark's order; all where None.

    Args:
        tasks: of which alone questions are drawn; none named takes all.

    Raises:
        ValueError: the benchmark has no question of a task.
    """
    missing = sorted(set(tasks) - {item.task for item in items})
    if missing:
        known = ", ".join(sorted({item.task for item in items}))
        raise ValueError(f"--tasks must be among {known}, got {', '.join(missing)}: use some of these")
    answerable = [item for item in items if item.answer is not None and (not tasks or item.task in tasks)]
    if questions is None or questions >= len(answerable):
        return answerable
    drawn = np.random.default_rng((seed, 79)).permutation(len(answerable))[:questions]
    return [answerable[k] for k in sorted(drawn.tolist())]


def digest_of(items: Sequence[Item]) -> str:
    """What tells sets of questions apart."""
    said = "\n".join(f"{i.id} {i.video.name} {i.question} {i.options} {i.answer}" for i in items)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def ask_all(
    items: Sequence[Item],
    entries: Sequence[Entry],
    loaded: Comparable,
    settings: RunSettings,
    rows: RowFile,
    progress: Progress | None = None,
    asked_of: Callable[[], None] | None = None,
) -> None:
    """Ask what was not asked before.

    Args:
        asked_of: called when all questions about a video were asked.

    Raises:
        ValueError: a question cannot be answered for a reason that is no method's own.
    """
    done = 0
    for (video, part), group in groupby(items, key=lambda item: (item.video, item.part)):
        asked = list(group)
        missing = [
            (item, entry, budget)
            for item in asked
            for budget in settings.budgets
            for entry in entries
            if not rows.has(item.id, entry.name, budget)
        ]
        if missing:
            with closing(encode_video(video, loaded, fps=settings.fps, part=part)) as encoded:
                session = Session()
                session.begin(encoded)
                for item in asked:
                    profiled = done < PROFILED
                    new = [
                        _answered(item, entry, budget, encoded, session, loaded, rows, profiled)
                        for one, entry, budget in missing
                        if one is item
                    ]
                    rows.add([row for row in new if row is not None])
                    done += 1
                    if progress is not None:
                        progress(done, len(items))
            if asked_of is not None:
                asked_of()
        else:
            done += len(asked)


def _answered(
    item: Item,
    entry: Entry,
    budget: int,
    encoded: EncodedVideo,
    session: Session,
    loaded: Comparable,
    rows: RowFile,
    profiled: bool,
) -> AnswerRow | None:
    """The row of one answer; None where another budget showed that the method does not run."""
    if rows.has(item.id, entry.name, budget):
        return None
    try:
        return ask_once(item, entry, budget, encoded, session, loaded, profiled=profiled)
    except MethodRefused as error:  # what else goes wrong must not pass for a method's own
        refused = AnswerRow(item.id, entry.name, budget, refused=str(error))
        rows.add([refused])
        return None


def ask_once(
    item: Item,
    entry: Entry,
    budget: int,
    encoded: EncodedVideo,
    session: Session,
    loaded: Comparable,
    *,
    profiled: bool = False,
) -> AnswerRow:
    """One question with one method on one budget.

    Raises:
        MethodRefused: the method needs what the model cannot give.
    """
    filled = loaded.methods(entry.methods)
    asked = loaded.read(Question.parse(item.question, item.options))
    used = entry.budget(budget, loaded.tokens_per_frame)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(one_kernel_thread())
        started = time.perf_counter()
        chosen = loaded.select(encoded.frame_features, encoded.seconds, asked, used, entry.methods)
        choosing = time.perf_counter() - started
        needed = frames_needed(chosen).tolist()
        patches, seen = encoded_patches(needed, encoded, loaded, session, None, reading_of(filled))
        started = time.perf_counter()
        visual = loaded.reduce(patches, chosen, asked, used, entry.methods, *seen)
        reducing = time.perf_counter() - started
        if entry.blind:
            visual = no_tokens(visual)
        with first_call(loaded.model.base_model.language_model) as prefill:
            # A B-VLLM was taught to say what an answer rests on before it, as `answer` lets it.
            said = loaded.generate(asked, visual, ANSWER_TOKENS) if isinstance(loaded, LoadedModel) else ""
            scores = loaded.option_scores(asked, visual, said)
        peak = None
        if profiled:
            with peak_memory(loaded.device) as found:
                again = loaded.reduce(patches, chosen, asked, used, entry.methods, *seen)
                loaded.generate(asked, again, 1)
            peak = found.bytes / 1e6
    assert prefill.seconds is not None  # options were scored behind a prompt
    best = max(range(len(scores)), key=scores.__getitem__)
    return AnswerRow(
        item.id,
        entry.name,
        budget,
        right=best == item.answer,
        tokens=float(sum(visual.spent)),
        frames=len(torch.unique(visual.tokens[0].frame)),
        method_ms=1e3 * (choosing + reducing),
        prefill_ms=1e3 * prefill.seconds,
        merged=max(0, len(needed) - len(chosen)),
        peak_mb=peak,
    )
