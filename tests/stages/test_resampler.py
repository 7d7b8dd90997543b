"""What only the resampler has; what it shares with the Q-Former is tested in test_qformer.py."""

import pytest
import torch

from bvllm.stages.resampler import Resampler


def test_every_part_is_trained():
    reader = Resampler(6, 8, 3)
    reader(torch.randn(2, 5, 6)).queries.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in reader.parameters())


def test_queries_see_one_another():
    reader, states = Resampler(6, 8, 3, layers=1).eval(), torch.randn(1, 5, 6)
    before = reader(states).queries[0, 0]
    with torch.no_grad():
        reader.queries.weight[2] += torch.randn(8)
    assert not torch.allclose(reader(states).queries[0, 0], before, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"heads": 0}, {"layers": 0}])
def test_messages(wrong):
    with pytest.raises(ValueError, match=r"heads that divide its width 8, got layers=\d, heads=\d"):
        Resampler(6, 8, 3, **wrong)
