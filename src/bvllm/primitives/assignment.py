"""Hold the plan of a hard reduction: which output each input joins.

Pruning sends some inputs nowhere, merging sends several to one place, pooling is merging on a grid. The
decision is kept apart from carrying it out (as in ToMe, arXiv 2210.09461), so that features, sizes, times
and positions can never disagree about what became of a token. Where an input has a share in several outputs,
the general form is needed: `Reduction`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bvllm.primitives.reduction import CHANNELS_AT_A_TIME, Reduction

DROP = -1
MOST_NUMBERS = 1 << 22  # of an x that is widened and weighed whole: 16 MB in float32


@dataclass(frozen=True)
class Assignment:
    """Where every input goes, and which input each output stands on.

    Attributes:
        target: (inputs,) output that each input joins, or DROP.
        anchor: (outputs,) input that each output stands on, ascending; its place and time are kept.

    Example:
        >>> plan = Assignment.merge(torch.tensor([0, 0, 2]))
        >>> plan.mean(torch.tensor([1.0, 3.0, 5.0]), size=torch.ones(3)).tolist()
        [2.0, 5.0]
    """

    target: Tensor
    anchor: Tensor

    def __post_init__(self) -> None:
        for name, value in (("target", self.target), ("anchor", self.anchor)):
            if value.ndim != 1 or value.is_floating_point():
                raise ValueError(
                    f"{name} must be one row of integers, got {value.dtype} of shape {tuple(value.shape)}: "
                    "give one index per entry"
                )

    def __len__(self) -> int:
        return len(self.anchor)

    @property
    def inputs(self) -> int:
        """How many entries the plan decides about."""
        return len(self.target)

    @classmethod
    def identity(cls, n: int, device: torch.device | None = None) -> "Assignment":
        """Everything stays where it is."""
        index = torch.arange(n, device=device)
        return cls(index, index)

    @classmethod
    def keep(cls, index: Tensor, inputs: int) -> "Assignment":
        """Keep `index`, in the order of the inputs, and drop the rest.

        Raises:
            ValueError: an index is out of range or named twice.

        Example:
            >>> Assignment.keep(torch.tensor([3, 1]), inputs=4).target.tolist()
            [-1, 0, -1, 1]
        """
        anchor = index.sort().values
        if len(anchor) and not 0 <= int(anchor[0]) <= int(anchor[-1]) < inputs:
            raise ValueError(
                f"index must lie in 0..{inputs - 1}, got {int(anchor[0])}..{int(anchor[-1])}: "
                "keep only entries that are there"
            )
        if bool((anchor[1:] == anchor[:-1]).any()):
            raise ValueError(f"index must name every entry once, got {anchor.tolist()}: remove the repeats")
        target = torch.full((inputs,), DROP, device=index.device)
        target[anchor] = torch.arange(len(anchor), device=index.device)
        return cls(target, anchor)

    @classmethod
    def merge(cls, into: Tensor) -> "Assignment":
        """Input `i` joins `into[i]`, or stays where `into[i] == i`; chains are followed to their end.

        Raises:
            ValueError: an index is out of range or a chain runs in a circle.

        Example:
            >>> Assignment.merge(torch.tensor([0, 0, 1, 3])).target.tolist()
            [0, 0, 0, 1]
        """
        if len(into) and not 0 <= int(into.min()) <= int(into.max()) < len(into):
            raise ValueError(
                f"into must lie in 0..{len(into) - 1}, got {int(into.min())}..{int(into.max())}: "
                "join only entries that are there"
            )
        end = into
        for _ in range(len(into).bit_length()):  # every step doubles the stretch of chain it jumps
            end = end[end]
        if not torch.equal(into[end], end):
            raise ValueError("into must lead every entry to one that stays, got a circle: let one of it stay")
        anchor, target = torch.unique(end, return_inverse=True)
        return cls(target, anchor)

    def then(self, later: "Assignment") -> "Assignment":
        """Both plans as one: `later` decides over the outputs of this one."""
        if later.inputs != len(self):
            raise ValueError(
                f"the later plan must decide about {len(self)} entries, got {later.inputs}: "
                "make it from what this plan leaves"
            )
        if not len(self):
            return Assignment(self.target, self.anchor)
        target = torch.where(self.target == DROP, DROP, later.target[self.target.clamp_min(0)])
        return Assignment(target, self.anchor[later.anchor])

    def sum(self, x: Tensor) -> Tensor:
        """Add up what joins each output: (inputs, ...) -> (outputs, ...)."""
        if len(x) != self.inputs:
            raise ValueError(
                f"x must have {self.inputs} entries, got {len(x)}: the plan was made for another x"
            )
        kept = self.target != DROP
        empty = x.new_zeros(len(self), *x.shape[1:])
        if x.device.type == "cpu":
            return empty.index_add(0, self.target[kept], x[kept])
        # index_add adds in no fixed order on an accelerator; this one sorts first, so its sums repeat.
        return empty.index_put((self.target[kept],), x[kept], accumulate=True)

    def mean(self, x: Tensor, size: Tensor) -> Tensor:
        """Average what joins each output, every input counting `size` times.

        Sums run in float32 at least: a half-precision sum of a thousand tokens keeps three digits. Where
        nothing merges, rows are taken as they are.
        """
        if len(x) == self.inputs and self._only_selects():
            return x.index_select(0, self.anchor)
        if (
            x.ndim == 2
            and not x.requires_grad
            and x.numel() > MOST_NUMBERS
            and x.shape[1] > CHANNELS_AT_A_TIME
        ):
            # Each channel by itself, so nothing changes but the memory: no copy of all of x in float32.
            return torch.cat([self.mean(part, size) for part in torch.split(x, CHANNELS_AT_A_TIME, 1)], dim=1)
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = size.to(wide).reshape(-1, *[1] * (x.ndim - 1))
        return (self.sum(x.to(wide) * weight) / self.sum(weight)).to(x.dtype)

    def combine(self, x: Tensor, size: Tensor) -> Tensor:
        """Carry it out, as `Reduction.combine` does: the mean of what joins each output, by size."""
        return self.mean(x, size)

    def count(self, size: Tensor) -> Tensor:
        """(outputs,) how many sources each output stands for."""
        return self.sum(size)

    def reduction(self, size: Tensor | None = None) -> Reduction:
        """The weights of `mean`: each input's share, by size, of the output that it joins.

        Example:
            >>> Assignment.merge(torch.tensor([0, 0])).reduction(torch.tensor([1.0, 3.0])).weight.tolist()
            [0.25, 0.75]
        """
        kept = (self.target != DROP).nonzero()[:, 0]
        size = torch.ones(self.inputs, device=self.target.device) if size is None else size
        weight = size.float()[kept] / self.sum(size.float())[self.target[kept]]
        return Reduction.of(self.target[kept], kept, weight, len(self), self.inputs)

    def _only_selects(self) -> bool:
        """Whether every output is one input: its anchor."""
        if int((self.target != DROP).sum()) != len(self):
            return False
        return torch.equal(self.target[self.anchor], torch.arange(len(self), device=self.target.device))
