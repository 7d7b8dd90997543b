"""Frames that bear on the question and differ: what each part of the kernel is for, by taking it away."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bvllm.methods.select_frames.relevant import RelevantFrames, greedy_mode
from bvllm.types import Clip, Signals

T = 300


def video(seed: int = 0) -> tuple[Clip, torch.Tensor]:
    """Five minutes: a scene every ten seconds, of which two bear on the question."""
    generator = torch.Generator().manual_seed(seed)
    scenes = torch.randn(T // 10, 16, generator=generator)
    features = scenes.repeat_interleave(10, dim=0) + 0.1 * torch.randn(T, 16, generator=generator)
    relevance = 0.5 + 0.02 * torch.randn(T, generator=generator)
    relevance[40:50] += 0.2
    relevance[210:220] += 0.18
    return Clip(features, torch.arange(float(T))), relevance


def chosen(method: RelevantFrames, clip: Clip, relevance: torch.Tensor, keep: int) -> list[int]:
    return method.assign(clip, keep, Signals(relevance=relevance)).anchor.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_both_moments_are_found_and_neither_is_taken_ten_times(seed):
    clip, relevance = video(seed)
    frames = chosen(RelevantFrames(), clip, relevance, 8)
    scenes = [frame // 10 for frame in frames]
    assert {4, 21} <= set(scenes)
    assert len(set(scenes)) >= 6
    best = relevance.topk(8).indices.tolist()
    assert len({frame // 10 for frame in best}) <= 3, "the most relevant alone are a few moments"


@pytest.mark.parametrize("seed", range(5))
def test_relevance_for_another_question_chooses_other_frames(seed):
    clip, relevance = video(seed)
    own, other = (set(chosen(RelevantFrames(), clip, r, 4)) for r in (relevance, relevance.roll(100)))
    assert len(own & other) <= 1
    noise = torch.rand(T, generator=torch.Generator().manual_seed(seed))
    found = [frame // 10 for frame in chosen(RelevantFrames(), clip, noise, 4)]
    assert not {4, 21} <= set(found)


def test_a_scene_that_comes_back_counts_anew():
    clip, relevance = video()
    features = clip.features.clone()
    features[210:220] = features[40:50]
    again = replace(clip, features=features)
    scenes = {frame // 10 for frame in chosen(RelevantFrames(), again, relevance, 6)}
    assert {4, 21} <= scenes
    still = replace(again, seconds=torch.linspace(0, 1e-3, T, dtype=torch.float64))
    never = RelevantFrames(reach=1e6)
    twice = [frame // 10 for frame in chosen(never, still, relevance, 6)]
    assert not {4, 21} <= set(twice), "without time, what looks alike is one moment"


def test_the_greedy_mode_is_the_one_that_determinants_say():
    """Every step, by brute force over all items that are left."""
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.normal(size=(12, 6)))
    kernel = x @ x.mT
    taken: list[int] = []
    for _ in range(5):
        gains = {k: float(kernel[[*taken, k]][:, [*taken, k]].det()) for k in range(12) if k not in taken}
        taken.append(max(gains, key=gains.__getitem__))
    assert greedy_mode(lambda row: kernel[row], kernel.diagonal(), 5).tolist() == taken


def test_as_many_as_asked_even_where_nothing_differs():
    clip = Clip(torch.ones(20, 4), torch.zeros(20).double() + torch.arange(20.0) * 1e-9)
    frames = chosen(RelevantFrames(), clip, torch.full((20,), 0.5), 7)
    assert len(set(frames)) == 7
