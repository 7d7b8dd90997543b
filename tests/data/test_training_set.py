"""Batches for training: invalid rows replaced, ranks and workers without doubles, and resuming."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from bvllm.data.budget import RandomBudget
from bvllm.data.collate import Collator
from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.mixture import Mixture, RowSet
from bvllm.data.readers import RowFile
from bvllm.data.training_set import OrderSampler, TrainingSet, check_rows
from tests.data.rows import llava, picture, video, write
from tests.model import tiny

COLOURS = "red blue green".split()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Twelve rows: text, images, videos, and three bad ones of different kinds."""
    folder = tmp_path_factory.mktemp("rows")
    picture(folder / "a.png")
    video(folder / "b.mp4", frames=6)
    (folder / "cut.avi").write_bytes(video(folder / "d.avi", frames=60).read_bytes()[:-2000])
    said = [
        llava("what is red ?", "the star"),
        llava("<image>\nwhich ?", "blue", image="a.png"),
        llava("<video>\nwhich ?", "green", video="b.mp4"),
    ] * 3
    bad = [
        llava("what ?"),
        llava("<video>\nwhat ?", "x", video="cut.avi"),
        llava("<image>\nwhat ?", "x", image="no.png"),
    ]
    return RowFile(write(folder / "rows.json", said[:5] + bad + said[5:]))


def training_set(rows, log=None, **settings):
    return TrainingSet(Mixture([RowSet("all", rows)]), Encoder(tiny.processor()), log, **settings)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def batches(dataset, sampler, size=2, **settings):
    collate = Collator(dataset.encoder.processor)
    return list(DataLoader(dataset, size, sampler=sampler, collate_fn=collate, **settings))


def test_a_bad_row_is_replaced_and_counted_once(rows):
    log = InvalidRowLog()
    dataset = training_set(rows, log)
    for position in range(3 * len(dataset)):
        assert (dataset[position].labels != -100).any()
    assert sorted(fault.kind for fault in log.faults()) == ["missing", "no_answer", "truncated"]
    assert log.summary(len(rows)).startswith("3 of 12 rows left out: ")
    assert all("rows.json:" in fault.where for fault in log.faults())


def test_a_bad_row_is_fatal_where_asked(rows):
    dataset = training_set(rows, InvalidRowLog("raise"))
    with pytest.raises(InvalidRow):
        [dataset[position] for position in range(len(dataset))]


def test_a_set_of_nothing_but_bad_rows_is_given_up(tmp_path):
    dataset = training_set(RowFile(write(tmp_path / "rows.json", [llava("what ?")] * 3)))
    with pytest.raises(
        ValueError, match="part 'all' must hold good rows, got 100 bad ones in a row: mend it"
    ):
        dataset[0]


def test_workers_give_what_one_process_gives_and_tell_of_bad_rows(rows, tmp_path):
    alone, log = batches(training_set(rows), OrderSampler(12)), InvalidRowLog(path=tmp_path / "bad.jsonl")
    helped = batches(training_set(rows, log), OrderSampler(12), num_workers=2)
    assert len(alone) == len(helped) == 6
    assert all(map(same, alone, helped))
    assert sorted(fault.kind for fault in log.faults()) == ["missing", "no_answer", "truncated"]


def test_a_resumed_run_sees_what_the_uninterrupted_one_sees(rows):
    whole = batches(training_set(rows), OrderSampler(32))  # over two epochs and a half
    sampler = OrderSampler(32)
    dataset = training_set(rows)
    state = dataset.state_dict()
    again = training_set(rows)
    again.load_state_dict(state)
    for done in (2, 10, 26, 32):
        sampler.go_on_at(done)
        assert all(map(same, whole[done // 2 :], batches(again, sampler)))
        assert len(sampler) == 32 - done


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 12), st.data())
def test_ranks_share_all_positions_and_a_resume_goes_on(world, steps, data):
    rows = world * steps
    done = world * data.draw(st.integers(0, steps))
    ranks = [OrderSampler(rows, rank=r, world=world) for r in range(world)]
    before = [iter(sampler) for sampler in ranks]
    seen = [next(given) for _ in range(done // world) for given in before]
    for old in ranks:
        new = OrderSampler(rows, rank=old.rank, world=world)
        new.load_state_dict(old.state_dict())
        rest = list(new)
        assert len(rest) == (rows - done) // world
        seen += rest
    assert sorted(seen) == list(range(rows))


def test_all_rows_of_a_step_share_a_random_budget(rows):
    draw = RandomBudget(2, 9, seed=3)
    dataset = training_set(rows, budget=draw, rows_per_step=4)
    model = tiny.model(merge_frames=False)
    budgets = set()
    for step in range(6):
        model.config.budget_tokens = draw.at(step)
        budgets.add(draw.at(step))
        made = Collator(dataset.encoder.processor)([dataset[4 * step + k] for k in range(4)])
        slots = (made["input_ids"] == tiny.VIDEO_ID).sum(1)
        assert int(slots.max()) <= draw.at(step)
        assert torch.isfinite(model(**made).loss)
    assert len(budgets) > 2


def test_rows_can_be_checked_before_training(rows):
    quick, thorough = InvalidRowLog(), InvalidRowLog()
    assert check_rows(rows, quick) == 10
    assert check_rows(rows, thorough, Encoder(tiny.processor())) == 9
    assert sorted(fault.kind for fault in quick.faults()) == ["missing", "no_answer"]
    assert sorted(fault.kind for fault in thorough.faults()) == ["missing", "no_answer", "truncated"]


def test_wrong_use(rows):
    for wrong in ({"budget": RandomBudget(2, 3)}, {"rows_per_step": 4}):
        with pytest.raises(ValueError, match="rows_per_step must be at least 1 and go with a budget, got"):
            training_set(rows, **wrong)
    with pytest.raises(ValueError, match="rows must be a positive multiple of 3 ranks, got 8: use steps x"):
        OrderSampler(8, world=3)
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.world - 1, got 2 of 2: count ranks from 0"):
        OrderSampler(8, rank=2, world=2)
    with pytest.raises(ValueError, match=r"position must be a multiple of 2 in 0\.\.8, got 3: use steps x"):
        OrderSampler(8, world=2).go_on_at(3)
