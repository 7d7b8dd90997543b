"""What a table costs: shared stages once for each seed, and nothing but the exam for numbers at inference."""

from dataclasses import replace

import pytest

from experiments.reproduction.reckoning import Seconds, core_minutes
from experiments.reproduction.scale import MINIATURE
from experiments.reproduction.table import Row, Table
from experiments.reproduction.variants import FULL, LEARNED, NO_SELECTION

ONE_STEP = replace(
    MINIATURE,
    matching_steps=1,
    selection=replace(MINIATURE.selection, steps=1),
    instruction=replace(MINIATURE.instruction, steps=1),
    reader_steps=3,
    questions=1,
)


@pytest.mark.parametrize(
    "variants, seconds",
    [
        ((FULL,), 1 + 10 + 100 + 8 * 0.5),
        ((FULL, FULL.at(frames=8)), 1 + 10 + 100 + 16 * 0.5),
        ((FULL, NO_SELECTION), 1 + 10 + 200 + 16 * 0.5),  # the pairing is shared, even frames are not learned
        ((LEARNED,), 1 + 40 + 100 + 8 * 0.5),
    ],
    ids=["one", "at inference", "shared", "a reader of its own"],
)
def test_a_table_is_reckoned_by_what_it_trains(variants, seconds):
    table = Table("t", "T", "", tuple(Row(v.name, v) for v in variants), ())
    found = core_minutes(table, ONE_STEP, 2, lambda variant: Seconds(1.0, 10.0, 100.0, 0.5))
    assert found == pytest.approx(2 * seconds / 60)
