"""Name a method for every slot: what a command line, a question or an evaluation asks for."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict

from bvllm.methods import METHODS, NONE, check_name
from bvllm.stages.allocate import POLICIES
from bvllm.stages.reading import NOTHING, Looker, Reading
from bvllm.types import MethodRefused


class Slots(TypedDict, total=False):
    """The keyword arguments by which Python callers fill slots; see `MethodNames`."""

    select_frames: str | None
    merge_frames: str | None
    sample_tokens: str | None
    merge_tokens: str | None
    tokens_policy: str | None
    seed: int
    force: bool
    prune_layers: str | None


@dataclass(frozen=True)
class MethodNames:
    """Methods by name, in place of a model's own.

    Attributes:
        select_frames, merge_frames, sample_tokens, merge_tokens: names in `bvllm.METHODS`, or "none" for an
            empty slot; None keeps the model's own.
        tokens_policy: "even", "balanced", "quota", "content" or "none": how many tokens each frame may keep.
        seed: of methods that draw at random.
        force: run a sampler although the projector was trained on another kind of token.
        prune_layers: which visual tokens go inside the language model; the budget is then the mean over its
            layers.

    Raises:
        ValueError: a name is unknown; the nearest one is suggested.

    Example:
        >>> MethodNames(merge_tokens="tome").given
        {'merge_tokens': 'tome'}
    """

    select_frames: str | None = None
    merge_frames: str | None = None
    sample_tokens: str | None = None
    merge_tokens: str | None = None
    tokens_policy: str | None = None
    seed: int = 0
    force: bool = False
    prune_layers: str | None = None

    def __post_init__(self) -> None:
        for slot in METHODS:
            name = getattr(self, slot)
            if name is not None:
                check_name(slot, name)
        known = ("none", *POLICIES)
        if self.tokens_policy is not None and self.tokens_policy not in known:
            near = difflib.get_close_matches(str(self.tokens_policy), known, n=1)
            raise ValueError(
                f"tokens_policy must be one of {', '.join(known)}, got {self.tokens_policy!r}: "
                + (f"did you mean {near[0]!r}?" if near else "use one of these")
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be a whole number in 0..2^63 - 1, got {self.seed!r}: change it")

    @property
    def given(self) -> dict[str, str]:
        """The slots that are to be filled otherwise than by the model."""
        settings = {k: v for k, v in asdict(self).items() if k not in ("seed", "force")}
        return {name: value for name, value in settings.items() if value is not None}

    @property
    def given_before(self) -> dict[str, str]:
        """The same without what happens inside the language model."""
        return {name: value for name, value in self.given.items() if name != "prune_layers"}


OWN = MethodNames()  # whatever the model has


def kind_in_words(name: str) -> str:
    """What kind of vectors a sampler gives, in words."""
    queries = name != NONE and METHODS["sample_tokens"][name].kind == "queries"
    return "what a trained sampler's queries read" if queries else "patches, or weighted sums of them"


def reading_of(filled: Mapping[str, str]) -> Reading:
    """What the methods in the token slots read of the vision tower, together.

    Args:
        filled: the method's name by slot, as `VideoModel.methods` gives it.

    Raises:
        ValueError: the two want other attention than each other.

    Example:
        >>> bool(reading_of({"sample_tokens": "none", "merge_tokens": "tome"}))
        False
    """
    found = NOTHING
    for slot in ("sample_tokens", "merge_tokens"):
        if filled[slot] != NONE:
            found = found.together(METHODS[slot][filled[slot]].reads)
    return found


def check_reading(filled: Mapping[str, str], tower: frozenset[Looker], model: str) -> None:
    """Refuse methods that go by attention which a model's vision tower does not give.

    Args:
        filled: the method's name by slot.
        tower: whose attention it gives.
        model: its name.

    Raises:
        MethodRefused: a method wants other attention.
    """
    for slot in ("sample_tokens", "merge_tokens"):
        wanted = NOTHING if filled[slot] == NONE else METHODS[slot][filled[slot]].reads
        if (wanted.lookers and wanted.looker_of(tower) is None) or (wanted.keys and not tower):
            raise MethodRefused(
                f"{slot} must be a method that this model's vision tower can serve, got {filled[slot]!r}, "
                f"which goes by {in_words(wanted.lookers)}: {model!r} gives "
                f"{in_words(sorted(tower))}; choose another method, or another model"
            )


LOOKERS: dict[Looker, str] = {
    "cls": "the attention of [CLS]",
    "head": "that of a pooling head",
    "received": "what a patch receives from the others",
}


def in_words(lookers: Iterable[Looker]) -> str:
    """Whose attention it is, in words.

    Example:
        >>> in_words(("cls", "received"))
        'the attention of [CLS] or what a patch receives from the others'
    """
    return " or ".join(LOOKERS[looker] for looker in lookers) or "none"
