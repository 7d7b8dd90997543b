"""Describe the methods of METHODS: a record each, for `bvllm methods`, its JSON and docs/methods.md."""

import difflib
import inspect
from dataclasses import dataclass
from typing import Any

from bvllm.methods import METHODS
from bvllm.methods.names import in_words
from bvllm.stages.method import Method

ANY_MODEL, ITS_MODEL = "any model", "a model that brings its weights"
READS_PATCHES = "one whose projector reads patches (not nano)"
WHOLE_PROMPT = "a model whose language model sees the whole prompt in every layer"
INSIDE = "prune_layers"
READ_QUESTION = ("qformer", "resampler")  # learned modules, which read its tokens and need no signal


@dataclass(frozen=True)
class MethodFacts:
    """What a reader wants to know of a method.

    Attributes:
        name: in its slot.
        slots: that it may fill.
        needs: signals without which it does not run, sorted.
        training_free: whether it has no weights of its own.
        paper: address, or "ours".
        lands: on the count that it is given, below it, or in another order.
        runs_on: which models can be asked with it.
        status: what it was written from, in its author's words; "ours" where nobody else's rule is meant.
        summary: what it does, in one line.
        description: the whole account: from ratios to counts, departures, the source.
        options: its settings with their defaults, as Python writes them.
    """

    name: str
    slots: tuple[str, ...]
    needs: tuple[str, ...]
    training_free: bool
    paper: str
    lands: str
    runs_on: str
    status: str
    summary: str
    description: str
    options: dict[str, str]


def all_methods() -> list[MethodFacts]:
    """Every method once for each class and name, in METHODS' order."""
    found: dict[tuple[str, type[Any]], list[str]] = {}
    for slot, methods in METHODS.items():
        for name, method in methods.items():
            found.setdefault((name, method), []).append(slot)
    return [_facts(name, method, tuple(slots)) for (name, method), slots in found.items()]


def methods_named(name: str) -> list[MethodFacts]:
    """All that a name stands for: a word may name one method among frames and another among tokens.

    Raises:
        ValueError: nothing has the name; the nearest is suggested.
    """
    known = all_methods()
    found = [one for one in known if one.name == name]
    if not found:
        names = sorted({one.name for one in known})
        near = difflib.get_close_matches(name, names, n=1)
        raise ValueError(
            f"method must be one of {', '.join(names)}, got {name!r}: "
            + (f"did you mean {near[0]!r}?" if near else "use one of these")
        )
    return found


def methods_table(found: list[MethodFacts]) -> str:
    """The methods as a table in Markdown."""
    head = "| method | slot | needs | training-free | runs on | paper | status | what it does |"
    rows = [head, "|---" * 8 + "|"]
    for one in found:
        paper = one.paper.rpartition("/")[2]
        slots, needs = ", ".join(one.slots), ", ".join(one.needs) or "-"
        free = "yes" if one.training_free else "no"
        rows.append(
            f"| `{one.name}` | {slots} | {needs} | {free} | {one.runs_on} | {paper} | {one.status} "
            f"| {one.summary} |"
        )
    return "\n".join(rows)


def in_full(one: MethodFacts) -> str:
    """One method, as its author describes it."""
    least = "the layers of the language model" if INSIDE in one.slots else "nothing but the features"
    options = "\n".join(f"  {name} = {value}" for name, value in one.options.items())
    lines = [
        f"{one.name}: {one.summary}",
        f"slot: {', '.join(one.slots)}",
        f"needs: {', '.join(one.needs) or least}",
        f"training-free: {'yes' if one.training_free else 'no'}",
        f"runs on: {one.runs_on}",
        f"lands: {one.lands}",
        f"paper: {one.paper}",
        f"status: {one.status}",
    ]
    if options:
        lines.append(f"settings:\n{options}")
    return "\n".join([*lines, "", one.description.partition("\n")[2].strip()]).rstrip()


def _facts(name: str, method: type[Any], slots: tuple[str, ...]) -> MethodFacts:
    said = inspect.getdoc(method) or ""
    learned = bool(method.learned)
    needs = {"question"} if name in READ_QUESTION else set(method.needs)
    return MethodFacts(
        name=name,
        slots=slots,
        needs=tuple(sorted(needs)),
        training_free=not learned,
        paper=method.paper,
        lands=method.lands,
        runs_on=_runs_on(method, slots),
        status=_source(said),
        summary=said.partition("\n")[0],
        description=said,
        options={} if learned else _options(method),
    )


def _runs_on(method: type[Any], slots: tuple[str, ...]) -> str:
    """Which models can be asked with a method, from what it needs, what it reads and where it stands.

    Example:
        >>> _runs_on(METHODS["merge_tokens"]["bipartite"], ("merge_tokens",))
        'any model'
        >>> _runs_on(METHODS["select_frames"]["f2c"], ("select_frames",))
        'a model with a scorer that says how frames bear on the question (--scorer)'
    """
    if method.learned:
        return ITS_MODEL
    if INSIDE in slots:
        return WHOLE_PROMPT
    if not issubclass(method, Method) and "sample_tokens" in slots:  # a module of B-VLLM's own pipeline
        return "a B-VLLM whose projector reads patches"
    conditions = []
    if method.reads.lookers or method.reads.keys:
        conditions.append(f"whose vision tower gives {in_words(method.reads.lookers)}")
    if "relevance" in method.needs:
        conditions.append("with a scorer that says how frames bear on the question (--scorer)")
    if "question" in method.needs:
        conditions.append(
            "of transformers' families, whose words stand in the space of its tokens (not nano)"
        )
    found = "a model " + " and ".join(conditions) if conditions else ANY_MODEL
    if "sample_tokens" not in slots:
        return found
    return f"{found}; in sample_tokens {READS_PATCHES}"


def _source(description: str) -> str:
    """What a docstring says behind "Source:", in one line.

    Example:
        >>> _source("Does this.\\n\\nSource: a paper,\\n    its code.\\n\\nExample:")
        'a paper, its code.'
    """
    said = description.partition("Source:")[2].partition("\n\n")[0]
    return " ".join(said.split()) or "ours"


def _options(method: type[Any]) -> dict[str, str]:
    """Settings with their defaults; a module of the paper's own has those of its constructor."""
    taken = inspect.signature(method).parameters.values()
    return {one.name: repr(one.default) for one in taken if one.default is not inspect.Parameter.empty}
