"""Damaged videos: decoding in part gives what decoding everything gives, or says that it does not."""

from collections import Counter

import pytest

from benchmarks.mutants import PLANS, compare, damage, sample_videos

# 6, 10 and 55 are those below 60 at which a decoder that does not fail on damage differs without a word.
FEW, MANY = (0, 6, 10, 55), range(60)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds, fewest, silent",
    [(FEW, 40, 0), pytest.param(MANY, 600, 1, marks=pytest.mark.evidence)],
    ids=["few", "many"],
)
def test_damaged_videos_are_read_alike_both_ways(seeds, fewest, silent, short_too):
    """Of 14 400 mutants 7 differ without a word; without a decoder that fails on damage it is eighty."""
    counts = Counter(
        compare(damage(video, seed), PLANS[seed % len(PLANS)])
        for video in sample_videos().values()
        for seed in seeds
    )
    assert counts["equal in part"] > fewest
    assert counts["equal whole"] > fewest
    differ = {result: count for result, count in counts.items() if result.startswith("silent")}
    assert sum(differ.values()) <= silent, differ
