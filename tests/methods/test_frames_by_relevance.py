"""Methods that choose frames: what each is for, by taking it away."""

import torch

from bvllm.methods.select_frames.dcode import DCoDeFrames
from bvllm.methods.select_frames.f2c import F2C
from bvllm.methods.select_frames.free_video import FreeVideoFrames
from bvllm.methods.select_frames.video_rag import VideoRAGFrames
from bvllm.stages.method import decide
from bvllm.types import Clip, Signals

T = 40


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kept(method, features, keep, relevance=None):
    clip = Clip(features, torch.arange(float(len(features))))
    return decide(method, clip, keep, Signals(relevance=relevance)).anchor.tolist()


def peaks(*at):
    """Relevance that is high about some frames."""
    t = torch.arange(float(T))
    return 0.1 + sum(height * (-((t - k) ** 2) / 4).exp() for k, height in at)


def test_dcode_adds_the_frames_that_evenly_spaced_ones_miss():
    features = noise(1, 16).repeat(T, 1) + 0.01 * noise(T, 16)
    even = kept(DCoDeFrames(even=1.0), features, 6)
    features[17] = features[26] = -features[0]
    assert not {17, 26} & set(even)
    found = set(kept(DCoDeFrames(even=0.7), features, 6))
    assert {0, 39} <= found
    assert {17, 26} & found, "once the first is kept, the other is like one that is kept"
    assert kept(DCoDeFrames(), features, 1) == [0]


def test_free_video_mixes_relevant_frames_with_evenly_spaced_ones():
    relevance = peaks((33, 1.0))
    found = kept(FreeVideoFrames(), noise(T, 8), 8, relevance)
    assert {0, 8, 16, 24, 32} <= set(found)
    assert {33, 34} <= set(found)
    assert not {33, 34} & set(kept(FreeVideoFrames(), noise(T, 8), 8, relevance.roll(15)))


def test_video_rag_keeps_what_stands_out_and_no_more():
    """CLIP's cosines of real frames lie between 0.15 and 0.35; scorers move them to 0..1."""
    relevance = (1 + 0.13 + 0.2 * peaks((10, 1.0))) / 2
    assert kept(VideoRAGFrames(), noise(T, 8), 20, relevance) == [9, 10, 11]
    assert kept(VideoRAGFrames(released=True), noise(T, 8), 20, 2 * relevance - 1) == [9, 10, 11]
    assert len(kept(VideoRAGFrames(), noise(T, 8), 2, relevance)) == 2
    assert len(kept(VideoRAGFrames(), noise(T, 8), 7, torch.ones(T))) == 7, "where nothing stands out"


def test_video_rag_takes_cosines_below_zero():
    """SigLIP's may sum to less than 0: every frame above 0 passed then, however little it stood out."""
    cosines = torch.full((T,), -0.01)
    cosines[:13], cosines[30], cosines[39] = 0.001, 0.3, -0.2
    assert float(cosines.sum()) < 0
    assert kept(VideoRAGFrames(), noise(T, 8), 20, (1 + cosines) / 2) == [30]


def test_f2c_keeps_runs_of_frames_about_different_moments():
    features = noise(T, 16)
    relevance = peaks((8, 1.0), (28, 0.9))
    found = kept(F2C(), features, 8, relevance)
    runs = [k for k in found if k - 1 not in found]
    assert len(runs) == 2
    assert {8, 28} <= set(found)
    assert not {8, 28} & set(kept(F2C(), features, 8, relevance.roll(12)))
    assert len(kept(F2C(), features, T - 1, relevance)) == T - 1


def test_f2c_does_not_take_two_anchors_of_one_sight():
    """Three peaks, two anchors: the middle one looks as the first, which is the more relevant of the two."""
    features = noise(3, 16)[torch.tensor([0] * 16 + [1] * 12 + [2] * 12)] + 0.01 * noise(T, 16, seed=1)
    features[16:28] = features[:12]
    found = kept(F2C(), features, 8, peaks((8, 1.0), (20, 0.9), (33, 0.8)))
    assert {8, 33} <= set(found)
    assert 20 not in found
    other = noise(T, 16)
    other[28:] = other[16:28]
    assert 20 in kept(F2C(), other, 8, peaks((8, 1.0), (20, 0.9), (32, 0.8)))
