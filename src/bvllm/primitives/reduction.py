"""Hold a reduction as sparse weights, outputs x inputs: what pruning, merging and pooling share.

An `Assignment` sends each input to one output at most. Adaptive pools that overlap, a cosine transform and
contextual tokens do not fit that: there an input has a share in several outputs, or a negative weight. A
`Reduction` holds the weights themselves, as a sparse matrix, so two of them compose as their product, and
whatever is to be known of an output (how much it stands for, when and where it comes from) follows from its
row.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional

MOST_PRODUCTS = 1 << 22  # 16 MB in float32: products of inputs and weights that are written down
CHANNELS_AT_A_TIME = 256  # of half-precision inputs, which are widened for their sum


@dataclass(frozen=True)
class Reduction:
    """Which inputs each output is made of, and with what weight.

    Entries are the non-zero ones of a matrix (outputs x inputs), by output and then by input, each named
    once; `Reduction.of` brings them into that form.

    Attributes:
        output: (E,) row of each entry.
        input: (E,) column of each entry.
        weight: (E,) what the input is multiplied by before the sum.
        outputs, inputs: size of the matrix.

    Raises:
        ValueError: the parts differ in length, or an output has no input.

    Source: the provenance weights that methods with overlapping outputs need, such as adaptive average
    pooling
        (24 columns to 10: 8 of them fall into two bins) or VisionZip's contextual tokens.

    Example:
        >>> output, input = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 2]])
        >>> pool = Reduction.of(output, input, torch.full((4,), 0.5), outputs=2, inputs=3)
        >>> pool.combine(torch.tensor([1.0, 3.0, 5.0])).tolist(), pool.count(torch.ones(3)).tolist()
        ([2.0, 4.0], [2.0, 2.0])
    """

    output: Tensor
    input: Tensor
    weight: Tensor
    outputs: int
    inputs: int

    def __post_init__(self) -> None:
        if not self.output.shape == self.input.shape == self.weight.shape == (len(self.output),):
            raise ValueError(
                "output, input and weight must have one entry each for every weight, got shapes "
                f"{[tuple(x.shape) for x in (self.output, self.input, self.weight)]}: use Reduction.of"
            )
        found = len(torch.unique(self.output))
        if found != self.outputs:
            raise ValueError(
                f"every one of {self.outputs} outputs must have an input of non-zero weight, got "
                f"{found} that do: leave the others out"
            )

    def __len__(self) -> int:
        return self.outputs

    @classmethod
    def of(cls, output: Tensor, input: Tensor, weight: Tensor, outputs: int, inputs: int) -> "Reduction":
        """Sort the entries, add up those of the same place, and leave out zeros.

        Raises:
            ValueError: an index is out of range, or an output has no input.
        """
        for name, index, most in (("output", output, outputs), ("input", input, inputs)):
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < most:
                raise ValueError(
                    f"{name} must lie in 0..{most - 1}, got {int(index.min())}..{int(index.max())}: "
                    "name only entries that are there"
                )
        wide = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
        matrix = torch.sparse_coo_tensor(
            torch.stack([output, input]), wide, (outputs, inputs), check_invariants=False
        )
        return cls._from_sparse(matrix)

    @classmethod
    def dense(cls, weights: Tensor) -> "Reduction":
        """From a matrix (outputs, inputs), zeros included.

        Example:
            >>> len(Reduction.dense(torch.eye(3)).weight)
            3
        """
        output, input = weights.nonzero(as_tuple=True)
        return cls.of(output, input, weights[output, input], *weights.shape)

    @classmethod
    def blocks(cls, weights: Tensor) -> "Reduction":
        """Each of F groups of N inputs gives R outputs: (F, R, N), one matrix a group, (F R x F N) in all.

        Example:
            >>> pair = Reduction.blocks(torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]]))
            >>> pair.output.tolist(), pair.input.tolist()
            ([0, 1, 1], [0, 2, 3])
        """
        groups, rows, columns = weights.shape
        group, row, column = weights.nonzero(as_tuple=True)
        return cls.of(
            group * rows + row,
            group * columns + column,
            weights[group, row, column],
            groups * rows,
            groups * columns,
        )

    @classmethod
    def beside(cls, parts: "Sequence[Reduction]") -> "Reduction":
        """The outputs of several reductions of the same inputs, one after another.

        Example:
            >>> halves = [Reduction.dense(torch.tensor([row])) for row in ([1.0, 0.0], [0.5, 0.5])]
            >>> Reduction.beside(halves).output.tolist()
            [0, 1, 1]
        """
        starts = [0, *accumulate(part.outputs for part in parts)]
        return cls.of(
            torch.cat([part.output + start for part, start in zip(parts, starts)]),
            torch.cat([part.input for part in parts]),
            torch.cat([part.weight for part in parts]),
            starts[-1],
            parts[0].inputs,
        )

    @property
    def anchor(self) -> Tensor:
        """(outputs,) the input of the largest weight, by magnitude; the first of equals."""
        by_weight = self.weight.abs().argsort(descending=True, stable=True)
        first = by_weight[self.output[by_weight].argsort(stable=True)]
        starts = torch.bincount(self.output, minlength=self.outputs).cumsum(0).roll(1)
        starts[:1] = 0
        return self.input[first[starts]]

    @property
    def used(self) -> Tensor:
        """(inputs,) True where an input has a share in an output: the mask of what was kept."""
        mask = torch.zeros(self.inputs, dtype=torch.bool, device=self.input.device)
        mask[self.input] = True
        return mask

    def combine(self, x: Tensor, size: Tensor | None = None) -> Tensor:
        """Carry it out: (inputs, ...) -> (outputs, ...), summed in float32 at least.

        Args:
            x: one entry for each input.
            size: taken so that an `Assignment` may stand here, and not read: the weights are final.

        Raises:
            ValueError: x has another number of entries.
        """
        if len(x) != self.inputs:
            raise ValueError(
                f"x must have {self.inputs} entries, got {len(x)}: the reduction was made for another x"
            )
        wide = torch.promote_types(x.dtype, torch.float32)
        if x.ndim == 2 and not x.requires_grad and len(self.weight) * x.shape[1] > MOST_PRODUCTS:
            return self._combine_in_place(x, wide)
        weight = self.weight.to(wide).reshape(-1, *[1] * (x.ndim - 1))
        parts = x[self.input].to(wide) * weight
        empty = parts.new_zeros(self.outputs, *x.shape[1:])
        return empty.index_add(0, self.output, parts).to(x.dtype)

    def _combine_in_place(self, x: Tensor, wide: torch.dtype) -> Tensor:
        """`combine` without a copy of every input for every output that it has a share in."""
        members = torch.bincount(self.output, minlength=self.outputs)
        starts, weight = members.cumsum(0) - members, self.weight.to(wide)
        made = [
            functional.embedding_bag(self.input, part.to(wide), starts, mode="sum", per_sample_weights=weight)
            for part in torch.split(x, x.shape[1] if x.dtype == wide else CHANNELS_AT_A_TIME, dim=1)
        ]
        return torch.cat(made, dim=1).to(x.dtype)

    def count(self, size: Tensor) -> Tensor:
        """(outputs,) how many sources each output stands for: the sizes of all inputs that it is made of."""
        if len(size) != self.inputs:
            raise ValueError(
                f"size must have {self.inputs} entries, got {len(size)}: give one for each input"
            )
        return size.new_zeros(self.outputs).index_add_(0, self.output, size[self.input])

    def share_of_inputs(self) -> Tensor:
        """(inputs,) how much of each input went into all outputs, by magnitude: what a heat map shows."""
        share = self.weight.abs()
        return share.new_zeros(self.inputs).index_add_(0, self.input, share)

    def centre(self, values: Tensor) -> Tensor:
        """Mean of a value over what each output is made of, by magnitude of weight: (outputs,) float64."""
        share = self.weight.abs().double()
        total = share.new_zeros(self.outputs).index_add_(0, self.output, share)
        weighed = share * values[self.input].double()
        return share.new_zeros(self.outputs).index_add_(0, self.output, weighed) / total

    def span(self, values: Tensor) -> Tensor:
        """(outputs, 2) least and largest value of the inputs of each output, such as the seconds it covers.

        Example:
            >>> Reduction.dense(torch.tensor([[0.5, 0.0, 0.5]])).span(torch.tensor([1.0, 2.0, 9.0])).tolist()
            [[1.0, 9.0]]
        """
        own = values[self.input]
        ends = [
            own.new_zeros(self.outputs).scatter_reduce(0, self.output, own, how, include_self=False)
            for how in ("amin", "amax")
        ]
        return torch.stack(ends, dim=1)

    def then(self, later: "Reduction") -> "Reduction":
        """Both as one, their product: `later` is made of the outputs of this one.

        Raises:
            ValueError: `later` was made for another number of entries.
        """
        if later.inputs != self.outputs:
            raise ValueError(
                f"the later reduction must be of {self.outputs} entries, got {later.inputs}: "
                "make it from what this one leaves"
            )
        with warnings.catch_warnings():  # torch calls its sparse products beta; they are tested here
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            product = torch.sparse.mm(later._sparse(), self._sparse())
        return self._from_sparse(product)

    def in_order(self) -> "Reduction":
        """The same outputs in the order of their anchors: oldest first, in reading order.

        Example:
            >>> Reduction.dense(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).in_order().input.tolist()
            [0, 1]
        """
        rank = self.anchor.argsort(stable=True).argsort()
        return Reduction.of(rank[self.output], self.input, self.weight, self.outputs, self.inputs)

    def within(self, cells: int) -> "Reduction":
        """The same for entries that each hold so many cells, cell by cell: frames with their patches.

        Example:
            >>> Reduction.dense(torch.tensor([[0.0, 1.0]])).within(3).input.tolist()
            [3, 4, 5]
        """
        cell = torch.arange(cells, device=self.input.device)
        output = (self.output[:, None] * cells + cell).flatten()
        input = (self.input[:, None] * cells + cell).flatten()
        weight = self.weight.repeat_interleave(cells)
        return Reduction.of(output, input, weight, self.outputs * cells, self.inputs * cells)

    def _sparse(self) -> Tensor:
        """As torch's own sparse matrix; the entries are in its order already."""
        place = torch.stack([self.output, self.input])
        return torch.sparse_coo_tensor(
            place, self.weight, (self.outputs, self.inputs), is_coalesced=True, check_invariants=False
        )

    @classmethod
    def _from_sparse(cls, matrix: Tensor) -> "Reduction":
        matrix = matrix.coalesce()
        output, input = matrix.indices()
        weight = matrix.values()
        there = weight != 0
        outputs, inputs = matrix.shape
        return cls(output[there], input[there], weight[there], outputs, inputs)
