"""Say what stands in the table: each method with what is beside it, so that all of them spend one budget.

A method fills one slot; what the others hold is the same for all methods of that slot:

    select_frames   chooses as many frames as fit into the budget whole
    merge_frames    joins some of 32 even frames; `bipartite` merging within frames lands on the budget
    sample_tokens   keeps of each of 32 even frames an equal share, what does not divide spread evenly
    merge_tokens    reduces the tokens of 32 even frames to the budget
    prune_layers    drops tokens of 32 even frames layer by layer; the budget is the mean over layers

Of a B-VLLM the other slots hold what it was trained with, and no method fills `sample_tokens`: its projector
reads its token sampler's queries alone.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from bvllm.inference.recipes import RECIPES
from bvllm.methods import METHODS, NONE
from bvllm.methods.names import MethodNames
from bvllm.stages.method import Slot
from bvllm.types import Budget

ALL, RECIPE, BALANCED, OWN, BLIND = "all", "recipe", "balanced", "b-vllm", "blind"
FRAMES = 32  # of a video that a token method sees
# In every table, whatever else is asked for: uniform frames, random tokens, pooling.
BASELINES = ("select_frames uniform", "merge_tokens random", "merge_tokens grid_pool")


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        name: "balanced", "b-vllm", "blind", or a slot and a method as "merge_tokens tome".
        slot: of the method, or "recipe".
        methods: all slots filled.
        whole: whether the budget is spent on frames with all their tokens.
        blind: whether zeros stand in the tokens' place: what the questions alone give away.
    """

    name: str
    slot: str
    methods: MethodNames
    whole: bool = False
    blind: bool = False

    def budget(self, tokens: int, per_frame: int) -> Budget:
        """What a question may cost: so many tokens, of as many frames as the entry looks at."""
        return Budget(tokens, max(1, tokens // per_frame) if self.whole else FRAMES)


def all_entries(seed: int = 0) -> tuple[Entry, ...]:
    """The recipe of this project, what is right without seeing, and every method that needs no training."""
    own = MethodNames(**RECIPES[BALANCED], seed=seed)  # type: ignore[arg-type]  # slots, which are words
    even = MethodNames(**RECIPES["uniform"], seed=seed)  # type: ignore[arg-type]
    found = [Entry(BALANCED, RECIPE, own), Entry(BLIND, RECIPE, even, blind=True)]
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            if not method.learned:
                found.append(
                    Entry(f"{slot} {name}", slot, _beside(slot, name, seed), whole=slot == "select_frames")
                )
    return tuple(found)


def own_entries(seed: int = 0) -> tuple[Entry, ...]:
    """Of a B-VLLM: its own methods, what is right without seeing, and each slot filled otherwise."""
    own = MethodNames(seed=seed)
    found = [Entry(OWN, RECIPE, own), Entry(BLIND, RECIPE, own, blind=True)]
    for slot, methods in METHODS.items():
        if slot != "sample_tokens":
            found += [
                Entry(
                    f"{slot} {name}",
                    slot,
                    MethodNames(**{slot: name}, seed=seed),  # type: ignore[arg-type]  # slots, which are words
                    whole=slot == "select_frames",
                )
                for name, method in methods.items()
                if not method.learned
            ]
    return tuple(found)


def _beside(slot: Slot, name: str, seed: int) -> MethodNames:
    """A method, and what the other slots hold beside it."""
    filled: dict[str, str] = dict.fromkeys(METHODS, NONE)
    around: dict[str, dict[str, str]] = {
        "select_frames": {"tokens_policy": NONE},
        "merge_frames": {"select_frames": "uniform", "merge_tokens": "bipartite", "tokens_policy": NONE},
        "sample_tokens": {"select_frames": "uniform", "tokens_policy": "even"},
        "merge_tokens": {"select_frames": "uniform", "tokens_policy": NONE},
        "prune_layers": {"select_frames": "uniform", "tokens_policy": NONE},
    }
    filled |= around[slot] | {slot: name}
    return MethodNames(**filled, seed=seed)  # type: ignore[arg-type]  # slots, which are words


def usual_entries(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """What "all" stands for: a method that fits both token slots once, where it sees the whole clip."""
    whole = {one.name.partition(" ")[2] for one in found if one.slot == "merge_tokens"}
    return tuple(
        one for one in found if one.slot != "sample_tokens" or one.name.partition(" ")[2] not in whole
    )


def with_baselines(entries: Sequence[Entry], known: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries, and what every method must beat behind them where they do not name it.

    Example:
        >>> known = all_entries()
        >>> [one.name for one in with_baselines(entries_named("merge_tokens random", known), known)]
        ['merge_tokens random', 'select_frames uniform', 'merge_tokens grid_pool']
    """
    named = {one.name for one in entries}
    return (*entries, *(one for one in known if one.name in BASELINES and one.name not in named))


def entries_named(words: str, known: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries of a list: "all", or names apart by commas, with their slot or without.

    Args:
        known: `all_entries`, or `own_entries` of a B-VLLM.

    Raises:
        ValueError: nothing has a name; the nearest is suggested.

    Example:
        >>> [one.name for one in entries_named("balanced, tome", all_entries())]
        ['balanced', 'sample_tokens tome', 'merge_tokens tome']
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    if wanted == [ALL]:
        return usual_entries(known)
    found: dict[str, Entry] = {}
    for word in wanted:
        matching = [one for one in known if word in (one.name, one.name.partition(" ")[2])]
        if not matching:
            names = [one.name for one in known]
            near = difflib.get_close_matches(word, [*names, *(n.partition(" ")[2] for n in names)], n=1)
            raise ValueError(
                f"methods must be among {', '.join(names)}, got {word!r}: "
                + (f"did you mean {near[0]!r}?" if near else "use some of these, or all")
            )
        found |= {one.name: one for one in matching}
    if not found:
        raise ValueError(f"methods must name at least one, got {words!r}: write all")
    return tuple(found.values())
