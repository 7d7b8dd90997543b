"""Methods that decide about one frame after another: what each is for, by taking it away."""

import pytest
import torch
from torch.nn import functional

from bvllm.methods.merge_tokens.aim import AIM
from bvllm.methods.merge_tokens.catp import CATP
from bvllm.methods.merge_tokens.dcode import DCoDeTokens
from bvllm.methods.merge_tokens.fourier import FourierVLM
from bvllm.methods.merge_tokens.free_video import FreeVideoCrop
from bvllm.methods.sample_tokens.grid_pool import GridPool
from bvllm.stages.method import NO_SIGNALS, decide
from bvllm.types import Signals, Tokens


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(method, frames, keep, signals=NO_SIGNALS, columns=None):
    tokens = Tokens.of(frames, torch.arange(float(len(frames))), columns=columns)
    return tokens.reduce(decide(method, tokens, keep, signals))


def test_aim_merges_pairs_within_a_frame_and_forgets_sizes_only_as_released():
    frames = torch.eye(8)[torch.arange(16) // 2].view(1, 16, 8).repeat(2, 1, 1)
    halved = made(AIM(), frames, 16)
    assert halved.features.amax(dim=1).tolist() == [1.0] * 16, "copies become one, and nothing else"
    assert halved.size.tolist() == [2.0] * 16
    # Three of four become one in the first round: their mean counts three times in the second, or once.
    row = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 0.0, 9.0], [1.0, 0.4, 0.0]])[None]
    by_size, by_mean = (made(AIM(released=r), row, 1) for r in (False, True))
    torch.testing.assert_close(by_size.features[0], row[0].mean(dim=0))
    torch.testing.assert_close(by_mean.features[0], (row[0, :3].mean(dim=0) + row[0, 3]) / 2)
    assert by_size.size.tolist() == by_mean.size.tolist() == [4.0]


def test_fourier_keeps_slow_waves_and_drops_fast_ones():
    place = (torch.arange(16) + 0.5) * torch.pi / 16
    slow, fast = torch.cos(2 * place), torch.cos(13 * place)
    columns = torch.stack([slow, fast], dim=1).expand(16, 16, 2).reshape(1, 256, 2)
    few = made(FourierVLM(), columns, 64).features.view(8, 8, 2)
    wanted = torch.cos(2 * (torch.arange(8) + 0.5) * torch.pi / 8)
    torch.testing.assert_close(few[..., 0], wanted.expand(8, 8), rtol=0, atol=1e-5)
    assert few[..., 1].abs().max() < 1e-5
    pooled = functional.adaptive_avg_pool2d(columns.view(16, 16, 2).permute(2, 0, 1), 8)
    assert pooled[1].abs().max() > 0.1, "a mean of neighbours lets some of it through"


def test_fourier_lies_as_the_grid_does():
    upright = noise(1, 32, 3).view(1, 8, 4, 3)
    across = upright.transpose(1, 2)
    few = made(FourierVLM(), upright.reshape(1, 32, 3), 8, columns=4).features.view(4, 2, 3)
    turned = made(FourierVLM(), across.reshape(1, 32, 3), 8, columns=8).features.view(2, 4, 3)
    torch.testing.assert_close(few, turned.transpose(0, 1))


@pytest.mark.parametrize("method", [FourierVLM(), GridPool()])
@pytest.mark.parametrize("keep", [5, 7, 11, 13, 17, 23, 29, 31, 37])
def test_a_prime_share_becomes_a_near_square(method, keep):
    """Fourier-VLM's grids are k x k: a row of 13 would hold the waves of one direction alone."""
    down = torch.arange(8.0).repeat_interleave(8)
    frame = torch.stack([down, torch.arange(8.0).repeat(8)], dim=1)[None]
    cut = made(method, frame, keep)
    assert 0.75 * keep <= len(cut.features) <= keep
    across = [len(values.round(decimals=2).unique()) for values in cut.features.T]
    assert across[0] * across[1] == len(cut.features)
    assert max(across) <= 2 * min(across)


