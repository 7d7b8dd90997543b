"""What each method that reads the tower's attention is for: its idea holds, and fails on another input."""

import pytest
import torch

from bvllm.methods import METHODS
from bvllm.methods.merge_tokens.fastvid import FastVID
from bvllm.methods.merge_tokens.fopru import FoPruRows
from bvllm.methods.merge_tokens.holitom import HoliTom, best_windows
from bvllm.methods.merge_tokens.mustdrop import MustDrop
from bvllm.methods.merge_tokens.tome import ToMe
from bvllm.methods.merge_tokens.visionzip import VisionZip
from bvllm.methods.merge_tokens.vispruner import VisPruner
from bvllm.primitives.reduction import Reduction
from bvllm.stages.method import decide
from bvllm.types import Signals, Tokens

BY_ATTENTION = [name for name, m in METHODS["merge_tokens"].items() if "attention" in m.needs]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clip(frames=4, rows=4, columns=4, channels=8, seed=0):
    return Tokens.of(
        numbers(frames, rows * columns, channels, seed=seed), torch.arange(float(frames)), columns=columns
    )


def seen(tokens, seed=1):
    drawn = torch.Generator().manual_seed(seed)
    return Signals(
        attention=torch.rand(len(tokens), generator=drawn), keys=torch.randn(len(tokens), 4, generator=drawn)
    )


def made(plan):
    """The plan's weights as a matrix."""
    plan = plan if isinstance(plan, Reduction) else plan.reduction()
    matrix = torch.zeros(plan.outputs, plan.inputs)
    matrix[plan.output, plan.input] = plan.weight
    return matrix


@pytest.mark.parametrize("name", BY_ATTENTION)
def test_other_attention_keeps_other_tokens(name):
    """Noise in the place of attention chooses others; attention that grows makes a token stay."""
    tokens, method = clip(), METHODS["merge_tokens"][name]()
    kept = [set(decide(method, tokens, 16, seen(tokens, seed)).anchor.tolist()) for seed in (1, 2, 1)]
    assert kept[0] != kept[1]
    assert kept[0] == kept[2]
    signals = seen(tokens)
    signals.attention[[5, 40]] = 9.0
    assert {5, 40} <= set(decide(method, tokens, 16, signals).anchor.tolist())


@pytest.mark.parametrize(
    "name", ["fastervlm", "vtc_cls", "siglip_head", "fopru", "vispruner", "visionzip", "visiondrop"]
)
def test_every_frame_keeps_as_many(name):
    tokens = clip()
    signals = seen(tokens)
    signals.attention[:16] += (
        5  # the first frame's is far larger: pictures are not weighed against each other
    )
    plan = decide(METHODS["merge_tokens"][name](), tokens, 20, signals)
    assert torch.bincount(tokens.frame[plan.anchor]).tolist() == [5, 5, 5, 5]


def test_contextual_tokens_gather_what_has_like_keys():
    tokens = clip(frames=1)
    signals = seen(tokens)
    signals.keys[:] = torch.eye(4)[torch.arange(16) % 2]
    signals.attention[:] = torch.tensor([0.1] * 12 + [0.9] * 4)
    zipped = made(VisionZip(contextual=0.5).assign(tokens, 4, signals))
    dominant, contextual = zipped[:2], zipped[2:]
    assert dominant.nonzero().tolist() == [[0, 12], [1, 13]]
    centres = contextual.argmax(dim=1)
    for row, centre in zip(contextual, centres):  # only patches of the centre's kind
        assert ((row.nonzero()[:, 0] - centre) % 2 == 0).all()
    torch.testing.assert_close(contextual.sum(dim=1), torch.ones(2))
    released = made(VisionZip(contextual=0.5, released=True).assign(tokens, 4, signals))
    torch.testing.assert_close(released[2:], 2 * contextual)


