"""Save a training state as safetensors and JSON: the same files for one process, DDP and FSDP2.

Weights and the optimizer's state are gathered by name, so a run may go on with another number of processes.
"""

import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

WEIGHTS, OPTIMIZER, RNG, RATES = (
    "weights.safetensors",
    "optimizer.safetensors",
    "rng.safetensors",
    "rates.json",
)
Named = dict[str, Tensor]
_NUMPY = "MT19937"


@dataclass(frozen=True)
class Snapshot:
    """All tensors of a state, on the CPU.

    Attributes:
        weights: by their names in the model.
        optimizer: its state, by `weight|moment`.
        rng_state: states of the random number generators, by `rank/kind`.
        rates: learning rate of each group.
        scheduler: of the learning rates.
    """

    weights: Named
    optimizer: Named
    rng_state: Named
    rates: list[float]
    scheduler: dict[str, object]

    def write(self, folder: Path) -> None:
        """Three files of tensors and one of numbers."""
        for name, tensors in ((WEIGHTS, self.weights), (OPTIMIZER, self.optimizer), (RNG, self.rng_state)):
            save_file({k: t.contiguous() for k, t in tensors.items()}, folder / name)
        numbers = {"rates": self.rates, "scheduler": self.scheduler}
        (folder / RATES).write_text(json.dumps(numbers), encoding="utf-8")


def gather_weights(model: nn.Module, names: Collection[str]) -> Named:
    """Whole weights on the CPU; every process must call it.

    Raises:
        KeyError: the model has no weight of a name: nothing that was learned may be left out unsaid.
    """
    own = dict(model.named_parameters())
    missing = sorted(set(names) - set(own))
    if missing:
        raise KeyError(
            f"weights must keep their names, got none for {missing[0]} and {len(missing) - 1} more"
        )
    return {name: _whole(weight) for name, weight in own.items() if name in names}


def gather_optimizer_state(model: nn.Module, optimizer: Optimizer) -> Named:
    """The optimizer's state of every weight; every process must call it."""
    return {
        f"{name}|{kind}": _whole(value)
        for name, weight in model.named_parameters()
        for kind, value in sorted(optimizer.state.get(weight, {}).items())
    }


def load_weights(model: nn.Module, file: Path) -> None:
    """Load weights that `gather_weights` gave.

    Raises:
        ValueError: a name or a shape is not the model's.
    """
    own, read = dict(model.named_parameters()), load_file(file)
    for name, value in read.items():
        if name not in own or own[name].shape != value.shape:
            raise ValueError(
                f"{file.name} must hold weights of this model, got {name!r} of shape {tuple(value.shape)}: "
                "go on with the settings that the run was started with"
            )
        with torch.no_grad():
            own[name].copy_(_as(value.to(own[name].dtype), own[name]))


def load_optimizer_state(model: nn.Module, optimizer: Optimizer, file: Path) -> None:
    """Load what `gather_optimizer_state` gave."""
    own = dict(model.named_parameters())
    group_of = {weight: group for group in optimizer.param_groups for weight in group["params"]}
    for key, value in load_file(file).items():
        name, _, kind = key.rpartition("|")
        weight = own[name]
        if value.shape == weight.shape and value.ndim:
            kept = _as(value, weight)
        else:  # a count of steps stays on the CPU, unless one kernel does everything
            group = group_of[weight]
            fused = group.get("fused") or group.get("capturable")
            kept = value.to(weight.device) if fused else value
        optimizer.state[weight][kind] = kept


def read_numbers(folder: Path) -> tuple[list[float], dict[str, object]]:
    """The learning rates and the scheduler's state of a folder."""
    numbers = json.loads((folder / RATES).read_text(encoding="utf-8"))
    return numbers["rates"], numbers["scheduler"]


def get_rng_state() -> Named:
    """States of all random number generators of this process."""
    _, ints, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state()  # noqa: NPY002 (libraries draw from it)
    states = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(ints, dtype=torch.int64),
        "python_gauss": torch.tensor([float("nan") if gauss is None else gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([place, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def gather_rng_state(own: Named, device: torch.device) -> Named:
    """The states of all processes, by rank; every process must call it."""
    if not (dist.is_available() and dist.is_initialized()):
        return {f"0/{kind}": state for kind, state in own.items()}
    found: Named = {}
    for kind, state in own.items():
        parts = [torch.empty_like(state, device=device) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, state.to(device))
        found |= {f"{rank}/{kind}": part.cpu() for rank, part in enumerate(parts)}
    return found


def set_rng_state(file: Path, rank: int) -> bool:
    """Restore the random number generators of this process; False where the run had fewer processes."""
    with safe_open(file, framework="pt") as stored:
        own = {
            key.partition("/")[2]: stored.get_tensor(key)
            for key in stored.keys()  # noqa: SIM118 (no dictionary)
            if key.partition("/")[0] == str(rank)
        }
    if not own:
        return False
    torch.set_rng_state(own["torch"])
    gauss = float(own["python_gauss"])
    random.setstate((3, tuple(own["python"].tolist()), None if gauss != gauss else gauss))
    place, has_gauss = own["numpy_place"].tolist()
    keys = own["numpy"].numpy().astype(np.uint32)
    np.random.set_state((_NUMPY, keys, place, has_gauss, float(own["numpy_gauss"])))  # noqa: NPY002
    if "cuda" in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])
    return True


def _whole(x: Tensor) -> Tensor:
    """A copy on the CPU, put together from its shards: the next step may change what it was made of."""
    x = x.detach()
    return (x.full_tensor() if isinstance(x, DTensor) else x).to("cpu", copy=True)


def _as(value: Tensor, like: Tensor) -> Tensor:
    """The value where and how `like` is kept."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)
