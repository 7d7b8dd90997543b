"""What a linear probe reads of a patch's place, and frames that are spaced evenly."""

import pytest
import torch

from bvllm.stages.places import PatchPlaces
from experiments.nano_exam import evenly
from experiments.place_probe import probe


def test_the_probe_misses_places_that_are_not_there_and_finds_those_that_are():
    torch.manual_seed(0)
    patches = torch.randn(40, 12, 8)
    missed, spread = probe(patches, columns=4)
    assert missed.tolist() == pytest.approx(spread.tolist(), rel=0.2)
    places = PatchPlaces(8, 8, count=12, columns=4)
    torch.nn.init.orthogonal_(places.proj.weight, gain=10)
    found, _ = probe(places(patches).detach(), columns=4)
    assert (found < 0.5 * spread).all()


def test_frames_are_spaced_evenly_and_no_more_than_there_are():
    assert evenly(9, 3).frames.tolist() == [1, 4, 7]
    assert evenly(2, 32).frames.tolist() == [0, 1]
