"""Damaged videos: decoding in part gives what decoding everything gives, or says that it does not."""

from collections import Counter

import pytest

from benchmarks.mutants import PLANS, compare, damage, sample_videos

SEEDS = range(20)


@pytest.mark.slow
def test_a_thousand_damaged_videos_are_read_alike_both_ways(short_too):
    """Of 14 400 mutants 7 differ without a word; without a decoder that fails on damage it is eighty."""
    counts = Counter(
        compare(damage(video, seed), PLANS[seed % len(PLANS)])
        for video in sample_videos().values()
        for seed in SEEDS
    )
    assert counts["equal in part"] > 200
    assert counts["equal whole"] > 200
    silent = {result: count for result, count in counts.items() if result.startswith("silent")}
    assert sum(silent.values()) <= 1, silent
