"""Methods that weigh frames against one another: what each is for, by taking it away."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from bvllm.methods.merge_tokens.dycoke import DyCoke
from bvllm.methods.merge_tokens.evs import EVS
from bvllm.methods.merge_tokens.grt import GRT
from bvllm.methods.merge_tokens.prunevid import PruneVid
from bvllm.methods.merge_tokens.red_villm import REDVILLM
from bvllm.methods.merge_tokens.slow_fast import SlowFast
from bvllm.methods.merge_tokens.stc import STCPruner
from bvllm.methods.merge_tokens.storm import STORMSampling
from bvllm.methods.merge_tokens.ts_llava import TSLLaVA
from bvllm.methods.merge_tokens.vidcom2 import VidCom2
from bvllm.methods.merge_tokens.vqtoken import VQToken
from bvllm.primitives.novelty import steady_channels
from bvllm.stages.method import NO_SIGNALS, decide
from bvllm.types import Signals, Tokens

N = 16


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def still(frames, seed=0, channels=8):
    """A picture that does not move, with a little noise of the camera."""
    return noise(1, N, channels, seed=seed).repeat(frames, 1, 1) + 1e-3 * noise(
        frames, N, channels, seed=seed + 1
    )


def tokens(frames):
    return Tokens.of(frames, torch.arange(float(len(frames))))


def kept(method, frames, keep, signals=NO_SIGNALS):
    return decide(method, tokens(frames), keep, signals).anchor.tolist()


def moved(frames, changes):
    """The same frames with other tokens at (frame, place)."""
    frames = frames.clone()
    for number, (frame, place) in enumerate(changes):
        frames[frame, place] = noise(frames.shape[-1], seed=100 + number)
    return frames


MOVES = [(1, 3), (3, 7)]


@pytest.mark.parametrize("method", [DyCoke(), EVS(), GRT(scene=0.5)])
def test_beside_a_whole_frame_the_tokens_that_moved_stay(method):
    frames = moved(still(4), MOVES)
    keep = N + 3  # in the frame after a move, the place moves back
    found = kept(method, frames, keep)
    assert found[:N] == list(range(N)), "the first frame stays whole"
    assert {frame * N + place for frame, place in MOVES} <= set(found)
    elsewhere = moved(still(4), [(frame, (place + 5) % N) for frame, place in MOVES])
    assert not {frame * N + place for frame, place in MOVES} <= set(kept(method, elsewhere, keep))


def test_dycoke_gives_each_compared_frame_as_much_and_evs_gives_where_things_change():
    frames = torch.cat([still(4), noise(4, N, 8, seed=9)])
    counts = {
        type(method): torch.bincount(torch.tensor(kept(method, frames, 56)) // N, minlength=8).tolist()
        for method in (DyCoke(), EVS())
    }
    assert counts[DyCoke] == [16, 4, 4, 4, 16, 4, 4, 4]
    assert counts[EVS][:4] == [16, 0, 0, 0]


def test_dycoke_widens_its_window_where_whole_frames_do_not_fit():
    counts = torch.bincount(torch.tensor(kept(DyCoke(), noise(8, N, 8), 30)) // N, minlength=8).tolist()
    assert counts == [16, 2, 2, 2, 2, 2, 2, 2]
    assert len(kept(DyCoke(), noise(8, N, 8), 5)) == 5


def test_dycoke_as_released_loses_an_odd_last_frame_and_leaves_the_last_window_wider():
    frames = noise(9, N, 8)
    here, there = (set(kept(DyCoke(released=r), frames, 96)) for r in (False, True))
    assert max(there) < 8 * N <= max(here)
    assert {k // N for k in there if there >= set(range(k // N * N, k // N * N + N))} == {0, 4}
    eight = torch.tensor(kept(DyCoke(released=True), noise(8, N, 8), 68)) // N
    assert torch.bincount(eight).tolist() == [16, 4, 4, 4, 16, 4, 16, 4]


def test_dycoke_as_released_fills_a_budget_with_the_lost_frame_alone():
    plan = torch.tensor(kept(DyCoke(released=True), noise(5, N, 8), 5 * N - 6)) // N
    assert torch.bincount(plan).tolist() == [N, N, N, N, N - 6]


def test_evs_thins_the_first_frame_where_not_even_that_fits():
    frames = moved(still(4), [(2, k) for k in range(6)])
    found = kept(EVS(), frames, 8)
    assert sum(k < N for k in found) == 2, "an equal share of four frames"
    assert sum(k // N == 2 for k in found) >= 3


def test_vidcom2_gives_more_to_the_frame_that_stands_out_and_keeps_what_is_uncommon_in_it():
    common = noise(8) + 0.1 * noise(4, N, 8, seed=1)
    frames = common.clone()
    odd = min(set(range(N, 2 * N)) - set(kept(VidCom2(), common, 20)))
    frames[1, odd - N] = noise(8, seed=50)
    frames[2] = -frames[2]
    found = torch.tensor(kept(VidCom2(), frames, 20))
    counts = torch.bincount(found // N, minlength=4)
    assert counts.argmax() == 2
    assert counts.sum() == 20
    assert counts.min() >= 1
    assert odd in found.tolist()
    assert torch.bincount(torch.tensor(kept(VidCom2(), still(4), 20)) // N).tolist() == [5] * 4


def test_stc_remembers_the_stream_and_keeps_what_is_new_to_it():
    """A token as in chunks before goes, whichever of the two tells this chunk's two halves apart."""
    old, new = noise(8, seed=1) * 3, noise(8, seed=2) * 3
    chunk = torch.cat([old.expand(1, N // 2, -1), new.expand(1, N // 2, -1)], dim=1) + 0.1 * noise(1, N, 8)
    method = STCPruner(chunk=1)
    memories = []
    for before in (old, new):
        state = None
        for number in range(5):
            past = tokens(before.expand(1, N, -1) + 0.1 * noise(1, N, 8, seed=number))
            state = method.remember(past, state)
        memories.append(kept(method, chunk, N // 2, Signals(state=state)))
    after_old, after_new = memories
    assert sum(k >= N // 2 for k in after_old) > N // 4 > sum(k >= N // 2 for k in after_new)
    assert method.remember(tokens(chunk), state).chunks == 6
    with pytest.raises(TypeError, match=r"state must be what STCPruner.remember gave, got str: keep one for"):
        method.remember(tokens(chunk), "mine")
    with pytest.raises(ValueError, match=r"chunk must be at least 1, got 0: 1 reads frame after frame"):
        STCPruner(chunk=0)


def test_stc_never_looks_ahead():
    clip, other = noise(8, N, 8) + 1, noise(8, N, 8, seed=1) + 1
    other[:4] = clip[:4]
    assert [k for k in kept(STCPruner(), clip, 80) if k < 4 * N] == [
        k for k in kept(STCPruner(), other, 80) if k < 4 * N
    ]


def test_stc_as_released_adds_up_channels_of_different_chunks():
    steady = noise(1, N, 8)
    first, second = steady * torch.tensor([9.0] * 4 + [0.1] * 4), steady * torch.tensor([0.1] * 4 + [9.0] * 4)
    states = [STCPruner(released=r).remember(tokens(first), None) for r in (True, False)]
    assert [len(state.total) for state in states] == [4, 8]
    after = STCPruner(released=True).remember(tokens(second), states[0])
    mixed = sum(x[0].mean(0)[steady_channels(x[0])] for x in (first, second))
    assert after.total.tolist() == pytest.approx(mixed.tolist(), abs=1e-5)


def test_stc_weighs_the_mean_of_the_frame_and_of_all_before():
    """Eq. 8 of its paper, by hand: what is least like both goes first into what is kept."""
    before, frame = noise(1, N, 8, seed=3), noise(1, N, 8, seed=4)
    state = STCPruner().remember(tokens(before), None)
    past = (before[0].mean(0) + frame[0].mean(0)) / 2
    for alpha in (0.0, 0.5, 1.0):
        to_past = cosine_similarity(frame[0], past[None])
        to_frame = cosine_similarity(frame[0], frame[0].mean(0)[None])
        novel = alpha * (1 - to_past) + (1 - alpha) * (1 - to_frame)
        found = kept(STCPruner(alpha=alpha), frame, 6, Signals(state=state))
        assert sorted(found) == sorted(novel.topk(6).indices.tolist())
    with pytest.raises(ValueError, match=r"alpha must lie in 0..1, got 2: 0.5 weighs both alike"):
        STCPruner(alpha=2)


def test_prunevid_averages_what_stands_still_over_its_scene_alone():
    frames = moved(torch.cat([still(4, seed=1), still(4, seed=5)]), [(k, 3) for k in range(8)])
    found = tokens(frames).reduce(decide(PruneVid(), tokens(frames), 60, Signals()))
    across = found.size[(found.row * 4 + found.column) != 3]
    assert len(found) == 38, "15 static places of two scenes, and one that moves in 8 frames"
    assert across.tolist() == [4.0] * 30
    jumpy = tokens(noise(8, N, 8))
    assert len(decide(PruneVid(), jumpy, 8 * N, Signals())) == 8 * N, "nothing stands still"
    fewer = tokens(frames).reduce(decide(PruneVid(), tokens(frames), 20, Signals()))
    assert len(fewer) == 20
    assert fewer.size.sum() == 8 * N, "clusters take in every token"


def test_prunevid_as_released_makes_its_own_number_of_clusters():
    frames = tokens(noise(8, N, 8))
    here, there = (len(decide(PruneVid(released=r), frames, 100, Signals())) for r in (False, True))
    assert (here, there) == (100, 64), "half of each frame's 16, whatever the budget has left"


def test_grt_makes_one_scene_of_what_comes_back():
    a, b = still(2, seed=1), still(2, seed=5)
    frames = torch.cat([a, b, a])
    plan = decide(GRT(), tokens(frames), 2 * N, Signals())
    assert plan.anchor.tolist() == [*range(N), *range(2 * N, 3 * N)]
    assert plan.count(torch.ones(6 * N)).tolist() == [4.0] * N + [2.0] * N
    assert len(decide(GRT(), tokens(frames), N, Signals())) == N, "two scenes become one"
    assert len(decide(GRT(), tokens(frames), 3, Signals())) == 3, "and one key frame is merged"


def test_storm_keeps_whole_frames_at_even_steps():
    assert kept(STORMSampling(), noise(6, N, 8), 40) == [*range(N), *range(3 * N, 4 * N)]


def test_ts_llava_shows_every_part_of_the_clip_and_six_frames_as_a_whole():
    frames = tokens(noise(12, N, 8))
    plan = decide(TSLLaVA(), frames, 48, Signals())
    whole = plan.weight < 1
    assert len(plan) == 48
    assert {int(k) // N for k in plan.input[whole]} == {0, 2, 4, 7, 9, 11}
    spread = plan.input[~whole]
    assert spread.diff().max() <= 6
    assert spread[[0, -1]].tolist() == [0, 12 * N - 1]


def test_slow_fast_averages_four_frames_and_never_fewer_than_it_needs():
    frames = tokens(noise(64, N, 8))
    plan = decide(SlowFast(), frames, 32, Signals())
    spans = plan.span(frames.seconds)
    assert (spans[:, 1] - spans[:, 0]).tolist() == [3.0] * 32
    short = decide(SlowFast(), tokens(noise(8, N, 8)), 32, Signals())
    assert (short.span(tokens(noise(8, N, 8)).seconds).diff(dim=1) == 0).all(), "16 frames are left at least"
    assert len(decide(SlowFast(), frames, 900, Signals())) == 900


def test_red_villm_pools_over_time_and_over_space():
    frames = noise(5, N, 8)
    plan = decide(REDVILLM(), tokens(frames), 80, Signals())
    made = plan.combine(tokens(frames).features)
    for wanted in (*frames.mean(dim=0), *frames.mean(dim=1)):
        assert (made - wanted).norm(dim=1).min() < 1e-5
    assert len(plan) == 5 + N
    assert [len(decide(REDVILLM(), tokens(frames), keep, Signals())) for keep in (1, 7)] == [1, 7]


@pytest.mark.parametrize("keep", [11, 13, 14, 29, 31, 53])
def test_red_villm_pools_a_prime_share_of_places_to_a_near_square(keep):
    """One long row of cells would lose what is up and what is down."""
    frames = tokens(noise(5, 64, 8))
    plan = decide(REDVILLM(), frames, keep, Signals())
    assert 0.75 * keep <= len(plan) <= keep
    column = torch.zeros(64)
    column[::8] = 1  # the left edge: its mean in a cell says how many columns the grid has
    edges = plan.combine(column.repeat(5)[:, None])[:, 0]
    rows = len(edges[edges > 1 / 8 + 1e-4])
    assert rows > 1, "more than one row of places"


def test_vqtoken_finds_the_groups_that_are_there_and_loses_norms_only_as_released():
    groups = noise(3, 8, seed=4)
    frames = groups[torch.arange(4 * N) % 3].view(4, N, 8) * (1 + torch.arange(4.0).view(4, 1, 1))
    same = tokens(frames)
    plan = decide(VQToken(), same, 3, Signals(seed=1))
    assert len(set(zip(plan.target.tolist(), (torch.arange(4 * N) % 3).tolist()))) == 3
    norms = [
        same.reduce(decide(VQToken(released=r), same, 3, Signals(seed=1))).features.norm(dim=1)
        for r in (False, True)
    ]
    torch.testing.assert_close(norms[1], torch.ones(3))
    assert (norms[0] / groups.norm(dim=1).mean() > 1.5).any()
    scrambled = tokens(noise(4, N, 8))
    assert len(decide(VQToken(), scrambled, 9, Signals())) <= 9
