"""Say what a method reads of the vision tower's attention: who looks, in which layers, and the keys."""

from dataclasses import dataclass
from typing import Literal

# Who looks at the patches: the class token; the probe of a pooling head, as SigLIP has one; all tokens of the
# layer alike, whose mean is the attention that a patch receives.
Looker = Literal["cls", "head", "received"]


@dataclass(frozen=True)
class Reading:
    """What a method wants to know of the vision tower's attention.

    Layers are counted back from the one whose output the patches are: with CLIP's patches of hidden state -2,
    one layer means the last but one.

    Attributes:
        lookers: whose attention serves, the first that the tower has; nothing where none is wanted.
        layers: over how many layers attention is summed, where the tower has as many.
        keys: whether the keys of that layer are wanted, as the mean over its heads.

    Example:
        >>> Reading(lookers=("cls", "received")).looker_of({"received"})
        'received'
    """

    lookers: tuple[Looker, ...] = ()
    layers: int = 1
    keys: bool = False

    def __bool__(self) -> bool:
        return bool(self.lookers) or self.keys

    def looker_of(self, tower: "frozenset[Looker] | set[Looker]") -> Looker | None:
        """Whose attention it is in a tower that has these; None where none of them serves."""
        return next((looker for looker in self.lookers if looker in tower), None)

    def together(self, other: "Reading") -> "Reading":
        """What serves two methods at once.

        Raises:
            ValueError: they want other attention than each other.

        Example:
            >>> Reading(keys=True).together(Reading(("cls",))) == Reading(("cls",), keys=True)
            True
        """
        if self.lookers and other.lookers and (self.lookers, self.layers) != (other.lookers, other.layers):
            raise ValueError(
                "sample_tokens and merge_tokens must go by the same attention, got "
                f"{' or '.join(self.lookers)} over {self.layers} and {' or '.join(other.lookers)} over "
                f"{other.layers} layers: fill one of the two slots with another method"
            )
        attends = self if self.lookers else other
        return Reading(attends.lookers, attends.layers, self.keys or other.keys)


NOTHING = Reading()