def test_diverse_tokens_leave_copies_out():
    x = torch.eye(16)
    x[4:12] = x[4].clone()  # eight copies, four of which are dealt into the first set
    tokens, flat = Tokens.of(x[None], torch.zeros(1)), Signals(attention=torch.linspace(1.0, 0.9, 16))
    diverse = VisPruner(important=0.0).assign(tokens, 12, flat).anchor.tolist()
    assert sorted(set(range(16)) - set(diverse)) == [4, 6, 8, 10]
    important = VisPruner(important=1.0).assign(tokens, 9, flat).anchor.tolist()
    assert important == list(range(9))


def test_rows_stay_whole():
    tokens = clip(frames=1, rows=4, columns=5)
    signals = seen(tokens)
    signals.attention[10:15] += 2
    plan = FoPruRows().assign(tokens, 10, signals)
    rows = torch.bincount(tokens.row[plan.anchor], minlength=4).tolist()
    assert sorted(rows) == [0, 0, 5, 5]
    assert rows[2] == 5
    assert len(FoPruRows().assign(tokens, 7, signals)) == 7


def test_uniform_windows_merge_and_textured_ones_do_not():
    x = numbers(1, 36, 16)
    grid = x.view(6, 6, 16)
    grid[:3, 3:] = grid[0, 3]
    tokens = Tokens.of(x, torch.zeros(1))
    plan = MustDrop().assign(tokens, 30, Signals())
    joined = (plan.count(torch.ones(36)) == 9).nonzero()[:, 0]
    assert len(plan) == 28
    assert (plan.target == joined[0]).nonzero()[:, 0].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17]
    assert len(MustDrop(threshold=0.8).assign(tokens, 36, Signals())) == 28
    assert len(MustDrop().assign(tokens, 36, Signals())) == 36
    assert len(MustDrop().assign(tokens, 2, Signals())) <= 2
    wide = clip(frames=1, rows=2, columns=7)  # windows that the grid cuts off
    assert MustDrop().assign(wide, 9, Signals()).count(torch.ones(14)).sum() == 14


def test_what_stands_still_becomes_one_token_and_what_moves_stays():
    """Half of the picture stands still for four frames, then everything is new."""
    x = numbers(8, 16, 32)
    x[:4, :8] = x[0, :8]
    x[4:, :8] = x[4, :8]
    tokens = Tokens.of(x, torch.arange(8.0))
    signals = seen(tokens)
    whole = HoliTom().assign(tokens, 128, signals)  # room for all: nothing is lost but copies
    sizes = whole.count(torch.ones(128))
    assert sorted(sizes.tolist()) == [1.0] * 64 + [4.0] * 16
    assert sizes.sum() == 128
    torch.testing.assert_close(whole.combine(tokens.features)[:8], x[0, :8])
    shuffled = Tokens.of(x.flip(1)[:, torch.randperm(16)], torch.arange(8.0))
    shuffled.features[:] = numbers(128, 32, seed=5)
    assert (HoliTom().assign(shuffled, 128, signals).count(torch.ones(128)) == 1).all()
    few = decide(HoliTom(), tokens, 20, signals)
    assert len(few) == 20
    assert len(HoliTom(released=True).assign(tokens, 20, signals)) <= 20


def test_windows_are_the_best_of_all():
    still = numbers(6, 5, seed=3) > -0.4

    def saved(cut):
        return sum((b - a) * int(still[a:b].all(dim=0).sum()) for a, b in cut if b > a)

    def cuts(first):
        if first == 7:
            yield []
        for last in range(first, 7):
            for rest in cuts(last + 1):
                yield [(first, last), *rest]

    assert saved(best_windows(still)) == max(map(saved, cuts(0))) > 0


def test_windows_end_where_they_are_longest():
    assert best_windows(torch.ones(5, 2, dtype=torch.bool), longest=3) == [(0, 2), (3, 5)]


