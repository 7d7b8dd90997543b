"""Groups of rows: around peaks of density, and around means."""

import pytest
import torch

from bvllm.primitives.clusters import density_peaks, spherical_means


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def groups(count=4, each=12, spread=0.05):
    centres = noise(count, 6)
    return centres.repeat_interleave(each, dim=0) + spread * noise(count * each, 6, seed=1)


def agree(label, count=4, each=12):
    """Whether a label is one for each group, and another for each."""
    label = label.view(count, each)
    return bool((label == label[:, :1]).all()) and len(set(label[:, 0].tolist())) == count


def test_both_find_groups_that_are_there():
    x = groups()
    assert agree(density_peaks(x, 4).label)
    assert any(
        agree(spherical_means(x, 4, 50, 1e-4, torch.Generator().manual_seed(seed))) for seed in range(3)
    )
    assert not agree(density_peaks(noise(48, 6), 4).label)


def test_density_peaks_by_hand():
    """In numbers: the densest row, then the one farthest from any denser; a loop over all pairs."""
    x = noise(30, 4, seed=2)
    distance = torch.stack([(x - row).norm(dim=1) for row in x]) / 2
    density = [float((-distance[k].sort().values[:7].square().mean()).exp()) for k in range(30)]
    score = []
    for k in range(30):
        denser = [float(distance[k, j]) for j in range(30) if density[j] > density[k]]
        score.append(density[k] * min(denser, default=float(distance.max())))
    wanted = sorted(sorted(range(30), key=lambda k: -score[k])[:5])
    found = density_peaks(x, 5)
    assert found.centre.tolist() == wanted
    assert torch.equal(found.label, distance[:, wanted].argmin(dim=1))


def test_copies_of_one_row_are_still_as_many_groups_as_asked():
    found = density_peaks(torch.ones(5, 3), 3)
    assert len(found.centre) == 3
    assert sorted(set(found.label.tolist())) == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 6])
def test_a_number_of_groups_that_cannot_be_is_an_error(count):
    with pytest.raises(ValueError, match=rf"count must lie in 1..5, got {count}: ask for as many groups"):
        density_peaks(torch.ones(5, 3), count)


def test_means_go_by_direction_and_not_by_length():
    x = noise(40, 6)
    same, other = (
        spherical_means(x * scale, 5, 50, 1e-4, torch.Generator().manual_seed(3))
        for scale in (1.0, torch.linspace(0.1, 9.0, 40)[:, None])
    )
    assert torch.equal(same, other)


def test_more_rounds_bring_rows_nearer_to_their_means():
    x = noise(300, 6)

    def apart(rounds):
        label = spherical_means(x, 12, rounds, 0.0, torch.Generator().manual_seed(0))
        unit = x / x.norm(dim=1, keepdim=True)
        return sum(float((unit[label == k] - unit[label == k].mean(dim=0)).square().sum()) for k in range(12))

    assert apart(10) < apart(2) < apart(1)


def test_the_start_is_spread_out():
    """Of two tight groups of very different sizes, both are begun with nearly always."""
    x = torch.cat([noise(1, 6) + 1e-3 * noise(500, 6, seed=1), noise(2, 6, seed=5)[1:]])
    found = [
        len(set(spherical_means(x, 2, 1, 0.0, torch.Generator().manual_seed(seed)).tolist()))
        for seed in range(20)
    ]
    assert sum(label == 2 for label in found) == 20
    last = [spherical_means(x, 2, 1, 0.0, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert sum(int((label == label[-1]).sum()) == 1 for label in last) >= 18


def test_dense_rows_are_centres_at_any_scale():
    """Densities of rows far from each other all round to 0, and those of near ones to 1."""
    x = noise(50, 16)
    x[20:30] = x[20] + 0.3 * noise(10, 16, seed=1)
    wanted = density_peaks(x, 8).centre.tolist()
    for scale in (30.0, 1000.0):
        found = density_peaks(x * scale, 8).centre.tolist()
        assert set(found) & set(range(20, 30))
        assert found != list(range(8))
    assert set(wanted) & set(range(20, 30))


def test_rows_of_zeros_are_one_group():
    x = noise(64, 8)
    x[:40] = 0
    for seed in range(5):
        label = spherical_means(x, 12, 20, 1e-4, torch.Generator().manual_seed(seed))
        assert len(set(label[:40].tolist())) == 1
        assert len(set(label.tolist())) >= 11