def test_grid_pool_means_cells_and_spends_equal_shares():
    frames = noise(3, 64, 4)
    cut = made(GridPool(), frames, 3 * 16)
    pooled = functional.adaptive_avg_pool2d(frames.view(3, 8, 8, 4).permute(0, 3, 1, 2), 4)
    torch.testing.assert_close(cut.features, pooled.permute(0, 2, 3, 1).reshape(48, 4))
    assert len(made(GridPool(), frames, 64 * 3).features) == 192, "all of them where they fit"


def test_dcode_keeps_the_strongest_and_makes_one_of_what_is_alike():
    frame = torch.eye(8)[None] * torch.tensor([1.0, 5, 2, 4, 1, 3, 1, 1]).view(1, 8, 1)
    assert made(DCoDeTokens(), frame, 3).column.tolist() == [1, 3, 5]
    frame[0, 3] = frame[0, 1] * 0.9
    merged = made(DCoDeTokens(), frame, 3)
    assert (merged.column.tolist(), merged.size.tolist()) == ([1, 5], [2.0, 1.0])
    torch.testing.assert_close(merged.features[0], frame[0, [1, 3]].mean(dim=0))


def test_dcode_as_released_drops_a_token_in_favour_of_one_that_is_gone():
    """b is like a, and c like b but not like a: c leads its own group, unless the code's b takes it along."""
    angle = torch.tensor([0.0, 0.5, 1.0])
    frame = torch.stack([angle.cos(), angle.sin()], dim=1)[None] * torch.tensor([3.0, 2.0, 1.0]).view(1, 3, 1)
    paper, code = (made(DCoDeTokens(released=r), frame, 3).features for r in (False, True))
    torch.testing.assert_close(paper, torch.stack([frame[0, :2].mean(dim=0), frame[0, 2]]))
    torch.testing.assert_close(code, frame[0, :2].mean(dim=0)[None])


def test_the_crop_follows_the_question():
    frame = torch.zeros(1, 64, 2)
    frame[..., 0] = 1
    rows = torch.arange(64) // 8
    frame[0, rows >= 4] = torch.tensor([0.0, 1.0])
    above, below = (
        made(FreeVideoCrop(region=0.25), frame, 8, Signals(question=q[None])).row
        for q in torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    )
    assert above.max() < below.max()
    assert above.min() < below.min()
    uses = [
        decide(
            FreeVideoCrop(region=0.25), Tokens.of(frame, torch.zeros(1)), 8, Signals(question=q[None])
        ).used
        for q in torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    ]
    assert uses[0].sum() == uses[1].sum() == 16, "a quarter of the frame"


def test_the_crop_as_released_is_no_rectangle_of_the_picture():
    frame, ask = noise(1, 64, 8), Signals(question=noise(2, 8, seed=3))
    shapes = []
    for released in (False, True):
        used = decide(FreeVideoCrop(0.3, released), Tokens.of(frame, torch.zeros(1)), 8, ask).used.view(8, 8)
        rows, columns = used.any(dim=1), used.any(dim=0)
        shapes.append(bool((used == rows[:, None] & columns).all()))
    assert shapes == [True, False]


def test_catp_goes_by_the_question_and_by_what_is_kept_already():
    groups = torch.eye(4)[torch.arange(16) % 4].view(1, 16, 4) + 0.01 * noise(1, 16, 4)
    asked = Signals(question=torch.eye(4)[2:3])
    kept = made(CATP(), groups, 4, asked)
    assert sorted((kept.row * 4 + kept.column).remainder(4).tolist()) == [0, 1, 2, 3], (
        "one of each, and no copy"
    )
    one = made(CATP(), groups, 1, asked)
    assert int(one.column) == 2
    close = made(CATP(alignment=50.0), groups, 4, asked)
    assert close.column.tolist() == [2] * 4, "likeness alone takes copies"