def test_anchors_gather_their_own_scene():
    """Two scenes: nothing of one goes into a token of the other, and each gives what it has anew."""
    x = numbers(8, 16, 16, seed=4) * 0.1
    x[:4] += numbers(16, seed=5)
    x[4:] += numbers(16, seed=6)
    tokens = Tokens.of(x, torch.arange(8.0))
    signals = seen(tokens)
    plan = FastVID(scenes=1).assign(tokens, 32, signals)
    matrix = made(plan)
    assert len(plan) == 32
    mixed = (matrix > 0).sum(dim=1) > 1
    assert mixed.any()
    assert not ((matrix[:, :64].sum(dim=1) > 1e-6) & (matrix[:, 64:].sum(dim=1) > 1e-6)).any()
    assert set(tokens.frame[plan.anchor[mixed]].tolist()) == {3, 7}  # every fourth frame, from the end
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(32))
    one = made(FastVID(scenes=1, tau=-1.0).assign(tokens, 32, signals))
    assert ((one[:, :64].sum(dim=1) > 1e-6) & (one[:, 64:].sum(dim=1) > 1e-6)).any()


# What a transcription of the authors' code gives for the same numbers, without the noise that two of them
# add to densities: the kept tokens, or one number for each token that is left.
VISPRUNER = [1, 5, 6, 12, 13, 14, 18, 19, 26, 29, 31, 32]
VISIONZIP = [
    -3.7556, -3.38, -2.5235, -1.0345, -0.7384, -0.5553, -0.0407, 1.5482, 3.1203, 3.1979, 3.3174, 3.4665
]  # fmt: skip
HOLITOM = [
    -4.0514, -1.2696, 0.2529, 0.8333, 1.5829, 1.6722, 1.6869, 1.9219, 2.2049, 2.2634, 2.5378, 2.6209, 2.6913,
    2.7321, 3.1141, 3.2792, 3.2951, 4.1973
]  # fmt: skip
FASTVID = [
    -4.8822, -4.3448, -4.033, -3.3382, -3.2911, -1.4954, -0.9599, -0.172, 0.1747, 1.6722, 1.797, 1.9601,
    2.2521, 2.2802, 2.6913, 2.7972, 3.2792, 3.3165, 3.3746, 3.5335, 3.5394, 3.557, 3.6055, 4.0564
]  # fmt: skip


def test_released_methods_give_what_the_released_code_gives():
    picture = clip(frames=1, rows=6, columns=6)
    assert VisPruner().assign(picture, 12, seen(picture)).anchor.tolist() == VISPRUNER
    x = numbers(6, 9, 8)
    video = Tokens.of(x[:1] + 0.3 * x, torch.arange(6.0))
    for method, tokens, want in (
        (VisionZip(released=True), picture, VISIONZIP),
        (HoliTom(released=True, tau=0.8), video, HOLITOM),
        (FastVID(released=True, scenes=2, tau=0.5), video, FASTVID),
    ):
        left = method.assign(tokens, len(want), seen(tokens)).combine(tokens.features)
        one_each = (left.double() * torch.linspace(0.5, 1.5, 8)).sum(dim=1).sort().values
        torch.testing.assert_close(one_each, torch.tensor(want).double(), atol=1e-4, rtol=0)


def test_tome_compares_keys_where_it_is_told_to():
    x, given = clip(1), Signals(keys=torch.eye(8).repeat_interleave(2, dim=0))
    plan = decide(ToMe(by="keys"), x, 8, given)
    assert plan.target.tolist() == [k // 2 for k in range(16)], "couples have equal keys"
    assert torch.equal(decide(ToMe(), x, 8, given).target, decide(ToMe(), x, 8, Signals()).target)
    assert plan.target.tolist() != decide(ToMe(), x, 8, given).target.tolist()
    with pytest.raises(ValueError, match='by must be "features" where no keys of the tower were read'):
        decide(ToMe(by="keys"), x, 8, Signals())
