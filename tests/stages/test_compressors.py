"""Compressors: so many tokens of a frame, each made of what its plan says."""

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from bvllm.stages.compressors import COMPRESSORS, build_compressor
from bvllm.stages.compressors.pool import PoolCompressor
from bvllm.stages.frame_grids import Grid

NATIVE = Grid(6, 4)
GRIDS = [Grid(2, 3), NATIVE, Grid(1, 1), Grid(2, 3)]


@pytest.fixture
def patches():
    return torch.randn(4, NATIVE.cells, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", COMPRESSORS)
def test_every_frame_gets_its_count_whatever_stands_beside_it(name, patches):
    torch.manual_seed(0)
    compress = build_compressor(name, 8, NATIVE.cells).eval()
    made = compress(patches, GRIDS, NATIVE)
    assert [len(one.features) for one in made] == [grid.cells for grid in GRIDS]
    alone = [compress(frame[None], [grid], NATIVE)[0] for frame, grid in zip(patches, GRIDS)]
    for one, other, frame in zip(made, alone, patches):
        torch.testing.assert_close(one.features, other.features)
        torch.testing.assert_close(one.plan.combine(frame), one.features)  # the plan tells the truth


def test_pooling_is_torchs_own(patches):
    [one, *_] = build_compressor("pool", 8, NATIVE.cells)(patches, GRIDS, NATIVE)
    picture = patches[0].T.reshape(8, *NATIVE)
    torch.testing.assert_close(one.features, adaptive_avg_pool2d(picture, (2, 3)).flatten(1).T)


def test_merging_joins_what_is_alike_and_loses_nothing(patches):
    patches[0, :12] = patches[0, 0]
    [one, *_] = build_compressor("merge", 8, NATIVE.cells)(patches[:1], [Grid(6, 3)], NATIVE)
    sizes = one.plan.count(torch.ones(NATIVE.cells))
    assert float(sizes.sum()) == NATIVE.cells
    joined = one.plan.input[sizes[one.plan.output] > 1]
    assert len(joined) > 6
    assert int(joined.max()) < 12  # equals, and nothing else


def test_pruning_keeps_the_highest_scores_and_another_frames_scores_keep_others(patches):
    torch.manual_seed(0)
    prune = build_compressor("prune", 8, NATIVE.cells).eval()
    kept = [one.plan.input for one in prune(patches, [Grid(2, 2)] * 4, NATIVE)]
    scores = prune.scorer(patches)[..., 0]
    for chosen, score in zip(kept, scores):
        assert score[chosen].min() >= score.topk(4).values.min()
    assert kept[0].tolist() != kept[1].tolist()
    swapped = patches[0][kept[1]]
    assert not torch.allclose(swapped, patches[0][kept[0]])


def test_pruning_draws_in_training_and_its_scorer_learns(patches):
    torch.manual_seed(0)
    prune = build_compressor("prune", 8, NATIVE.cells).train()
    first, second = (prune(patches, [Grid(2, 2)] * 4, NATIVE) for _ in range(2))
    assert any(a.plan.input.tolist() != b.plan.input.tolist() for a, b in zip(first, second))  # noise
    torch.cat([one.features for one in first]).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in prune.scorer[1].parameters())


@pytest.mark.parametrize("grid", [Grid(1, 1), Grid(2, 3), Grid(5, 4), NATIVE])
def test_pruning_gives_patches_in_training_as_large_as_at_inference(grid, patches):
    torch.manual_seed(0)
    prune = build_compressor("prune", 8, NATIVE.cells).train()
    for one, frame in zip(prune(patches, [grid] * 4, NATIVE), patches):
        torch.testing.assert_close(one.features, frame[one.plan.input])
    if grid == NATIVE:  # nothing is left to choose, so training and inference give the same
        trained = [one.features for one in prune(patches, [grid] * 4, NATIVE)]
        prune.eval()
        for one, other in zip(prune(patches, [grid] * 4, NATIVE), trained):
            torch.testing.assert_close(one.features, other)


def test_pruning_learns_to_keep_what_matters():
    torch.manual_seed(0)
    prune = build_compressor("prune", 4, NATIVE.cells).train()
    optimizer = torch.optim.Adam(prune.parameters(), lr=0.02)
    for _ in range(60):  # the answer stands in one patch, marked by its second channel
        x, place = torch.randn(16, 9, 4), torch.randint(0, 9, (16,))
        x[torch.arange(16), place, 1] = 4.0
        wanted = x[torch.arange(16), place, 0]
        made = prune(x, [Grid(1, 2)] * 16, Grid(3, 3))
        seen = torch.stack([one.features[:, 0].sum() for one in made])
        optimizer.zero_grad()
        (seen - wanted).square().mean().backward()
        optimizer.step()
    prune.eval()
    x, place = torch.randn(64, 9, 4), torch.randint(0, 9, (64,))
    x[torch.arange(64), place, 1] = 4.0
    found = [
        int(p) in one.plan.input.tolist() for p, one in zip(place, prune(x, [Grid(1, 2)] * 64, Grid(3, 3)))
    ]
    assert sum(found) / 64 > 0.6  # two of nine by chance is 0.22


def test_what_is_kept_from_an_answer_serves_training():
    """Weights of cells that were first asked for in inference mode take part in a backward pass."""
    grid, native = Grid(2, 5), Grid(7, 5)
    with torch.inference_mode():
        PoolCompressor()(torch.ones(1, 35, 2), [grid], native)
    patches = torch.ones(1, 35, 2, requires_grad=True)
    [row] = PoolCompressor()(patches, [grid], native)
    row.features.sum().backward()
    assert patches.grad is not None


def test_the_first_queries_give_the_same_whether_more_follow(patches):
    torch.manual_seed(0)
    compress = build_compressor("queries", 8, NATIVE.cells).eval()
    few, many = (compress(patches[:1], [grid], NATIVE)[0].features for grid in (Grid(2, 2), NATIVE))
    torch.testing.assert_close(few, many[:4])
    spread = many.std(dim=0).mean()
    assert spread > 0.2 * patches[0].std(dim=0).mean()  # they do not all read one mean


def test_queries_learn_to_look_where_the_loss_wants_them():
    """The first query has to give the patch that is marked, wherever it lies."""
    torch.manual_seed(0)
    compress = build_compressor("queries", 8, 9).train()
    optimizer = torch.optim.Adam(compress.parameters(), lr=0.03)
    drawn = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(150):
        frames = torch.randn(32, 9, 8, generator=drawn)
        marked = torch.randint(9, (32,), generator=drawn)
        frames[torch.arange(32), marked, 0] = 6.0
        made = compress(frames, [Grid(1, 1)] * 32, Grid(3, 3))
        wanted = frames[torch.arange(32), marked]
        loss = (torch.stack([one.features[0] for one in made]) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
