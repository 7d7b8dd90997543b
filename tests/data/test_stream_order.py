"""A stream by position: the same place, the same row, whoever asks and whatever was read before."""

from itertools import islice

import pytest
from torch.utils.data import DataLoader

from bvllm.data.encode import Encoder
from bvllm.data.faults import InvalidRow, InvalidRowLog
from bvllm.data.hub import HubSource
from bvllm.data.streams import StreamOrder
from bvllm.data.training_set import OrderSampler, TrainingSet
from tests.data.rows import llava
from tests.model import tiny

WORDS = "red blue green star is the where end".split()


def rows(count, *bad):
    """Rows that name themselves; those in `bad` have no answer."""
    return [
        llava("what ?", *([] if k in bad else [f"the {WORDS[k % 8]}"]), id=str(k), number=k)
        for k in range(count)
    ]


def order(of=None, **settings):
    return StreamOrder(
        HubSource(rows(10) if of is None else of, "hub"),
        "hub",
        **{"rows": 40, "window": 4, "seed": 3, **settings},
    )


def ids(stream, places):
    return [next(stream.candidates(place)).id for place in places]


def test_the_same_place_has_the_same_row():
    whole = ids(order(), range(40))
    assert ids(order(), range(17, 40)) == whole[17:]  # a run that goes on
    assert ids(order(), (30, 2, 2, 11, 3)) == [whole[k] for k in (30, 2, 2, 11, 3)]
    for rank in range(2):
        assert ids(order(), range(rank, 40, 2)) == whole[rank::2]


def test_an_epoch_has_each_row_once_in_an_order_of_its_own():
    epochs = [ids(order(), range(first, first + 10)) for first in (0, 10, 20)]
    assert all(sorted(epoch, key=int) == [str(k) for k in range(10)] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {int(name) // 4 for name in epochs[0][:4]} == {0}  # within a window of four
    assert ids(order(window=1), range(12)) == [*map(str, range(10)), "0", "1"]
    assert ids(order(seed=4), range(10)) != epochs[0]


def test_the_next_good_row_takes_a_bad_ones_place():
    log = InvalidRowLog()
    stream = order(rows(10, 3, 4), window=1)
    dataset = TrainingSet(stream, Encoder(tiny.processor()), log)
    labels = [dataset[place].labels.tolist() for place in range(10)]
    alone = TrainingSet(order(rows(10, 3, 4), window=1), dataset.encoder)
    assert labels[3] == labels[4] == labels[5] != labels[6]
    assert alone[4].labels.tolist() == labels[4]  # whatever was read before
    assert [fault.where for fault in log.faults()] == ["hub (row 3)", "hub (row 4)"]
    assert isinstance(next(islice(stream.candidates(3), 1)), InvalidRow)


def test_only_the_rows_that_are_asked_for_are_encoded():
    dataset, seen = TrainingSet(order(), Encoder(tiny.processor())), []
    encode = dataset.encoder
    dataset.encoder = lambda row, *rest: (seen.append(row.id), encode(row, *rest))[1]
    for place in range(21, 33, 3):
        dataset[place]
    assert seen == ids(order(), range(21, 33, 3))


def batches(workers, first=0):
    sampler = OrderSampler(24)
    sampler.go_on_at(first)
    dataset = TrainingSet(order(rows(10, 5)), Encoder(tiny.processor()))
    dataset[0]  # the parent has read before it forks
    loader = DataLoader(
        dataset, 3, sampler=sampler, num_workers=workers, collate_fn=lambda all_: [e.labels for e in all_]
    )
    return [[labels.tolist() for labels in batch] for batch in loader]


def test_workers_give_what_one_process_gives():
    alone = batches(0)
    assert batches(2) == alone
    assert batches(2, first=9) == alone[3:]


def test_it_goes_on_in_its_own_order_only():
    order().load_state_dict(order().state_dict())
    with pytest.raises(ValueError, match=r"the stream must be the one that the run began with, .+, got .+: "):
        order(seed=4).load_state_dict(order().state_dict())


def test_wrong_use():
    for wrong in ({"window": 0}, {"rows": 0}):
        with pytest.raises(ValueError, match=r"window and rows of a stream must be at least 1, got \d+ and"):
            order(**wrong)
    with pytest.raises(ValueError, match="stream 'hub' must hold rows, got none: name another"):
        next(order([]).candidates(0))
    dataset = TrainingSet(order(rows(5, *range(5))), Encoder(tiny.processor()))
    with pytest.raises(ValueError, match="part 'hub' must hold good rows, got 100 bad ones in a row: mend"):
        dataset[0]
