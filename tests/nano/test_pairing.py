"""Pairs, the cheapest first."""

import numpy as np

from bvllm.nano.pairing import pair


def test_each_token_tells_of_one_thing_and_the_asked_come_first():
    cost = np.array([[0.1, 5.0, 0.2], [0.3, 6.0, 0.1]], np.float32)
    tokens, things = pair(cost, first=0)
    assert dict(zip(tokens.tolist(), things.tolist(), strict=True)) == {0: 0, 1: 2}
    tokens, things = pair(cost, first=2)  # the second thing is asked about, however unlike it is
    assert dict(zip(things.tolist(), tokens.tolist(), strict=True)) == {0: 0, 1: 1}
    tokens, things = pair(cost.T, first=1)
    assert len(set(tokens.tolist())) == len(set(things.tolist())) == 2
