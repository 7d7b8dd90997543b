"""The loss on held-out rows is one number, however they are batched and shared out."""

from dataclasses import replace

import pytest
import torch

from bvllm.data.collate import Collator
from bvllm.training.build import build
from bvllm.training.callbacks import read_losses
from bvllm.training.evaluation import full_rows, mean_loss
from bvllm.training.run import train
from tests.training.rows import DrawnRows, open_drawn

ROWS = 7  # no multiple of anything below


class Arguments:
    """What an evaluation asks of transformers' arguments."""

    device = "cpu"

    def __init__(self, eval_batch_size, world_size=1, process_index=0):
        self.eval_batch_size, self.world_size, self.process_index = eval_batch_size, world_size, process_index


def share(rows, collate, args):
    """The batches of one process, as accelerate shares them out."""
    size = args.eval_batch_size
    starts = range(0, full_rows(ROWS, args), size)[args.process_index :: args.world_size]
    return [collate([rows[k] for k in range(first, first + size)]) for first in starts]


@pytest.fixture(scope="module")
def parts(short):
    built = build(short)
    rows, collate = DrawnRows(built.processor, ROWS), Collator(built.processor)
    return built.model, rows, collate


def test_the_loss_is_per_token_for_any_batch(parts):
    model, rows, collate = parts
    found = [
        mean_loss(model, share(rows, collate, args), ROWS, args) for args in map(Arguments, (1, 2, 3, 4, 10))
    ]
    assert found == pytest.approx([found[0]] * 5, rel=1e-5)
    with torch.no_grad():
        alone = [model(**collate([rows[k]]), num_items_in_batch=1).loss for k in range(ROWS)]
    tokens = sum(int((rows[k].labels != -100).sum()) for k in range(ROWS))
    assert found[0] == pytest.approx(float(sum(alone)) / tokens, rel=1e-5)


@pytest.mark.parametrize("size, world", [(1, 2), (2, 2), (4, 2), (1, 3), (8, 2)])
def test_every_row_counts_once_over_all_processes(size, world, parts, monkeypatch):
    """Each process's sums, added up by hand; all of them have as many batches."""
    model, rows, collate = parts
    one = Arguments(1)
    whole = mean_loss(model, share(rows, collate, one), ROWS, one)
    sums = []
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: world)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda total: sums.append(total.clone()))
    counts = set()
    for rank in range(world):
        args = Arguments(size, world, rank)
        batches = share(rows, collate, args)
        counts.add(len(batches))
        mean_loss(model.train(), batches, ROWS, args)
    total = sum(sums)
    assert len(counts) == 1
    assert float(total[0] / total[1]) == pytest.approx(whole, rel=1e-5)


def test_rows_of_a_batch_change_no_evaluation_of_a_run(short, rows_file, tmp_path):
    found = []
    for size in (1, 4):
        settings = replace(
            short,
            model=replace(short.model, choice="softmax"),
            data=replace(short.data, evaluate=(str(rows_file),)),
            run=replace(short.run, per_device=size, evaluate_every=1),
        )
        train(settings, tmp_path / str(size), log=lambda line: None, open_rows=open_drawn)
        record = read_losses(tmp_path / str(size) / "instruction/losses.jsonl")
        found.append([entry["eval_loss"] for entry in record if "eval_loss" in entry])
    assert len(found[0]) == 4
    assert found[0] == pytest.approx(found[1], rel=1e-5)
