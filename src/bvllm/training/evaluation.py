"""Compute the loss on held-out rows."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel, TrainingArguments

from bvllm.data.encode import IGNORED


def full_rows(rows: int, args: TrainingArguments) -> int:
    """So many rows that every process gets as many full batches; those beyond the set do not count.

    A process without a batch would keep the others waiting where weights are sharded.
    """
    at_once = args.eval_batch_size * args.world_size
    return -(-rows // at_once) * at_once


@torch.no_grad()
def mean_loss(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Tensor]],
    rows: int,
    args: TrainingArguments,
) -> float:
    """The mean over all tokens of all answers: the same for any number of processes and rows of a batch.

    Args:
        model: as it trains; left in evaluation mode, its weights sharded where they were.
        batches: of this process, one of `args.world_size` that take turns; see `full_rows`.
        rows: of the set.
        args: size of a batch, and which process this is.
    """
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=args.device)  # losses, and tokens they are of
    for number, batch in enumerate(batches):
        first = (number * args.world_size + args.process_index) * args.eval_batch_size
        labels = batch["labels"].clone()
        labels[max(0, rows - first) :] = IGNORED
        sum_of_losses = model(**{**batch, "labels": labels}, num_items_in_batch=1).loss
        total += torch.stack([sum_of_losses.double(), (labels[:, 1:] != IGNORED).sum().double()])
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a backward pass would; a checkpoint finds no moments of weights put together
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    return float(total[0] / total[1])
