"""Name a method for every slot: what a command line, a question or an evaluation asks for."""

from dataclasses import asdict, dataclass
from typing import TypedDict

from bvllm.methods import METHODS, check_name
from bvllm.stages.allocate import POLICIES


class Slots(TypedDict, total=False):
    """The keyword arguments by which Python callers fill slots; see `MethodNames`."""

    select_frames: str | None
    merge_frames: str | None
    sample_tokens: str | None
    merge_tokens: str | None
    tokens_policy: str | None
    seed: int
    force: bool


@dataclass(frozen=True)
class MethodNames:
    """Methods by name, in place of a model's own.

    Attributes:
        select_frames, merge_frames, sample_tokens, merge_tokens: names in `bvllm.METHODS`, or "none" for an
            empty slot; None keeps the model's own.
        tokens_policy: "even", "balanced" or "none": how many tokens each frame may keep.
        seed: of methods that draw at random.
        force: run a sampler although the projector was trained on another kind of token.

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

    def __post_init__(self) -> None:
        for slot in METHODS:
            name = getattr(self, slot)
            if name is not None:
                check_name(slot, name)
        if self.tokens_policy not in (None, "none", *POLICIES):
            raise ValueError(
                f"tokens_policy must be one of none, {', '.join(POLICIES)}, got {self.tokens_policy!r}: "
                "use one of these"
            )

    @property
    def given(self) -> dict[str, str]:
        """The slots that are to be filled otherwise than by the model."""
        settings = {k: v for k, v in asdict(self).items() if k not in ("seed", "force")}
        return {name: value for name, value in settings.items() if value is not None}


OWN = MethodNames()  # whatever the model has
